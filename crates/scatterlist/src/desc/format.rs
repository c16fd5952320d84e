//! [`DescriptorFormat`]: what [`map::prepare`](crate::map::prepare) needs of a format; [`PrpFormat`] and [`SglFormat`] over
//! the two of NVMe.
//!
//! The rings of virtio and AC97 outlive their requests, so their drivers hold them and add to them by themselves.

use super::DescriptorMemory;
use super::prp::{self, MemoryPage, MemoryPageError, Prps};
use super::sgl::{self, DESCRIPTOR_LEN, DESCRIPTOR_WORDS, Granularity};
use crate::plan::Ready;
use crate::{BusAddr, Limits, LimitsError, Segment, Segments};

/// A format that [`map::prepare`](crate::map::prepare) encodes: how much pool memory a request needs, and what the
/// command then says.
pub trait DescriptorFormat {
    /// What goes into the command or register: pointers to the data or to the descriptors.
    type Command;

    /// Why a request cannot be encoded.
    type Error: core::error::Error + 'static;

    /// Returns how many objects of `object_words` words each the request needs; 0 where the command holds all.
    ///
    /// # Errors
    /// Where no number of objects would do.
    fn objects_needed<S>(&self, ready: &Ready<'_, S>, object_words: usize) -> Result<usize, Self::Error>
    where
        S: Segments<Addr = BusAddr> + ?Sized;

    /// Encodes a request that is one run of memory and keeps the format's limits, where the command holds all of it; `None`
    /// where it does not.
    #[inline]
    fn encode_run(&self, _run: Segment<BusAddr>) -> Option<Self::Command> {
        None
    }

    /// Encodes the request into as many objects as were needed.
    ///
    /// # Errors
    /// Where the request breaks the format's own limits.
    fn encode<S, M>(&self, ready: &Ready<'_, S>, objects: &mut [M]) -> Result<Self::Command, Self::Error>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
        M: DescriptorMemory;
}

/// PRPs of a controller with memory pages of one size; objects are whole list pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrpFormat {
    page: MemoryPage,
}

impl PrpFormat {
    /// Takes the memory page size in bytes.
    ///
    /// # Errors
    /// [`MemoryPageError`] for a size that no controller can have.
    pub const fn new(page_len: u64) -> Result<Self, MemoryPageError> {
        match MemoryPage::new(page_len) {
            Ok(page) => Ok(Self { page }),
            Err(error) => Err(error),
        }
    }

    /// Returns the limits of requests that take at most `lists` list pages.
    ///
    /// # Errors
    /// None that these numbers can cause; see [`prp::limits`].
    pub fn limits(&self, lists: u64) -> Result<Limits, LimitsError> {
        prp::limits(self.page, self.page.list_entries(self.page.slots(), lists))
    }
}

impl DescriptorFormat for PrpFormat {
    type Command = Prps;
    type Error = prp::EncodeError;

    fn objects_needed<S>(&self, ready: &Ready<'_, S>, object_words: usize) -> Result<usize, Self::Error>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
    {
        let words = u64::try_from(object_words).unwrap_or(u64::MAX);
        let lists = prp::lists_needed(ready, self.page, words.min(self.page.slots()))?;
        Ok(usize::try_from(lists).unwrap_or(usize::MAX))
    }

    fn encode<S, M>(&self, ready: &Ready<'_, S>, objects: &mut [M]) -> Result<Prps, Self::Error>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
        M: DescriptorMemory,
    {
        prp::encode(ready, self.page, objects)
    }

    #[inline]
    fn encode_run(&self, run: Segment<BusAddr>) -> Option<Prps> {
        prp::encode_run(run, self.page)
    }
}

/// SGLs; objects are segments of descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SglFormat {
    granularity: Granularity,
}

impl SglFormat {
    /// Takes what the controller says of alignment in its identify data.
    #[must_use]
    pub const fn new(granularity: Granularity) -> Self {
        Self { granularity }
    }

    /// Returns the limits of requests that take at most `segments` objects of `object_len` bytes.
    ///
    /// # Errors
    /// None that these numbers can cause; see [`sgl::limits`].
    pub fn limits(&self, segments: u64, object_len: u64) -> Result<Limits, LimitsError> {
        let descriptors = object_len / DESCRIPTOR_LEN;
        sgl::limits(sgl::descriptors_max(descriptors, segments), self.granularity)
    }
}

impl DescriptorFormat for SglFormat {
    type Command = sgl::Descriptor;
    type Error = sgl::EncodeError;

    fn objects_needed<S>(&self, ready: &Ready<'_, S>, object_words: usize) -> Result<usize, Self::Error>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
    {
        let descriptors = u64::try_from(object_words / DESCRIPTOR_WORDS).unwrap_or(u64::MAX);
        let segments = sgl::segments_needed(ready, descriptors)?;
        Ok(usize::try_from(segments).unwrap_or(usize::MAX))
    }

    fn encode<S, M>(&self, ready: &Ready<'_, S>, objects: &mut [M]) -> Result<sgl::Descriptor, Self::Error>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
        M: DescriptorMemory,
    {
        sgl::encode(ready, objects)
    }

    #[inline]
    fn encode_run(&self, run: Segment<BusAddr>) -> Option<sgl::Descriptor> {
        sgl::encode_run(run)
    }
}
