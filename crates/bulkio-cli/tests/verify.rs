//! Digests, verification and comparing, as the command tells them: exit codes, what goes where, and the fields of the JSON.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{Data, LoopDevice, bulkio, evict, json, number, run_piped, said, skip, succeed, work_dir};
use serde_json::Value;
use tempfile::TempDir;

const FROM: Data = Data(5);
const MIB: u64 = 1 << 20;

struct Pair {
    a: PathBuf,
    b: PathBuf,
    folder: TempDir,
}

impl Pair {
    /// Two files with the same bytes.
    fn new(len: u64) -> Self {
        let folder = work_dir().expect("a folder");
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        FROM.store(&a, len);
        FROM.store(&b, len);
        Self { a, b, folder }
    }

    fn verify(&self, args: &[&str]) -> Output {
        bulkio(["verify"]).arg(&self.a).arg(&self.b).args(args).output().expect("bulkio starts")
    }

    fn copy(&self, args: &[&str]) -> Output {
        bulkio(["copy"]).arg(&self.a).arg(&self.b).args(args).output().expect("bulkio starts")
    }
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).expect("it opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[byte[0] ^ 0x20], at).expect("written");
    evict(&file);
}

#[track_caller]
fn exits(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Digests by another program; `None` where it is not installed.
fn sha256sum(path: &Path) -> Option<String> {
    let output = std::process::Command::new("sha256sum").arg(path).output().ok()?;
    text(&output.stdout).split_whitespace().next().map(str::to_owned)
}

#[test]
fn equal_files_exit_0_and_different_ones_5_with_the_range() {
    let pair = Pair::new(5 * MIB + 77);
    let output = pair.verify(&[]);
    exits(&output, 0);
    assert!(text(&output.stdout).contains("5242957 bytes (5.0 MiB) compared"), "{}", said(&output));
    assert!(text(&output.stdout).contains(": equal") && output.stderr.is_empty(), "{}", said(&output));

    flip(&pair.b, 3 * MIB + 5000);
    let output = pair.verify(&[]);
    exits(&output, 5);
    let place = format!("from byte {} of a and byte {} of b on", 3 * MIB + 4096, 3 * MIB + 4096);
    assert!(text(&output.stdout).contains(&place), "{}", said(&output));
    let first = format!("the first different byte is {}", 3 * MIB + 5000);
    assert!(text(&output.stderr).contains(&first), "{}", said(&output));

    let output = pair.verify(&["--quiet"]);
    exits(&output, 5);
    assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{}", said(&output));
    // What lies around it is equal, also where the two ranges start elsewhere.
    exits(&pair.verify(&["--count", "3M"]), 0);
    exits(&pair.verify(&["--skip", "4M", "--seek", "4M"]), 0);
    exits(&pair.verify(&["--skip", "513", "--seek", "513", "--count", "1M"]), 0);
    exits(&pair.verify(&["--skip", "1M", "--seek", "2M", "--count", "4096"]), 5);
}

#[test]
fn one_bit_of_a_gibibyte_with_holes() {
    let folder = work_dir().expect("a folder");
    let pair = Pair { a: folder.path().join("a"), b: folder.path().join("b"), folder };
    for path in [&pair.a, &pair.b] {
        File::create(path).and_then(|file| file.set_len(1 << 30)).expect("a file of holes");
    }
    exits(&pair.verify(&["--quiet"]), 0);
    flip(&pair.a, 777_777_777);
    let output = pair.verify(&["--json"]);
    exits(&output, 5);
    let found = json(&output.stdout);
    assert_eq!((number(&found, "differing_ranges"), number(&found, "first_difference")), (1, 777_777_777));
    assert_eq!(number(&found, "ranges/0/at"), 777_777_777 / 4096 * 4096);
    assert_eq!(number(&found, "bytes"), 1 << 30);
}

#[test]
fn lengths_and_failures_have_their_own_codes() {
    let pair = Pair::new(MIB);
    File::options().write(true).open(&pair.b).and_then(|file| file.set_len(MIB - 1)).expect("cut");
    let output = pair.verify(&[]);
    exits(&output, 5);
    assert!(text(&output.stderr).contains("1048576 bytes from byte 0 on and"), "{}", said(&output));
    assert!(text(&output.stderr).contains("--count compares a part"), "{}", said(&output));
    exits(&pair.verify(&["--count", "1000000"]), 0);

    fs::remove_file(&pair.b).expect("removed");
    let output = pair.verify(&["--json"]);
    exits(&output, 3);
    let found = json(&output.stdout);
    assert!(found["equal"].is_null() && found["a"].is_null(), "{found}");
    assert!(found["error"].as_str().is_some_and(|error| error.contains("does not exist")), "{found}");
    assert!(!pair.b.exists(), "nothing is created");
    exits(&pair.verify(&["--depth", "0"]), 3);
    exits(&bulkio(["verify", "-", "-"]).output().expect("it runs"), 2);
    // Nothing is locked against a folder either.
    exits(&bulkio(["verify"]).arg(&pair.a).arg(pair.folder.path()).output().expect("it runs"), 3);
}

#[test]
fn a_pipe_is_compared_with_a_file_from_either_side() {
    let pair = Pair::new(3 * MIB + 1001);
    let bytes = fs::read(&pair.a).expect("bytes");
    for swapped in [false, true] {
        let command = |args: &[&str]| {
            let mut command = bulkio(["verify"]);
            let ends: [&Path; 2] = [Path::new("-"), &pair.b];
            command.args(if swapped { [ends[1], ends[0]] } else { ends }).args(args);
            command
        };
        exits(&run_piped(&mut command(&[]), &bytes), 0);
        exits(&run_piped(&mut command(&["--skip", "5", "--seek", "5"]), &bytes), 0);
        // One byte less, one more, and one that is another one.
        for other in [
            &bytes[..bytes.len() - 1],
            &[&bytes[..], b"x"].concat(),
            &[&bytes[..MIB as usize], b"x"].concat(),
        ] {
            let output = run_piped(&mut command(&["--json"]), other);
            exits(&output, 5);
            assert_eq!(json(&output.stdout)["same_length"], false, "{}", said(&output));
        }
        let mut other = bytes.clone();
        other[2_000_000] ^= 1;
        let output = run_piped(&mut command(&["--json"]), &other);
        exits(&output, 5);
        assert_eq!(number(&json(&output.stdout), "first_difference"), 2_000_000);
    }
}

#[test]
fn a_disk_and_its_image() {
    const NAME: &str = "a_disk_and_its_image";
    let pair = Pair::new(4 * MIB);
    for block in [512, 4096] {
        let disk = or_skip!(NAME, LoopDevice::new(4 * MIB, block));
        let copied =
            succeed(bulkio(["copy", "--verify", "--hash", "blake3", "--json"]).arg(&pair.a).arg(disk.node()));
        assert_eq!(json(&copied.stdout)["verified"]["equal"], true);
        let output = bulkio(["verify", "--direct", "require"]).arg(&pair.a).arg(disk.node()).output();
        exits(&output.expect("it runs"), 0);
        flip(disk.node(), MIB);
        let output = bulkio(["verify", "--json"]).arg(disk.node()).arg(&pair.a).output().expect("it runs");
        exits(&output, 5);
        assert_eq!(number(&json(&output.stdout), "ranges/0/a_byte"), MIB);
    }
}

#[test]
fn the_digest_is_printed_and_checked() {
    let pair = Pair::new(2 * MIB + 3);
    let bytes = fs::read(&pair.a).expect("bytes");
    let digest = |output: &Output| -> Value { json(&output.stdout)["digest"].clone() };
    let output = pair.copy(&["--json", "--hash", "sha256"]);
    exits(&output, 0);
    let sha = digest(&output)["value"].as_str().expect("a digest").to_owned();
    match sha256sum(&pair.a) {
        Some(expected) => assert_eq!(sha, expected),
        None => skip("the_digest_is_printed_and_checked", "sha256sum is not installed"),
    }
    // The same by way of pipes, in and out.
    for name in ["sha256", "blake3"] {
        let file = digest(&pair.copy(&["--json", "--hash", name]));
        let piped = run_piped(&mut bulkio(["copy", "-", "-", "--quiet", "--json", "--hash", name]), &bytes);
        exits(&piped, 0);
        assert!(piped.stdout == bytes, "the data");
        assert_eq!(json(&piped.stderr)["digest"], file);
        assert_eq!(file["algorithm"], name);
    }
    let line = text(&pair.copy(&["--hash", "sha256"]).stderr);
    assert!(line.contains(&format!("sha256 {sha}")), "{line}");
    exits(&pair.copy(&["--hash", &format!("sha256:{sha}")]), 0);

    let wrong = format!("sha256:{}", "0".repeat(64));
    let output = pair.copy(&["--json", "--hash", &wrong]);
    exits(&output, 1);
    let said = text(&output.stderr);
    assert!(said.contains(&sha) && said.contains(&"0".repeat(64)), "{said}");
    assert_eq!(digest(&output)["value"], sha);
    exits(&pair.copy(&["--hash", "md5"]), 2);
}

#[test]
fn a_verified_copy_says_so_and_what_cannot_be_is_refused() {
    let pair = Pair::new(2 * MIB + 3);
    let output = pair.copy(&["--verify"]);
    exits(&output, 0);
    assert!(text(&output.stderr).contains("verified 2097155 bytes, all equal"), "{}", said(&output));
    let to = pair.folder.path().join("new");
    let output = bulkio(["copy", "--verify", "--no-sync"]).args([&pair.a, &to]).output().expect("it runs");
    exits(&output, 3);
    assert!(!to.exists() && text(&output.stderr).contains("leave --no-sync out"), "{}", said(&output));
    let output = bulkio(["copy", "--verify"]).arg(&pair.a).arg("-").output().expect("it runs");
    exits(&output, 3);
    assert!(
        output.stdout.is_empty() && text(&output.stderr).contains("cannot be verified"),
        "{}",
        said(&output)
    );
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn json_has_the_documented_fields() {
    let pair = Pair::new(MIB);
    flip(&pair.b, 0);
    let output = pair.verify(&["--json", "--direct", "never"]);
    exits(&output, 5);
    let found = json(&output.stdout);
    let top = [
        "a",
        "b",
        "block_bytes",
        "bytes",
        "bytes_per_second",
        "complete",
        "depth",
        "differing_bytes",
        "differing_ranges",
        "engine",
        "equal",
        "error",
        "first_difference",
        "interrupted",
        "ranges",
        "same_length",
        "seconds",
    ];
    assert_eq!(keys(&found), top);
    let end = [
        "bounced_bytes",
        "bounces",
        "class",
        "direct",
        "direct_bytes",
        "in_flight_max",
        "path",
        "range_bytes",
        "requests",
        "start_byte",
    ];
    assert_eq!(keys(&found["a"]), end);
    assert_eq!(keys(&found["b"]), end);
    assert_eq!(keys(&found["ranges"][0]), ["a_byte", "at", "b_byte", "bytes"]);
    let help = text(&succeed(&mut bulkio(["verify", "--help"])).stdout);
    for name in top.iter().chain(&end) {
        assert!(help.contains(name), "{name} is not in the help");
    }

    let copied = json(&pair.copy(&["--json", "--hash", "blake3", "--verify"]).stdout);
    assert_eq!(keys(&copied["digest"]), ["algorithm", "value"]);
    assert_eq!(
        keys(&copied["verified"]),
        ["bytes", "differing_bytes", "direct", "equal", "ranges", "seconds"]
    );
    assert!(json(&pair.copy(&["--json"]).stdout)["verified"].is_null());
}
