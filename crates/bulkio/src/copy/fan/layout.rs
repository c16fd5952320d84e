//! The blocks of several destinations in one layout.
//!
//! All lie alike in a slot, so chunks are laid over the least common multiple of their blocks; each ends at its own. One whose blocks would make that too long goes through the
//! page cache, where any address will do.

use super::super::geometry::{Unit, lcm};
use super::Fan;

/// The longest common multiple: slots are at least as long.
const UNIT_MAX: u64 = 4 << 20;

/// What one destination gets of the layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Share {
    pub(in super::super) unit: Unit,
    /// Why it is not its own.
    pub(in super::super) unfit: Option<String>,
}

impl Share {
    /// Lets it go through the page cache, unless it does already.
    pub(in super::super) fn give_up(&mut self, why: &str) {
        if self.unit != Unit::BYTE {
            *self = Self { unit: Unit::BYTE, unfit: Some(why.to_owned()) };
        }
    }
}

/// Returns the common unit, and what each destination gets.
pub(in super::super) fn lay(units: &Fan<Unit>) -> (Unit, Fan<Share>) {
    let mut common = *units.first();
    let mut shares = Fan::one(Share { unit: common, unfit: None });
    for &unit in units.iter().skip(1) {
        let both = lcm(common.start, unit.start).zip(lcm(common.end, unit.end));
        let share = match both.filter(|(start, end)| *start.max(end) <= UNIT_MAX) {
            Some((start, end)) => {
                common = Unit { start, end };
                Share { unit, unfit: None }
            }
            None => {
                let why = format!(
                    "its blocks of {} bytes and the {} bytes of the destinations before it have no common multiple up to {UNIT_MAX}",
                    unit.start, common.start
                );
                Share { unit: Unit::BYTE, unfit: Some(why) }
            }
        };
        shares.push(share);
    }
    (common, shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fan(units: &[u64]) -> Fan<Unit> {
        let mut units = units.iter().map(|&unit| Unit { start: unit, end: unit });
        let mut fan = Fan::one(units.next().expect("one at least"));
        units.for_each(|unit| fan.push(unit));
        fan
    }

    #[test]
    fn the_common_unit_suits_all_but_those_that_would_make_it_too_long() {
        for (units, common, unfit) in [
            (&[512][..], 512, &[false][..]),
            (&[512, 4096, 1], 4096, &[false, false, false]),
            (&[4096, 520], 4096 * 65, &[false, false]),
            (&[4096, (4 << 20) - 1, 512], 4096, &[false, true, false]),
        ] {
            let (found, shares) = lay(&fan(units));
            assert_eq!(found, Unit { start: common, end: common });
            let given_up: Vec<_> = shares.iter().map(|share| share.unfit.is_some()).collect();
            assert_eq!(given_up, unfit, "{units:?}");
            for (share, unit) in shares.iter().zip(units) {
                assert_eq!(share.unit.start, if share.unfit.is_some() { 1 } else { *unit });
            }
        }
    }
}
