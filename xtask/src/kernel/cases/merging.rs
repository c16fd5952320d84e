//! The queue in front of the disks: as few commands as the limits allow; stripes.

use kernel::fixed::merged::streams;
use kernel::script::Script;

use super::{Bus, Case, DISK_LEN};
use crate::kernel::judge::{self, Content, Ran};

/// Bytes of a request: three frames, which divide no limit.
const LEN: u64 = 3 * 4096;

/// Requests of a stream.
const REQUESTS: u64 = 100;

/// Bytes of a chunk of a stripe.
const STRIPE: u64 = 64 << 10;

/// Requests that read the striped disk in order: whole rows of stripes.
const IN_ORDER: u64 = 6 * STRIPE / LEN * 8;

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let disks = [("virtio", Bus::Virtio), ("nvme", Bus::Nvme { mdts: 5, block_len: 512 })];
    for (disk, bus) in disks {
        for workload in ["sequential", "interleaved"] {
            let streams = streams(workload).expect("both are workloads");
            let bounds = bus.bounds(None, None);
            cases.extend(Case::and_checked(|| {
                let words = format!("scenario=merged workload={workload} len={LEN} requests={REQUESTS}");
                let judge =
                    Box::new(move |ran: &Ran<'_>| judge::merged(ran, streams, LEN * REQUESTS, bounds));
                Case::two_disks(format!("merge-{workload}-{disk}"), bus.clone(), &words, judge)
            }));
        }
    }
    cases.extend(Case::and_checked(striped));
    cases
}

fn striped() -> Case {
    let script = Script {
        seed: 11,
        batches: 8,
        batch_len: 4,
        block_len: 512,
        source_capacity: 2 * DISK_LEN,
        capacity: DISK_LEN,
        len_max: 1 << 20,
        offset_unit: 4,
    };
    let Script { seed, batches, batch_len, len_max, offset_unit, .. } = script;
    let words = format!(
        "scenario=striped stripe={STRIPE} len={LEN} requests={IN_ORDER} \
         seed={seed} batches={batches} batch={batch_len} max={len_max} unit={offset_unit}"
    );
    let bus = Bus::Nvme { mdts: 5, block_len: 512 };
    let bounds = bus.bounds(None, None);
    let judge = Box::new(move |ran: &Ran<'_>| judge::striped(ran, STRIPE, LEN * IN_ORDER, script, bounds));
    let case = Case::two_disks("stripes".to_owned(), bus, &words, judge);
    Case { disks: (1..=4).map(Content::Random).collect(), ..case }
}
