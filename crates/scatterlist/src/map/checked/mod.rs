//! The misuse checker: a record of what is mapped, and the rules that every call must keep.
//!
//! [`Ledger`] is a plain value that needs no device: it is told of each call ([`MapCall`], [`Call`]) and of what a
//! device or a test saw, and answers with [`Finding`]s, which carry the numbers, the place of the call and the place
//! of the mapping. [`Regions`] tells it which memory must never be mapped. [`Checked`], around any back end, drives
//! it, and so can code that maps and unmaps by bare addresses, as C does.
//!
//! It finds what `dma-debug` of Linux finds (`Documentation/core-api/dma-api.rst`, "Debug drivers use of the
//! DMA-API"), and beyond that: bus addresses that break the device's [`Limits`](crate::Limits), a device that
//! touches what is not mapped for it, and the CPU in memory that the device owns. Everything it keeps is bounded, see
//! [`LedgerOptions`].

mod backend;
mod call;
mod finding;
mod history;
mod ledger;
mod limits;
mod lines;
mod options;
mod regions;
mod spans;
mod watch;

pub use backend::{Checked, CheckedMapping};
pub use call::{Call, MapCall, MapKind, Span, Touched};
pub use finding::{Finding, Freed, Mapping, Place, SpanSide, SyncFor};
pub use ledger::Ledger;
pub use options::{LedgerOptions, OptionsError};
pub use regions::{Region, RegionTable, Regions};
pub use watch::Watch;
