//! A disk with a bad sector, and one so throttled that commands are overdue.

use super::{Bus, Case, Fault};
use crate::kernel::judge::{self, Ran};

/// Bytes of a request; the bad sector lies in one of them.
const LEN: u64 = 64 << 10;

/// The bad sector.
const BAD: u64 = 10_000;

pub(super) fn all() -> Vec<Case> {
    let nvme = Bus::Nvme { mdts: 5, block_len: 512 };
    // Virtio, section 5.2.6: VIRTIO_BLK_S_IOERR. NVMe: a media error (2h), unrecovered read error (81h).
    let bad = [("failing-virtio", Bus::Virtio, 1), ("failing-nvme", nvme.clone(), 0x281)];
    let failing = bad.into_iter().flat_map(|(name, bus, status)| {
        Case::and_checked(|| {
            let judge = Box::new(move |ran: &Ran<'_>| judge::failed(ran, BAD * 512, LEN, status));
            let words = format!("scenario=failing len={LEN}");
            let case = Case::two_disks(name.to_owned(), bus.clone(), &words, judge);
            Case { fault: Some(Fault::BadSector(BAD)), ..case }
        })
    });
    let slow = |name: &str, bus: &Bus| {
        // Virtio has no abort.
        let aborts = *bus != Bus::Virtio;
        let judge = Box::new(move |ran: &Ran<'_>| judge::stalled(ran, aborts));
        let case = Case::two_disks(name.to_owned(), bus.clone(), "scenario=stalled", judge);
        Case { fault: Some(Fault::Slow(8)), ..case }
    };
    let stalled = [("stalled-virtio", Bus::Virtio), ("stalled-nvme", nvme.clone())];
    let stalled = stalled.iter().flat_map(|(name, bus)| Case::and_checked(|| slow(name, bus)));
    let interrupted =
        Case::and_checked(|| slow("stalled-nvme", &nvme).interrupted().and_judged(judge::timed));
    failing.chain(stalled).chain(interrupted).collect()
}
