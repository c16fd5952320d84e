//! Odd ranges: `--skip`, `--seek`, `--count` that agree with no block, over all pairings of ends. After each
//! copy the whole destination is compared with a model, so that a byte outside the range shows.

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use support::ends::{End, KINDS, Kind};
use support::{Random, assert_same, bulkio, bulkio_with_input, pattern, work_dir};

const CASES: usize = 150;

/// Bytes of the ends: several requests of the lengths that are used.
const END_BYTES: u64 = 384 << 10;

fn position(random: &mut Random, end: u64) -> u64 {
    match random.below(6) {
        0 => 0,
        1 => random.below(end / 4096) * 4096,
        2 => random.below(end / 512) * 512,
        3 => random.below(end / 512) * 512 + random.one_of(&[1, 511]),
        _ => random.below(end),
    }
}

#[test]
fn random_ranges_of_files_and_pipes_change_nothing_else() {
    let test_name = "random_ranges_of_files_and_pipes_change_nothing_else";
    random_ranges(test_name, &[Kind::File, Kind::Pipe], 2002);
}

#[test]
fn random_ranges_of_all_ends_change_nothing_else() {
    let test_name = "random_ranges_of_all_ends_change_nothing_else";
    if !common::is_root() {
        return common::skip(test_name, "loop devices need root");
    }
    random_ranges(test_name, &KINDS, 5001);
}

fn random_ranges(test_name: &str, kinds: &[Kind], seed: u64) {
    let folder = work_dir();
    let mut random = Random::new(seed);
    let mut sources = Vec::new();
    let mut destinations = Vec::new();
    let len = usize::try_from(END_BYTES).expect("small");
    for (number, &kind) in kinds.iter().enumerate() {
        let (from, to) = (format!("from{number}"), format!("to{number}"));
        sources.push(or_skip!(test_name, End::new(kind, folder.path(), &from, len, 11)));
        destinations.push(or_skip!(test_name, End::new(kind, folder.path(), &to, len, 12)));
    }
    for case in 0..CASES {
        let mut one = |count: usize| usize::try_from(random.below(count as u64)).expect("an index");
        let (from, to) = (&sources[one(kinds.len())], &mut destinations[one(kinds.len())]);
        let skip = position(&mut random, END_BYTES / 2);
        let seek = match to.kind {
            Kind::Pipe => 0,
            // Every third pair agrees modulo any block.
            _ if case % 3 == 0 => skip,
            _ => position(&mut random, END_BYTES / 2),
        };
        let count = match random.below(3) {
            0 if seek <= skip || !to.kind.is_device() => None,
            1 => Some(random.one_of(&[0, 1, 511, 512, 513, 4095, 4096, 4097])),
            _ => Some(random.below(END_BYTES / 2)),
        };
        // That nothing written past the end adds nothing has a test of its own.
        let truncate = random.below(2) == 0 || count == Some(0);
        let before_len = if to.kind == Kind::File { random.below(END_BYTES) } else { END_BYTES };
        to.fill(pattern(usize::try_from(before_len).expect("small"), case as u64 + 100));

        let (bs, depth) =
            (random.one_of(&["512", "3000", "4K", "64K", "1M"]), random.one_of(&["1", "2", "8"]));
        let direct = random.one_of(&["auto", "auto", "auto", "never"]);
        let engine = random.one_of(&["auto", "auto", "blocking"]);
        let mut words = words!["copy", from.word, to.word, "--json", "--no-sync"].to_vec();
        words.extend(words!["--bs", bs, "--depth", depth, "--direct", direct, "--engine", engine]);
        words.extend(words!["--skip", skip.to_string(), "--seek", seek.to_string()]);
        if let Some(count) = count {
            words.extend(words!["--count", count.to_string()]);
        }
        if !truncate {
            words.extend(words!["--no-truncate"]);
        }
        let what = format!("case {case}: {words:?}");
        let ended = match from.kind {
            Kind::Pipe => bulkio_with_input(&words, &from.bytes),
            _ => bulkio(&words),
        };
        assert_eq!(ended.code(), Some(0), "{what}: {}", ended.stderr);

        let (skip, seek) = (usize::try_from(skip).expect("small"), usize::try_from(seek).expect("small"));
        let rest = &from.bytes[skip..];
        let data =
            &rest[..count.map_or(rest.len(), |count| rest.len().min(usize::try_from(count).expect("small")))];
        to.check(&ended.stdout, data, seek, truncate, &what);
        let report = if to.kind == Kind::Pipe { ended.json_on_stderr() } else { ended.json() };
        assert_eq!(report["bytes"], data.len(), "{what}: {report}");
        for side in ["source", "destination"] {
            let number = |name: &str| report[side][name].as_u64().expect("a number");
            assert_eq!(
                number("direct_bytes") + number("bounced_bytes"),
                data.len() as u64,
                "{what}: {report}"
            );
            let reasons = report[side]["bounces"].as_array().expect("an array").iter();
            let sum: u64 = reasons.map(|bounce| bounce["bytes"].as_u64().expect("a number")).sum();
            assert_eq!(sum, number("bounced_bytes"), "{what}: {report}");
        }
    }
    for from in sources.iter().filter(|from| from.kind != Kind::Pipe) {
        assert_same(&from.contents(&[]), &from.bytes, "a source after all copies");
    }
}
