//! Random transfers from one disk to another: one block to 2 MiB, in scattered frames, from odd first offsets on; and vectors of the
//! kernel's heap.

use kernel::script::Script;

use super::{Bus, Case, DISK_LEN};
use crate::kernel::judge::{self, Demands, Ran};

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, bus: Bus, words: &str, full: bool| {
        cases.extend(Case::and_checked(|| transfer(name, bus.clone(), words, full)));
    };
    add("virtio", Bus::Virtio, "", false);
    // Each segment takes one of 64 descriptors, so that a large request is all there is room for.
    add("virtio-direct-chains", Bus::Virtio, "indirect=0", true);
    // Few descriptors, few requests, few list pages: backpressure, and nothing is lost.
    add("virtio-backpressure", Bus::Virtio, "queue=16 requests=2 indirect=0", true);
    add("nvme-backpressure", Bus::Nvme { mdts: 5, block_len: 512 }, "queue=4 pages=1 format=prp", true);
    for mdts in [1, 5, 7] {
        for block_len in [512, 4096] {
            for format in ["prp", "sgl"] {
                let name = format!("nvme-mdts{mdts}-{block_len}-{format}");
                // Where a command moves two pages, a request of 2 MiB is more commands than a queue holds.
                let full = mdts == 1;
                add(&name, Bus::Nvme { mdts, block_len }, &format!("format={format}"), full);
            }
        }
    }
    // Halted until an interrupt comes: plain, and where a full queue has to be waited for.
    for (name, bus, words, full) in [
        ("nvme", Bus::Nvme { mdts: 5, block_len: 512 }, "", false),
        ("nvme-backpressure", Bus::Nvme { mdts: 5, block_len: 512 }, "queue=4 pages=1 format=prp", true),
    ] {
        cases.extend(Case::and_checked(|| transfer(name, bus.clone(), words, full).interrupted()));
    }
    for (name, bus) in [("heap-virtio", Bus::Virtio), ("heap-nvme", Bus::Nvme { mdts: 5, block_len: 512 })] {
        cases.extend(Case::and_checked(|| heap(name, bus.clone())));
    }
    cases
}

/// Vectors of the kernel's heap, by `Translate`.
fn heap(name: &str, bus: Bus) -> Case {
    const REQUESTS: u64 = 8;
    const LEN: u64 = 96 << 10;
    let words = format!("scenario=heap requests={REQUESTS} len={LEN}");
    let judge = Box::new(|ran: &Ran<'_>| judge::inverted(ran, REQUESTS, LEN));
    Case::two_disks(name.to_owned(), bus, &words, judge)
}

fn transfer(name: &str, bus: Bus, words: &str, full: bool) -> Case {
    let (block_len, offset_unit) = match bus {
        Bus::Virtio => (512, 1),
        // PRPs start at multiples of 4.
        Bus::Nvme { block_len, .. } => (block_len, 4),
    };
    let script = Script {
        seed: 7,
        batches: 24,
        batch_len: 4,
        block_len,
        source_capacity: DISK_LEN,
        capacity: DISK_LEN,
        len_max: 2 << 20,
        offset_unit,
    };
    let Script { seed, batches, batch_len, len_max, .. } = script;
    let demands = Demands::of(words);
    let bounds = bus.bounds(demands.queue, demands.format.as_deref());
    let words = format!(
        "scenario=transfer seed={seed} batches={batches} batch={batch_len} max={len_max} unit={offset_unit} {words}"
    );
    let judge = move |ran: &Ran<'_>| {
        judge::replayed(ran, script)?;
        judge::fewest(ran, script, bounds)?;
        judge::obeyed(ran, &demands)?;
        ran.facts.expect("bounced", 0)?;
        judge::refused(ran, full)
    };
    Case::two_disks(name.to_owned(), bus, &words, Box::new(judge))
}
