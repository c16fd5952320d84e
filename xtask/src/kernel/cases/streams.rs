//! Play the disk; the engine that reaches 28 bits, and producers that share a target.

use super::{Bus, Case};
use crate::kernel::judge::{self, Music, Ran};

/// Bytes that are read and played as one chunk.
const CHUNK: u64 = 32 << 10;

/// Bytes that are played: 2.4 seconds of two channels at 48 kHz.
const BYTES: u64 = 14 * CHUNK;

/// Bytes that the other producer copies meanwhile.
const COPIED: u64 = 4 << 20;

/// Bytes of a pool that nothing is to go through.
const POOL: u64 = 256 << 10;

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, contiguous) in [("play", false), ("play-contiguous", true)] {
        cases.extend(Case::and_checked(|| play(name, contiguous)));
    }
    cases.extend(Case::and_checked(masked));
    cases.extend(Case::and_checked(channels));
    cases
}

/// Both devices are behind a pool, the one place that could copy, and nothing is copied.
fn play(name: &str, contiguous: bool) -> Case {
    let music = Music { bytes: BYTES, chunk: CHUNK, copied: COPIED, contiguous };
    let words = format!(
        "scenario=play bytes={BYTES} chunk={CHUNK} copy={COPIED} contiguous={} bounce={POOL}",
        u8::from(contiguous)
    );
    let bus = Bus::Nvme { mdts: 5, block_len: 512 };
    let judge = Box::new(move |ran: &Ran<'_>| judge::played(ran, music));
    let case = Case::two_disks(name.to_owned(), bus, &words, judge);
    let sound = ["-audiodev", "wav,id=sound,path=FOLDER/played.wav,out.frequency=48000", "-device"];
    let devices = sound.into_iter().chain(["AC97,audiodev=sound"]).map(str::to_owned).collect();
    Case { devices, ..case }
}

/// Memory on both sides of 256 MiB.
fn masked() -> Case {
    let bus = Bus::Nvme { mdts: 5, block_len: 512 };
    let case = Case::two_disks("edu".to_owned(), bus, "scenario=masked", Box::new(judge::masked));
    Case { memory_mib: 512, devices: ["-device", "edu"].map(str::to_owned).to_vec(), ..case }
}

/// Two producers on one controller, of which one may only use memory below a mask.
fn channels() -> Case {
    const REQUESTS: u64 = 16;
    const LEN: u64 = 24 << 10;
    let bus = Bus::Nvme { mdts: 5, block_len: 512 };
    let words = format!("scenario=channels mask=28 requests={REQUESTS} len={LEN} bounce={}", 1 << 20);
    let judge = Box::new(move |ran: &Ran<'_>| judge::channels(ran, REQUESTS, LEN));
    Case { memory_mib: 512, ..Case::two_disks("channels".to_owned(), bus, &words, judge) }
}
