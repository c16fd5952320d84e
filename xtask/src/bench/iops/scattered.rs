//! 1 GiB into 262,144 scattered pages: beside one run of memory on a file system, beside a plain `preadv` on a device in memory.

use std::io::IoSliceMut;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bulkio::device::DirectMode;
use bulkio::direct::{File, Io, IoOptions};
use bulkio::engine::FixedRegion;
use bulkio::pages::{PageKindRequest, PagePool, PoolOptions, Slot};
use rustix::time::{ClockId, clock_gettime};
use scatterlist::{CpuAddr, Lease};

use super::Plan;
use super::target::{Kind, Target};
use crate::bench::data::{self, Random};
use crate::bench::report::{Report, Table};
use crate::bench::stats::median;
use crate::scratch;

const PAGE: usize = 4096;
const PAGES: usize = 262_144;
const BYTES: u64 = (PAGES * PAGE) as u64;

/// Slices of one plain call: all that the kernel takes.
const SLICES: usize = 1024;

type Pages = Lease<CpuAddr, Slot>;

/// Runs both comparisons.
pub(super) fn run(plan: &Plan, folder: &Path, table: &mut Table, report: &mut Report) -> Result<()> {
    if !"scattered".contains(&plan.filter) {
        return Ok(());
    }
    let pool = Arc::new(PagePool::new(PoolOptions::uniform(PAGE, PAGES).with_kind(PageKindRequest::Small))?);
    let mut options = IoOptions::default();
    options.regions = vec![FixedRegion::from_pool(Arc::clone(&pool))];
    options.channels_max = 1;
    let io = Io::new(options)?;
    let mut pages: Vec<Slot> = std::iter::from_fn(|| pool.take()).collect();
    shuffle(&mut pages);
    let pages = beside_contiguous(plan, folder, &io, pages, table, report)?;
    if plan.reads == Kind::ZramEmpty {
        let target = Target::make(plan.reads, folder)?;
        beside_plain(plan, &target, &io, pages, table, report)?;
    }
    Ok(())
}

/// Lends all pages, in their order, as one piece of memory.
fn lend(slots: Vec<Slot>) -> Result<Pages> {
    let mut pages: Option<Pages> = None;
    for slot in slots {
        let page = slot.into_lease(0, PAGE as u64)?;
        pages = Some(match pages {
            None => page,
            Some(front) => front.join(page).map_err(|(.., error)| error)?,
        });
    }
    pages.context("a pool without pages")
}

fn beside_contiguous(
    plan: &Plan,
    folder: &Path,
    io: &Io,
    mut pages: Vec<Slot>,
    table: &mut Table,
    report: &mut Report,
) -> Result<Vec<Slot>> {
    let scratch = scratch::on_disk(folder)?;
    let path = scratch.path().join("file");
    data::write_random(&path, BYTES)?;
    let file = File::options().read(true).direct(DirectMode::Require).io(io).open(&path)?;
    let run = |kind| PagePool::new(PoolOptions::uniform(BYTES as usize, 1).with_kind(kind));
    // The same pages in one run, and the largest ones there are.
    let runs = [run(PageKindRequest::Small)?, run(PageKindRequest::Auto)?];
    let mut slots: Vec<Slot> = runs.iter().filter_map(PagePool::take).collect();
    let mut speeds: [Vec<f64>; 3] = Default::default();
    for _ in 0..plan.rounds {
        // A disk may give whoever comes first more, or less: there and back.
        let mut seconds = [0.0; 3];
        for side in [0, 1, 2, 2, 1, 0] {
            let took = match slots.get_mut(side) {
                Some(slot) => {
                    let start = Instant::now();
                    let moved = file.read(slot.as_mut_slice(), 0)?;
                    ensure!(moved.direct_bytes() == BYTES, "not without a copy: {moved}");
                    start.elapsed()
                }
                None => {
                    let lent = lend(pages)?;
                    let start = Instant::now();
                    let lent = read(&file, lent)?;
                    let took = start.elapsed();
                    pages = lent.into_owners().collect();
                    took
                }
            };
            seconds[side] += took.as_secs_f64();
        }
        for (speeds, seconds) in speeds.iter_mut().zip(seconds) {
            speeds.push(2.0 * BYTES as f64 / seconds / (1 << 20) as f64);
        }
    }
    let [small, huge, ours] = &speeds;
    let name = "1 GiB into 262,144 scattered pages, file";
    let peers = [("one run of such pages", small), ("one run of huge pages", huge)];
    for (number, (peer, theirs)) in peers.into_iter().enumerate() {
        let ratio = report.beside(name, "MiB/s", ours, peer, theirs);
        table.row(vec![
            format!("{name}, beside {peer}"),
            format!("{:.0}", median(ours)),
            format!("{ratio:.2}"),
        ]);
        if number == 0 {
            report.gate(
                Some(ratio >= 0.9),
                format!("{name}: {ratio:.2} of the speed into {peer}, at least 0.9"),
            );
        }
    }
    Ok(pages)
}

fn beside_plain(
    plan: &Plan,
    target: &Target,
    io: &Io,
    mut pages: Vec<Slot>,
    table: &mut Table,
    report: &mut Report,
) -> Result<()> {
    let file = File::options().read(true).direct(DirectMode::Require).io(io).open(&target.device)?;
    let mut plain = std::fs::File::options();
    let plain = plain
        .read(true)
        .custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed())
        .open(&target.device)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let lent = lend(pages)?;
        let before = cpu();
        let lent = read(&file, lent)?;
        ours.push((cpu() - before).as_secs_f64() * 1e9 / PAGES as f64);
        pages = lent.into_owners().collect();
        // The same pages in the same order, 1,024 at a time.
        let mut slices: Vec<_> = pages.iter_mut().map(|page| IoSliceMut::new(page.as_mut_slice())).collect();
        let before = cpu();
        for (slices, at) in slices.chunks_mut(SLICES).zip((0..).step_by(SLICES * PAGE)) {
            let read = rustix::io::preadv(&plain, slices, at)?;
            ensure!(read == SLICES * PAGE, "a plain read of {read} bytes");
        }
        theirs.push((cpu() - before).as_secs_f64() * 1e9 / PAGES as f64);
    }
    let name = format!("CPU of a scattered page, {}", target.kind.name());
    let ratio = report.beside(&name, "ns", &ours, "plain preadv", &theirs);
    table.row(vec![name.clone(), format!("{:.0} ns", median(&ours)), format!("{ratio:.2}")]);
    report.gate(Some(ratio < 1.0), format!("{name}: {ratio:.2} of a plain preadv's, below 1"));
    Ok(())
}

fn shuffle<T>(items: &mut [T]) {
    let mut random = Random::default();
    for last in (1..items.len()).rev() {
        items.swap(last, (random.next() % (last as u64 + 1)) as usize);
    }
}

fn read(file: &File, pages: Pages) -> Result<Pages> {
    let (moved, pages) = file.read_owned(pages, 0);
    let moved = moved?;
    ensure!(moved.direct_bytes() == BYTES, "not all of it without a copy: {moved}");
    Ok(pages)
}

/// The CPU time of this process, the kernel's threads for its rings included.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
