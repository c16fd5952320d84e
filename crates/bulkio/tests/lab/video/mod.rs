//! Video grabbers, emulated by the kernel's `vivid`: three devices with three kinds of queues, one to be unplugged, one that gives no frames.

mod faults;
mod frames;
mod refusals;
pub(crate) mod support;
