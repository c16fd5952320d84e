//! What the command says about a copy is what happened.
//!
//! The counts add up and name every bounced byte; direct and buffered are checked against what the page cache
//! holds afterwards; the engine that was asked for is the one that is named; the names of the JSON fields are those
//! of the documentation; standard output carries data or the report, never both.

mod common;
mod residency;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{Data, LoopDevice, bulkio, difference, evict, is_absent, json, number, run_piped, said, skip};
use common::{succeed, work_dir};
use residency::cached_pages;
use serde_json::Value;
use tempfile::TempDir;

const FROM: Data = Data(3);
const BEFORE: Data = Data(4);
const MIB: u64 = 1 << 20;

/// The largest block of the file systems and devices here.
const BLOCK: u64 = 4096;

/// Two paths in a folder of their own, the first a file with data that the page cache does not hold.
struct Pair {
    from: PathBuf,
    to: PathBuf,
    folder: TempDir,
}

impl Pair {
    fn new(len: u64) -> Result<Self, String> {
        let folder = work_dir()?;
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        FROM.store(&from, len);
        Ok(Self { from, to, folder })
    }

    /// Copies, and returns the report.
    #[track_caller]
    fn copy(&self, args: &[&str]) -> Value {
        let output = succeed(bulkio(["copy", "--json"]).arg(&self.from).arg(&self.to).args(args));
        assert!(output.stderr.is_empty(), "{}", said(&output));
        json(&output.stdout)
    }

    #[track_caller]
    fn assert_identical(&self) {
        let len = self.from.metadata().expect("it is there").len();
        assert_eq!(FROM.differs(&self.to, len), None);
    }
}

/// What must hold of every report: each byte moved directly or was bounced, and the reasons add up.
#[track_caller]
fn assert_adds_up(report: &Value, bytes: u64) {
    assert_eq!(number(report, "bytes"), bytes, "{report}");
    for side in ["source", "destination"] {
        let bounced = number(report, &format!("{side}/bounced_bytes"));
        assert_eq!(number(report, &format!("{side}/direct_bytes")) + bounced, bytes, "{side} {report}");
        let reasons = report[side]["bounces"].as_array().expect("a list");
        assert_eq!(reasons.iter().map(|bounce| number(bounce, "bytes")).sum::<u64>(), bounced, "{report}");
        for bounce in reasons {
            assert!(bounce["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{report}");
        }
    }
}

#[test]
fn an_aligned_copy_bounces_nothing() {
    let pair = or_skip!("an_aligned_copy_bounces_nothing", Pair::new(5 * MIB + BLOCK));
    let report = pair.copy(&[]);
    assert_adds_up(&report, 5 * MIB + BLOCK);
    for side in ["source", "destination"] {
        assert_eq!(report[side]["direct"], true, "{report}");
        assert_eq!(number(&report, &format!("{side}/bounced_bytes")), 0, "{report}");
        assert!(number(&report, &format!("{side}/requests")) >= 6, "{report}");
    }
    assert_eq!(number(&report, "durable_bytes"), 5 * MIB + BLOCK);
    assert_eq!(report["synced"], true);
    pair.assert_identical();
}

#[test]
fn an_odd_sized_copy_bounces_less_than_two_blocks_a_side() {
    let test_name = "an_odd_sized_copy_bounces_less_than_two_blocks_a_side";
    for (len, args) in [
        (3 * MIB + 1, vec![]),
        (3 * MIB - 1, vec!["--no-truncate"]),
        // Both start inside a block, alike.
        (3 * MIB + 77, vec!["--skip", "1001", "--seek", "5097", "--no-truncate"]),
        (3 * MIB, vec!["--skip", "1001", "--seek", "1001", "--count", "2000003", "--no-truncate"]),
    ] {
        let pair = or_skip!(test_name, Pair::new(len));
        BEFORE.store(&pair.to, 4 * MIB);
        let report = pair.copy(&args);
        assert_adds_up(&report, number(&report, "bytes"));
        for side in ["source", "destination"] {
            let bounced = number(&report, &format!("{side}/bounced_bytes"));
            assert!(bounced < 2 * BLOCK, "{side} {args:?}: {report}");
            assert_eq!(report[side]["direct"], true, "{report}");
        }
    }
}

#[test]
fn ragged_ends_on_a_device_bounce_less_than_two_blocks() {
    let test_name = "ragged_ends_on_a_device_bounce_less_than_two_blocks";
    for block in [512, 4096] {
        let device = or_skip!(test_name, LoopDevice::new(4 * MIB, block));
        let pair = or_skip!(test_name, Pair::new(2 * MIB + 77));
        let output = succeed(
            bulkio(["copy", "--json", "--skip", "1001", "--seek", "1001"]).arg(&pair.from).arg(device.node()),
        );
        let report = json(&output.stdout);
        let bytes = 2 * MIB + 77 - 1001;
        assert_adds_up(&report, bytes);
        let bounced = number(&report, "destination/bounced_bytes");
        assert!(0 < bounced && bounced < 2 * u64::from(block), "{report}");
        assert_eq!(report["destination"]["class"], "block");
        assert_eq!(report["source"]["class"], "file");
    }
}

#[test]
fn positions_that_cannot_both_be_direct_are_told() {
    let pair = or_skip!("positions_that_cannot_both_be_direct_are_told", Pair::new(MIB));
    let report = pair.copy(&["--skip", "1"]);
    assert_adds_up(&report, MIB - 1);
    assert_eq!(report["source"]["direct"], false);
    assert_eq!(number(&report, "source/bounced_bytes"), MIB - 1);
    assert_eq!(report["destination"]["direct"], true);
}

/// Counts the pages of both files in the page cache; the destination is only there after a copy.
fn pages_of(pair: &Pair) -> Result<[u64; 2], String> {
    let pages = |path: &Path| cached_pages(&File::open(path).map_err(|error| error.to_string())?);
    Ok([pages(&pair.from)?, pages(&pair.to)?])
}

const EVICTIONS_MAX: usize = 100;

/// Copies with nothing of either file in the page cache, and returns the pages of both that are there after it.
fn pages_after(args: &[&str], len: u64) -> Result<[u64; 2], String> {
    let pair = Pair::new(len)?;
    BEFORE.store(&pair.to, len);
    // A page that another processor has in hand stays at first.
    let mut before = pages_of(&pair)?;
    for _ in 0..EVICTIONS_MAX {
        if before == [0, 0] {
            break;
        }
        for path in [&pair.from, &pair.to] {
            evict(&File::open(path).map_err(|error| error.to_string())?);
        }
        before = pages_of(&pair)?;
    }
    assert_eq!(before, [0, 0], "the page cache lets go of both files");
    let report = pair.copy(args);
    let after = pages_of(&pair)?;
    assert_adds_up(&report, len);
    let direct = args != ["--direct", "never"];
    for side in ["source", "destination"] {
        assert_eq!(report[side]["direct"], direct, "{report}");
        let moved = number(&report, &format!("{side}/direct_bytes"));
        assert!(if direct { moved + 2 * BLOCK > len } else { moved == 0 }, "{report}");
    }
    pair.assert_identical();
    Ok(after)
}

#[test]
fn a_direct_copy_leaves_the_page_cache_alone() {
    for (len, args) in [(8 * MIB, &[] as &[&str]), (8 * MIB + 3, &[]), (8 * MIB, &["--engine", "threads"])] {
        let after = or_skip!("a_direct_copy_leaves_the_page_cache_alone", pages_after(args, len));
        // An odd end may leave the block it lies in.
        let most = if len.is_multiple_of(BLOCK) { 0 } else { 2 };
        assert!(after.iter().all(|pages| *pages <= most), "{after:?} pages after {len} bytes with {args:?}");
    }
}

#[test]
fn a_buffered_copy_goes_through_the_page_cache() {
    let test_name = "a_buffered_copy_goes_through_the_page_cache";
    let after = or_skip!(test_name, pages_after(&["--direct", "never"], 8 * MIB));
    let pages = 8 * MIB / rustix::param::page_size() as u64;
    // All of them, but the kernel may take some back when memory is short.
    assert!(after.iter().all(|cached| cached * 10 >= pages * 9), "{after:?} of {pages} pages");
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_buffer_is_told() {
    let pair = or_skip!("a_buffer_is_told", Pair::new(8 * MIB));
    let flags = ["--buffer", "4M", "--buffer-start", "75", "--buffer-pause", "25", "--bs", "1M"];
    let report = pair.copy(&flags);
    pair.assert_identical();
    assert_eq!(keys(&report["buffered"]), ["bytes", "filled_max_bytes", "starts"]);
    assert_eq!(number(&report, "buffered/bytes"), 4 * MIB);
    assert!(
        number(&report, "buffered/filled_max_bytes") >= 3 * MIB && number(&report, "buffered/starts") > 0
    );
    let output = succeed(bulkio(["copy"]).arg(&pair.from).arg(&pair.to).args(flags));
    assert!(said(&output).contains("buffer of 4.0 MiB"), "{}", said(&output));
}

#[test]
fn json_has_the_documented_fields() {
    let pair = or_skip!("json_has_the_documented_fields", Pair::new(MIB + 1));
    let report = pair.copy(&["--direct", "never"]);
    let top = [
        "block_bytes",
        "buffered",
        "bytes",
        "bytes_per_second",
        "depth",
        "destination",
        "destinations",
        "digest",
        "durable_bytes",
        "engine",
        "engine_refused",
        "error",
        "event",
        "exit_code",
        "interrupted",
        "notes",
        "offload",
        "outcome",
        "pages",
        "pages_reason",
        "pool_bytes",
        "registered_bytes",
        "registered_reason",
        "rescue",
        "seconds",
        "sidecar",
        "source",
        "sparse",
        "synced",
        "tuned",
        "verified",
    ];
    assert_eq!(keys(&report), top);
    let side = [
        "bounced_bytes",
        "bounces",
        "class",
        "direct",
        "direct_bytes",
        "in_flight_max",
        "path",
        "requests",
        "stream",
        "tape",
    ];
    assert_eq!(keys(&report["source"]), side);
    assert_eq!(keys(&report["destination"]), side);
    assert_eq!(keys(&report["source"]["bounces"][0]), ["bytes", "reason"]);
    // Files have neither tape nor clock.
    for side in [&report["source"], &report["destination"]] {
        assert!(side["stream"].is_null() && side["tape"].is_null(), "{report}");
    }
    assert!(report["sidecar"].is_null(), "{report}");

    assert_eq!(report["source"]["path"].as_str(), pair.from.to_str());
    assert_eq!(report["destination"]["path"].as_str(), pair.to.to_str());
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{report}");
    assert_eq!(number(&report, "depth"), 8);
    assert_eq!(keys(&report["tuned"]), ["block_bytes", "depth", "found_after_seconds", "steps"]);
    assert!(report["tuned"]["found_after_seconds"].is_null(), "two chunks are too few to measure: {report}");
    assert!(pair.copy(&["--depth", "8"])["tuned"].is_null());
    assert_eq!(number(&report, "block_bytes"), MIB);
    assert_eq!(report["interrupted"], false);
    assert_eq!(report["error"], Value::Null);
    assert!(number(&report, "registered_bytes") <= number(&report, "pool_bytes"), "{report}");
}

#[test]
fn json_of_a_refusal_is_one_object_with_the_message() {
    let pair = or_skip!("json_of_a_refusal_is_one_object_with_the_message", Pair::new(10));
    let mut command = bulkio(["copy", "--json"]);
    let output = command.arg(pair.folder.path().join("missing")).arg(&pair.to).output().expect("it starts");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(
        (&report["event"], &report["outcome"], number(&report, "exit_code")),
        (&"end".into(), &"refused".into(), 3)
    );
    assert!(report["error"].as_str().is_some_and(|message| message.contains("missing")), "{report}");
    assert!(is_absent(&pair.to));
}

#[test]
fn without_sync_nothing_is_called_durable() {
    let pair = or_skip!("without_sync_nothing_is_called_durable", Pair::new(MIB));
    let report = pair.copy(&["--no-sync"]);
    assert_eq!(report["synced"], false);
    assert_eq!(number(&report, "durable_bytes"), 0);
    let output = succeed(bulkio(["copy", "--no-sync"]).arg(&pair.from).arg(&pair.to));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not synced"), "{}", said(&output));
    pair.assert_identical();
}

#[test]
fn quiet_prints_nothing() {
    let pair = or_skip!("quiet_prints_nothing", Pair::new(MIB + 1));
    for quiet in ["--quiet", "-q"] {
        let output = succeed(bulkio(["copy", quiet]).arg(&pair.from).arg(&pair.to));
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", said(&output));
    }
    pair.assert_identical();
}

#[test]
fn people_read_about_both_sides_on_standard_error() {
    let pair = or_skip!("people_read_about_both_sides_on_standard_error", Pair::new(MIB + 1));
    let output = succeed(bulkio(["copy", "--skip", "1"]).arg(&pair.from).arg(&pair.to));
    assert!(output.stdout.is_empty(), "{}", said(&output));
    let text = String::from_utf8(output.stderr).expect("text");
    let line = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start));
    for (side, path, counts) in [
        ("source", &pair.from, "0 bytes direct, 1048576 bounced"),
        ("destination", &pair.to, "1048576 bytes direct, 0 bounced"),
    ] {
        let line = line(side).unwrap_or_else(|| panic!("no line about the {side} in {text}"));
        assert!(line.contains(&path.display().to_string()), "{line}");
        assert!(line.contains(counts), "{line}");
    }
    assert!(line("1048576 bytes (1.0 MiB) in ").is_some_and(|line| line.ends_with(", durable")), "{text}");
    assert!(line("1048576 bounced: ").is_some(), "{text}");
    assert!(text.contains(" engine, ") && text.contains(" pages, "), "{text}");
}

#[test]
fn standard_output_is_data_or_the_report() {
    let pair = or_skip!("standard_output_is_data_or_the_report", Pair::new(MIB + 1));
    let data = FROM.bytes(MIB as usize + 1);

    let mut command = bulkio(["copy"]);
    let output = run_piped(command.arg(&pair.from).arg("-"), &[]);
    assert_eq!(difference(&output.stdout, &data, 0), None);
    assert!(String::from_utf8_lossy(&output.stderr).contains("destination standard output"), "{}", {
        String::from_utf8_lossy(&output.stderr)
    });

    let mut command = bulkio(["copy", "--json"]);
    let output = run_piped(command.arg(&pair.from).arg("-"), &[]);
    assert_eq!(difference(&output.stdout, &data, 0), None);
    let report = json(&output.stderr);
    assert_adds_up(&report, MIB + 1);
    assert_eq!(report["destination"]["class"], "pipe");
    assert_eq!(number(&report, "destination/direct_bytes"), 0);
    assert_eq!(report["source"]["direct"], true);
    assert_eq!(report["synced"], false);
}

/// Returns the value, source and force of one limit that `probe --json` printed.
#[track_caller]
fn limit<'a>(probe: &'a Value, name: &str) -> (u64, &'a str, &'a str) {
    let limits = probe["limits"].as_array().expect("a list");
    let found = limits.iter().find(|limit| limit["name"] == name);
    let limit = found.unwrap_or_else(|| panic!("no {name} in {probe}"));
    let text = |field: &str| limit[field].as_str().expect("a name");
    (number(limit, "value"), text("source"), text("force"))
}

#[track_caller]
fn probe(path: &Path) -> Value {
    let output = succeed(bulkio(["probe", "--json"]).arg(path));
    assert!(output.stderr.is_empty(), "{}", said(&output));
    let probe = json(&output.stdout);
    assert_eq!(probe["path"].as_str(), path.to_str());
    for limit in probe["limits"].as_array().expect("a list") {
        assert_eq!(keys(limit), ["force", "name", "neutral", "source", "value"]);
    }
    probe
}

#[test]
fn probe_of_a_file() {
    let pair = or_skip!("probe_of_a_file", Pair::new(MIB + 7));
    let probe = probe(&pair.from);
    assert_eq!(probe["kind"], "file");
    assert_eq!(number(&probe, "size_bytes"), MIB + 7);
    assert_eq!(probe["direct"], "supported");
    for name in ["position_align", "total_len_align", "addr_align"] {
        let (value, _, force) = limit(&probe, name);
        assert!(value.is_power_of_two() && value <= BLOCK, "{name} {probe}");
        assert_eq!(force, "hard", "{name} {probe}");
    }
    assert_eq!(limit(&probe, "pieces_max"), (1024, "interface", "hard"));
}

fn probe_of_a_loop_device(test_name: &str, block: u32) {
    let device = or_skip!(test_name, LoopDevice::new(4 * MIB, block));
    let probe = probe(device.node());
    assert_eq!(probe["kind"], "block");
    assert_eq!(number(&probe, "size_bytes"), 4 * MIB);
    assert_eq!(probe["direct"], "supported");
    assert_eq!(probe["disk"], device.name());
    for name in ["position_align", "total_len_align"] {
        let (value, _, force) = limit(&probe, name);
        assert_eq!((value, force), (u64::from(block), "hard"), "{name} {probe}");
    }
    assert_eq!(limit(&probe, "position_offset").0, 0);
    assert_eq!(limit(&probe, "capacity").0, 4 * MIB);
    assert!(probe["queue"].as_array().is_some_and(|queue| !queue.is_empty()), "{probe}");
}

#[test]
fn probe_of_a_loop_device_with_512_byte_blocks() {
    probe_of_a_loop_device("probe_of_a_loop_device_with_512_byte_blocks", 512);
}

#[test]
fn probe_of_a_loop_device_with_4096_byte_blocks() {
    probe_of_a_loop_device("probe_of_a_loop_device_with_4096_byte_blocks", 4096);
}

#[test]
fn probe_of_a_partition() {
    let test_name = "probe_of_a_partition";
    let mut device = or_skip!(test_name, LoopDevice::new(4 * MIB, 512));
    let partition = or_skip!(test_name, device.add_partition(1, 65, 1001));
    let probe = probe(&partition);
    assert_eq!(probe["kind"], "block");
    assert_eq!(number(&probe, "size_bytes"), 1001 * 512);
    assert_eq!(probe["disk"], device.name());
    assert_eq!(limit(&probe, "position_offset"), (65 * 512, "sysfs", "hard"));
    assert_eq!(limit(&probe, "capacity").0, 1001 * 512);
    assert_eq!(limit(&probe, "position_align").0, 512);
    assert!(probe["queue"].as_array().is_some_and(|queue| !queue.is_empty()), "{probe}");
}

#[test]
fn probe_for_people_names_every_limit_that_rules() {
    let pair = or_skip!("probe_for_people_names_every_limit_that_rules", Pair::new(MIB));
    let probe = probe(&pair.from);
    let output = succeed(bulkio(["probe"]).arg(&pair.from));
    let text = String::from_utf8_lossy(&output.stdout);
    for limit in probe["limits"].as_array().expect("a list").iter().filter(|limit| limit["neutral"] == false)
    {
        let words = ["name", "source", "force"].map(|field| limit[field].as_str().expect("a name"));
        let value = number(limit, "value").to_string();
        let row = [words[0], &value, words[1], words[2]];
        assert!(text.lines().any(|line| line.split_whitespace().eq(row)), "no {row:?} in {text}");
    }
}

#[test]
fn direct_required_is_refused_in_memory() {
    let test_name = "direct_required_is_refused_in_memory";
    const TMPFS_MAGIC: u64 = 0x0102_1994; // include/uapi/linux/magic.h
    let is_tmpfs = rustix::fs::statfs("/dev/shm").is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(TMPFS_MAGIC));
    if !is_tmpfs {
        return skip(test_name, "/dev/shm is no tmpfs");
    }
    let memory = or_skip!(test_name, TempDir::new_in("/dev/shm"));
    let pair = or_skip!(test_name, Pair::new(MIB));
    let to = memory.path().join("to");
    let refuse = |from: &Path, to: &Path, side: &str| {
        let mut command = bulkio(["copy", "--direct", "require"]);
        let output = command.arg(from).arg(to).output().expect("bulkio starts");
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(side) && text.contains("--direct require"), "{text}");
        assert!(is_absent(to), "a refused copy leaves no file");
    };
    refuse(&pair.from, &to, "destination");
    // Without the demand it is done, and told.
    let report = json(&succeed(bulkio(["copy", "--json"]).arg(&pair.from).arg(&to)).stdout);
    assert_adds_up(&report, MIB);
    assert_eq!(number(&report, "destination/bounced_bytes"), MIB);
    assert_eq!(report["destination"]["direct"], false);
    refuse(&to, &pair.to, "source");
    // On a disk the demand is met.
    let report = pair.copy(&["--direct", "require"]);
    assert_eq!(number(&report, "source/direct_bytes") + number(&report, "destination/direct_bytes"), 2 * MIB);
}

/// Says why this machine refuses an engine, if it does.
fn refused(output: &Output, engine: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    (output.status.code() == Some(3) && text.contains(&format!("the {engine} engine")))
        .then(|| text.trim().to_owned())
}

#[test]
fn all_engines_copy_alike_and_are_named() {
    let test_name = "all_engines_copy_alike_and_are_named";
    let pair = or_skip!(test_name, Pair::new(9 * MIB + 4097));
    for (choice, name) in [("threads", "threads"), ("aio", "aio"), ("io_uring", "io_uring")] {
        BEFORE.store(&pair.to, 100);
        let mut command = bulkio(["copy", "--json", "--engine", choice]);
        let output = command.arg(&pair.from).arg(&pair.to).output().expect("bulkio starts");
        if choice != "threads"
            && let Some(reason) = refused(&output, choice)
        {
            skip(&format!("{test_name} ({choice})"), &reason);
            continue;
        }
        assert!(output.status.success(), "{}", said(&output));
        let report = json(&output.stdout);
        assert_eq!(report["engine"], name, "{report}");
        // Nothing was refused: this is what was asked for.
        assert_eq!(report["engine_refused"], Value::Null, "{report}");
        assert_adds_up(&report, 9 * MIB + 4097);
        pair.assert_identical();
    }
}

#[test]
fn the_environment_chooses_the_engine_and_a_flag_overrides_it() {
    let test_name = "the_environment_chooses_the_engine_and_a_flag_overrides_it";
    let pair = or_skip!(test_name, Pair::new(MIB));
    let with = |value: &str, args: &[&str]| {
        let mut command = bulkio(["copy", "--json"]);
        command.arg(&pair.from).arg(&pair.to).args(args).env("BULKIO_ENGINE", value);
        command.output().expect("bulkio starts")
    };
    for (value, args) in [("threads", &[] as &[&str]), ("io_uring", &["--engine", "threads"])] {
        let output = with(value, args);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(json(&output.stdout)["engine"], "threads");
    }
    let output = with("steam", &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let output = with("io_uring", &[]);
    if let Some(reason) = refused(&output, "io_uring") {
        return skip(test_name, &reason);
    }
    assert_eq!(json(&output.stdout)["engine"], "io_uring", "{}", said(&output));
}

#[test]
fn holes_are_in_the_report_and_the_help_and_a_plan_names_them() {
    let folder = or_skip!("holes_are_in_the_report_and_the_help_and_a_plan_names_them", work_dir());
    let pair = Pair { from: folder.path().join("from"), to: folder.path().join("to"), folder };
    let file = File::create(&pair.from).expect("a file");
    file.set_len(4 * MIB).expect("a hole");
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], MIB).expect("data");
    let run = |command: &str| succeed(bulkio([command]).args([&pair.from, &pair.to]));
    let planned = run("plan");
    assert!(
        String::from_utf8_lossy(&planned.stdout).contains("4190208 bytes of holes"),
        "{}",
        said(&planned)
    );
    let auto = pair.copy(&[]);
    assert_eq!(number(&auto, "bytes"), 4 * MIB);
    assert_eq!(number(&auto, "sparse/kept_bytes"), 4 * MIB - 4096, "{auto}");
    assert_eq!(number(&auto, "sparse/bytes"), 4 * MIB - 4096, "{auto}");
    // What did not move is no speed.
    let moved = number(&auto, "bytes_per_second") as f64 * auto["seconds"].as_f64().expect("a time");
    assert!((4000.0..4200.0).contains(&moved), "{auto}");
    assert!(pair.copy(&["--sparse", "never"])["sparse"].is_null());
    let found = pair.copy(&["--sparse", "always", "--no-truncate"]);
    assert_eq!(number(&found, "sparse/punched_bytes"), 4 * MIB - 4096, "{found}");
    let help = succeed(&mut bulkio(["copy", "--help"])).stdout;
    for field in keys(&auto["sparse"]) {
        assert!(String::from_utf8_lossy(&help).contains(field), "{field} is not in the help");
    }
    let offloaded = pair.copy(&["--offload"]);
    assert_eq!(keys(&offloaded["offload"]), ["bytes", "kind"], "{offloaded}");
    // The file system shares blocks, or it does not.
    let kind = offloaded["offload"]["kind"].as_str().expect("a kind");
    assert_eq!(number(&offloaded, "offload/bytes"), if kind == "reflink" { 4 * MIB } else { 4096 });
    let people = run("copy");
    let line = "4190208 bytes of zeros not written: 3.9 MiB left as holes";
    assert!(String::from_utf8_lossy(&people.stderr).contains(line), "{}", said(&people));
}
