//! The names of Linux, FreeBSD and illumos, and ours.
//!
//! Facts about the others are from their headers and manuals: Linux `Documentation/core-api/dma-api.rst`, FreeBSD
//! `bus_dma(9)`, illumos `ddi_dma_attr(9S)` and `ddi_dma_addr_bind_handle(9F)`.
//!
//! # Objects
//!
//! | here | Linux | FreeBSD | illumos | what differs, and why |
//! |---|---|---|---|---|
//! | [`Limits`](crate::Limits) | `struct device` (masks), `device_dma_parameters`, `queue_limits` | `bus_dma_tag_t` | `ddi_dma_attr_t` | One record for memory, descriptors and transfers; each limit names its source and whether breaking it fails. Linux keeps three, copied by hand. |
//! | [`DmaTarget`](crate::DmaTarget) | none | a tag derived from a parent tag | none | Limits, device, pool and policy together; shared by queues. |
//! | [`DmaTarget::channel`](crate::DmaTarget::channel) | none | child tag | none | Only tighter; FreeBSD narrows silently, here a looser value is an error with both numbers. |
//! | [`DmaDevice`](crate::map::DmaDevice) | `struct device` and `dma_*` calls | tag and map | `dev_info_t` and handle | A value with a type, no global hook. Knows no bus. |
//! | [`Backend`](crate::map::Backend) | `struct dma_map_ops` | machine-dependent tag methods | nexus driver | Offset, IOMMU, bounce and checker stack as values. |
//! | [`ScatterList`](crate::ScatterList) | `struct scatterlist`, `sg_table` | segments in a callback | cookies | A chain: splices in O(1), is split and merged. What is mapped is another list, so input and output are never mixed up. |
//! | [`Segment`](crate::Segment) | `struct scatterlist` entry, `bio_vec` | `bus_dma_segment_t` | `ddi_dma_cookie_t` | 16 bytes, no page structure. |
//! | [`Lease`](crate::Lease) | the caller's care | the caller's care | `ddi_umem_lock`, the caller's care | What the caller had to keep alive is owned. |
//! | [`Mapped`](crate::map::Mapped) | `dma_addr_t` and length | `bus_dmamap_t` | `ddi_dma_handle_t` | Owns the memory; unmapped when dropped. |
//! | [`InFlight`](crate::map::InFlight) | none | none | none | What a device holds; nobody else can touch it. |
//! | [`Coherent`](crate::map::Coherent) | `dma_alloc_coherent` | `bus_dmamem_alloc` with `BUS_DMA_COHERENT` | `ddi_dma_mem_alloc`, `DDI_DMA_CONSISTENT` | Volatile words only. |
//! | [`DmaPool`](crate::map::DmaPool) | `struct dma_pool` | none | none | Which objects are free is kept out of the device's reach. |
//! | [`plan`](crate::plan::plan()) | `bio_split_to_limits`, for block devices | none: `EFBIG` | DMA windows | For any device: cuts, bounces, and the reason for each. |
//!
//! # Calls
//!
//! | here | Linux | FreeBSD | illumos |
//! |---|---|---|---|
//! | [`DmaDevice::map`](crate::map::DmaDevice::map) of a lease | `dma_map_sg`, `dma_map_sgtable` | `bus_dmamap_load_*` | `ddi_dma_buf_bind_handle` |
//! | [`DmaDevice::map_bytes`](crate::map::DmaDevice::map_bytes) | `dma_map_single` | `bus_dmamap_load` | `ddi_dma_addr_bind_handle` |
//! | [`Mapped::unmap`](crate::map::Mapped::unmap) | `dma_unmap_sg`, `dma_unmap_single` | `bus_dmamap_unload` | `ddi_dma_unbind_handle` |
//! | [`Mapped::sync_for_cpu`](crate::map::Mapped::sync_for_cpu) | `dma_sync_*_for_cpu` | `bus_dmamap_sync`, `POSTREAD`, `POSTWRITE` | `ddi_dma_sync`, `DDI_DMA_SYNC_FORCPU` |
//! | [`Mapped::sync_for_device`](crate::map::Mapped::sync_for_device) | `dma_sync_*_for_device` | `bus_dmamap_sync`, `PREREAD`, `PREWRITE` | `ddi_dma_sync`, `DDI_DMA_SYNC_FORDEV` |
//! | [`DmaTarget::map_unsynced`](crate::DmaTarget::map_unsynced) | `DMA_ATTR_SKIP_CPU_SYNC` | none | none |
//! | [`DmaDevice::alloc_coherent`](crate::map::DmaDevice::alloc_coherent) | `dma_alloc_coherent` | `bus_dmamem_alloc` | `ddi_dma_mem_alloc` |
//! | [`DmaPool::fetch`](crate::map::DmaPool::fetch) | `dma_pool_alloc` | none | none |
//! | [`prepare`](crate::map::prepare) | each driver by itself | each driver by itself | each driver by itself |
//! | [`MapError`](crate::map::MapError), always looked at | `dma_mapping_error`, often forgotten | the callback's error | the return code |
//!
//! # Limits
//!
//! | here ([`LimitId`](crate::LimitId)) | Linux | FreeBSD | illumos |
//! |---|---|---|---|
//! | `AddrMax`, `AddrMin` | `dma_mask`, `bus_dma_limit` | `lowaddr`, `highaddr`: an *excluded* window | `dma_attr_addr_lo`, `_hi`, inclusive |
//! | `CoherentAddrMax` | `coherent_dma_mask` | none | none |
//! | `AddrAlign` | `dma_alignment` (a mask) | `alignment` | `dma_attr_align`, which binding ignores |
//! | `SegmentsMax` | `max_segments` | `nsegments` | `dma_attr_sgllen` |
//! | `SegmentLenMax` | `max_segment_size` | `maxsegsz` | `dma_attr_count_max` (a mask) |
//! | `SegmentBoundary` | `seg_boundary_mask` (a mask) | `boundary` | `dma_attr_seg` (a mask) |
//! | `GapBoundary` | `virt_boundary_mask` (a mask), `dma_get_merge_boundary` | `BUS_DMA_KEEP_PG_OFFSET` comes near | none |
//! | `BounceOffsetMask` | `min_align_mask` | `BUS_DMA_KEEP_PG_OFFSET` | none |
//! | `TotalLenAlign` | `logical_block_size` | none | `dma_attr_granular` |
//! | `TransferLenMin`, `TransferLenMax` | `max_hw_sectors`, `dma_max_mapping_size` | `maxsize` | `dma_attr_minxfer`, `_maxxfer` |
//! | `ChunkLen` | `chunk_sectors` | none | none |
//!
//! Masks become lengths and powers of two here, and zero means "no rule" only where [`LimitId`](crate::LimitId) says so.
//!
//! # What is done otherwise on purpose
//!
//! - A list that does not fit is **cut before it is mapped**, by the planner. Linux and FreeBSD fail at the mapping; illumos
//!   alone answers with windows.
//! - Unmapping takes no length, count or direction that could differ from those of the mapping. On Linux
//!   `dma_unmap_sg` must be given the *original* count, not the mapped one, a classic mistake.
//! - Linux combines two virt boundaries by the smaller one, the weaker rule. [`Limits::stack`](crate::Limits::stack) takes the larger.
//! - FreeBSD may put a load off until bounce memory is free, and calls back. Here a shortage is an error at once; a target
//!   that must not fail has a [reserve](crate::MapPolicy::MustSucceed).
//! - Bounced bytes are counted, with the limit that caused each bounce ([`Mapped::visit_bounces`](crate::map::Mapped::visit_bounces)). Elsewhere a
//!   bounce cannot be seen.
