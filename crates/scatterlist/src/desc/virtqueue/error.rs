//! Errors of the driver's side: one enum for building a queue, one for adding a request, one for the used ring.

use crate::BusAddr;
use crate::plan::Why;

/// Why a queue cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The size is none that a split queue may have.
    #[error("queue size {size} is not a power of two up to {max}")]
    Size {
        /// The size.
        size: u16,
        /// The largest.
        max: u16,
    },
    /// One of the three parts has too little memory.
    #[error("the {part} has {words} words of 8 bytes, it needs {need}")]
    Memory {
        /// Which part.
        part: &'static str,
        /// Its words.
        words: usize,
        /// The words that it needs.
        need: usize,
    },
    /// One of the three parts starts where it may not.
    #[error("the {part} at {addr} must be aligned to {align} bytes")]
    Misaligned {
        /// Which part.
        part: &'static str,
        /// Its address.
        addr: BusAddr,
        /// The alignment in bytes.
        align: u64,
    },
    /// The driver's own state has too little room.
    #[error("{slots} slots for a queue of {need} descriptors")]
    Slots {
        /// The slots given.
        slots: usize,
        /// The slots needed: the queue size.
        need: u16,
    },
}

/// Why a request was not added. The queue is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// A request without bytes: a chain has at least one descriptor.
    #[error("a request needs at least one segment")]
    Empty,
    /// Not enough free descriptors now.
    #[error("the request needs {need} descriptors, {free} are free")]
    QueueFull {
        /// The descriptors that it needs.
        need: u64,
        /// The free ones.
        free: u16,
    },
    /// The memory for the indirect table is too small.
    #[error("the request needs {need} indirect descriptors, the table has room for {room}")]
    TableFull {
        /// The descriptors that it needs.
        need: u64,
        /// The descriptors that fit.
        room: u64,
    },
    /// No chain is longer than the queue, nor is one in an indirect table.
    #[error("the request needs a chain of {need} descriptors, the queue allows {max}")]
    ChainTooLong {
        /// The descriptors that it needs.
        need: u64,
        /// The queue size.
        max: u16,
    },
    /// A piece was planned to be bounced, and no bounce buffer stands in its place.
    #[error("piece {index} of {len} bytes has no address yet: {why}")]
    Bounced {
        /// Which piece of the request, from 0.
        index: u64,
        /// Its bytes.
        len: u64,
        /// Why it must be bounced.
        why: Why,
    },
    /// A segment is longer than a descriptor can say.
    #[error("segment {index} is {len} bytes long, a descriptor holds {max}")]
    SegmentTooLong {
        /// Which segment of the request, from 0.
        index: u64,
        /// Its bytes.
        len: u64,
        /// The most bytes.
        max: u64,
    },
    /// The whole request is longer than a chain may be.
    #[error("the request holds at least {bytes} bytes, a chain holds {max}")]
    ChainBytes {
        /// The bytes up to the segment that was too much.
        bytes: u64,
        /// The most bytes.
        max: u64,
    },
}

/// What the device wrote into the used ring that cannot be. Nothing was taken and nothing changed.
///
/// The device is broken or hostile: the same error comes back until it is reset and the queue built anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsedError {
    /// The used index went further than there are requests in flight.
    #[error("the used index is {index}, {taken} was taken, and only {in_flight} requests are in flight")]
    IndexJump {
        /// The index that the device wrote.
        index: u16,
        /// The index up to which the driver has taken.
        taken: u16,
        /// The requests in flight.
        in_flight: u16,
    },
    /// The element names a descriptor that does not exist.
    #[error("used element {index} names descriptor {id}, the queue has {size}")]
    IdOutOfRange {
        /// The running index of the element.
        index: u16,
        /// The descriptor that it names.
        id: u32,
        /// The queue size.
        size: u16,
    },
    /// The element names a descriptor that heads no request in flight.
    #[error("used element {index} names descriptor {id}, which heads no request in flight")]
    NotInFlight {
        /// The running index of the element.
        index: u16,
        /// The descriptor that it names.
        id: u16,
    },
    /// The device claims to have written more than it was given.
    #[error(
        "used element {index} says that {written} bytes of request {id} were written, {writable} were writable"
    )]
    TooMuchWritten {
        /// The running index of the element.
        index: u16,
        /// The head of the request.
        id: u16,
        /// The bytes that the device says it wrote.
        written: u32,
        /// The writable bytes of the request.
        writable: u64,
    },
}
