//! A driver and a device beside a model of every request: where it is, and what its chain must say.
//!
//! Used by the property tests and by the fuzz target `virtqueue`. The device walks what was added, and no descriptor is lost.

use std::collections::VecDeque;

use scatterlist::desc::virtqueue::{AddError, Run, Side, Used};
use scatterlist::{Addr as _, BusAddr, Segment};

use super::pair::{INDIRECT, Pair, Shared, pair, runs, seg};

/// What may happen next between driver and device.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Add {
        readable: Vec<(u32, u16)>,
        writable: Vec<(u32, u16)>,
        indirect: bool,
    },
    Publish,
    Fetch,
    /// Gives back one of those that the device has, with a share of its writable bytes.
    GiveBack(usize, u8),
    Take,
    /// The device writes garbage into the used ring, and takes it back.
    Lie {
        id: u32,
        written: u32,
        ahead: u16,
    },
}

/// One request, on its way.
#[derive(Clone, Debug)]
struct Tracked {
    head: u16,
    runs: Vec<Run>,
    descriptors: u16,
    _table: Option<Shared>,
}

impl Tracked {
    fn writable(&self) -> u64 {
        self.runs.iter().filter(|run| run.side == Side::Writable).map(|run| run.segment.len()).sum()
    }
}

/// Does all steps with a queue of `1 << log` descriptors.
pub(crate) fn no_descriptor_is_lost(log: u32, steps: Vec<Step>) {
    let size = 1_u16 << log;
    let Pair { mut queue, mut device } = pair(size);
    let (mut added, mut published, mut fetched) = (VecDeque::new(), VecDeque::new(), Vec::new());
    let mut returned: VecDeque<(Tracked, u32)> = VecDeque::new();
    let mut tables = 0_u64;
    for step in steps {
        match step {
            Step::Add { readable, writable, indirect } => {
                let list = |side: &[(u32, u16)]| -> Vec<_> {
                    side.iter().map(|(addr, len)| seg(u64::from(*addr) << 8, u64::from(*len))).collect()
                };
                let (readable, writable) = (list(&readable), list(&writable));
                let runs = runs(&readable, &writable);
                let need = runs.len() as u64;
                let free = queue.free();
                let (result, descriptors, table) = if indirect {
                    // Each table has an address of its own: an old one must not be read again.
                    let mut table = Shared::new(INDIRECT + tables * 0x1000, 2 * runs.len());
                    tables += 1;
                    device.bus.0.push(table.clone());
                    (queue.add_indirect(&mut table, readable, writable), 1, Some(table))
                } else {
                    (queue.add(readable, writable), u16::try_from(need).unwrap(), None)
                };
                match result {
                    Ok(head) => {
                        assert_eq!(queue.free(), free - descriptors);
                        added.push_back(Tracked { head, runs, descriptors, _table: table });
                    }
                    Err(AddError::Empty) => assert_eq!(need, 0),
                    Err(AddError::QueueFull { need: n, free: f }) => {
                        assert_eq!((n, f), (if indirect { 1 } else { need }, free));
                        assert!(n > u64::from(f));
                    }
                    Err(AddError::ChainTooLong { need: n, max }) => {
                        assert!(indirect && n == need && need > u64::from(max) && max == size);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Publish => {
                assert_eq!(usize::from(queue.publish()), added.len());
                published.append(&mut added);
            }
            Step::Fetch => {
                let expect = published.pop_front();
                let found = device.fetch();
                assert_eq!(
                    &found,
                    &expect.as_ref().map(|request: &Tracked| (request.head, request.runs.clone()))
                );
                fetched.extend(expect);
            }
            Step::GiveBack(index, share) => {
                if !fetched.is_empty() {
                    let request: Tracked = fetched.swap_remove(index % fetched.len());
                    let written = u32::try_from(request.writable() * u64::from(share) / 255).unwrap();
                    device.give_back(request.head.into(), written);
                    returned.push_back((request, written));
                }
            }
            Step::Take => {
                let expect = returned.pop_front();
                let used = expect
                    .as_ref()
                    .map(|(request, written)| Used { head: request.head, written_bytes: *written });
                assert_eq!(queue.take(), Ok(used));
            }
            Step::Lie { id, written, ahead } => {
                // Whether it is an error depends on what is in flight; a lie that could be true is not told.
                let in_flight = published.iter().chain(&fetched);
                let plausible = in_flight
                    .chain(returned.iter().map(|(request, _)| request))
                    .any(|request| u32::from(request.head) == id && u64::from(written) <= request.writable());
                let before = device.used.bytes.borrow().clone();
                let index = device.used_index;
                if returned.is_empty() && !plausible {
                    device.give_back(id, written);
                    device.set_used_index(index.wrapping_add(ahead));
                    assert_eq!(queue.take().is_err(), ahead > 0);
                    assert_eq!(queue.take().is_err(), ahead > 0);
                }
                device.used.bytes.borrow_mut().clone_from(&before);
                device.used_index = index;
            }
        }
        // Every descriptor is free or belongs to exactly one request, and every request is known.
        let all = || {
            added.iter().chain(&published).chain(&fetched).chain(returned.iter().map(|(request, _)| request))
        };
        assert_eq!(queue.free() + all().map(|request| request.descriptors).sum::<u16>(), size);
        let mut heads: Vec<_> = all().map(|request| request.head).collect();
        heads.sort_unstable();
        assert_eq!(queue.heads().collect::<Vec<_>>(), heads);
        // Those that wait stand in memory as they did, whatever went on around them.
        for request in published.iter().chain(&fetched) {
            assert_eq!(&device.walk(request.head).unwrap(), &request.runs);
        }
    }
}

/// The bytes of a list in order, as the fewest runs.
pub(crate) fn joined(list: &[Segment<BusAddr>]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for segment in list {
        match runs.last_mut() {
            Some((addr, len)) if *addr + *len == segment.addr().raw() => *len += segment.len(),
            _ => runs.push((segment.addr().raw(), segment.len())),
        }
    }
    runs
}
