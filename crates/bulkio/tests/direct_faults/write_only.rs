//! A file that may be written and not read: the blocks at the ends cannot be read back, so their bytes go through the page cache,
//! and are counted there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use bulkio::direct::File;

use crate::common::storage_dir;
use crate::nobody;
use crate::or_skip;
use crate::support::{Buffer, SHAPES, Shape, block_on, content, each, other};

const LEN: usize = 300_000;

#[test]
fn ragged_ends_of_a_file_that_may_not_be_read_go_through_the_page_cache() {
    const NAME: &str = "write_only::ragged_ends_of_a_file_that_may_not_be_read_go_through_the_page_cache";
    if !nobody::is_nobody() {
        or_skip!(NAME, nobody::run(NAME));
        return;
    }
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    each(NAME, |kind| {
        for shape in SHAPES {
            for through_a_driver in [false, true] {
                let _ = fs::remove_file(&path);
                fs::write(&path, content(LEN)).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(0o200)).unwrap();
                File::options().read(true).open(&path).unwrap_err();
                let file = File::options().write(true).io(&kind.io()).open(&path).unwrap();
                assert_eq!(file.direct(), Ok(()));
                let block = crate::support::block(&file);
                let place = shape.place(block, 20 * block);
                let range = place.offset..place.offset + place.len;
                let mut buffer = Buffer::new(place);
                buffer.get_mut().copy_from_slice(&other(LEN)[range.clone()]);
                let moved = if through_a_driver {
                    let driver = kind.driver();
                    let file = driver.file(file).unwrap();
                    block_on(file.write(buffer.get().to_vec(), place.offset as u64)).0.unwrap()
                } else {
                    file.write(buffer.get(), place.offset as u64).unwrap()
                };
                let cached = if shape == Shape::Aligned { 0 } else { block };
                let counts = (moved.bytes, moved.cached_bytes, moved.ragged_bytes);
                assert_eq!(counts, (place.len as u64, cached as u64, 0), "{shape:?}: {moved}");
                if !through_a_driver {
                    let crooked = if shape == Shape::Crooked { place.len - block } else { 0 };
                    assert_eq!(moved.misaligned_bytes, crooked as u64, "{shape:?}: {moved}");
                }
                fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
                let mut whole = content(LEN);
                whole[range.clone()].copy_from_slice(buffer.get());
                assert!(fs::read(&path).unwrap() == whole, "{shape:?}");
            }
        }
    });
}
