//! [`DiskCommands`] on a disk in memory: contents, exact places of faults, retries, what is said of writes that may be lost.
#![expect(unsafe_code, reason = "calls `execute`, whose promise is about raw memory")]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rustix::io::Errno;
use scatterlist::Status;

use super::DiskCommands;
use super::fake::{BLOCK, FakeDisk, Residual, Scripted, Shows, host, sense};
use crate::device::scsi::{Answer, HostStatus, SamStatus, ScsiStatus, SenseKey};
use crate::engine::{Action, Command, CommandSet, Ended, FlushKind};

const MEDIUM: ScsiStatus = ScsiStatus::Sense { key: SenseKey::Medium, asc: 0x11, ascq: 0, deferred: false };
const BLOCK_BYTES: u32 = 512;

/// A disk and its commands.
struct Lab {
    disk: Arc<FakeDisk>,
    commands: DiskCommands,
}

impl Lab {
    fn new(blocks: usize) -> Self {
        let disk = Arc::new(FakeDisk::new(blocks));
        let transport = Arc::clone(&disk);
        Self { disk, commands: DiskCommands::new(transport, BLOCK_BYTES, Duration::from_secs(1)) }
    }

    fn script(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.disk.state().script.extend(answers);
    }

    fn execute(&self, action: Action, memory: &mut [Vec<u8>]) -> Ended {
        let piece =
            |bytes: &mut Vec<u8>| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let pieces: Vec<_> = memory.iter_mut().map(piece).collect();
        let bytes = pieces.iter().map(|piece| u32::try_from(piece.iov_len).unwrap()).sum();
        let file = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: the pieces are the vectors, which are borrowed until this returns.
        unsafe { self.commands.execute(file.as_fd(), &Command { action, pieces: &pieces, bytes }) }
    }

    fn read(&self, block: usize, memory: &mut [Vec<u8>]) -> Ended {
        self.execute(Action::Read { position: (block * BLOCK) as u64 }, memory)
    }

    fn write(&self, block: usize, memory: &mut [Vec<u8>]) -> Ended {
        self.execute(Action::Write { position: (block * BLOCK) as u64 }, memory)
    }

    fn flush(&self) -> Ended {
        self.execute(Action::Flush(FlushKind::All), &mut [])
    }

    /// How many commands came since it was asked last.
    fn came(&self) -> usize {
        std::mem::take(&mut self.disk.state().seen).len()
    }
}

fn ended(blocks: usize, status: ScsiStatus) -> Ended {
    Ended { bytes: u32::try_from(blocks * BLOCK).unwrap(), fault: Some(status.into_fault()) }
}

fn whole(blocks: usize) -> Ended {
    Ended { bytes: u32::try_from(blocks * BLOCK).unwrap(), fault: None }
}

/// Memory of so many blocks, in pieces that end inside them.
fn memory(blocks: usize) -> Vec<Vec<u8>> {
    let mut left = blocks * BLOCK;
    let mut pieces = Vec::new();
    for len in [100, 924, 4, 2044, usize::MAX] {
        let len = left.min(len);
        pieces.push(vec![0xee; len]);
        left -= len;
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[test]
fn bytes_go_where_they_belong() {
    let lab = Lab::new(64);
    let mut pieces = memory(20);
    assert_eq!(lab.read(3, &mut pieces), whole(20));
    assert!(pieces.concat() == lab.disk.state().bytes[3 * BLOCK..23 * BLOCK]);
    let content = vec![7; BLOCK * 4];
    assert_eq!(lab.write(60, &mut [content.clone()]), whole(4));
    assert!(lab.disk.state().bytes[60 * BLOCK..] == content);
    assert_eq!(lab.disk.state().seen, [(0x28, 3, 20), (0x2a, 60, 4)]);
    let counts = lab.commands.counts();
    assert_eq!((counts.commands, counts.direct_commands, counts.direct_bytes), (2, 2, 24 * 512));
    assert_eq!((counts.copied_bytes, counts.retries, counts.searches, counts.in_flight_max), (0, 0, 0, 1));
}

#[test]
fn a_part_of_a_block_is_refused_before_it_is_sent() {
    let lab = Lab::new(8);
    let refused = Ended { bytes: 0, fault: Some(Status::Errno(libc::EINVAL.unsigned_abs())) };
    assert_eq!(lab.execute(Action::Read { position: 100 }, &mut [vec![0; BLOCK]]), refused);
    assert_eq!(lab.execute(Action::Read { position: 0 }, &mut [vec![0; 100]]), refused);
    assert_eq!(lab.came(), 0);
}

/// However the device shows it, the fault stands at the block, and what is before it is in memory.
#[test]
fn a_bad_block_is_located_however_it_shows() {
    for residual in [Residual::Everything, Residual::Nothing, Residual::Truth] {
        for named in [true, false] {
            for bad in [0, 1, 13, 30, 31] {
                let lab = Lab::new(64);
                lab.disk.state().bad = vec![8 + bad as u64, 8 + 31];
                lab.disk.state().shows = Shows { named, residual };
                let mut pieces = memory(32);
                assert_eq!(lab.read(8, &mut pieces), ended(bad, MEDIUM), "{residual:?} {named} {bad}");
                let read = pieces.concat();
                assert!(read[..bad * BLOCK] == lab.disk.state().bytes[8 * BLOCK..(8 + bad) * BLOCK]);
                // One command and one for what is before the block, or as many as the count has bits and one for the last.
                let most = if named { 2 } else { 7 };
                let came = lab.came();
                assert!(came <= most, "{came} commands: {residual:?} {named} {bad}");
                assert_eq!(lab.commands.counts().searches as usize, came - 1);
            }
        }
    }
}

#[test]
fn a_write_is_located_too() {
    let lab = Lab::new(64);
    lab.disk.state().bad = vec![20];
    let content: Vec<u8> = (0..32 * BLOCK).map(|at| (at % 251) as u8).collect();
    assert_eq!(lab.write(8, &mut [content.clone()]), ended(12, MEDIUM));
    assert!(lab.disk.state().bytes[8 * BLOCK..20 * BLOCK] == content[..12 * BLOCK]);
}

/// A named block that is none of those asked for is not believed, and a second fault before the named one is found.
#[test]
fn wrong_names_do_no_harm() {
    let lab = Lab::new(64);
    lab.disk.state().bad = vec![20];
    for named in [3, 50, u64::MAX] {
        lab.script([Scripted::Answer(sense(3, 0x11, 0, Some(named)))]);
        assert_eq!(lab.read(8, &mut memory(32)), ended(12, MEDIUM), "{named}");
    }
    lab.script([Scripted::Answer(sense(3, 0x11, 0, Some(30)))]);
    assert_eq!(lab.read(8, &mut memory(32)), ended(12, MEDIUM));
}

#[test]
fn a_fault_of_another_kind_ends_the_search() {
    let lab = Lab::new(64);
    lab.disk.state().shows.named = false;
    let gone = HostStatus::NO_CONNECT;
    // Bad somewhere; the first half works; then the device is gone.
    lab.script([
        Scripted::Answer(sense(3, 0x11, 0, None)),
        Scripted::ShortBy(0),
        Scripted::Answer(host(gone)),
    ]);
    assert_eq!(lab.read(0, &mut memory(32)), ended(16, ScsiStatus::Host(gone)));
}

#[test]
fn what_passes_is_sent_again() {
    let answer = Scripted::Answer;
    let status = |status| answer(Answer { status, ..Answer::GOOD });
    let passing = [
        answer(sense(6, 0x29, 0, None)),
        answer(sense(6, 0x2a, 1, None)),
        answer(sense(0xb, 0x4b, 0, None)),
        answer(sense(2, 0x04, 1, None)),
        status(SamStatus::BUSY),
        status(SamStatus::TASK_SET_FULL),
        answer(host(HostStatus::SOFT_ERROR)),
    ];
    for fault in passing {
        let lab = Lab::new(8);
        lab.script([fault.clone()]);
        assert_eq!(lab.read(0, &mut memory(4)), whole(4), "{fault:?}");
        assert_eq!((lab.came(), lab.commands.counts().retries), (2, 1));
    }
}

#[test]
fn what_stays_ends() {
    let stays = [
        (sense(6, 0x29, 2, None), 9),
        (sense(0xb, 0x4b, 0, None), 8),
        (sense(5, 0x21, 0, None), 1),
        (sense(7, 0x27, 0, None), 1),
        (host(HostStatus::TIME_OUT), 1),
        (host(HostStatus::NO_CONNECT), 1),
        (Answer { status: SamStatus::RESERVATION_CONFLICT, ..Answer::GOOD }, 1),
    ];
    for (answer, tries) in stays {
        let lab = Lab::new(8);
        lab.script(std::iter::repeat_n(Scripted::Answer(answer), 20));
        assert_eq!(lab.read(0, &mut memory(4)), ended(0, answer.fault().unwrap()), "{answer:?}");
        assert_eq!(lab.came(), tries, "{answer:?}");
    }
    let lab = Lab::new(8);
    lab.script([Scripted::Refused(Errno::NODEV)]);
    let gone = Ended { bytes: 0, fault: Some(Status::Errno(libc::ENODEV.unsigned_abs())) };
    assert_eq!(lab.read(0, &mut memory(4)), gone);
}

#[test]
fn a_short_transfer_is_gone_on_with() {
    let lab = Lab::new(64);
    // 3 blocks and a bit are missing: the last block that is whole counts.
    lab.script([Scripted::ShortBy(3 * 512 + 100), Scripted::ShortBy(512)]);
    let mut pieces = memory(32);
    assert_eq!(lab.read(8, &mut pieces), whole(32));
    assert!(pieces.concat() == lab.disk.state().bytes[8 * BLOCK..40 * BLOCK]);
    assert_eq!(lab.disk.state().seen, [(0x28, 8, 32), (0x28, 36, 4), (0x28, 39, 1)]);
    // Not a whole block, and no reason: twice is passed over, after progress again, and three times in a row is the end.
    let _ = lab.came();
    let short = |times| std::iter::repeat_n(Scripted::ShortBy(512), times);
    lab.script(short(3));
    assert_eq!((lab.read(8, &mut memory(2)), lab.came()), (whole(2), 4));
    lab.script(short(4));
    assert_eq!((lab.read(8, &mut memory(2)), lab.came()), (whole(1), 4));
}

#[test]
fn a_recovered_error_is_none() {
    let lab = Lab::new(8);
    lab.script([Scripted::Recovered]);
    let mut pieces = memory(8);
    assert_eq!(lab.read(0, &mut pieces), whole(8));
    assert!(pieces.concat() == lab.disk.state().bytes);
    assert_eq!(lab.came(), 1);
}

#[test]
fn a_deferred_error_is_never_located() {
    let lab = Lab::new(64);
    let mut deferred = sense(3, 0x0c, 0, Some(10));
    let mut bytes = deferred.sense.as_bytes().to_vec();
    bytes[0] = 0x73;
    deferred.sense = crate::device::scsi::SenseBytes::new(&bytes);
    lab.script([Scripted::Answer(deferred)]);
    let status = ScsiStatus::Sense { key: SenseKey::Medium, asc: 0x0c, ascq: 0, deferred: true };
    assert_eq!(lab.read(8, &mut memory(32)), ended(0, status));
    assert_eq!(lab.came(), 1);
}

#[test]
fn a_flush_takes_the_form_that_is_known() {
    let lab = Lab::new(8);
    assert_eq!(lab.flush(), Ended { bytes: 0, fault: None });
    lab.disk.state().knows_flush_10 = false;
    assert_eq!(lab.flush(), Ended { bytes: 0, fault: None });
    let opcodes: Vec<u8> = lab.disk.state().seen.iter().map(|seen| seen.0).collect();
    assert_eq!(opcodes, [0x35, 0x35, 0x91]);
    // Neither form: there is no cache. Another fault is one.
    let unknown = || Scripted::Answer(sense(5, 0x20, 0, None));
    lab.script([unknown(), unknown()]);
    assert_eq!(lab.flush().fault, None);
    lab.script([Scripted::Answer(sense(4, 0x44, 0, None))]);
    let broken = ScsiStatus::Sense { key: SenseKey::Hardware, asc: 0x44, ascq: 0, deferred: false };
    assert_eq!(lab.flush().fault, Some(broken.into_fault()));
}

/// A unit that was switched off between a write and its flush may have lost it; the write itself has succeeded long ago.
#[test]
fn power_lost_after_a_write_fails_the_flush() {
    let power = || Scripted::Answer(sense(6, 0x29, 1, None));
    let status = ScsiStatus::Sense { key: SenseKey::UnitAttention, asc: 0x29, ascq: 1, deferred: false };
    let lab = Lab::new(8);
    // Nothing was written: no harm.
    lab.script([power()]);
    assert_eq!(lab.read(0, &mut memory(1)), whole(1));
    assert_eq!(lab.flush().fault, None);
    for seen_by_flush in [false, true] {
        assert_eq!(lab.write(0, &mut [vec![1; BLOCK]]), whole(1));
        lab.script([power()]);
        if !seen_by_flush {
            assert_eq!(lab.read(0, &mut memory(1)), whole(1));
        }
        assert_eq!(lab.flush().fault, Some(status.into_fault()), "{seen_by_flush}");
        // Said once; what is written again is flushed.
        assert_eq!(lab.write(0, &mut [vec![1; BLOCK]]), whole(1));
        assert_eq!(lab.flush().fault, None);
    }
    // A reset of the bus leaves caches alone.
    assert_eq!(lab.write(0, &mut [vec![1; BLOCK]]), whole(1));
    lab.script([Scripted::Answer(sense(6, 0x29, 2, None))]);
    assert_eq!(lab.flush().fault, None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bad blocks, any pieces: the fault is at the first of them, and memory has all that is before.
    #[test]
    fn faults_stand_at_the_first_bad_block(
        lens in prop::collection::vec(1..1500_usize, 1..20),
        bad in prop::collection::vec(0..64_u64, 0..4),
        (named, residual) in (any::<bool>(), prop_oneof![
            Just(Residual::Everything), Just(Residual::Nothing), Just(Residual::Truth)
        ]),
    ) {
        let mut pieces: Vec<Vec<u8>> = lens.iter().map(|len| vec![0; *len]).collect();
        let total: usize = lens.iter().sum();
        let blocks = total.div_ceil(BLOCK);
        pieces.push(vec![0; blocks * BLOCK - total]);
        pieces.retain(|piece| !piece.is_empty());
        let lab = Lab::new(80);
        lab.disk.state().bad = bad.clone();
        lab.disk.state().shows = Shows { named, residual };
        let first = bad.iter().map(|lba| usize::try_from(*lba).unwrap()).filter(|lba| *lba < blocks).min();
        let found = lab.read(0, &mut pieces);
        let good = first.unwrap_or(blocks);
        prop_assert_eq!(found, first.map_or(whole(blocks), |first| ended(first, MEDIUM)));
        prop_assert!(pieces.concat()[..good * BLOCK] == lab.disk.state().bytes[..good * BLOCK]);
    }
}
