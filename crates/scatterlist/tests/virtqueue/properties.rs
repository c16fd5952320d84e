//! The promises, for any requests, any size of queue and any order of events.

use std::collections::VecDeque;

use proptest::prelude::*;
use scatterlist::desc::DescriptorMemory;
use scatterlist::desc::virtqueue::{
    AddError, AvailableView, Descriptor, Frame, QueueSize, Run, Shape, Side, TableView, Used, UsedView,
    limits,
};
use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr, BusAddr, Position, Segment};

use super::pair::{INDIRECT, Pair, Shared, four, pair, runs, seg};

/// What may happen next between driver and device.
#[derive(Clone, Debug)]
enum Step {
    Add {
        readable: Vec<(u32, u16)>,
        writable: Vec<(u32, u16)>,
        indirect: bool,
    },
    Publish,
    Fetch,
    /// Gives back one of those that the device has, with a share of its writable bytes.
    GiveBack(prop::sample::Index, u8),
    Take,
    /// The device writes garbage into the used ring, and takes it back.
    Lie {
        id: u32,
        written: u32,
        ahead: u16,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = || prop::collection::vec((any::<u32>(), 1_u16..), 0..6);
    let step = prop_oneof![
        4 => (side(), side(), any::<bool>())
            .prop_map(|(readable, writable, indirect)| Step::Add { readable, writable, indirect }),
        2 => Just(Step::Publish),
        4 => Just(Step::Fetch),
        4 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(index, share)| Step::GiveBack(index, share)),
        4 => Just(Step::Take),
        1 => (0_u32..40, any::<u32>(), 0_u16..40).prop_map(|(id, written, ahead)| Step::Lie { id, written, ahead }),
    ];
    prop::collection::vec(step, 1..200)
}

/// One request, on its way.
#[derive(Clone, Debug)]
struct Tracked {
    head: u16,
    runs: Vec<Run>,
    descriptors: u16,
    _table: Option<Shared>,
}

impl Tracked {
    fn writable(&self) -> u64 {
        self.runs.iter().filter(|run| run.side == Side::Writable).map(|run| run.segment.len()).sum()
    }
}

proptest! {
    #[test]
    fn what_the_device_walks_is_what_was_added_and_no_descriptor_is_lost(log in 0_u32..6, steps in steps()) {
        let size = 1_u16 << log;
        let Pair { mut queue, mut device } = pair(size);
        let (mut added, mut published, mut fetched) = (VecDeque::new(), VecDeque::new(), Vec::new());
        let mut returned: VecDeque<(Tracked, u32)> = VecDeque::new();
        let mut tables = 0_u64;
        for step in steps {
            match step {
                Step::Add { readable, writable, indirect } => {
                    let list = |side: &[(u32, u16)]| -> Vec<_> {
                        side.iter().map(|(addr, len)| seg(u64::from(*addr) << 8, u64::from(*len))).collect()
                    };
                    let (readable, writable) = (list(&readable), list(&writable));
                    let runs = runs(&readable, &writable);
                    let need = runs.len() as u64;
                    let free = queue.free();
                    let (result, descriptors, table) = if indirect {
                        // Each table has an address of its own: an old one must not be read again.
                        let mut table = Shared::new(INDIRECT + tables * 0x1000, 2 * runs.len());
                        tables += 1;
                        device.bus.0.push(table.clone());
                        (queue.add_indirect(&mut table, readable, writable), 1, Some(table))
                    } else {
                        (queue.add(readable, writable), u16::try_from(need).unwrap(), None)
                    };
                    match result {
                        Ok(head) => {
                            prop_assert_eq!(queue.free(), free - descriptors);
                            added.push_back(Tracked { head, runs, descriptors, _table: table });
                        }
                        Err(AddError::Empty) => prop_assert_eq!(need, 0),
                        Err(AddError::QueueFull { need: n, free: f }) => {
                            prop_assert_eq!((n, f), (if indirect { 1 } else { need }, free));
                            prop_assert!(n > u64::from(f));
                        }
                        Err(AddError::ChainTooLong { need: n, max }) => {
                            prop_assert!(indirect && n == need && need > u64::from(max) && max == size);
                        }
                        Err(other) => prop_assert!(false, "{}", other),
                    }
                }
                Step::Publish => {
                    prop_assert_eq!(usize::from(queue.publish()), added.len());
                    published.append(&mut added);
                }
                Step::Fetch => {
                    let expect = published.pop_front();
                    let found = device.fetch();
                    prop_assert_eq!(&found, &expect.as_ref().map(|request: &Tracked| (request.head, request.runs.clone())));
                    fetched.extend(expect);
                }
                Step::GiveBack(index, share) => {
                    if !fetched.is_empty() {
                        let request: Tracked = fetched.swap_remove(index.index(fetched.len()));
                        let written = u32::try_from(request.writable() * u64::from(share) / 255).unwrap();
                        device.give_back(request.head.into(), written);
                        returned.push_back((request, written));
                    }
                }
                Step::Take => {
                    let expect = returned.pop_front();
                    let used = expect.as_ref().map(|(request, written)| Used { head: request.head, written_bytes: *written });
                    prop_assert_eq!(queue.take(), Ok(used));
                }
                Step::Lie { id, written, ahead } => {
                    // Whether it is an error depends on what is in flight; a lie that could be true is not told.
                    let in_flight = published.iter().chain(&fetched);
                    let plausible = in_flight.chain(returned.iter().map(|(request, _)| request))
                        .any(|request| u32::from(request.head) == id && u64::from(written) <= request.writable());
                    let before = device.used.bytes.borrow().clone();
                    let index = device.used_index;
                    if returned.is_empty() && !plausible {
                        device.give_back(id, written);
                        device.set_used_index(index.wrapping_add(ahead));
                        prop_assert_eq!(queue.take().is_err(), ahead > 0);
                        prop_assert_eq!(queue.take().is_err(), ahead > 0);
                    }
                    device.used.bytes.borrow_mut().clone_from(&before);
                    device.used_index = index;
                }
            }
            // Every descriptor is free or belongs to exactly one request, and every request is known.
            let all = || added.iter().chain(&published).chain(&fetched).chain(returned.iter().map(|(request, _)| request));
            prop_assert_eq!(queue.free() + all().map(|request| request.descriptors).sum::<u16>(), size);
            let mut heads: Vec<_> = all().map(|request| request.head).collect();
            heads.sort_unstable();
            prop_assert_eq!(queue.heads().collect::<Vec<_>>(), heads);
            // Those that wait stand in memory as they did, whatever went on around them.
            for request in published.iter().chain(&fetched) {
                prop_assert_eq!(&device.walk(request.head).unwrap(), &request.runs);
            }
        }
    }

    #[test]
    fn a_plan_made_for_the_limits_always_goes_in(
        log in 2_u32..8,
        descriptors in prop::option::of(3_u64..40),
        list in prop::collection::vec((any::<u32>(), 1_u64..=1 << 33), 1..60),
        barriers in any::<u64>(),
    ) {
        let Pair { mut queue, mut device } = pair(1 << log);
        let shape = descriptors.map_or(Shape::Direct, |descriptors| Shape::Indirect { descriptors });
        let limits = limits(queue.size(), shape, Frame { segments: 2, bytes: 17 }).unwrap();
        let list: Vec<_> = list.iter().enumerate().map(|(index, (addr, len))| {
            let segment = seg(u64::from(*addr) << 20, *len);
            if barriers >> (index % 64) & 1 == 1 { segment.with_barrier() } else { segment }
        }).collect();
        let mut collected = Vec::new();
        let (header, status) = (seg(0x10, 16), seg(0x20, 1));
        for (index, ready) in plan(&list[..], Position::Stream, &limits, Policy::SplitOrError).enumerate() {
            let ready = ready.unwrap();
            let data = ready.pieces();
            let head = match descriptors {
                None => queue.add([header.into()].into_iter().chain(data), [status]).unwrap(),
                Some(descriptors) => {
                    let at = INDIRECT + index as u64 * 0x1000;
                    let mut table = Shared::new(at, 2 * usize::try_from(descriptors).unwrap());
                    device.bus.0.push(table.clone());
                    queue.add_indirect(&mut table, [header.into()].into_iter().chain(data), [status]).unwrap()
                }
            };
            queue.publish();
            let (_, runs) = device.fetch().unwrap();
            prop_assert_eq!((runs[0].segment, runs[runs.len() - 1].segment), (header, status));
            collected.extend(runs[1..runs.len() - 1].iter().map(|run| run.segment));
            device.give_back(head.into(), 1);
            prop_assert_eq!(queue.take().unwrap().unwrap().head, head);
        }
        prop_assert_eq!(joined(&collected), joined(&list));
    }

    #[test]
    fn garbage_in_the_tables_is_walked_to_an_end(
        words in prop::collection::vec(any::<[u64; 2]>(), 16),
        small in any::<bool>(),
        head in 0_u16..20,
    ) {
        let Pair { queue, mut device } = pair(8);
        let indirect = Shared::new(INDIRECT, 16);
        device.bus.0.push(indirect.clone());
        for (index, [addr, rest]) in words.into_iter().enumerate() {
            let mut descriptor = Descriptor::from_words([addr, rest]);
            if small {
                // Garbage that looks nearly right goes deeper.
                descriptor.next %= 10;
                descriptor.len %= 160;
                descriptor.flags %= 8;
                if descriptor.has(Descriptor::INDIRECT) {
                    descriptor.addr = BusAddr::new(INDIRECT);
                }
            }
            let mut memory = if index < 8 { queue.rings().table.clone() } else { indirect.clone() };
            memory.fill(index % 8 * 2, descriptor.to_words().into_iter());
        }
        let walked: Vec<_> = device.rings.walk(&device.bus, head).take(20).collect();
        prop_assert!(walked.len() <= 9, "at most the queue size, and an error: {:?}", walked);
        prop_assert!(walked.iter().rev().skip(1).all(Result::is_ok));
    }

    #[test]
    fn garbage_in_the_used_ring_is_an_error_or_a_request_that_was_in_flight(
        garbage in prop::collection::vec(any::<u8>(), 72),
        nearly in any::<bool>(),
        index in 0_u16..4,
    ) {
        let Pair { mut queue, device } = pair(8);
        let (readable, writable) = four();
        let heads = [queue.add(readable, writable).unwrap(), queue.add(readable, writable).unwrap()];
        queue.publish();
        device.used.write(0, &garbage);
        if nearly {
            device.set_used_index(index);
            for place in 0..8 {
                device.used.write(4 + place * 8, &(u32::from(garbage[place]) % 9).to_le_bytes());
                device.used.write(8 + place * 8, &(u32::from(garbage[place + 8]) % 5).to_le_bytes());
            }
        }
        let mut taken = Vec::new();
        for _ in 0..4 {
            let (free, in_flight) = (queue.free(), queue.in_flight());
            match queue.take() {
                Ok(Some(used)) => {
                    prop_assert!(heads.contains(&used.head) && used.written_bytes <= 3);
                    prop_assert!(!taken.contains(&used.head));
                    taken.push(used.head);
                }
                Ok(None) | Err(_) => prop_assert_eq!((queue.free(), queue.in_flight()), (free, in_flight)),
            }
        }
        prop_assert_eq!(queue.free(), u16::try_from(taken.len() * 4).unwrap());
    }

    #[test]
    fn views_of_any_bytes_have_no_entry_past_their_end(bytes in prop::collection::vec(any::<u8>(), 0..200), index in any::<u16>()) {
        let size = QueueSize::new(16).unwrap();
        let (table, available) = (TableView::new(&bytes), AvailableView::new(&bytes, size));
        let used = UsedView::new(&bytes, size);
        prop_assert_eq!(table.len() * 16 + table.rest_bytes(), bytes.len());
        prop_assert_eq!(table.get(usize::from(index)).is_some(), usize::from(index) < table.len());
        prop_assert_eq!(table.iter().count(), table.len());
        let place = usize::from(index % 16);
        prop_assert_eq!(available.head(index).is_some(), bytes.len() >= 6 + place * 2);
        prop_assert_eq!(used.element(index).is_some(), bytes.len() >= 12 + place * 8);
        prop_assert_eq!((used.flags(), used.index()), (available.flags().filter(|_| bytes.len() >= 4), available.index()));
        for descriptor in table.iter() {
            prop_assert_eq!(Descriptor::from_words(descriptor.to_words()), descriptor);
        }
    }
}

/// The bytes of a list in order, as the fewest runs.
fn joined(list: &[Segment<BusAddr>]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for segment in list {
        match runs.last_mut() {
            Some((addr, len)) if *addr + *len == segment.addr().raw() => *len += segment.len(),
            _ => runs.push((segment.addr().raw(), segment.len())),
        }
    }
    runs
}
