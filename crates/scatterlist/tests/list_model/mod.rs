//! A few chains beside the plainest model there is: vectors of segments.
//!
//! Used by the property test of the chain and by its fuzz target. [`Lists::apply`] does one step to both;
//! contents and counts must be equal, bounds sound, and exact while a list has only grown.

use scatterlist::{PhysAddr, ScatterList, Segment, Totals};

pub(crate) type Seg = Segment<PhysAddr>;

pub(crate) const LISTS: usize = 3;

/// What is done to the lists, which are numbered from 0 to [`LISTS`].
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append {
        list: usize,
        segments: Vec<Seg>,
    },
    Prepend {
        list: usize,
        segment: Seg,
    },
    Splice {
        into: usize,
        from: usize,
    },
    /// Splits at byte `at`, or past the end, which is refused. The back becomes the list `to`; where that is the list
    /// itself, it goes back to where it was.
    Split {
        list: usize,
        to: usize,
        at: u64,
    },
    Clear {
        list: usize,
    },
}

#[derive(Debug)]
pub(crate) struct Lists {
    lists: Vec<ScatterList<PhysAddr>>,
    models: Vec<Vec<Seg>>,
}

impl Lists {
    pub(crate) fn new() -> Self {
        Self { lists: vec![ScatterList::new(); LISTS], models: vec![Vec::new(); LISTS] }
    }

    pub(crate) fn apply(&mut self, step: Step) {
        let Self { lists, models } = self;
        match step {
            Step::Append { list, segments } => {
                for segment in segments {
                    let fits = bytes(&models[list]).checked_add(segment.len()).is_some();
                    assert_eq!(lists[list].append(segment).is_ok(), fits);
                    if fits {
                        push(&mut models[list], segment);
                    }
                }
            }
            Step::Prepend { list, segment } => {
                let fits = bytes(&models[list]).checked_add(segment.len()).is_some();
                assert_eq!(lists[list].prepend(segment).is_ok(), fits);
                if fits {
                    let old = std::mem::replace(&mut models[list], vec![segment]);
                    push_all(&mut models[list], old);
                }
            }
            Step::Splice { into, from } if into != from => {
                let mut other = std::mem::take(&mut lists[from]);
                let fits = bytes(&models[into]).checked_add(bytes(&models[from])).is_some();
                assert_eq!(lists[into].splice(&mut other).is_ok(), fits);
                if fits {
                    assert!(other.is_empty());
                    let moved = std::mem::take(&mut models[from]);
                    push_all(&mut models[into], moved);
                } else {
                    lists[from] = other;
                }
            }
            Step::Splice { .. } => {}
            Step::Split { list, to, at } => {
                let Ok(mut back) = lists[list].split_off(at) else {
                    assert!(at > bytes(&models[list]), "a split within the list is refused");
                    return;
                };
                let (front, rest) = split(std::mem::take(&mut models[list]), at);
                models[list] = front;
                if to == list {
                    check(&back, &rest, false);
                    lists[list].splice(&mut back).expect("its own bytes fit again");
                    push_all(&mut models[list], rest);
                } else {
                    lists[to] = back;
                    models[to] = rest;
                }
            }
            Step::Clear { list } => {
                lists[list].clear();
                models[list].clear();
            }
        }
    }

    /// The bytes of list `list`.
    pub(crate) fn bytes(&self, list: usize) -> u64 {
        bytes(&self.models[list])
    }

    pub(crate) fn check(&self) {
        for (list, model) in self.lists.iter().zip(&self.models) {
            check(list, model, false);
        }
    }
}

/// Puts one segment behind a model.
pub(crate) fn push(model: &mut Vec<Seg>, segment: Seg) {
    match model.last_mut().and_then(|last| Some((last.joined(segment)?, last))) {
        Some((joined, last)) => *last = joined,
        None => model.push(segment),
    }
}

fn push_all(model: &mut Vec<Seg>, segments: Vec<Seg>) {
    for segment in segments {
        push(model, segment);
    }
}

fn split(model: Vec<Seg>, at: u64) -> (Vec<Seg>, Vec<Seg>) {
    let (mut front, mut rest) = (Vec::new(), Vec::new());
    let mut before = 0;
    for segment in model {
        let end = before + segment.len();
        if end <= at {
            front.push(segment);
        } else if before >= at {
            rest.push(segment);
        } else {
            let (head, tail) = segment.split(at - before).expect("a cut within the segment");
            front.push(head);
            rest.push(tail);
        }
        before = end;
    }
    (front, rest)
}

fn bytes(model: &[Seg]) -> u64 {
    model.iter().map(Segment::len).sum()
}

/// Compares a list with its model.
pub(crate) fn check(list: &ScatterList<PhysAddr>, model: &[Seg], only_grew: bool) {
    assert_eq!(list.iter().collect::<Vec<_>>(), model);
    assert_eq!(list.first(), model.first().copied());
    assert_eq!(list.last(), model.last().copied());
    let exact = Totals::of(model.iter().copied());
    let totals = list.totals();
    assert_eq!((totals.bytes, totals.segments), (exact.bytes, exact.segments));
    assert_eq!((list.len_bytes(), list.len_segments()), (exact.bytes, exact.segments));
    if only_grew {
        assert_eq!(totals, exact);
    }
    assert!(totals.longest >= exact.longest);
    assert!(totals.addr_min <= exact.addr_min);
    assert!(totals.addr_end >= exact.addr_end);
    assert_eq!(exact.start_bits & !totals.start_bits, 0, "start bits lost");
    assert_eq!(exact.len_bits & !totals.len_bits, 0, "length bits lost");
    assert_eq!(exact.gap_bits & !totals.gap_bits, 0, "gap bits lost");
}
