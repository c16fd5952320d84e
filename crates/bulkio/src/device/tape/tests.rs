//! The logic of tapes, over a tape in memory.

use std::path::Path;

use rustix::io::Errno;

use super::fake::{FakeTape, Mark, content};
use super::*;

fn open(fake: &FakeTape, access: Access) -> Result<Tape, TapeError> {
    Tape::new(Box::new(fake.clone()), Path::new("fake"), access)
}

fn reader(fake: &FakeTape) -> Tape {
    open(fake, Access::Read).expect("a tape")
}

fn writer(fake: &FakeTape) -> Tape {
    open(fake, Access::Write).expect("a tape")
}

/// Reads to the end of the data: bytes and blocks of each record, `None` for filemarks.
fn read_all(tape: &mut Tape) -> Vec<Option<Vec<u8>>> {
    let mut bytes = vec![0; 1 << 20];
    let mut found = Vec::new();
    loop {
        match tape.read(&mut bytes).expect("a readable tape") {
            Record::Data { bytes: len, .. } => found.push(Some(bytes[..len].to_vec())),
            Record::Filemark => found.push(None),
            Record::EndOfData => return found,
            Record::NeedsRoom { bytes: len } => bytes.resize(usize::try_from(len).expect("small"), 0),
        }
    }
}

fn at(file: u32, block: u32) -> Position {
    Position::new(file, block)
}

#[test]
fn an_empty_drive_a_protected_tape_and_a_busy_drive_are_told_apart() {
    let fake = FakeTape::default();
    fake.state().protected = true;
    assert!(open(&fake, Access::Read).is_ok());
    let error = open(&fake, Access::Write).expect_err("protected");
    assert_eq!(error, TapeError::WriteProtected { path: "fake".into(), position: at(0, 0) });
    // A drive that forgets to say so refuses the write itself.
    fake.state().protected = false;
    let mut tape = writer(&fake);
    fake.state().protected = true;
    let error = tape.write(&[1; 512]).expect_err("protected");
    assert_eq!(error, TapeError::WriteProtected { path: "fake".into(), position: at(0, 0) });
    assert!(tape.write_filemarks(1, true).is_err());
    assert!(fake.state().marks.is_empty());

    fake.state().loaded = false;
    assert_eq!(open(&fake, Access::Read).expect_err("empty"), TapeError::NoTape { path: "fake".into() });
    let read = tape.read(&mut vec![0; 1 << 20]).expect_err("empty");
    assert_eq!(read, TapeError::NoTape { path: "fake".into() });
    assert_eq!(tape.rewind().expect_err("empty"), TapeError::NoTape { path: "fake".into() });
    assert_eq!(TapeError::open(Path::new("n"), Errno::BUSY), TapeError::InUse { path: "n".into() });
}

#[test]
fn what_is_open_for_reading_is_not_written() {
    let fake = FakeTape::with_files(&[&[512]]);
    let before = fake.state().marks.clone();
    let mut tape = reader(&fake);
    assert!(matches!(tape.write(&[0; 512]), Err(TapeError::WriteProtected { .. })));
    assert!(matches!(tape.write_filemarks(1, false), Err(TapeError::WriteProtected { .. })));
    let state = fake.state();
    assert_eq!((&state.marks, state.writes), (&before, 0));
}

#[test]
fn blocks_of_any_length_and_filemarks_are_read_as_they_are() {
    let files: [&[usize]; 4] = [&[10_240, 10_240, 777], &[], &[1, 65_536, 1 << 20], &[512]];
    let fake = FakeTape::with_files(&files);
    let mut tape = reader(&fake);
    let found = read_all(&mut tape);
    let marks = fake.state().marks.clone();
    let expected: Vec<_> = marks
        .into_iter()
        .map(|mark| match mark {
            Mark::Record(bytes) => Some(bytes),
            Mark::Filemark => None,
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(tape.position(), at(4, 0));
    // One step back where a file has longer blocks than all before: here two in a row.
    assert_eq!(fake.state().controls, [(Op::BackRecords, 1); 2]);
}

#[test]
fn a_block_longer_than_the_memory_asks_for_more_and_is_not_lost() {
    let fake = FakeTape::with_files(&[&[3 << 20]]);
    let mut tape = reader(&fake);
    assert_eq!(tape.read_len(), 1 << 20);
    assert_eq!(tape.read(&mut [0; 4096]).expect("an answer"), Record::NeedsRoom { bytes: 1 << 20 });
    assert_eq!(fake.state().reads, 0, "a read with too little would pass the block");
    let mut bytes = vec![0; 1 << 20];
    let Record::NeedsRoom { bytes: need } = tape.read(&mut bytes).expect("an answer") else {
        panic!("it does not fit")
    };
    assert_eq!((need, tape.position()), (2 << 20, at(0, 0)));
    let mut bytes = vec![0; 4 << 20];
    let record = tape.read(&mut bytes).expect("a record");
    assert!(matches!(record, Record::Data { bytes: len, records: 1, .. } if len == 3 << 20));
    assert!(bytes[..3 << 20] == content(0, 3 << 20));
    assert_eq!(tape.position(), at(0, 1));
}

#[test]
fn a_block_longer_than_the_drive_states_is_an_error_with_its_place() {
    let fake = FakeTape::with_files(&[&[512, 70_000]]);
    fake.state().stated_limits = Some(BlockLimits { len_min: 4, len_max: 65_536, granularity: 1 });
    let mut tape = reader(&fake);
    let mut bytes = vec![0; 1 << 20];
    tape.read(&mut bytes).expect("a record");
    let error = tape.read(&mut bytes).expect_err("too long");
    let expected = TapeError::BlockTooLong { path: "fake".into(), have: 65_536, position: at(0, 1) };
    assert_eq!(error, expected);
    assert_eq!(tape.status().expect("a status").position, at(0, 1), "the tape went back");
}

#[test]
fn a_drive_that_refuses_long_reads_is_asked_for_less() {
    let fake = FakeTape::with_files(&[&[200_000, 100]]);
    fake.state().driver_limits = BlockLimits { len_min: 4, len_max: 262_144, granularity: 1 };
    let found = read_all(&mut reader(&fake));
    assert_eq!(found, [Some(content(0, 200_000)), Some(content(1, 100)), None]);
    assert!(fake.state().controls.is_empty(), "nothing had moved");
}

#[test]
fn a_bad_spot_is_told_with_the_place_before_it() {
    let fake = FakeTape::with_files(&[&[512, 512, 512]]);
    let mut tape = reader(&fake);
    let mut bytes = vec![0; 1 << 20];
    tape.read(&mut bytes).expect("a record");
    fake.state().read_errors.push_back(Errno::IO);
    let error = tape.read(&mut bytes).expect_err("a bad spot");
    assert_eq!(
        error,
        TapeError::Read {
            path: "fake".into(),
            position: at(0, 1),
            len: 1024,
            mode: BlockMode::Variable,
            errno: Errno::IO
        }
    );
    assert_eq!(tape.position(), Position { file: Some(0), block: None }, "the driver does not know either");
}

#[test]
fn fixed_blocks_come_several_at_a_time_up_to_the_filemark() {
    let fake = FakeTape::with_files(&[&[4096; 600], &[4096]]);
    fake.state().mode = 4096;
    let mut tape = reader(&fake);
    let mut bytes = vec![0; 3 << 20];
    let mut counts = Vec::new();
    while let Record::Data { records, bytes, direct } = tape.read(&mut bytes).expect("records") {
        assert_eq!(bytes, records as usize * 4096);
        // What is more than 256 pages would be copied; where the memory lies is the allocator's affair.
        assert!(!matches!(direct, Err(NotDirect::SwitchedOff)));
        counts.push(records);
    }
    assert_eq!(counts, [256, 256, 88]);
    assert_eq!(tape.position(), at(1, 0));
    assert_eq!(tape.read(&mut [0; 100]).expect("an answer"), Record::NeedsRoom { bytes: 4096 });
}

#[test]
fn a_drive_with_one_fixed_block_a_read_is_found_out() {
    let fake = FakeTape::with_files(&[&[4096; 3]]);
    fake.state().mode = 4096;
    fake.state().one_block = true;
    let mut tape = reader(&fake);
    let found = read_all(&mut tape);
    assert_eq!(found, [Some(content(0, 4096)), Some(content(1, 4096)), Some(content(2, 4096)), None]);
    assert_eq!(tape.notes(), ["the drive gives one block a read in fixed mode"]);
}

#[test]
fn a_wrong_fixed_length_is_told_with_the_right_one() {
    let fake = FakeTape::with_files(&[&[4096, 2048]]);
    fake.state().mode = 4096;
    let mut tape = reader(&fake);
    let mut bytes = vec![0; 1 << 20];
    let first = tape.read(&mut bytes).expect("a record");
    assert!(matches!(first, Record::Data { records: 1, .. }));
    let error = tape.read(&mut bytes).expect_err("another length");
    let other =
        TapeError::OtherBlockSize { path: "fake".into(), have: 4096, need: Some(2048), position: at(0, 1) };
    assert_eq!(error, other);
    assert_eq!((tape.position(), tape.mode(), fake.state().mode), (at(0, 1), BlockMode::of(4096), 4096));
    assert!(error.to_string().contains("bulkio tape setblk fake 2048"), "{error}");
    // And with it the tape goes on.
    tape.set_mode(BlockMode::of(2048)).expect("a mode");
    assert!(matches!(tape.read(&mut bytes).expect("a record"), Record::Data { bytes: 2048, .. }));
}

#[test]
fn the_end_of_the_data_is_told_from_a_filemark() {
    let fake = FakeTape::with_files(&[&[512], &[]]);
    let mut tape = reader(&fake);
    assert_eq!(read_all(&mut tape), [Some(content(0, 512)), None, None]);
    assert_eq!(tape.position(), at(2, 0));
    // Data that nobody closed ends with an error, as the driver has it.
    fake.state().marks.truncate(1);
    tape.rewind().expect("the beginning");
    let mut bytes = vec![0; 1 << 20];
    tape.read(&mut bytes).expect("a record");
    assert!(matches!(tape.read(&mut bytes), Err(TapeError::Read { .. })));
}

#[test]
fn movements_tell_where_they_led_also_where_they_fail() {
    let fake = FakeTape::with_files(&[&[1, 2, 3], &[4, 5], &[6]]);
    let mut tape = reader(&fake);
    tape.forward_files(2).expect("two files");
    assert_eq!(tape.position(), at(2, 0));
    tape.back_files(1).expect("a file");
    assert_eq!(tape.position(), Position { file: Some(1), block: None });
    tape.rewind().expect("the beginning");
    tape.forward_records(2).expect("two blocks");
    tape.back_records(1).expect("a block");
    assert_eq!(tape.position(), at(0, 1));
    let error = tape.forward_records(5).expect_err("a filemark");
    assert!(matches!(
        error,
        TapeError::Control { op: Op::ForwardRecords, count: 5, position, .. } if position == at(1, 0)
    ));
    let error = tape.forward_files(9).expect_err("the end");
    assert!(
        matches!(error, TapeError::EndOfData { op: Op::ForwardFiles, position, .. } if position.file == Some(3))
    );
    tape.end_of_data().expect("the end");
    assert_eq!((tape.position().file, tape.tell()), (Some(3), Ok(9)));
    tape.rewind().expect("the beginning");
    assert!(matches!(tape.back_records(1), Err(TapeError::Control { .. })));
    tape.offline().expect("the tape comes out");
    assert_eq!(tape.rewind().expect_err("empty"), TapeError::NoTape { path: "fake".into() });
}

#[test]
fn what_is_written_is_there_and_what_was_behind_is_gone() {
    let fake = FakeTape::with_files(&[&[9, 9], &[9]]);
    let mut tape = writer(&fake);
    for len in [10_240, 1, 65_535] {
        let written = tape.write(&content(len, len)).expect("room");
        assert_eq!((written.bytes, written.records), (len, 1));
    }
    assert!(tape.has_open_file());
    tape.write_filemarks(2, true).expect("room");
    assert!(!tape.has_open_file());
    assert_eq!(tape.position(), at(2, 0));
    let record = |len| Mark::Record(content(len, len));
    let expected = [record(10_240), record(1), record(65_535), Mark::Filemark, Mark::Filemark];
    assert_eq!(fake.state().marks, expected);
}

#[test]
fn lengths_that_the_mode_or_the_drive_does_not_take_are_refused_before_the_drive_sees_them() {
    let fake = FakeTape::default();
    fake.state().stated_limits = Some(BlockLimits { len_min: 4, len_max: 65_536, granularity: 4 });
    let mut tape = writer(&fake);
    for need in [3, 65_537] {
        let error = tape.write(&vec![0; need]).expect_err("no such block");
        assert!(matches!(error, TapeError::BlockLimits { need: told, .. } if told == need as u64), "{error}");
    }
    assert!(matches!(tape.set_mode(BlockMode::of(70_000)), Err(TapeError::BlockLimits { need: 70_000, .. })));
    tape.set_mode(BlockMode::of(4096)).expect("a mode");
    let error = tape.write(&[0; 5000]).expect_err("no whole blocks");
    let have = BlockMode::of(4096);
    let expected = TapeError::WrongBlockSize { path: "fake".into(), have, need: 5000, position: at(0, 0) };
    assert_eq!(error, expected);
    assert!(fake.state().writes == 0);
    assert!(fake.state().marks.is_empty());
    assert_eq!(tape.write(&[0; 8192]).expect("two blocks").records, 2);
}

#[test]
fn what_only_the_driver_knows_to_be_too_long_is_refused_with_numbers() {
    let fake = FakeTape::default();
    fake.state().driver_limits = BlockLimits { len_min: 1, len_max: 1000, granularity: 1 };
    let mut tape = writer(&fake);
    let error = tape.write(&[0; 2000]).expect_err("too long");
    assert!(matches!(error, TapeError::BlockLimits { need: 2000, limits, .. } if limits.len_max == 1999));
    assert!(fake.state().marks.is_empty());
}

#[test]
fn the_end_of_the_medium_ends_a_file_with_its_place_and_leaves_room_for_a_trailer() {
    let fake = FakeTape::default();
    fake.state().warning_at = 5000;
    fake.state().capacity = 8000;
    let mut tape = writer(&fake);
    let mut written = 0;
    let error = loop {
        match tape.write(&[7; 2000]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(written, 3, "the block that met the warning is whole");
    assert_eq!(error, TapeError::EndOfMedium { path: "fake".into(), position: at(0, 3), len: 2000 });
    tape.write_filemarks(1, true).expect("a filemark fits");
    tape.write(&[8; 1000]).expect("a trailer fits");
    assert!(matches!(tape.write(&[8; 1000]), Err(TapeError::EndOfMedium { .. })));
    tape.write(&[8; 1000]).expect("every other write is tried");
    tape.write_filemarks(1, true).expect("a filemark fits");
    let error = tape.write(&[8; 1000]).expect_err("full");
    assert_eq!(error, TapeError::EndOfMedium { path: "fake".into(), position: at(2, 0), len: 1000 });
}

#[test]
fn fixed_blocks_near_the_end_are_written_in_part_and_counted() {
    let fake = FakeTape::default();
    fake.state().mode = 1000;
    fake.state().warning_at = 2500;
    let mut tape = writer(&fake);
    let written = tape.write(&[1; 5000]).expect("a part");
    assert_eq!((written.bytes, written.records, tape.position()), (3000, 3, at(0, 3)));
    let error = tape.write(&[1; 2000]).expect_err("the end");
    assert_eq!(error, TapeError::EndOfMedium { path: "fake".into(), position: at(0, 3), len: 2000 });
}

#[test]
fn a_write_that_fails_is_told_with_the_place_before_it() {
    let fake = FakeTape::default();
    let mut tape = writer(&fake);
    tape.write(&[1; 512]).expect("room");
    fake.state().write_errors.push_back(Errno::IO);
    let error = tape.write(&[1; 512]).expect_err("an error");
    let expected = TapeError::Write { path: "fake".into(), position: at(0, 1), len: 512, errno: Errno::IO };
    assert_eq!(error, expected);
}
