//! Direct I/O for any slice, on file systems and devices that obey alignment.

mod bad_input;
mod bounds;
#[path = "../common/mod.rs"]
mod common;
mod drivers;
mod end_of_file;
#[path = "../faulty/mod.rs"]
mod faulty;
mod futures;
mod model;
mod scope;
mod support;
mod threads;
mod wakers;
