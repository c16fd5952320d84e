//! Around the end of a file every (size, offset, length) gives exactly the bytes that are there, and a write leaves exactly the size that
//! it must: an aligned read that returns what lies behind the end is a bug that others have shipped.

use std::fs;
use std::os::unix::fs::FileExt;

use bulkio::direct::File;

use crate::or_skip;
use crate::support::{ALL, BLOCKS, Ext4, Memory, io};

const SIZES: [usize; 10] = [0, 1, 511, 512, 513, 600, 4095, 4096, 4097, 8192];

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).expect("below 251") + 1).collect()
}

/// Places on both sides of every edge that a file of `size` bytes has.
fn places(size: usize) -> Vec<usize> {
    let edges = [0, 512, 4096, 8192, size];
    let mut places: Vec<usize> =
        edges.iter().flat_map(|edge| [edge.saturating_sub(1), *edge, edge + 1]).collect();
    places.push(550);
    places.sort_unstable();
    places.dedup();
    places
}

#[test]
fn reads_end_where_the_file_does() {
    const NAME: &str = "reads_end_where_the_file_does";
    for block in BLOCKS {
        let ext4 = or_skip!(NAME, Ext4::new(block));
        let path = ext4.mounted.path().join("file");
        for size in SIZES {
            let whole = pattern(size);
            fs::write(&path, &whole).expect("written");
            for engine in ALL {
                let file = File::options().read(true).io(&io(engine)).open(&path).expect("opens");
                assert_eq!(file.direct(), Ok(()));
                for offset in places(size) {
                    for len in [1, 50, 100, 512, 513, 4096, 4097, 9000] {
                        for shift in [offset, 0, 3] {
                            let mut memory = Memory::new(shift, len, 0xee);
                            let read = file.read_at(memory.bytes_mut(), offset as u64).expect("reads");
                            let there = whole.get(offset..).unwrap_or_default();
                            let there = &there[..there.len().min(len)];
                            let what = format!("{engine}, block {block}: {len} bytes at {offset} of {size}");
                            assert_eq!(read, there.len(), "{what}");
                            assert!(&memory.bytes()[..read] == there, "{what}");
                            memory.assert_guarded();
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn writes_leave_the_size_that_they_must() {
    const NAME: &str = "writes_leave_the_size_that_they_must";
    for block in BLOCKS {
        let ext4 = or_skip!(NAME, Ext4::new(block));
        for engine in ALL {
            let path = ext4.mounted.path().join(format!("{engine}"));
            for size in [0, 1, 512, 600, 4097] {
                for offset in places(size) {
                    for len in [1, 512, 700, 4096, 5000] {
                        let mut whole = pattern(size);
                        fs::write(&path, &whole).expect("written");
                        let file = File::options().write(true).io(&io_of(engine)).open(&path).expect("opens");
                        let bytes = vec![0xdd; len];
                        assert_eq!(file.write_at(&bytes, offset as u64).expect("writes"), len);
                        whole.resize(whole.len().max(offset + len), 0);
                        whole[offset..offset + len].fill(0xdd);
                        let what = format!("{engine}, block {block}: {len} bytes at {offset} of {size}");
                        assert!(fs::read(&path).expect("others read") == whole, "{what}");
                    }
                }
            }
        }
    }
}

/// One for each engine: making rings takes longer than a write.
fn io_of(engine: bulkio::engine::EngineChoice) -> bulkio::direct::Io {
    use std::cell::RefCell;
    use std::collections::HashMap;
    thread_local!(static IOS: RefCell<HashMap<&'static str, bulkio::direct::Io>> = RefCell::default());
    IOS.with_borrow_mut(|ios| ios.entry(engine.name()).or_insert_with(|| io(engine)).clone())
}
