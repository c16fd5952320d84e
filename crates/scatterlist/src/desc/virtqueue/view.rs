//! The raw bytes of the three parts, with checked access: nothing is trusted, nothing is followed.

use super::format::field;
use super::{Descriptor, QueueSize};

/// A descriptor table, or an indirect one, as bytes.
#[derive(Clone, Copy, Debug)]
pub struct TableView<'a> {
    entries: &'a [[u8; 16]],
    rest: usize,
}

impl<'a> TableView<'a> {
    /// Looks at `bytes`; a last entry that is cut off is none.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        let (entries, rest) = bytes.as_chunks();
        Self { entries, rest: rest.len() }
    }

    /// Returns how many whole entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether there is no whole entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many bytes after the last whole entry there are; in a table there are none.
    #[must_use]
    pub const fn rest_bytes(&self) -> usize {
        self.rest
    }

    /// Returns an entry, or `None` past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Descriptor> {
        self.entries.get(index).copied().map(Descriptor::from_bytes)
    }

    /// Iterates over the entries in the order of the table, not of any chain.
    pub fn iter(&self) -> impl Iterator<Item = Descriptor> + 'a {
        self.entries.iter().copied().map(Descriptor::from_bytes)
    }
}

/// The available ring as bytes: flags, index, entries (section 2.7.6).
#[derive(Clone, Copy, Debug)]
pub struct AvailableView<'a> {
    fields: &'a [[u8; 2]],
    size: QueueSize,
}

impl<'a> AvailableView<'a> {
    /// Looks at `bytes`, the ring of a queue of `size`. What lies past their end reads as `None`.
    #[must_use]
    pub const fn new(bytes: &'a [u8], size: QueueSize) -> Self {
        Self { fields: bytes.as_chunks().0, size }
    }

    /// Returns the flags.
    #[must_use]
    pub fn flags(&self) -> Option<u16> {
        self.field(0)
    }

    /// Returns the running index: where the driver puts the next entry.
    #[must_use]
    pub fn index(&self) -> Option<u16> {
        self.field(1)
    }

    /// Returns the head that stands at a running index.
    #[must_use]
    pub fn head(&self, index: u16) -> Option<u16> {
        self.field(usize::from(self.size.wrap(index)).saturating_add(2))
    }

    fn field(&self, index: usize) -> Option<u16> {
        self.fields.get(index).map(|field| u16::from_le_bytes(*field))
    }
}

/// One element of the used ring (section 2.7.8, `struct virtq_used_elem`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UsedElement {
    /// The head of the chain.
    pub id: u32,
    /// Bytes that the device says it wrote.
    pub written_bytes: u32,
}

/// The used ring as bytes: flags, index, elements (section 2.7.8).
#[derive(Clone, Copy, Debug)]
pub struct UsedView<'a> {
    words: &'a [[u8; 4]],
    size: QueueSize,
}

impl<'a> UsedView<'a> {
    /// Looks at `bytes`, the ring of a queue of `size`. What lies past their end reads as `None`.
    #[must_use]
    pub const fn new(bytes: &'a [u8], size: QueueSize) -> Self {
        Self { words: bytes.as_chunks().0, size }
    }

    /// Returns the flags.
    #[must_use]
    pub fn flags(&self) -> Option<u16> {
        self.word(0).map(|word| field(u64::from(word), 0))
    }

    /// Returns the running index: where the device puts the next element.
    #[must_use]
    pub fn index(&self) -> Option<u16> {
        self.word(0).map(|word| field(u64::from(word), 1))
    }

    /// Returns the element that stands at a running index.
    #[must_use]
    pub fn element(&self, index: u16) -> Option<UsedElement> {
        let at = usize::from(self.size.wrap(index)).saturating_mul(2).saturating_add(1);
        Some(UsedElement { id: self.word(at)?, written_bytes: self.word(at.saturating_add(1))? })
    }

    fn word(&self, index: usize) -> Option<u32> {
        self.words.get(index).map(|word| u32::from_le_bytes(*word))
    }
}
