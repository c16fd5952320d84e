//! With an allocator: a chain is built, joined and split, and an appender submits what is full and completes once.
#![expect(unsafe_code, reason = "a lease over addresses that nobody touches")]

extern crate alloc;

use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::Cell;

use scatterlist::plan::{Appender, Policy};
use scatterlist::{Complete, Direction, Lease, LimitId, Limits, Outcome, PhysAddr, Position, ScatterList};

use crate::slice::page;
use crate::{Checked, check};

/// Keeps the outcome, and how often there was one.
#[derive(Clone, Default)]
struct Told(Rc<Cell<(u32, Option<Outcome>)>>);

impl Complete for Told {
    fn complete(self, outcome: Outcome) {
        let (times, _) = self.0.get();
        self.0.set((times + 1, Some(outcome)));
    }
}

/// Enough for several chunks of the chain.
const PAGES: u64 = 2000;

pub(crate) fn check_all() -> Checked {
    let mut list = pages(0, PAGES / 2)?;
    list.splice(&mut pages(PAGES / 2, PAGES)?).map_err(|_| 20)?;
    check(21, list.len_segments() == PAGES && list.len_bytes() == PAGES * 4096)?;
    let back = list.split_off(5 * 4096 + 1).map_err(|_| 22)?;
    check(23, list.len_segments() == 6 && back.len_bytes() == (PAGES - 5) * 4096 - 1)?;

    let limits = Limits::builder().hard(LimitId::SegmentsMax, 100).build().map_err(|_| 24)?;
    let told = Told::default();
    let mut submitted = 0_u64;
    let submit = |request: scatterlist::Request<PhysAddr, Arc<()>, _>| {
        submitted += 1;
        let len = request.len_bytes();
        drop(request.complete(Outcome::whole(len)));
        Ok::<(), ()>(())
    };
    let (to, at) = (Direction::ToDevice, Position::At(0));
    let mut appender = Appender::new(to, at, &limits, Policy::SplitOrError, told.clone(), submit);
    for start in (0..PAGES).step_by(50) {
        // SAFETY: nothing behind these addresses is read or written here; they are only planned.
        let lease = unsafe { Lease::from_raw(pages(start, start + 50)?, Arc::new(())) };
        appender.push(lease).map_err(|_| 25)?;
    }
    appender.finish().map_err(|_| 26)?;
    check(27, submitted == PAGES / 100)?;
    check(28, told.0.get() == (1, Some(Outcome::whole(PAGES * 4096))))
}

fn pages(from: u64, to: u64) -> Result<ScatterList<PhysAddr>, u8> {
    let mut list = ScatterList::new();
    for index in from..to {
        list.append(page(index)?).map_err(|_| 29)?;
    }
    Ok(list)
}
