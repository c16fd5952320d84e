//! Maps of what is copied and what is bad, from any text: what is read is a map without gaps, and its own text gives it back.
#![no_main]

use bulkio::copy::{AreaStatus, RecoveryMap};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mut map) = RecoveryMap::from_text(text) else { return };
    let mut at = 0;
    let mut last = None;
    for (area, status) in map.areas() {
        assert!(area.start == at && area.end > at && last != Some(status), "{map:?}");
        (at, last) = (area.end, Some(status));
    }
    assert_eq!(at, map.len_bytes());
    assert_eq!(RecoveryMap::from_text(&map.to_text("a command")).as_ref(), Ok(&map));
    // Any part of it may become anything.
    let (start, end) = (map.len_bytes() / 3, map.len_bytes() / 2);
    map.set(start..end, AreaStatus::Bad);
    if start < end {
        assert_eq!(map.status_at(start), Some(AreaStatus::Bad));
        assert_eq!(map.status_at(end - 1), Some(AreaStatus::Bad));
    }
    assert_eq!(RecoveryMap::from_text(&map.to_text("a command")), Ok(map));
});
