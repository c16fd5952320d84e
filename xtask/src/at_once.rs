//! Work that is done two pieces at a time: programs that keep one processor busy each.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};

/// How many at a time.
const AT_ONCE: usize = 2;

/// Does `work` on each of `items`, which are begun in their order; what came of each, in that order too.
pub(crate) fn each<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Result<Vec<R>> {
    let waiting = Mutex::new(items.into_iter().enumerate());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || std::iter::from_fn(next).map(|(at, item)| (at, work(item))).collect::<Vec<_>>();
    let found: Option<Vec<_>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        // All of them are waited for, whatever became of the first.
        workers.into_iter().map(|worker| worker.join().ok()).collect::<Vec<_>>().into_iter().collect()
    });
    let mut found: Vec<(usize, R)> =
        found.ok_or_else(|| anyhow!("one of {AT_ONCE} threads panicked"))?.into_iter().flatten().collect();
    found.sort_by_key(|&(at, _)| at);
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_and_results_keep_the_order() {
        let done = each((0..100).collect(), |item: u32| item * 2).unwrap();
        assert_eq!(done, (0..100).map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_is_an_error() {
        let quiet = std::panic::catch_unwind(|| each(vec![1], |_: u32| -> u32 { panic!("as meant") }));
        assert!(quiet.unwrap().is_err());
    }
}
