//! [`Namespace`]: blocks of a controller, and the target whose limits requests for them are planned by.

use alloc::sync::Arc;
use core::fmt;

use scatterlist::map::{DmaDevice, DmaPool, TargetError};
use scatterlist::{DmaTarget, Force, LimitId, Limits, LimitsError, Source};

use crate::error::NamespaceError;
use crate::identify::NamespaceInformation;
use crate::spec;

/// LBADS: blocks of 512 bytes at least (NVM Command Set Specification 1.0, section 4.1.5.1), of 64 KiB at most here.
const BLOCK_LEN_LOG2_MIN: u8 = 9;
const BLOCK_LEN_LOG2_MAX: u8 = 16;

/// Whose a queue or a namespace is: a controller's clones are equal, and nobody else's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owner(Arc<()>);

impl Owner {
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Blocks of a controller. Clones are handles, for threads that submit.
#[derive(Clone)]
pub struct Namespace<D: DmaDevice> {
    id: u32,
    information: NamespaceInformation,
    target: DmaTarget<D, DmaPool<D>>,
    block_shift: u32,
    capacity_bytes: u64,
    transfer_len_max: u64,
    owner: Owner,
}

impl<D: DmaDevice> Namespace<D> {
    /// Derives a namespace's target from its controller's.
    pub(crate) fn new(
        id: u32,
        information: NamespaceInformation,
        controller: &DmaTarget<D, DmaPool<D>>,
        owner: Owner,
    ) -> Result<Self, NamespaceError> {
        let NamespaceInformation { blocks, block_len_log2, metadata_len, .. } = information;
        if metadata_len != 0 {
            return Err(NamespaceError::Metadata { namespace: id, metadata_len });
        }
        if !(BLOCK_LEN_LOG2_MIN..=BLOCK_LEN_LOG2_MAX).contains(&block_len_log2) {
            let (log2, max) = (block_len_log2, BLOCK_LEN_LOG2_MAX);
            return Err(NamespaceError::BlockLen { namespace: id, log2, max });
        }
        let block_shift = u32::from(block_len_log2);
        let block_len = 1_u64.wrapping_shl(block_shift);
        let capacity_bytes = blocks.checked_mul(block_len).ok_or(NamespaceError::Capacity {
            namespace: id,
            blocks,
            block_len,
        })?;
        let own = limits(&information, block_len, capacity_bytes)
            .map_err(|error| NamespaceError::Limits { namespace: id, error })?;
        let refused = |error| NamespaceError::Target { namespace: id, error };
        // Stacked first: what the controller or its bus demands more of stays as it is there.
        let stacked = own.stack(controller.limits()).map_err(|error| refused(error.into()))?;
        let target = controller.channel(&stacked).map_err(refused)?;
        let transfer_len_max = target.limits().hard_value(LimitId::TransferLenMax);
        Ok(Self { id, information, target, block_shift, capacity_bytes, transfer_len_max, owner })
    }

    /// Derives a handle to the same blocks whose target is tighter: for a producer whose memory must also suit another device, or
    /// may only lie where that one reaches. Both go to the same queues.
    ///
    /// # Errors
    /// [`TargetError`] for a limit that is looser than here, or that cannot be met.
    pub fn channel(&self, limits: &Limits) -> Result<Self, TargetError> {
        let target = self.target.channel(limits)?;
        let transfer_len_max = target.limits().hard_value(LimitId::TransferLenMax);
        Ok(Self { target, transfer_len_max, ..self.clone() })
    }

    /// Returns the identifier (NSID).
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Returns what the controller says of it.
    pub const fn information(&self) -> &NamespaceInformation {
        &self.information
    }

    /// Returns the target: plan requests by its [list limits](DmaTarget::list_limits).
    pub const fn target(&self) -> &DmaTarget<D, DmaPool<D>> {
        &self.target
    }

    /// Returns the bytes of a block.
    pub const fn block_len(&self) -> u64 {
        1_u64.wrapping_shl(self.block_shift)
    }

    /// Returns the bytes of all blocks.
    pub const fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Returns the most bytes of one transfer.
    pub(crate) const fn transfer_len_max(&self) -> u64 {
        self.transfer_len_max
    }

    pub(crate) const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Returns block and count of whole blocks within the namespace; `None` for anything else, and for no byte.
    #[inline]
    pub(crate) fn blocks(&self, at: u64, bytes: u64, bytes_max: u64) -> Option<(u64, u64)> {
        let mask = self.block_len().wrapping_sub(1);
        let whole = (at | bytes) & mask == 0 && bytes > 0 && bytes <= bytes_max;
        let inside = at.checked_add(bytes).is_some_and(|end| end <= self.capacity_bytes);
        (whole && inside).then(|| (at.wrapping_shr(self.block_shift), bytes.wrapping_shr(self.block_shift)))
    }
}

/// Returns the limits that a namespace adds to its controller's.
fn limits(information: &NamespaceInformation, block_len: u64, capacity: u64) -> Result<Limits, LimitsError> {
    let blocks = |count: u64| count.saturating_mul(block_len);
    let mut limits = Limits::builder()
        .set(LimitId::PositionAlign, block_len, Source::Identify, Force::Hard)
        .set(LimitId::Capacity, capacity, Source::Identify, Force::Hard)
        // The field for the number of blocks has 16 bits.
        .set(LimitId::TransferLenMax, blocks(spec::BLOCKS_MAX), Source::Interface, Force::Hard);
    if information.noiob != 0 {
        // Crossing it is slow, not wrong, but a command that does is two inside: so requests are cut there.
        let chunk = blocks(u64::from(information.noiob));
        limits = limits.set(LimitId::ChunkLen, chunk, Source::Identify, Force::Hard);
    }
    if information.has_write_hints() {
        let granule = blocks(u64::from(information.npwg).saturating_add(1));
        let best = blocks(u64::from(information.nows).saturating_add(1));
        limits = limits.set(LimitId::PositionAlignOpt, granule, Source::Identify, Force::Soft).set(
            LimitId::TransferLenOpt,
            best,
            Source::Identify,
            Force::Soft,
        );
    }
    limits.build()
}

impl<D: DmaDevice> fmt::Debug for Namespace<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace")
            .field("id", &self.id)
            .field("information", &self.information)
            .finish_non_exhaustive()
    }
}
