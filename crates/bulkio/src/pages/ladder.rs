//! The ladder of page kinds: hugetlb, then transparent huge pages, then base pages.
//!
//! Each step populates the whole pool before it counts as taken, so that a pool that exists cannot run out of
//! memory later (a fault without memory would end the process). What a step refused is kept for the report.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;

use rustix::io::Errno;

use super::error::PoolError;
use super::kind::{HUGETLB_PAGE_LEN, PageKind, PageKindRequest, Refusal};
use super::mapping::{Backing, CallError, Mapping};
use super::numa::{NodeReport, Target};

/// How often a collapse is tried when the kernel answers `EAGAIN` ("a page was busy").
const COLLAPSE_TRIES_MAX: u32 = 3;

/// Populated memory and what is known about it.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) mapping: Mapping,
    pub(super) kind: PageKind,
    /// One entry for each better step, best first.
    pub(super) refusals: Vec<Refusal>,
    pub(super) node: NodeReport,
}

/// What memory is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// How much, in bytes: a multiple of `page_len`.
    pub(super) len: NonZeroUsize,
    /// Length of the machine's base pages, in bytes.
    pub(super) page_len: NonZeroUsize,
    /// In which pages.
    pub(super) kind: PageKindRequest,
    /// On which node.
    pub(super) node: Target,
}

/// Gets what is wanted.
pub(super) fn obtain(wanted: Wanted) -> Result<Memory, PoolError> {
    let Wanted { len, kind, .. } = wanted;
    let demanded = |refusal| PoolError::KindRefused { kind, bytes: len.get() as u64, refusal };
    let small = |refusals| shared(wanted, None, refusals);
    let pmd_len = transparent_page_len();
    match kind {
        PageKindRequest::Small => small(Vec::new()),
        PageKindRequest::Huge => hugetlb(wanted).map_err(demanded),
        PageKindRequest::Transparent => {
            let huge_len = transparent_fits(len, pmd_len).map_err(demanded)?;
            let memory = shared(wanted, Some(huge_len), Vec::new())?;
            match (memory.kind, memory.refusals.last()) {
                (PageKind::Small { .. }, Some(&refusal)) => Err(demanded(refusal)),
                _ => Ok(memory),
            }
        }
        PageKindRequest::Auto => {
            if len.get() < HUGETLB_PAGE_LEN {
                let page_len = HUGETLB_PAGE_LEN;
                return small(vec![Refusal::TooSmall { bytes: len.get() as u64, page_len }]);
            }
            let mut refusals = match hugetlb(wanted) {
                Ok(memory) => return Ok(memory),
                Err(refusal) => vec![refusal],
            };
            match transparent_fits(len, pmd_len) {
                Ok(huge_len) => shared(wanted, Some(huge_len), refusals),
                Err(refusal) => {
                    refusals.push(refusal);
                    small(refusals)
                }
            }
        }
    }
}

/// Gets what is wanted, rounded up to 2 MiB, from the hugetlb pool.
fn hugetlb(Wanted { len, node, .. }: Wanted) -> Result<Memory, Refusal> {
    let pages = len.get().div_ceil(HUGETLB_PAGE_LEN);
    let refused = |failed: CallError| Refusal::HugeTlb {
        call: failed.call,
        errno: failed.errno.raw_os_error(),
        pages: pages as u64,
        pages_total: hugetlb_count("nr_hugepages"),
        pages_free: hugetlb_free(),
    };
    let rounded = pages.checked_mul(HUGETLB_PAGE_LEN).and_then(NonZeroUsize::new);
    let rounded = rounded.ok_or_else(|| refused(CallError { call: "mmap", errno: Errno::NOMEM }))?;
    let mapping = Mapping::new(rounded, Backing::HugeTlb).map_err(refused)?;
    let preferred = node.prefer(&mapping).map_err(Refusal::HugeTlbNode)?;
    mapping.populate(0, mapping.len()).map_err(refused)?;
    let node = preferred.report(&mapping, HUGETLB_PAGE_LEN).map_err(Refusal::HugeTlbNode)?;
    let kind = PageKind::HugeTlb { page_len: HUGETLB_PAGE_LEN };
    Ok(Memory { mapping, kind, refusals: Vec::new(), node })
}

/// Gets what is wanted as ordinary shared memory, gathered into huge pages of `huge_len` where that is given.
fn shared(
    Wanted { len, page_len, node, .. }: Wanted,
    huge_len: Option<NonZeroUsize>,
    mut refusals: Vec<Refusal>,
) -> Result<Memory, PoolError> {
    let bytes = len.get() as u64;
    // Past this the kernel would not refuse: it would kill processes, perhaps others.
    if let Some(bytes_available) = memory_available()
        && bytes > bytes_available
    {
        return Err(PoolError::NotEnoughMemory { bytes, bytes_available });
    }
    let system = |failed| PoolError::system(failed, bytes);
    let mapping =
        Mapping::new(len, Backing::Shared { align: huge_len.unwrap_or(page_len) }).map_err(system)?;
    let preferred = node.prefer(&mapping)?;
    let collapsed = match huge_len {
        Some(huge_len) => Some((huge_len, collapse(&mapping, page_len, huge_len).map_err(system)?)),
        None => {
            // Fails only on kernels that have no transparent huge pages, where there is nothing to refuse.
            let _ = mapping.refuse_huge();
            None
        }
    };
    mapping.populate(0, mapping.len()).map_err(system)?;
    let node = preferred.report(&mapping, page_len.get())?;
    let mut kind = PageKind::Small { page_len: page_len.get() };
    if let Some((huge_len, collapsed)) = collapsed {
        let bytes_huge = match (bytes_huge(mapping.start(), mapping.len()), collapsed) {
            (Some(bytes_huge), _) => Some(bytes_huge),
            // No /proc, or a kernel that does not count these; madvise(2) promises that success means huge
            // pages throughout.
            (None, Ok(())) => Some(whole_part(len.get(), huge_len) as u64),
            (None, Err(_)) => None,
        };
        match bytes_huge {
            Some(huge) if huge > bytes / 2 => {
                kind = PageKind::Transparent { page_len: huge_len.get(), bytes: huge };
            }
            _ => {
                let errno = collapsed.err().map(Errno::raw_os_error);
                refusals.push(Refusal::Collapse { errno, bytes_huge, bytes });
            }
        }
    }
    Ok(Memory { mapping, kind, refusals, node })
}

/// Gathers the whole huge pages of `mapping`. The outer error is a lack of memory, the inner one a refusal.
fn collapse(
    mapping: &Mapping,
    page_len: NonZeroUsize,
    huge_len: NonZeroUsize,
) -> Result<Result<(), Errno>, CallError> {
    // One base page in each huge one: a collapse needs something to start from, and fills the rest with
    // zeros. To populate all the small pages first and have them copied took about 1.4 times as long for 1
    // GiB.
    let whole = whole_part(mapping.len(), huge_len);
    for offset in (0..whole).step_by(huge_len.get()) {
        mapping.populate(offset, page_len.get())?;
    }
    let mut answer = mapping.collapse(whole);
    for _ in 1..COLLAPSE_TRIES_MAX {
        if !matches!(answer, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
        answer = mapping.collapse(whole);
    }
    Ok(answer)
}

/// Returns how much of `len` is whole huge pages.
fn whole_part(len: usize, huge_len: NonZeroUsize) -> usize {
    len - len % huge_len
}

/// Returns the length of a transparent huge page if the pool is worth trying.
fn transparent_fits(len: NonZeroUsize, pmd_len: Option<NonZeroUsize>) -> Result<NonZeroUsize, Refusal> {
    let huge_len = pmd_len.ok_or(Refusal::NoTransparent)?;
    if len < huge_len {
        return Err(Refusal::TooSmall { bytes: len.get() as u64, page_len: huge_len.get() });
    }
    Ok(huge_len)
}

/// Reads the length of a transparent huge page (kernel documentation, "Transparent Hugepage Support").
fn transparent_page_len() -> Option<NonZeroUsize> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").ok()?;
    text.trim().parse().ok().filter(|len: &NonZeroUsize| len.is_power_of_two())
}

/// Reads one counter of the hugetlb pool of 2 MiB pages.
fn hugetlb_count(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}")).ok()?.trim().parse().ok()
}

/// Reads how many hugetlb pages are neither used nor promised to someone.
fn hugetlb_free() -> Option<u64> {
    Some(hugetlb_count("free_hugepages")?.saturating_sub(hugetlb_count("resv_hugepages").unwrap_or(0)))
}

/// Reads how much memory can be had without swapping, in bytes.
pub(crate) fn memory_available() -> Option<u64> {
    let file = BufReader::new(File::open("/proc/meminfo").ok()?);
    file.lines().map_while(Result::ok).find_map(|line| kib_field(&line, "MemAvailable:"))
}

/// Reads how many bytes of the mapping at `start` are in huge pages, if the kernel says.
fn bytes_huge(start: usize, len: usize) -> Option<u64> {
    let smaps = BufReader::new(File::open("/proc/self/smaps").ok()?);
    bytes_huge_in(smaps, start, start.checked_add(len)?)
}

/// Adds up `ShmemPmdMapped` of the mappings within `start .. end`, in bytes; `None` when there is no such
/// line.
fn bytes_huge_in(smaps: impl BufRead, start: usize, end: usize) -> Option<u64> {
    let mut inside = false;
    let mut sum = None;
    for line in smaps.lines() {
        let line = line.ok()?;
        if let Some((first, last)) = mapping_range(&line) {
            inside = start <= first && last <= end;
        } else if inside && let Some(bytes) = kib_field(&line, "ShmemPmdMapped:") {
            sum = Some(sum.unwrap_or(0) + bytes);
        }
    }
    sum
}

/// Parses the first line of an smaps entry: `7f00-7f80 rw-s ...`.
fn mapping_range(line: &str) -> Option<(usize, usize)> {
    let (first, last) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(first, 16).ok()?, usize::from_str_radix(last, 16).ok()?))
}

/// Parses a line `Name:   12 kB` into bytes.
fn kib_field(line: &str, name: &str) -> Option<u64> {
    let value = line.strip_prefix(name)?.trim().strip_suffix("kB")?;
    value.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000400000 rw-s 00000000 00:01 9   /memfd:bulkio-pool (deleted)
Size:               4096 kB
ShmemPmdMapped:     4096 kB
VmFlags: rd wr sh mr mw me ms dc sd
7f0000400000-7f0000500000 rw-s 00400000 00:01 9   /memfd:bulkio-pool (deleted)
ShmemPmdMapped:        0 kB
7f0000500000-7f0000700000 rw-s 00000000 00:01 10  /memfd:other (deleted)
ShmemPmdMapped:     2048 kB
";

    #[test]
    fn huge_bytes_are_those_of_the_range_alone() {
        let huge = |start, end| bytes_huge_in(SMAPS.as_bytes(), start, end);
        assert_eq!(huge(0x7f00_0000_0000, 0x7f00_0050_0000), Some(4 << 20));
        assert_eq!(huge(0x7f00_0050_0000, 0x7f00_0070_0000), Some(2 << 20));
        assert_eq!(huge(0x7f00_0040_0000, 0x7f00_0050_0000), Some(0));
        assert_eq!(huge(0x1000, 0x2000), None);
    }

    #[test]
    fn refusals_say_what_to_do() {
        let none = Refusal::HugeTlb {
            call: "mmap",
            errno: Errno::NOMEM.raw_os_error(),
            pages: 8,
            pages_total: Some(0),
            pages_free: Some(0),
        };
        assert_eq!(
            none.to_string(),
            "hugetlb: mmap for 8 pages of 2 MiB: Cannot allocate memory (os error 12); \
             vm.nr_hugepages is 0: raise it to at least 8"
        );
        let Refusal::HugeTlb { call, errno, pages, .. } = none else { unreachable!() };
        let few = Refusal::HugeTlb { call, errno, pages, pages_total: Some(10), pages_free: Some(3) };
        assert!(few.to_string().ends_with("3 of 10 are free: raise vm.nr_hugepages to at least 15"), "{few}");
    }

    #[test]
    fn kinds_print_as_people_say_them() {
        assert_eq!(PageKind::HugeTlb { page_len: 2 << 20 }.to_string(), "hugetlb 2 MiB");
        assert_eq!(PageKind::Transparent { page_len: 2 << 20, bytes: 1 }.to_string(), "transparent huge");
        assert_eq!(PageKind::Small { page_len: 4096 }.to_string(), "4 KiB");
        assert_eq!(PageKind::Small { page_len: 65536 }.to_string(), "64 KiB");
    }
}
