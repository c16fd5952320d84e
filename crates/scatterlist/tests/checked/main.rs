//! A back end in the checker: a correct driver notices nothing and is never accused; a wrong one is found, with the line
//! of its call and the line of the mapping, and what would harm the back end inside does not reach it.
//!
//! `wrong`: one mistake each, the scenarios of `vectors/debug.json` that a back end's caller can make and more.
//! `correct`: a correct driver at random, through the safe layer. `machine`: a fake device whose accesses are checked.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod correct;
mod machine;
mod support;
mod wrong;
