//! [`Arguments`]: words `key=value` of the command line.
//!
//! A word that nobody asked for is an error, told at the end of a scenario by [`Arguments::all_were_asked`]: what was demanded and
//! ignored would be a case that proves nothing.

use alloc::collections::BTreeSet;
use alloc::string::String;
use core::cell::RefCell;
use core::num::ParseIntError;

/// The words of the command line.
#[derive(Clone, Debug)]
pub struct Arguments<'a> {
    line: &'a str,
    /// The keys that were asked for.
    asked: RefCell<BTreeSet<&'static str>>,
}

/// An argument that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentError {
    /// It is not there.
    #[error("the command line has no `{key}=`")]
    Missing {
        /// Which.
        key: &'static str,
    },
    /// It is no number.
    #[error("`{key}` is no number: {error}")]
    Number {
        /// Which.
        key: &'static str,
        /// Why.
        error: ParseIntError,
    },
    /// Nobody asked for it.
    #[error("the command line has `{word}`, which this scenario does not know")]
    Unknown {
        /// The word.
        word: String,
    },
    /// It has a value that it cannot have.
    #[error("`{key}={value}`: it can be {allowed}")]
    Value {
        /// Which.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it can be.
        allowed: &'static str,
    },
}

impl<'a> Arguments<'a> {
    /// Takes a command line.
    #[must_use]
    pub const fn new(line: &'a str) -> Self {
        Self { line, asked: RefCell::new(BTreeSet::new()) }
    }

    /// Iterates over the values of `key`, which may stand more than once.
    pub fn all(&self, key: &'static str) -> impl Iterator<Item = &'a str> {
        self.asked.borrow_mut().insert(key);
        self.line.split_whitespace().filter_map(move |word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// Returns the value of `key`.
    ///
    /// # Errors
    /// [`ArgumentError::Missing`].
    pub fn text(&self, key: &'static str) -> Result<&'a str, ArgumentError> {
        self.all(key).next().ok_or(ArgumentError::Missing { key })
    }

    /// Returns the value of `key` as a number.
    ///
    /// # Errors
    /// [`ArgumentError`].
    pub fn number(&self, key: &'static str) -> Result<u64, ArgumentError> {
        self.text(key)?.parse().map_err(|error| ArgumentError::Number { key, error })
    }

    /// Returns the value of `key` as a number, or `otherwise` where it is not there.
    ///
    /// # Errors
    /// [`ArgumentError::Number`].
    pub fn number_or(&self, key: &'static str, otherwise: u64) -> Result<u64, ArgumentError> {
        match self.number(key) {
            Err(ArgumentError::Missing { .. }) => Ok(otherwise),
            other => other,
        }
    }

    /// Makes the error of a value that `key` cannot have.
    #[must_use]
    pub fn bad_value(key: &'static str, value: &str, allowed: &'static str) -> ArgumentError {
        ArgumentError::Value { key, value: value.into(), allowed }
    }

    /// Fails where a word stands there that nobody asked for.
    ///
    /// # Errors
    /// [`ArgumentError::Unknown`], for the first.
    pub fn all_were_asked(&self) -> Result<(), ArgumentError> {
        let asked = self.asked.borrow();
        let known = |word: &&str| word.split_once('=').is_some_and(|(key, _)| asked.contains(key));
        let unknown = self.line.split_whitespace().find(|word| !known(word));
        unknown.map_or(Ok(()), |word| Err(ArgumentError::Unknown { word: word.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_by_key() {
        let arguments = Arguments::new("scenario=play seed=7 x=1 x=2 seeds=9");
        assert_eq!(arguments.text("scenario"), Ok("play"));
        assert_eq!(arguments.number("seed"), Ok(7));
        assert!(arguments.all("x").eq(["1", "2"]));
        assert_eq!(arguments.number_or("y", 3), Ok(3));
        assert_eq!(arguments.text("y"), Err(ArgumentError::Missing { key: "y" }));
        let unknown = ArgumentError::Unknown { word: "seeds=9".into() };
        assert_eq!(arguments.all_were_asked(), Err(unknown));
        assert_eq!(arguments.number("seeds"), Ok(9));
        assert_eq!(arguments.all_were_asked(), Ok(()));
        assert!(matches!(arguments.number("scenario"), Err(ArgumentError::Number { key: "scenario", .. })));
    }
}
