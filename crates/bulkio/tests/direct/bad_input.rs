//! What is documented for input that cannot be right: no byte, positions near 2^64, the wrong access, things without positions.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bulkio::device::DirectMode;
use bulkio::direct::{Driver, File, Io, IoError, IoOptions, Lend, OpenError, TransferErrorKind};

use crate::common::storage_dir;
use crate::or_skip;
use crate::support::{ALL, block_on, io};

fn file(folder: &Path, io: &Io) -> (std::path::PathBuf, File) {
    let path = folder.join("file");
    fs::write(&path, [7; 5000]).expect("written");
    let file = File::options().read(true).write(true).io(io).open(&path).expect("opens");
    (path, file)
}

#[test]
fn no_byte_moves_no_byte() {
    const NAME: &str = "no_byte_moves_no_byte";
    let folder = or_skip!(NAME, storage_dir());
    for engine in ALL {
        let (path, file) = file(folder.path(), &io(engine));
        assert_eq!(file.read_at(&mut [], 0).expect("reads"), 0);
        assert_eq!(file.read_at(&mut [], 1 << 40).expect("reads"), 0);
        assert_eq!(file.write_at(&[], 9000).expect("writes"), 0);
        assert_eq!(file.read_vectored(&mut [], 3).expect("reads").bytes, 0);
        let (moved, buf) = file.write_owned(Vec::new(), 9000);
        assert_eq!((moved.expect("writes").bytes, buf), (0, Vec::new()));
        assert_eq!(fs::metadata(&path).expect("is there").len(), 5000);
    }
}

#[test]
fn positions_past_the_last_one_are_refused_with_the_last_one() {
    const NAME: &str = "positions_past_the_last_one_are_refused_with_the_last_one";
    let folder = or_skip!(NAME, storage_dir());
    for engine in ALL {
        let (path, file) = file(folder.path(), &io(engine));
        let block = file.limits().hard_value(scatterlist::LimitId::PositionAlign);
        let last = i64::MAX as u64 - i64::MAX as u64 % block;
        for offset in [u64::MAX, u64::MAX - 3, i64::MAX as u64 - 3, last - 3] {
            let error = file.read(&mut [0; 10], offset).expect_err("no such position");
            assert_eq!(error.kind, TransferErrorKind::Position { max: last });
            assert_eq!((error.offset, error.len, error.moved.bytes), (offset, 10, 0));
            let error = file.write(&[0; 10], offset).expect_err("no such position");
            assert_eq!(error.kind, TransferErrorKind::Position { max: last });
            assert_eq!(file.write_at(&[0; 10], offset).expect_err("none").kind(), ErrorKind::InvalidInput);
        }
        // Far behind the end there is nothing, which is no error.
        assert_eq!(file.read_at(&mut [0; 10], last - 10).expect("reads"), 0);
        assert_eq!(fs::metadata(&path).expect("is there").len(), 5000);
    }
}

#[test]
fn the_wrong_access_is_named() {
    const NAME: &str = "the_wrong_access_is_named";
    let folder = or_skip!(NAME, storage_dir());
    for engine in ALL {
        let io = io(engine);
        let (path, _) = file(folder.path(), &io);
        let read_only = File::options().read(true).io(&io).open(&path).expect("opens");
        let error = read_only.write(&[1], 0).expect_err("not writable");
        assert_eq!(error.kind, TransferErrorKind::NotWritable);
        let said = error.to_string();
        assert!(
            said.starts_with("writing 1 bytes at 0 of ") && said.ends_with("it was not opened for writing"),
            "{said}"
        );
        let write_only = File::options().write(true).io(&io).open(&path).expect("opens");
        assert_eq!(
            write_only.read(&mut [1], 0).expect_err("not readable").kind,
            TransferErrorKind::NotReadable
        );
        // Even for no byte.
        assert_eq!(read_only.write(&[], 0).expect_err("not writable").kind, TransferErrorKind::NotWritable);
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
    const NAME: &str = "what_cannot_be_opened_says_why";
    let folder = or_skip!(NAME, storage_dir());
    let missing = folder.path().join("missing");
    assert!(matches!(File::open(&missing), Err(OpenError::Refused(_))));
    assert_eq!(std::io::Error::from(File::open(&missing).expect_err("missing")).kind(), ErrorKind::NotFound);
    assert!(matches!(
        File::open("/dev/null"),
        Err(OpenError::NotPositioned { what: "character device", .. })
    ));
    assert!(matches!(File::options().open(&missing), Err(OpenError::Access { .. })));
    assert!(matches!(File::options().read(true).create(true).open(&missing), Err(OpenError::Access { .. })));
    assert!(!missing.exists(), "nothing is created by an open that is refused");
    // A file system in memory has no direct I/O: reported, or an error when it is demanded.
    let shared = tempfile::NamedTempFile::new_in("/dev/shm");
    let shared = or_skip!(NAME, shared);
    let error = File::options().read(true).direct(DirectMode::Require).open(shared.path()).expect_err("none");
    assert!(matches!(error, OpenError::NoDirect { .. }), "{error}");
    let file = File::options().read(true).write(true).open(shared.path()).expect("opens");
    assert!(file.direct().is_err());
    let moved = file.write(&[1, 2, 3], 7).expect("writes");
    assert_eq!((moved.bytes, moved.cached_bytes), (3, 3));
}

#[test]
fn options_out_of_range_are_named() {
    for (option, change) in [
        ("depth", Box::new(|options: &mut IoOptions| options.depth = 0) as Box<dyn Fn(&mut IoOptions)>),
        ("channels_max", Box::new(|options| options.channels_max = 0)),
        ("bounce_len", Box::new(|options| options.bounce_len = 100)),
    ] {
        let mut options = IoOptions::default();
        change(&mut options);
        let error = Io::new(options).expect_err("out of range");
        assert!(matches!(error, IoError::Option { option: named, .. } if named == option), "{error}");
    }
}

#[test]
fn a_file_whose_driver_has_ended_gives_the_memory_back() {
    const NAME: &str = "a_file_whose_driver_has_ended_gives_the_memory_back";
    let folder = or_skip!(NAME, storage_dir());
    for engine in ALL {
        let io = io(engine);
        let (_, file) = file(folder.path(), &io);
        let mut options = IoOptions::default();
        options.engine = engine;
        let driver = Driver::new(options).expect("a driver");
        let file = driver.file(file).expect("its blocks fit");
        let early = file.read(vec![1; 10], 0);
        drop(driver);
        for read in [early, file.read(vec![1; 10], 0)] {
            let (result, buf) = block_on(read);
            assert_eq!(result.expect_err("closed").kind, TransferErrorKind::Closed);
            assert_eq!(buf, [1; 10]);
        }
        assert_eq!(block_on(file.sync_all()).expect_err("closed").kind, TransferErrorKind::Closed);
    }
}

#[test]
fn memory_without_bytes_is_given_back_as_it_is() {
    let empty = Vec::with_capacity(100);
    let back = Lend::lend(empty).expect_err("no bytes");
    assert_eq!((back.len(), back.capacity()), (0, 100));
}
