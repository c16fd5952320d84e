//! The report tells the truth: what went direct is not in the page cache afterwards, what was bounced is
//! counted with its reason, and the fields have the documented names.

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::fs;

use serde_json::Value;
use support::ends::synced_file;
use support::residency::{evict, resident_pages};
use support::{assert_same, bulkio, pattern, work_dir};
use tempfile::TempDir;

/// A source of `len` bytes that is not in the page cache, and a name for the destination.
fn cold_source(len: usize) -> (TempDir, std::path::PathBuf, std::path::PathBuf, Vec<u8>) {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let data = pattern(len, 3);
    synced_file(&from, &data);
    evict(&from);
    (folder, from, to, data)
}

fn has_direct_io(report: &Value) -> bool {
    report["source"]["direct"] == true && report["destination"]["direct"] == true
}

#[test]
fn an_aligned_copy_bounces_nothing_and_leaves_the_page_cache_alone() {
    let name = "an_aligned_copy_bounces_nothing_and_leaves_the_page_cache_alone";
    let (_folder, from, to, data) = cold_source(8 << 20);
    let before = or_skip!(name, resident_pages(&from));
    assert_eq!(before, 0, "the source is cold");
    let report = bulkio(&words!["copy", from, to, "--json"]).expect_code(0).json();
    if !has_direct_io(&report) {
        return common::skip(name, "this file system has no direct I/O");
    }
    assert_eq!((resident_pages(&from), resident_pages(&to)), (Ok(0), Ok(0)), "{report}");
    for side in ["source", "destination"] {
        assert_eq!(report[side]["bounced_bytes"], 0, "{report}");
        assert_eq!(report[side]["direct_bytes"], data.len(), "{report}");
        assert_eq!(report[side]["bounces"], Value::Array(Vec::new()), "{report}");
    }
    assert_same(&fs::read(&to).unwrap(), &data, "the copy");
}

#[test]
fn an_odd_size_bounces_less_than_two_blocks_a_side() {
    let name = "an_odd_size_bounces_less_than_two_blocks_a_side";
    for len in [513, 4097, (1 << 20) - 1, (3 << 20) + 12_345] {
        let (_folder, from, to, data) = cold_source(len);
        let report = bulkio(&words!["copy", from, to, "--json"]).expect_code(0).json();
        if !has_direct_io(&report) {
            return common::skip(name, "this file system has no direct I/O");
        }
        for side in ["source", "destination"] {
            let bounced = report[side]["bounced_bytes"].as_u64().unwrap();
            assert!(bounced < 2 * 512, "{len} bytes: {report}");
        }
        let resident = resident_pages(&to).unwrap_or(0);
        assert!(resident <= 2, "{resident} pages of {len} bytes are in the page cache: {report}");
        assert_same(&fs::read(&to).unwrap(), &data, "the copy");
    }
}

#[test]
fn congruent_odd_positions_move_their_middle_directly() {
    let name = "congruent_odd_positions_move_their_middle_directly";
    let (_folder, from, to, data) = cold_source(4 << 20);
    synced_file(&to, &pattern(4 << 20, 4));
    let flags = ["--skip", "1001", "--seek", "5097", "--count", "3000000", "--no-truncate", "--json"];
    let mut words = words!["copy", from, to].to_vec();
    words.extend(flags.map(Into::into));
    let report = bulkio(&words).expect_code(0).json();
    if !has_direct_io(&report) {
        return common::skip(name, "this file system has no direct I/O");
    }
    for side in ["source", "destination"] {
        assert!(report[side]["bounced_bytes"].as_u64().unwrap() < 2 * 4096, "{report}");
    }
    let expected = support::ends::model(&pattern(4 << 20, 4), &data[1001..3_001_001], 5097, false);
    assert_same(&fs::read(&to).unwrap(), &expected, "the copy");
}

#[test]
fn a_copy_without_direct_io_passes_through_the_page_cache_and_says_so() {
    let name = "a_copy_without_direct_io_passes_through_the_page_cache_and_says_so";
    let (_folder, from, to, data) = cold_source(4 << 20);
    let report = bulkio(&words!["copy", from, to, "--json", "--direct", "never"]).expect_code(0).json();
    for side in ["source", "destination"] {
        assert_eq!(report[side]["direct"], false, "{report}");
        assert_eq!(report[side]["direct_bytes"], 0, "{report}");
        assert_eq!(report[side]["bounced_bytes"], data.len(), "{report}");
        assert_eq!(report[side]["bounces"][0]["reason"], "direct I/O was switched off", "{report}");
    }
    let pages = data.len() as u64 / rustix::param::page_size() as u64;
    assert_eq!(or_skip!(name, resident_pages(&from)), pages, "the source");
    assert_eq!(resident_pages(&to), Ok(pages), "the destination");
}

#[test]
fn incongruent_positions_are_bounced_with_that_reason() {
    let (_folder, from, to, data) = cold_source(1 << 20);
    let words = words!["copy", from, to, "--json", "--skip", "3", "--seek", "5"];
    let report = bulkio(&words).expect_code(0).json();
    if !report["destination"]["direct"].as_bool().unwrap() {
        return common::skip(
            "incongruent_positions_are_bounced_with_that_reason",
            "this file system has no direct I/O",
        );
    }
    let bounces = report["source"]["bounces"].as_array().unwrap();
    assert!(
        bounces.iter().any(|bounce| bounce["reason"].as_str().unwrap().contains("differ modulo")),
        "{report}"
    );
    assert_same(&fs::read(&to).unwrap()[5..], &data[3..], "the copy");
}

#[test]
fn the_object_has_exactly_the_documented_fields() {
    let (folder, from, to, _data) = cold_source(70_000);
    let report =
        bulkio(&words!["copy", from, to, "--json", "--bs", "64K", "--depth", "3"]).expect_code(0).json();
    let names = |value: &Value| {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    let fields = [
        "block_bytes",
        "bytes",
        "bytes_per_second",
        "depth",
        "destination",
        "durable_bytes",
        "engine",
        "engine_refused",
        "error",
        "interrupted",
        "notes",
        "pages",
        "pool_bytes",
        "registered_bytes",
        "seconds",
        "source",
        "synced",
    ];
    assert_eq!(names(&report), fields);
    let side = ["bounced_bytes", "bounces", "class", "direct", "direct_bytes", "path", "requests"];
    assert_eq!(names(&report["source"]), side);
    assert_eq!(names(&report["destination"]), side);
    assert_eq!(report["source"]["class"], "file");
    assert_eq!(report["source"]["path"], from.to_str().unwrap());
    assert_eq!(report["block_bytes"], 64 << 10);
    assert_eq!(report["depth"], 3);
    assert_eq!((&report["synced"], &report["durable_bytes"]), (&true.into(), &70_000.into()));
    assert!(report["error"].is_null());

    let refused = bulkio(&words!["copy", from, folder.path(), "--json"]).expect_code(3).json();
    assert_eq!(names(&refused), fields, "a refusal has the same fields");
    assert_eq!((&refused["bytes"], &refused["source"]), (&0.into(), &Value::Null));
}

#[test]
fn a_copy_that_is_not_flushed_claims_nothing_durable() {
    let (_folder, from, to, _data) = cold_source(5000);
    let report = bulkio(&words!["copy", from, to, "--json", "--no-sync"]).expect_code(0).json();
    assert_eq!((&report["synced"], &report["durable_bytes"]), (&false.into(), &0.into()));
}
