//! A correct driver at random is never accused; one mistake of it is found, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::mem::discriminant;

use proptest::prelude::*;
use scatterlist::Limits;
use scatterlist::map::DmaDirection;
use scatterlist::map::checked::{Call, Finding, Ledger, LedgerOptions, MapCall, MapKind, Span, Touched};

use super::support::{MEMORY, bus, memory};

const DIRECTIONS: [DmaDirection; 3] = [DmaDirection::ToDevice, DmaDirection::FromDevice, DmaDirection::Both];
const KINDS: [MapKind; 5] =
    [MapKind::Single, MapKind::Page, MapKind::List, MapKind::Coherent, MapKind::Resource];

/// A live mapping as the driver knows it.
#[derive(Clone, Debug)]
struct Held {
    kind: MapKind,
    direction: DmaDirection,
    bus: Vec<Span>,
    entries: u64,
    checked: bool,
}

impl Held {
    fn head(&self) -> u64 {
        self.bus[0].addr
    }

    fn bytes(&self) -> u64 {
        self.bus.iter().map(|span| span.len).sum()
    }

    /// The right call to unmap it.
    fn call(&self) -> Call {
        let (addr, len) = (bus(self.head()), self.bytes());
        match self.kind {
            MapKind::Single => Call::single(addr, len, self.direction),
            MapKind::Page => Call::page(addr, len, self.direction),
            MapKind::List => Call::list(addr, self.entries, self.direction),
            MapKind::Coherent => Call::coherent(self.head() + MEMORY, addr, len),
            MapKind::Resource => Call::resource(addr, len, self.direction),
        }
    }

    fn device_writes(&self) -> bool {
        self.direction != DmaDirection::ToDevice
    }
}

#[derive(Default, Debug)]
struct Driver {
    held: Vec<Held>,
    /// Memory that nobody had yet.
    fresh: u64,
}

impl Driver {
    /// One legal step, chosen by numbers.
    fn step(&mut self, ledger: &mut Ledger, (op, pick, at, len): (u8, usize, u64, u64)) {
        let count = self.held.len();
        if count == 0 || op < 4 {
            self.map(ledger, pick, at, len);
            return;
        }
        let index = pick % count;
        let held = &mut self.held[index];
        let span = held.bus[usize::try_from(at).unwrap() % held.bus.len()];
        let from = at % span.len;
        let part = len % (span.len - from) + 1;
        let addr = bus(span.addr + from);
        match op {
            4 => {
                ledger.check_error(bus(held.head()));
                held.checked = true;
            }
            5 if held.kind == MapKind::List => {
                ledger.sync_for_cpu(held.call());
                ledger.sync_for_device(held.call().len(held.bytes()));
            }
            5 | 6 => {
                let direction = match held.direction {
                    DmaDirection::Both => DIRECTIONS[pick % 3],
                    direction => direction,
                };
                ledger.sync_for_cpu(Call::single(addr, part, direction));
                ledger.sync_for_device(Call::page(addr, part, direction));
            }
            7 if held.direction == DmaDirection::Both => {
                ledger.device_access(addr, part, pick.is_multiple_of(2));
            }
            7 => {
                ledger.device_access(addr, part, held.device_writes());
            }
            _ => self.unmap(ledger, index),
        }
    }

    fn map(&mut self, ledger: &mut Ledger, pick: usize, at: u64, len: u64) {
        let shared = self.held.iter().find(|held| held.kind == MapKind::Page && !held.device_writes());
        let (kind, direction, bus) = match shared {
            // The device may read one page through as many mappings as the driver likes.
            Some(held) if pick.is_multiple_of(7) => {
                let span = held.bus[0];
                let from = at % span.len;
                let part = Span::new(span.addr + from, len % (span.len - from) + 1);
                (KINDS[pick % 2], DmaDirection::ToDevice, vec![part])
            }
            _ => {
                let kind = KINDS[pick % 5];
                let direction =
                    if kind == MapKind::Coherent { DmaDirection::Both } else { DIRECTIONS[pick % 3] };
                let count = if kind == MapKind::List { at % 6 + 1 } else { 1 };
                let bus = (0..count).map(|_| self.fresh_span(at, len)).collect();
                (kind, direction, bus)
            }
        };
        let entries = u64::try_from(bus.len()).unwrap() + at % 3;
        ledger.map(MapCall::new(kind, direction, &memory(&bus), &bus).entries(entries));
        let checked = matches!(kind, MapKind::List | MapKind::Coherent);
        self.held.push(Held { kind, direction, bus, entries, checked });
    }

    /// Memory in lines of its own; now and then adjacent to what came before.
    fn fresh_span(&mut self, at: u64, len: u64) -> Span {
        let gap = if at.is_multiple_of(4) { 0 } else { (at % 1000) * 64 };
        let span = Span::new(0x1000 + self.fresh + gap, len + 1);
        self.fresh += gap + (len + 1).next_multiple_of(64);
        span
    }

    fn unmap(&mut self, ledger: &mut Ledger, index: usize) {
        let held = self.held.swap_remove(index);
        if !held.checked {
            ledger.check_error(bus(held.head()));
        }
        ledger.unmap(held.call());
    }

    fn finish(&mut self, ledger: &mut Ledger) {
        while !self.held.is_empty() {
            self.unmap(ledger, 0);
        }
        ledger.release();
    }
}

type Step = (u8, usize, u64, u64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![0..64_u64, 0..5_000_u64, 0..3_000_000_u64];
    prop::collection::vec((0..10_u8, 0..1_000_usize, 0..10_000_u64, len), 1..120)
}

/// A mistake on a mapping that its driver holds, which is gone afterwards if the mistake ends it. Returns what must be
/// found, or nothing where it is no mistake for such a mapping.
fn mistake(
    driver: &mut Driver,
    ledger: &mut Ledger,
    which: u8,
    index: usize,
) -> Option<fn(&Finding) -> bool> {
    let held = driver.held[index].clone();
    let turned = match held.direction {
        DmaDirection::ToDevice => DmaDirection::FromDevice,
        DmaDirection::FromDevice | DmaDirection::Both => DmaDirection::ToDevice,
    };
    let (head, call) = (bus(held.head()), held.call());
    let last = held.bus[held.bus.len() - 1];
    let ended = |driver: &mut Driver, ledger: &mut Ledger, call: Call| {
        ledger.check_error(head);
        driver.held.swap_remove(index);
        ledger.unmap(call);
    };
    match which {
        0 => {
            ended(driver, ledger, call);
            ledger.unmap(call);
            Some(|finding| matches!(finding, Finding::UnmapUnknown { freed: Some(_), .. }))
        }
        1 => {
            ended(driver, ledger, call.len(held.bytes() + 1));
            Some(|finding| matches!(finding, Finding::UnmapLen { .. }))
        }
        2 => {
            let kind = KINDS[(KINDS.iter().position(|kind| *kind == held.kind)? + 1) % 5];
            ended(driver, ledger, Call { kind, ..call });
            Some(|finding| matches!(finding, Finding::UnmapKind { .. }))
        }
        3 => {
            ended(driver, ledger, Call { direction: turned, ..call });
            Some(|finding| matches!(finding, Finding::UnmapDirection { .. }))
        }
        4 if held.kind == MapKind::List => {
            ended(driver, ledger, Call { entries: Some(held.entries + 1), ..call });
            Some(|finding| matches!(finding, Finding::UnmapEntries { .. }))
        }
        4 if held.kind == MapKind::Coherent => {
            ended(driver, ledger, Call { cpu_addr: call.cpu_addr.map(|addr| addr + 64), ..call });
            Some(|finding| matches!(finding, Finding::UnmapCpuAddr { .. }))
        }
        5 if !held.checked => {
            driver.held.swap_remove(index);
            ledger.unmap(call);
            Some(|finding| matches!(finding, Finding::ErrorUnchecked { .. }))
        }
        6 => {
            driver.held.swap_remove(index);
            Some(|finding| matches!(finding, Finding::Leaked { live: 1, .. }))
        }
        7 => {
            ledger.sync_for_device(Call::single(bus(last.addr + last.len - 1), 2, held.direction));
            Some(|finding| matches!(finding, Finding::SyncRange { fits: 1, .. }))
        }
        8 if held.direction == DmaDirection::ToDevice => {
            ledger.sync_for_cpu(Call::single(head, 1, DmaDirection::Both));
            Some(|finding| matches!(finding, Finding::SyncDirection { .. } | Finding::SyncReadOnly { .. }))
        }
        9 => {
            ledger.device_access(bus(last.addr + last.len - 1), 2, held.device_writes());
            Some(|finding| matches!(finding, Finding::DeviceOutside { fits: 1, .. }))
        }
        10 if held.direction != DmaDirection::Both => {
            ledger.device_access(head, 1, !held.device_writes());
            Some(|finding| matches!(finding, Finding::DeviceDirection { .. }))
        }
        11 => {
            ended(driver, ledger, call);
            ledger.device_access(head, 1, held.device_writes());
            Some(|finding| matches!(finding, Finding::DeviceUnmapped { freed: Some(_), .. }))
        }
        12 if held.kind != MapKind::Resource => {
            let again = [Span::new(held.head() + MEMORY, 1)];
            let elsewhere = [Span::new(1 << 50, 1)];
            ledger.map(MapCall::new(MapKind::Page, DmaDirection::Both, &again, &elsewhere).error_checked());
            ledger.unmap(Call::page(bus(1 << 50), 1, DmaDirection::Both));
            Some(|finding| matches!(finding, Finding::LineShared { .. }))
        }
        13 => {
            ledger.cpu_wrote_while_device_owned(Touched::Bus(head), 0);
            Some(|finding| matches!(finding, Finding::CpuWrote { mapping: Some(_), .. }))
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_correct_driver_is_never_accused(steps in steps()) {
        let (mut driver, mut ledger) = (Driver::default(), Ledger::new(Limits::default()));
        for step in steps {
            driver.step(&mut ledger, step);
            prop_assert_eq!(ledger.findings(), []);
            prop_assert_eq!(ledger.live().len(), driver.held.len());
        }
        driver.finish(&mut ledger);
        prop_assert_eq!(ledger.findings(), []);
        prop_assert_eq!(ledger.unrecorded(), 0);
    }

    /// What is not recorded is told once, and is no reason to accuse anybody.
    #[test]
    fn a_correct_driver_with_a_full_record_is_not_accused_either(steps in steps(), spans_max in 0..20_usize) {
        let options = LedgerOptions { spans_max, ..LedgerOptions::default() };
        let (mut driver, mut ledger) =
            (Driver::default(), Ledger::with_options(Limits::default(), options).unwrap());
        for step in steps {
            driver.step(&mut ledger, step);
        }
        driver.finish(&mut ledger);
        let found = ledger.findings();
        prop_assert!(found.len() <= 1, "{:?}", found);
        prop_assert!(found.iter().all(|finding| matches!(finding, Finding::RecordFull { .. })), "{:?}", found);
    }

    #[test]
    fn one_mistake_is_found_and_nothing_else(
        steps in steps(), which in 0..14_u8, when in 0..120_usize, pick in 0..1_000_usize,
    ) {
        let (mut driver, mut ledger) = (Driver::default(), Ledger::new(Limits::default()));
        let mut expected = None;
        let when = when % steps.len();
        for (at, (op, pick_step, where_, len)) in steps.into_iter().enumerate() {
            // Without shared pages: there a mistake on one mapping can be right for another.
            let pick_step = if pick_step.is_multiple_of(7) { pick_step + 1 } else { pick_step };
            driver.step(&mut ledger, (op, pick_step, where_, len));
            if expected.is_none() && at >= when && !driver.held.is_empty() {
                let index = pick % driver.held.len();
                expected = mistake(&mut driver, &mut ledger, which, index);
            }
        }
        driver.finish(&mut ledger);
        let found = ledger.take_findings();
        match expected {
            None => prop_assert_eq!(found, []),
            Some(is_expected) => {
                prop_assert!(!found.is_empty(), "mistake {} is not found", which);
                prop_assert!(found.iter().all(is_expected), "mistake {}: {:?}", which, found);
                let mut kinds: Vec<_> = found.iter().map(discriminant).collect();
                kinds.dedup();
                prop_assert_eq!(kinds.len(), found.len(), "each is told once");
            }
        }
    }

    /// Any numbers at all: findings, never a panic or an overflow, and never more than the bounds.
    #[test]
    fn no_input_panics(
        events in prop::collection::vec((0..9_u8, edgy(), edgy(), edgy(), any::<[usize; 2]>()), 0..60),
    ) {
        let limits = Limits::builder()
            .hard(scatterlist::LimitId::GapBoundary, 4096)
            .hard(scatterlist::LimitId::BounceOffsetMask, 0xff)
            .hard(scatterlist::LimitId::PageLen, 4096)
            .hard(scatterlist::LimitId::SegmentsMax, 4);
        let mut ledger = Ledger::new(limits.build().unwrap());
        for (op, a, b, c, [kind, direction]) in events {
            let (kind, direction) = (KINDS[kind % 5], DIRECTIONS[direction % 3]);
            let spans = [Span::new(a, b), Span::new(b, c), Span::new(c, a)];
            let call = Call {
                kind, bus_addr: bus(a), len: Some(b), direction, entries: Some(c), cpu_addr: Some(b),
            };
            match op {
                0..3 => { ledger.map(MapCall::new(kind, direction, &spans[1..], &spans)); }
                3 => { ledger.map(MapCall::new(kind, direction, &spans, &spans[..1])); }
                4 => { ledger.unmap(call); }
                5 => { ledger.sync_for_cpu(call); }
                6 => { ledger.sync_for_device(call); }
                7 => { ledger.device_access(bus(a), b, c.is_multiple_of(2)); }
                _ => { ledger.cpu_read_without_sync(Touched::Cpu(a), b); }
            }
        }
        ledger.release();
        prop_assert_eq!(ledger.live().len(), 0);
        for finding in ledger.findings() {
            prop_assert!(finding.to_string().contains("random.rs"));
        }
    }
}

/// Small numbers that meet each other, and those at the edges.
fn edgy() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..300_u64, 2 => (0..300_u64).prop_map(|back| u64::MAX - back), 1 => any::<u64>()]
}
