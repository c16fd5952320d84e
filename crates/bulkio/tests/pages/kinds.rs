//! Which pages a pool gets: each kind where it can be had, and what is said where it cannot.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bulkio::pages::{
    PageKind, PageKindRequest, PagePool, PoolError, PoolOptions, REGISTERED_LEN_MAX, Refusal,
};
use rustix::fs::SealFlags;
use scatterlist::Addr;

use crate::{MIB, nobody, page_len, pool, refused, seals, skipped, take_all};

const NR_HUGEPAGES: &str = "/proc/sys/vm/nr_hugepages";

/// Keeps tests apart that look at the system's huge pages.
pub(crate) fn huge_pages_alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the system keep more hugetlb pages until it drops.
pub(crate) struct HugePages {
    before: String,
}

impl HugePages {
    pub(crate) fn reserve(pages: usize) -> Result<Self, String> {
        let read = || fs::read_to_string(NR_HUGEPAGES).map_err(|error| format!("{NR_HUGEPAGES}: {error}"));
        let count = |text: &str| text.trim().parse::<usize>().map_err(|error| error.to_string());
        let before = read()?;
        let wanted = count(&before)? + pages;
        fs::write(NR_HUGEPAGES, wanted.to_string()).map_err(|error| format!("{NR_HUGEPAGES}: {error}"))?;
        let reserved = Self { before };
        match count(&read()?)? {
            now if now < wanted => Err(format!("only {now} of {wanted} huge pages could be had")),
            _ => Ok(reserved),
        }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Err(error) = fs::write(NR_HUGEPAGES, &self.before) {
            eprintln!("{NR_HUGEPAGES} could not be put back to {}: {error}", self.before.trim());
        }
    }
}

#[test]
fn small_pages_when_demanded() {
    let pool = pool(MIB, 8, PageKindRequest::Small);
    assert_eq!(pool.kind(), PageKind::Small { page_len: page_len() });
    assert_eq!(pool.page_len(), page_len());
    assert!(pool.refusals().is_empty());
    assert_eq!(pool.bytes(), 8 * MIB as u64);
}

#[test]
fn small_pools_do_not_try_huge_pages() {
    let pool = pool(MIB / 2, 3, PageKindRequest::Auto);
    assert_eq!(pool.kind(), PageKind::Small { page_len: page_len() });
    assert!(matches!(pool.refusals(), [Refusal::TooSmall { .. }]));
    let error = refused(page_len(), 1, PageKindRequest::Transparent);
    assert!(matches!(error, PoolError::KindRefused { .. }), "{error}");
}

#[test]
fn auto_says_what_it_got_and_why() {
    let _alone = huge_pages_alone();
    let pool = pool(MIB, 9, PageKindRequest::Auto);
    eprintln!("{}: {}", pool.kind(), pool.kind_reason());
    match pool.kind() {
        PageKind::HugeTlb { page_len } => {
            assert!(pool.refusals().is_empty());
            assert_eq!(pool.bytes(), (9 * MIB).next_multiple_of(page_len) as u64);
        }
        PageKind::Transparent { page_len, bytes } => {
            assert!(matches!(pool.refusals(), [Refusal::HugeTlb { .. }]));
            assert_eq!(bytes % page_len as u64, 0);
            assert!(bytes > pool.bytes() / 2 && bytes <= pool.bytes());
            assert_eq!(pool.bytes(), 9 * MIB as u64);
            assert_eq!(pool.range().0.raw() % page_len as u64, 0);
        }
        PageKind::Small { .. } => assert_eq!(pool.refusals().len(), 2),
        other => panic!("unknown kind {other}"),
    }
    let mut slots = take_all(&pool);
    assert_eq!(slots.len(), 9);
    for slot in &mut slots {
        assert!(slot.as_slice().iter().all(|&byte| byte == 0));
        slot.as_mut_slice().fill(0xa5);
    }
}

#[test]
fn transparent_huge_pages_hold_most_of_the_pool() {
    let options = PoolOptions::uniform(MIB, 33).with_kind(PageKindRequest::Transparent);
    match PagePool::new(options) {
        Ok(pool) => {
            let PageKind::Transparent { bytes, .. } = pool.kind() else { panic!("{}", pool.kind()) };
            assert!(bytes > pool.bytes() / 2 && bytes <= pool.bytes(), "{bytes}");
        }
        Err(error @ PoolError::KindRefused { .. }) => {
            skipped("kinds::transparent_huge_pages_hold_most_of_the_pool", &error.to_string());
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn demanded_huge_pages_that_are_not_there_are_an_error_with_numbers() {
    let _alone = huge_pages_alone();
    // 1 TiB of them.
    let error = refused(REGISTERED_LEN_MAX, 1024, PageKindRequest::Huge);
    let PoolError::KindRefused { kind: PageKindRequest::Huge, bytes, refusal } = error else {
        panic!("{error}")
    };
    assert_eq!(bytes, 1 << 40);
    let Refusal::HugeTlb { pages, pages_total, .. } = refusal else { panic!("{refusal}") };
    assert_eq!(pages, 1 << 19);
    let text = error.to_string();
    match pages_total {
        Some(0) => assert!(text.contains("vm.nr_hugepages is 0: raise it to at least 524288"), "{text}"),
        Some(_) => assert!(text.contains("raise vm.nr_hugepages"), "{text}"),
        None => assert!(text.contains("no huge pages of 2 MiB"), "{text}"),
    }
}

#[test]
fn huge_pages_when_there_are_some() {
    let _alone = huge_pages_alone();
    let _pages = match HugePages::reserve(2) {
        Ok(pages) => pages,
        Err(reason) => return skipped("kinds::huge_pages_when_there_are_some", &reason),
    };
    for kind in [PageKindRequest::Huge, PageKindRequest::Auto] {
        let pool = pool(MIB, 3, kind);
        assert_eq!(pool.kind(), PageKind::HugeTlb { page_len: 2 * MIB });
        assert_eq!(pool.kind().to_string(), "hugetlb 2 MiB");
        assert_eq!((pool.bytes(), pool.range().1), (4 * MIB as u64, 3 * MIB as u64));
        assert_eq!(pool.range().0.raw() % (2 * MIB as u64), 0);
        assert!(seals(&pool).contains(SealFlags::SHRINK));
        let mut slot = pool.take().unwrap();
        slot.as_mut_slice().fill(7);
        drop(pool);
        assert_eq!(slot.as_slice()[MIB - 1], 7);
    }
    let few = refused(MIB, 1 << 20, PageKindRequest::Huge).to_string();
    assert!(few.contains("are free: raise vm.nr_hugepages to at least"), "{few}");
}

#[test]
fn auto_works_without_privileges() {
    let name = "kinds::auto_works_without_privileges";
    if nobody::is_nobody() {
        // Already without privileges.
        let pool = pool(MIB, 8, PageKindRequest::Auto);
        eprintln!("{}: {}", pool.kind(), pool.kind_reason());
        assert!(pool.take().is_some());
        return;
    }
    let _alone = huge_pages_alone();
    if let Err(reason) = nobody::run(name) {
        skipped(name, &reason);
    }
}
