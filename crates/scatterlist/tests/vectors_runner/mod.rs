//! The runner of the vectors: finds the files, hands each case to its suite, counts and prints.

mod busdma;
mod fields;
mod iommu;
mod lists;
mod nvme;
mod predicates;
mod reach;
mod splits;
mod stack;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use scatterlist::{Addr as _, PhysAddr, Segment};
use serde_json::Value;

use fields::{Fields, items};

/// The pass or the failure of one case.
type Verdict = Result<(), String>;

enum Suite {
    /// Runs each case from the file; the second is the page size.
    Data(fn(Fields, u64) -> Verdict),
    /// Told in words: each case is a test of its own.
    Scenario,
}

fn suite(id: &str) -> Option<Suite> {
    Some(match id {
        "SG" => Suite::Data(lists::sg),
        "PI" => Suite::Data(lists::pi),
        "MERGE" => Suite::Data(predicates::merge),
        "GAP" => Suite::Data(predicates::gap),
        "MAXSEG" => Suite::Data(predicates::maxseg),
        "BSPLIT" => Suite::Data(splits::bsplit),
        "NSPLIT" => Suite::Data(splits::nsplit),
        "BUSDMA" => Suite::Data(busdma::busdma),
        "STACK" => Suite::Data(stack::stack),
        "ADDR" => Suite::Data(reach::addr),
        "IOMMU" => Suite::Data(iommu::iommu),
        "IOVA" => Suite::Data(iommu::iova),
        "PRP" => Suite::Data(nvme::prps),
        "NSGL" => Suite::Data(nvme::nsgl),
        "DEBUG" | "OWN" | "REG" | "TARGET" | "VIRTIO" | "VTOPHYS" | "PT" | "BOUNCE" | "SGV" => {
            Suite::Scenario
        }
        _ => return None,
    })
}

/// What a suite leaves out of its comparisons; printed once.
fn left_out(id: &str) -> Option<&'static str> {
    (id == "STACK").then_some(stack::LEFT_OUT)
}

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    fn fail(&mut self, id: &str, why: &str) {
        self.failed += 1;
        println!("FAIL {id}: {why}");
    }
}

pub(crate) fn run() -> ExitCode {
    let folder = std::env::var_os("VECTORS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors")), PathBuf::from);
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let filter = filter.unwrap_or_default().to_uppercase();
    let mut counts = Counts::default();
    match files(&folder) {
        Ok(files) if files.is_empty() => counts.fail("vectors", &format!("no file in {}", folder.display())),
        Ok(files) => {
            for file in files {
                if let Err(why) = run_file(&file, &filter, &mut counts) {
                    counts.fail(&file.display().to_string(), &why);
                }
            }
        }
        Err(error) => counts.fail("vectors", &format!("cannot read {}: {error}", folder.display())),
    }
    let Counts { passed, failed, skipped } = counts;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn run_file(file: &Path, filter: &str, counts: &mut Counts) -> Verdict {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let mut header = Fields::new("the file", value)?;
    let id = header.text("id")?;
    let page = header.number("page_size")?;
    let cases = items("cases", header.value("cases")?)?;
    for about in ["kind", "semantics", "source", "status", "note"] {
        header.optional(about);
    }
    header.finish()?;
    if cases.is_empty() {
        return Err("no cases".to_owned());
    }
    let suite = suite(&id).ok_or_else(|| format!("unknown suite {id} with {} cases", cases.len()))?;
    let before = (counts.passed, counts.failed, counts.skipped);
    for case in cases {
        run_case(&id, &suite, case, page, filter, counts);
    }
    let (passed, failed) = (counts.passed - before.0, counts.failed - before.1);
    let skipped = counts.skipped - before.2;
    match suite {
        Suite::Data(_) if passed + failed > 0 => {
            println!("{id}: {passed} passed, {failed} failed");
            if let Some(left_out) = left_out(&id) {
                println!("{id}: left out of the comparison: {left_out}");
            }
        }
        Suite::Scenario if skipped > 0 => println!("{id}: {skipped} skipped (scenario)"),
        _ => {}
    }
    Ok(())
}

fn run_case(suite_id: &str, suite: &Suite, case: Value, page: u64, filter: &str, counts: &mut Counts) {
    let opened = Fields::new("the case", case).and_then(|mut case| Ok((case.text("id")?, case)));
    let (id, mut case) = match opened {
        Ok(opened) => opened,
        Err(why) => return counts.fail(suite_id, &why),
    };
    if !id.to_uppercase().contains(filter) {
        return;
    }
    match suite {
        Suite::Data(run) => {
            case.correct();
            let verdict = catch_unwind(AssertUnwindSafe(|| run(case, page)));
            match verdict.unwrap_or_else(|_| Err("it panicked".to_owned())) {
                Ok(()) => counts.passed += 1,
                Err(why) => counts.fail(&id, &why),
            }
        }
        Suite::Scenario => counts.skipped += 1,
    }
}

/// Compares one answer.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Verdict {
    if got == expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}, got {got:?}")) }
}

fn segment(addr: u64, len: u64) -> Result<Segment<PhysAddr>, String> {
    Segment::new(PhysAddr::new(addr), len).map_err(|error| error.to_string())
}

/// Segments as the pairs that the files state.
fn as_pairs(segments: impl IntoIterator<Item = Segment<PhysAddr>>) -> Vec<(u64, u64)> {
    segments.into_iter().map(|segment| (segment.addr().raw(), segment.len())).collect()
}
