//! [`DmaTarget`]: limits, the device behind them, a pool of descriptors, and a policy.
//!
//! What the queues of a controller share, and what a driver maps and prepares by. A [channel](DmaTarget::channel) is
//! derived from a target and can only be tighter. Targets are values: share one by reference or `Arc`; the device in
//! it is a handle already.

use core::panic::Location;

use super::backend::Backend;
use super::direction::DmaDirection;
use super::error::TargetError;
use super::reach::Reach;
use super::terms::{CpuSync, Terms, Usage};
use crate::plan::Policy;
use crate::{Force, LimitId, Limits};

/// Whether a mapping may fail for want of memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum MapPolicy {
    /// It may; the caller tries again later.
    #[default]
    MayFail,
    /// Up to this many mappings at a time, each within the target's limits, do not: the device sets aside what they
    /// need when the target is built. What breaks a limit still fails. An IOMMU shares its addresses and table among devices
    /// and can promise nothing, and so cannot a bounce pool on top of one.
    MustSucceed {
        /// Mappings at a time.
        transfers: u32,
    },
}

/// Limits, a device, a pool and a policy. `D` is a handle to the device, `P` one to the pool, or `()`.
#[derive(Clone, Debug)]
pub struct DmaTarget<D, P = ()> {
    device: D,
    reach: Reach,
    policy: MapPolicy,
    pool: P,
}

impl<D: Backend> DmaTarget<D> {
    /// Makes the target of a device's own limits.
    pub fn of_device(device: D) -> Self {
        let reach = *device.reach();
        Self { device, reach, policy: MapPolicy::MayFail, pool: () }
    }
}

impl<D: Backend, P> DmaTarget<D, P> {
    /// Derives a target with tighter limits. What `limits` leave open stays as it is here.
    ///
    /// # Errors
    /// [`TargetError::Looser`] for a limit that lets through what this target refuses, others where the
    /// limits cannot be met together or not on this bus.
    pub fn channel(&self, limits: &Limits) -> Result<Self, TargetError>
    where
        D: Clone,
        P: Clone,
    {
        let parent = self.reach.bus();
        // What the channel states itself must be tighter; what it leaves open comes from the parent.
        let stated = limits.iter().filter(|(id, own)| own.value != id.neutral());
        if let Some(limit) = stated.map(|(id, _)| id).find(|id| limits.is_looser(*id, parent)) {
            return Err(looser(limit, limits, parent));
        }
        let stacked = limits.stack(parent)?;
        if let Some(limit) = stacked.looser_than(parent) {
            return Err(looser(limit, &stacked, parent));
        }
        let reach = Reach::of(&self.device, &stacked)?;
        let (device, pool) = (self.device.clone(), self.pool.clone());
        Ok(Self { device, reach, policy: self.policy, pool })
    }

    /// Puts a descriptor pool in, for [`prepare`](crate::map::prepare).
    pub fn with_pool<Q>(self, pool: Q) -> DmaTarget<D, Q> {
        let Self { device, reach, policy, .. } = self;
        DmaTarget { device, reach, policy, pool }
    }

    /// Sets the policy. For [`MapPolicy::MustSucceed`] the device sets its reserve aside now; the reserve is the device's,
    /// so it is for one target and the channels derived from it.
    ///
    /// # Errors
    /// [`TargetError::Reserve`] where that is more than there is.
    pub fn with_policy(mut self, policy: MapPolicy) -> Result<Self, TargetError> {
        if let MapPolicy::MustSucceed { transfers } = policy {
            self.device.reserve(self.reach.bus(), transfers)?;
        }
        self.policy = policy;
        Ok(self)
    }

    /// Returns the limits in bus addresses.
    pub const fn limits(&self) -> &Limits {
        self.reach.bus()
    }

    /// Returns the limits by which requests are planned before they are mapped: in the addresses of their lists.
    pub const fn list_limits(&self) -> &Limits {
        self.reach.list()
    }

    /// Returns both views of the limits.
    pub const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Returns the device.
    pub const fn device(&self) -> &D {
        &self.device
    }

    /// Returns the pool.
    pub const fn pool(&self) -> &P {
        &self.pool
    }

    /// Returns the policy.
    pub const fn policy(&self) -> MapPolicy {
        self.policy
    }

    /// Returns how to plan requests for this target: with bounces where the device bounces.
    pub fn plan_policy(&self) -> Policy {
        if self.device.bounces() { Policy::SplitOrBounce } else { Policy::SplitOrError }
    }

    /// Returns the terms of one mapping.
    pub(crate) fn terms(
        &self,
        direction: DmaDirection,
        sync: CpuSync,
        place: &'static Location<'static>,
    ) -> Terms<'_> {
        let reserved = self.policy != MapPolicy::MayFail;
        let usage = Usage { direction, sync, reserved, place };
        self.reach.terms(usage)
    }
}

fn looser(limit: LimitId, limits: &Limits, parent: &Limits) -> TargetError {
    let (own, parent) = (limits.get(limit), parent.get(limit));
    let (value, force): (u64, Force) = (own.value, own.force);
    TargetError::Looser { limit, value, force, parent: parent.value, parent_force: parent.force }
}
