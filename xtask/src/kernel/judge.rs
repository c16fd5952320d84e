//! What must have happened, computed on the host.

use anyhow::{Result, bail};
use kernel::memory::FRAME_LEN;
use kernel::script::{Random, Script, Transfer};

use super::qemu::{Facts, Folder};

/// What is on a disk before a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// Random bytes from a seed.
    Random(u64),
}

impl Content {
    pub(super) fn bytes(self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        match self {
            Self::Random(seed) => Random::new(seed).fill(&mut bytes),
        }
        bytes
    }
}

/// A case that has run.
#[derive(Debug)]
pub(super) struct Ran<'a> {
    pub(super) facts: Facts,
    pub(super) before: Vec<Vec<u8>>,
    pub(super) after: Vec<Vec<u8>>,
    pub(super) folder: &'a Folder,
}

impl Ran<'_> {
    /// Fails unless disk `number` holds `expected`; says where it differs first.
    pub(super) fn disk_is(&self, number: usize, expected: &[u8]) -> Result<()> {
        let found = &self.after[number];
        if found.len() != expected.len() {
            bail!("disk {number} has {} bytes, it must have {}", found.len(), expected.len());
        }
        if let Some(at) = (0..found.len()).find(|at| found[*at] != expected[*at]) {
            let wrong = found.iter().zip(expected).filter(|(found, expected)| found != expected).count();
            bail!(
                "disk {number} differs at byte {at}: it holds {:#04x}, it must hold {:#04x}; {wrong} bytes differ",
                found[at],
                expected[at]
            );
        }
        Ok(())
    }
}

/// The transfers of a script from disk 0 to disk 1.
pub(super) fn replayed(ran: &Ran, script: Script) -> Result<()> {
    let (source, mut expected) = (&ran.before[0], ran.before[1].clone());
    for Transfer { from, to, len, .. } in script.batches().flatten() {
        let (from, to, len) = (from as usize, to as usize, len as usize);
        expected[to..to + len].copy_from_slice(&source[from..from + len]);
    }
    ran.disk_is(1, &expected)
}

/// What one command may be at most, as the host knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes.
    pub(super) bytes: u64,
    /// Segments.
    pub(super) segments: u64,
}

impl Bounds {
    /// Fails unless these are the limits that the kernel read from its disks.
    fn were_read(self, ran: &Ran) -> Result<()> {
        ran.facts.expect("limit_bytes", self.bytes)?;
        ran.facts.expect("limit_segments", self.segments)
    }

    /// Bytes of whole frames, each a segment, that one command moves.
    fn command_len(self) -> u64 {
        self.bytes.min(self.segments.saturating_mul(FRAME_LEN))
    }
}

/// What a case demands of the drivers.
#[derive(Clone, Debug, Default)]
pub(super) struct Demands {
    /// Entries of a queue.
    pub(super) queue: Option<u64>,
    /// `sgl` or `prp`.
    pub(super) format: Option<String>,
    /// Numbers that facts must have.
    facts: Vec<(&'static str, u64)>,
}

impl Demands {
    /// Reads them from the words of a case.
    pub(super) fn of(words: &str) -> Self {
        let mut demands = Self::default();
        for (key, value) in words.split_whitespace().filter_map(|word| word.split_once('=')) {
            let number = || value.parse().expect("a number");
            match key {
                "format" => demands.format = Some(value.to_owned()),
                "queue" => {
                    demands.queue = Some(number());
                    demands.facts.push(("queue_entries", number()));
                }
                "pages" => demands.facts.push(("list_pages", number())),
                "requests" => demands.facts.push(("requests_max", number())),
                "indirect" => demands.facts.push(("indirect", number())),
                other => panic!("no judge knows the demand `{other}`"),
            }
        }
        demands
    }
}

/// The drivers did what the case demands, as far as it does: seen from what the devices were told.
pub(super) fn obeyed(ran: &Ran, demands: &Demands) -> Result<()> {
    for (fact, value) in &demands.facts {
        ran.facts.expect(fact, *value)?;
    }
    let commands = ran.facts.number("told_reads")? + ran.facts.number("told_writes")?;
    match demands.format.as_deref() {
        None => Ok(()),
        Some("sgl") => ran.facts.expect("told_sgls", commands),
        Some(_) => ran.facts.expect("told_sgls", 0),
    }
}

/// The script took as few commands, with as few segments each, as the bounds allow: counted from what the devices were told.
pub(super) fn fewest(ran: &Ran, script: Script, bounds: Bounds) -> Result<()> {
    bounds.were_read(ran)?;
    let (mut commands, mut pieces) = (0, 0);
    for Transfer { len, offset, .. } in script.batches().flatten() {
        // Frames are scattered, so a command has a piece for each that it touches.
        let mut at = 0;
        while at < len {
            let in_frame = (offset + at) % FRAME_LEN;
            let room = bounds.segments.saturating_mul(FRAME_LEN) - in_frame;
            let mut here = room.min(bounds.bytes).min(len - at);
            if at + here < len {
                here -= here % script.block_len;
            }
            (commands, pieces, at) =
                (commands + 1, pieces + (in_frame + here).div_ceil(FRAME_LEN), at + here);
        }
    }
    ran.facts.expect("told_reads", commands)?;
    ran.facts.expect("told_writes", commands)?;
    ran.facts.expect("told_segments", 2 * pieces)
}

/// Whether a device was full at times, which it was to be or not.
pub(super) fn refused(ran: &Ran, expected: bool) -> Result<()> {
    let refusals = ran.facts.number("refusals")?;
    if (refusals > 0) != expected {
        bail!(
            "a device was full {refusals} times, which it {} be",
            if expected { "must" } else { "must not" }
        );
    }
    Ok(())
}

/// Vectors of the kernel's heap went from disk 0 to disk 1, inverted, and were scattered for the disks.
pub(super) fn inverted(ran: &Ran, requests: u64, len: u64) -> Result<()> {
    ran.facts.expect("bytes", len)?;
    let segments = ran.facts.number("segments")?;
    // The heap's pages lie next to each other at most by chance.
    let least = requests * (len / FRAME_LEN) / 2;
    if segments < least {
        bail!("{requests} vectors of {len} bytes had {segments} segments, they must have {least} at least");
    }
    let mut expected = ran.before[1].clone();
    let moved = 0..(requests * len) as usize;
    for (to, from) in expected[moved.clone()].iter_mut().zip(&ran.before[0][moved]) {
        *to = !from;
    }
    ran.disk_is(1, &expected)
}

/// The queue of each disk interrupted: at least once, since who waited was woken, and at most once for each of its commands. The first
/// vector is that of the admin queue, which was waited for as well.
pub(super) fn interrupted(ran: &Ran) -> Result<()> {
    let mut sum = 0;
    for (queue, commands) in [("interrupts_1", "told_reads"), ("interrupts_2", "told_writes")] {
        let (interrupts, commands) = (ran.facts.number(queue)?, ran.facts.number(commands)?);
        if interrupts == 0 || interrupts > commands {
            bail!("{queue} is {interrupts}, it must be from 1 to {commands}, a command each");
        }
        sum += interrupts;
    }
    ran.facts.expect("interrupts", sum)?;
    ran.facts.expect("interrupts_spurious", 0)?;
    if ran.facts.number("interrupts_admin")? == 0 || ran.facts.number("halts")? == 0 {
        bail!("nobody waited for an interrupt: {:?}", ran.facts);
    }
    Ok(())
}

/// The timer woke the CPU where the controller did not.
pub(super) fn timed(ran: &Ran) -> Result<()> {
    if ran.facts.number("interrupts_timer")? == 0 {
        bail!("no deadline was kept by the timer: {:?}", ran.facts);
    }
    Ok(())
}

/// Streams of `bytes` each were read and written with as few commands as the bounds allow; the queue counts what the disks were told.
pub(super) fn merged(ran: &Ran, streams: u64, bytes: u64, bounds: Bounds) -> Result<()> {
    bounds.were_read(ran)?;
    let commands = streams * bytes.div_ceil(bounds.command_len());
    for fact in ["told_reads", "told_writes", "read_commands", "write_commands"] {
        ran.facts.expect(fact, commands)?;
    }
    // Scattered frames, each once read and once written.
    ran.facts.expect("told_segments", 2 * streams * bytes.div_ceil(FRAME_LEN))?;
    let mut expected = ran.before[1].clone();
    let apart = expected.len() / streams as usize;
    for stream in 0..streams as usize {
        let part = stream * apart..stream * apart + bytes as usize;
        expected[part.clone()].copy_from_slice(&ran.before[0][part]);
    }
    ran.disk_is(1, &expected)
}

/// Disks 0 and 1 are one in stripes: `bytes` of it were read in order, with as few commands as the bounds allow, and went to disk 3; the
/// script's transfers went from it to disk 2.
pub(super) fn striped(ran: &Ran, stripe: u64, bytes: u64, script: Script, bounds: Bounds) -> Result<()> {
    bounds.were_read(ran)?;
    ran.facts.expect("commands", 2 * (bytes / 2).div_ceil(bounds.command_len()))?;
    let chunks = |disk: usize| ran.before[disk].chunks(stripe as usize);
    let whole: Vec<u8> =
        chunks(0).zip(chunks(1)).flat_map(|(even, odd)| [even, odd]).flatten().copied().collect();
    let mut expected = ran.before[2].clone();
    for Transfer { from, to, len, .. } in script.batches().flatten() {
        let (from, to, len) = (from as usize, to as usize, len as usize);
        expected[to..to + len].copy_from_slice(&whole[from..from + len]);
    }
    let mut in_order = ran.before[3].clone();
    in_order[..bytes as usize].copy_from_slice(&whole[..bytes as usize]);
    ran.disk_is(1, &ran.before[1])?;
    ran.disk_is(2, &expected)?;
    ran.disk_is(3, &in_order)
}

/// One request of `len` bytes failed with `status`, the one that holds byte `bad`; everything else was copied.
pub(super) fn failed(ran: &Ran, bad: u64, len: u64, status: u64) -> Result<()> {
    let start = bad - bad % len;
    ran.facts.expect("failed", 1)?;
    ran.facts.expect("failed_at", start)?;
    ran.facts.expect("status", status)?;
    let mut expected = ran.before[0].clone();
    let lost = start as usize..(start + len) as usize;
    expected[lost.clone()].copy_from_slice(&ran.before[1][lost]);
    ran.disk_is(1, &expected)
}

/// A slow disk under a short timeout: some requests were done, others were overdue, and aborted where the device has `aborts`, a
/// reset cancelled what was left, and in the end all was copied.
pub(super) fn stalled(ran: &Ran, aborts: bool) -> Result<()> {
    use kernel::fixed::stalled::{LEN, REQUESTS};
    ran.facts.expect("ended", REQUESTS)?;
    ran.facts.expect("in_flight", 0)?;
    let (done, cancelled) = (ran.facts.number("done")?, ran.facts.number("cancelled")?);
    if done + cancelled != REQUESTS || cancelled == 0 || ran.facts.number("resets")? == 0 {
        bail!("{done} requests were done and {cancelled} cancelled: {:?}", ran.facts);
    }
    // A reset also cancels what was submitted a little later and is not overdue yet, so there may be fewer of these.
    let overdue = ran.facts.number("overdue")?;
    if overdue == 0 {
        bail!("{cancelled} requests were cancelled and none was overdue: {:?}", ran.facts);
    }
    if aborts && ran.facts.number("told_aborts")? == 0 {
        bail!("{overdue} requests were overdue, and the controller was told of no abort: {:?}", ran.facts);
    }
    let mut expected = ran.before[1].clone();
    let moved = 0..(REQUESTS * LEN) as usize;
    expected[moved.clone()].copy_from_slice(&ran.before[0][moved]);
    ran.disk_is(1, &expected)
}

/// What a player was to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Music {
    /// Bytes of disk 0 that are played.
    pub(super) bytes: u64,
    /// Bytes that are read and played as one.
    pub(super) chunk: u64,
    /// Bytes that are copied to disk 1 meanwhile.
    pub(super) copied: u64,
    /// Whether a chunk's frames are contiguous.
    pub(super) contiguous: bool,
}

/// Disk 0 was played, sample for sample, from the memory that it was read to.
pub(super) fn played(ran: &Ran, music: Music) -> Result<()> {
    /// ICH5 AC '97, section 3.2.1: an entry has at most 65535 samples of 16 bits, and no frame of two is cut.
    const ENTRY_LEN_MAX: u64 = 65534 * 2;
    let chunks = music.bytes / music.chunk;
    let each = if music.contiguous {
        music.chunk.div_ceil(ENTRY_LEN_MAX)
    } else {
        // Scattered frames: one entry for each.
        music.chunk / FRAME_LEN
    };
    for (fact, value) in [
        ("chunks", chunks),
        ("entries", chunks * each),
        ("bounced", 0),
        ("copied", 0),
        ("underruns", 0),
        ("fifo_errors", 0),
    ] {
        ran.facts.expect(fact, value)?;
    }
    let (source, copied) = (&ran.before[0], music.copied as usize);
    let mut expected = ran.before[1].clone();
    expected[..copied].copy_from_slice(&source[..copied]);
    ran.disk_is(1, &expected)?;
    same_samples(&samples_of(&ran.folder.read("played.wav")?)?, &source[..music.bytes as usize])
}

/// The samples of a WAV file of 16 bits, two channels, 48 kHz (RIFF, "Multimedia Programming Interface and Data
/// Specifications 1.0", chapter 3). A recorder that was stopped leaves lengths of 0: then the data go on to the end.
fn samples_of(wav: &[u8]) -> Result<Vec<u8>> {
    let Some((header, data)) = wav.split_at_checked(44) else { bail!("{} bytes are no WAV file", wav.len()) };
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let format = (number(20), number(24), number(34) & 0xffff);
    if &header[..4] != b"RIFF" || &header[36..40] != b"data" || format != (0x0002_0001, 48_000, 16) {
        bail!("not a plain WAV file of two channels of 16 bits at 48 kHz: {header:02x?}");
    }
    let len = match number(40) as usize {
        0 => data.len(),
        len => len.min(data.len()),
    };
    Ok(data[..len].to_vec())
}

/// The samples were played once, without a gap; silence stands before.
fn same_samples(played: &[u8], expected: &[u8]) -> Result<()> {
    let sound = |bytes: &[u8]| bytes.chunks(4).position(|frame| frame.iter().any(|byte| *byte != 0));
    let (Some(start), Some(first)) = (sound(played), sound(expected)) else {
        bail!("nothing was played: {} bytes, all silence", played.len())
    };
    // The disk may begin with silence, too.
    let start = (start * 4).checked_sub(first * 4);
    let found = start.and_then(|start| played.get(start..start + expected.len()));
    let Some(found) = found else {
        bail!("{} bytes were played, {} are on the disk", played.len(), expected.len())
    };
    if let Some(at) = (0..found.len()).find(|at| found[*at] != expected[*at]) {
        bail!(
            "sample {} differs: {:#04x} was played, {:#04x} is on the disk",
            at / 2,
            found[at],
            expected[at]
        );
    }
    // Behind the end the controller plays zeros, or the last frame again: QEMU 7.2 has the two policies the other way round
    // (`transfer_audio` in `hw/audio/ac97.c`).
    let last = &expected[expected.len() - 4..];
    let mut rest = played[start.unwrap_or(0) + expected.len()..].chunks_exact(4);
    if let Some(at) = rest.position(|frame| frame != [0; 4] && frame != last) {
        bail!("more than the disk was played: other sound {at} frames after its end");
    }
    Ok(())
}

/// Two producers read the same halves of disk 0 in turn; what the channel's one has above its mask bounced, and nothing else.
pub(super) fn channels(ran: &Ran, requests: u64, len: u64) -> Result<()> {
    let facts = &ran.facts;
    let (above, below) = (facts.number("above")?, facts.number("below")?);
    if above == 0 || below == 0 || above + below != requests * len {
        bail!("the memory does not lie on both sides of the mask: {facts:?}");
    }
    facts.expect("bounced_wide", 0)?;
    facts.expect("bounced_channel", above)?;
    // Read: copied in when it is mapped, and out when it is unmapped. Written from there: by the wide producer.
    facts.expect("copied", 2 * above)?;
    let refused = facts.text("looser")?;
    if !refused.contains("addr_max") {
        bail!("a channel that is looser must be refused by name, it says: {refused}");
    }
    let mut expected = ran.before[1].clone();
    let moved = 0..(2 * requests * len) as usize;
    expected[moved.clone()].copy_from_slice(&ran.before[0][moved]);
    ran.disk_is(1, &expected)
}

/// What lies above the mask bounced, and nothing else; the blocks arrived.
pub(super) fn masked(ran: &Ran) -> Result<()> {
    use kernel::fixed::masked::{BLOCK_LEN, BLOCKS};
    const MOVED: usize = (BLOCKS * BLOCK_LEN) as usize;
    let facts = &ran.facts;
    let [to, from, below] = ["above_to_device", "above_from_device", "below"].map(|fact| facts.number(fact));
    let (to, from, below) = (to?, from?, below?);
    if to == 0 || from == 0 || below == 0 || to + from + below != 2 * MOVED as u64 {
        bail!("the memory does not lie on both sides of the mask: {facts:?}");
    }
    facts.expect("bounced", to + from)?;
    // Copied in for either direction, and out where the device writes.
    facts.expect("copied_edu", to + 2 * from)?;
    facts.expect("copied", 0)?;
    let refused = facts.text("refused")?;
    if !refused.contains("0xfffffff") {
        bail!("without a pool the engine must name its mask, it says: {refused}");
    }
    let mut expected = ran.before[1].clone();
    expected[..MOVED].copy_from_slice(&ran.before[0][..MOVED]);
    ran.disk_is(1, &expected)
}
