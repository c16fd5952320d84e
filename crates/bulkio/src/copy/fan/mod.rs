//! One source to one or more destinations: an ordinary copy is a fan-out to one.
//!
//! `open` opens and checks each [`Destination`], also against the others, and `layout` finds the blocks that suit all of them. [`Writing`] is what a
//! running copy knows of one (`writing`). A chunk is read once, into one slot; `write` hands it to every destination that still takes some, and the slot is free when the last
//! of them is done with it. Each has a queue of its own, so a slow one holds the others up only when all slots wait for it.
//!
//! Contract: a destination that fails while there are others is dropped: nothing more is written to it, the observer hears of it at once, and the
//! report says why ([`DestinationReport`], `report`). With one destination its failure is the copy's.

mod checks;
mod destination;
mod layout;
mod open;
mod report;
mod write;
mod writing;

pub(super) use checks::check;
pub(super) use destination::Destination;
pub(super) use layout::{Share, lay};
pub(super) use open::{check_apart, open};
pub use report::{DestinationFailure, DestinationReport};
pub(super) use writing::{Handed, Queued, Writing};

use super::Side;

/// Most destinations of a copy. Each may have as many requests in flight as the source, and one engine carries them all.
pub const DESTINATIONS_MAX: usize = 32;

/// One end of a running copy; destinations have numbers, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    Source,
    Destination(usize),
}

impl Peer {
    pub(super) const fn side(self) -> Side {
        match self {
            Self::Source => Side::Source,
            Self::Destination(_) => Side::Destination,
        }
    }
}

/// One of something for each destination: at least one, in their order.
#[derive(Debug)]
pub(super) struct Fan<T> {
    first: T,
    more: Vec<T>,
}

impl<T> Fan<T> {
    pub(super) const fn one(first: T) -> Self {
        Self { first, more: Vec::new() }
    }

    pub(super) fn push(&mut self, next: T) {
        self.more.push(next);
    }

    pub(super) const fn first(&self) -> &T {
        &self.first
    }

    pub(super) const fn first_mut(&mut self) -> &mut T {
        &mut self.first
    }

    /// Returns that of destination `number`. Numbers are those of this copy's destinations; any other would be the first.
    pub(super) fn at(&self, number: usize) -> &T {
        number.checked_sub(1).and_then(|more| self.more.get(more)).unwrap_or(&self.first)
    }

    /// The same, to be changed.
    pub(super) fn at_mut(&mut self, number: usize) -> &mut T {
        number.checked_sub(1).and_then(|more| self.more.get_mut(more)).unwrap_or(&mut self.first)
    }

    pub(super) const fn len(&self) -> usize {
        self.more.len().saturating_add(1)
    }

    /// Says whether there are more than one.
    pub(super) const fn is_several(&self) -> bool {
        !self.more.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.more)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        std::iter::once(&mut self.first).chain(&mut self.more)
    }

    /// Makes one of something else of each.
    pub(super) fn try_map<U, E>(&self, mut make: impl FnMut(&T) -> Result<U, E>) -> Result<Fan<U>, E> {
        let first = make(&self.first)?;
        Ok(Fan { first, more: self.more.iter().map(make).collect::<Result<_, E>>()? })
    }

    /// Makes one of something else of each, and of its partner in another.
    pub(super) fn zip_with<U, V>(self, other: Fan<U>, mut make: impl FnMut(T, U) -> V) -> Fan<V> {
        let first = make(self.first, other.first);
        let more = self.more.into_iter().zip(other.more);
        Fan { first, more: more.map(|(one, other)| make(one, other)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_destinations() {
        let mut fan = Fan::one('a');
        assert!(!fan.is_several());
        fan.push('b');
        fan.push('c');
        assert_eq!((0..fan.len()).map(|number| *fan.at(number)).collect::<String>(), "abc");
        *fan.at_mut(1) = 'x';
        fan.first_mut().make_ascii_uppercase();
        assert_eq!(fan.iter().collect::<String>(), "Axc");
        let twice = fan.try_map(|one| if *one == 'y' { Err(()) } else { Ok(one.to_string().repeat(2)) });
        let joined = twice.expect("there is no y").zip_with(fan, |twice, one| format!("{twice}{one}"));
        assert_eq!(joined.iter().cloned().collect::<String>(), "AAAxxxccc");
    }
}
