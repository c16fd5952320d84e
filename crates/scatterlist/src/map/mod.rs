//! Mapping: from memory to addresses that a device can use.

#[cfg(feature = "alloc")]
pub mod iommu;
#[cfg(feature = "alloc")]
pub mod translation_table;
