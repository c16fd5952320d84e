//! Sound: what is recorded from a loopback card is what was played to it, and everything that can be in the way.
//!
//! The card of `snd_aloop` has two devices: what is played to one is recorded from the other, by a timer in place of a crystal. While one side is set
//! up, the other has its format, rate and channels only.

mod copies;
mod copying;
mod loops;
mod negotiate;
mod player;
mod rings;
mod sources;
mod stalls;
mod xrun;
