//! [`Controller`]: an NVMe controller, from its registers to queues that take requests.
//!
//! Bring-up follows NVM Express Base Specification 2.0, section 3.5.1 ("Memory-based Controller Initialization"): disable,
//! admin queue, enable, identify, number of queues, queues. Every limit that it finds goes into its target.
#![expect(unsafe_code, reason = "making a driver is a promise about registers")]

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use scatterlist::desc::{PrpFormat, SglFormat};
use scatterlist::map::{DmaDevice, DmaPool, PoolLayout};
use scatterlist::{Complete, DmaTarget, Force, LimitId, Limits, Source};

use crate::admin::Admin;
use crate::capability::Capability;
use crate::error::{AdminError, InitError, NamespaceError, ReadyError};
use crate::format::{DataFormat, Format};
use crate::identify::{Information, NamespaceInformation, namespace_ids};
use crate::link::Link;
use crate::namespace::{Namespace, Owner};
use crate::options::Options;
use crate::pair::Pair;
use crate::parts::Core;
use crate::queue::IoQueue;
use crate::registers::{Interrupts, Registers};
use crate::slots::{COMMANDS_MAX, Slots};
use crate::spec::{self, cns};

/// Bytes of list pages that are allocated at a time, or one page where that is more.
const LIST_SLAB_LEN: u64 = 64 << 10;

/// An NVMe controller.
///
/// Dropping it disables the controller first; what was in flight is told that it was cancelled.
pub struct Controller<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete> {
    pub(crate) core: Core<R, I, D, O, C>,
    information: Information,
    target: DmaTarget<D, DmaPool<D>>,
    format: Format,
    namespaces: Vec<Namespace<D>>,
    refused: Vec<NamespaceError>,
    version: u32,
}

/// What a submitter needs: where to, and through what.
type Parts<'a, R, I, D, O, C> = (&'a [Namespace<D>], &'a mut [IoQueue<R, I, D, O, C>]);

impl<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete> Controller<R, I, D, O, C> {
    /// Brings a controller up. `device` is how it sees memory.
    ///
    /// # Errors
    /// [`InitError`]. The controller is disabled then and the memory free, or it does not stop and the memory stays taken.
    ///
    /// # Safety
    /// `device` reaches memory as the controller of these registers does. Nobody else drives that controller, by a copy of the
    /// registers or otherwise, until this value and every queue that was taken out of it are gone.
    pub unsafe fn new(registers: R, interrupts: I, device: D, options: Options) -> Result<Self, InitError> {
        options.check()?;
        let capability = Capability::read(&registers)?;
        let link = Arc::new(Link { registers, interrupts, capability });
        let memory = |what| move |error| InitError::Memory { what, error };
        let admin = Admin::new(&device, &capability).map_err(memory("the admin queue"))?;
        let (admin, owner) = (Some(admin), Owner::default());
        // From here on the end of `core` stops the controller and lets go of memory.
        let mut core = Core { link, admin, queues: Vec::new(), owner, options };
        core.link.stop()?;
        core.start()?;

        let information =
            Information::parse(&identify(&mut core, "identifying the controller", cns::CONTROLLER, 0)?);
        let Information { sqes, cqes, .. } = information;
        if sqes != spec::SUBMISSION_LEN_LOG2 || cqes != spec::COMPLETION_LEN_LOG2 {
            return Err(InitError::EntrySizes { sqes, cqes });
        }
        let format = format_of(options.format, &information, &capability)?;

        let queues = core.grant()?;
        let entries = u32::from(options.queue_entries).min(capability.queue_entries_max);
        let entries = u16::try_from(entries).unwrap_or(u16::MAX);
        let commands = entries.saturating_sub(1).min(COMMANDS_MAX);
        let commands = if information.maxcmd == 0 { commands } else { commands.min(information.maxcmd) };

        let pages = match options.list_pages {
            0 => u64::from(commands).saturating_mul(u64::from(queues)),
            pages => u64::from(pages),
        };
        let pool = list_pages(&device, capability.page.len(), pages)?;
        let own = limits(&information, &format, &capability)?;
        // Stacked first: what the bus demands more of stays as it is there.
        let limits = own.stack(device.reach().bus())?;
        let target = device.target().channel(&limits)?.with_pool(pool.clone());

        for id in 1..=queues {
            let pair = Pair::new(&device, &capability, id, entries).map_err(memory("an I/O queue"))?;
            core.queues.push(IoQueue {
                link: Arc::clone(&core.link),
                pair,
                slots: Slots::new(commands),
                owner: core.owner.clone(),
                format,
                pool: pool.clone(),
                oncs: information.oncs,
                command_timeout_ns: options.command_timeout_ns,
                live: false,
                vector: options.vector(id).unwrap_or(0),
            });
        }
        core.create_queues()?;

        let (mut namespaces, mut refused) = (Vec::new(), Vec::new());
        for id in active_namespaces(&mut core)? {
            let bytes = identify(&mut core, "identifying a namespace", cns::NAMESPACE, id)?;
            let found = NamespaceInformation::parse(&bytes);
            match Namespace::new(id, found, &target, core.owner.clone()) {
                Ok(namespace) => namespaces.push(namespace),
                Err(error) => refused.push(error),
            }
        }
        let version = core.link.registers.read32(spec::VS);
        Ok(Self { core, information, target, format, namespaces, refused, version })
    }

    /// Returns what the controller says of itself.
    pub const fn information(&self) -> &Information {
        &self.information
    }

    /// Returns what its registers say.
    pub fn capability(&self) -> &Capability {
        &self.core.link.capability
    }

    /// Returns the version of the specification that it keeps: major, minor, tertiary.
    pub const fn version(&self) -> (u16, u8, u8) {
        let [tertiary, minor, a, b] = self.version.to_le_bytes();
        (u16::from_le_bytes([a, b]), minor, tertiary)
    }

    /// Returns the format that commands name their data in.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Returns the target of the controller: every limit that holds for all its namespaces.
    pub const fn target(&self) -> &DmaTarget<D, DmaPool<D>> {
        &self.target
    }

    /// Returns the namespaces that can be used.
    pub fn namespaces(&self) -> &[Namespace<D>] {
        &self.namespaces
    }

    /// Returns why others cannot.
    pub fn refused(&self) -> &[NamespaceError] {
        &self.refused
    }

    /// Returns the I/O queues. Each may go to a thread of its own.
    pub fn queues_mut(&mut self) -> &mut [IoQueue<R, I, D, O, C>] {
        &mut self.core.queues
    }

    /// Returns the namespaces together with the queues.
    pub fn parts_mut(&mut self) -> Parts<'_, R, I, D, O, C> {
        (&self.namespaces, &mut self.core.queues)
    }

    /// Says whether the controller did not stop when it was to: it takes no commands any more.
    pub const fn is_dead(&self) -> bool {
        self.core.admin.is_none()
    }

    /// Tells the controller that power may go, waits until what it caches is durable, and disables it. Commands that are in
    /// flight then are told that they were cancelled.
    ///
    /// # Errors
    /// [`ReadyError`] where it does not come to an end.
    pub fn shut_down(self) -> Result<(), ReadyError> {
        let Self { core, .. } = self;
        core.link.shut_down(core.options.shutdown_timeout_ns)
    }
}

/// Reads identify data.
fn identify<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete>(
    core: &mut Core<R, I, D, O, C>,
    what: &'static str,
    cns: u32,
    namespace: u32,
) -> Result<Vec<u8>, InitError> {
    let timeout_ns = core.options.admin_timeout_ns;
    let read = core.admin.as_mut().map(|admin| admin.identify(&core.link, cns, namespace, timeout_ns));
    read.unwrap_or(Err(AdminError::Dead)).map_err(|error| InitError::Admin { what, error })
}

/// Returns the identifiers of active namespaces, at most as many as are looked at.
fn active_namespaces<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete>(
    core: &mut Core<R, I, D, O, C>,
) -> Result<Vec<u32>, InitError> {
    let max = usize::try_from(core.options.namespaces_max).unwrap_or(usize::MAX);
    let (mut ids, mut after) = (Vec::<u32>::new(), 0);
    while ids.len() < max && after < spec::NAMESPACE_ID_MAX {
        let found = namespace_ids(&identify(core, "listing the namespaces", cns::ACTIVE_NAMESPACES, after)?);
        // They ascend. A list that does not would have no end.
        let Some(last) = found.last().copied().filter(|last| *last > after) else { break };
        ids.extend(found.into_iter().filter(|id| *id > after && *id <= spec::NAMESPACE_ID_MAX));
        after = last;
    }
    ids.truncate(max);
    Ok(ids)
}

fn format_of(
    wanted: DataFormat,
    information: &Information,
    capability: &Capability,
) -> Result<Format, InitError> {
    let prp = || Ok(Format::Prp(PrpFormat::new(capability.page.len())?));
    match (wanted, information.sgl()) {
        (DataFormat::Prp, _) | (DataFormat::Auto, None) => prp(),
        (DataFormat::Sgl | DataFormat::Auto, Some(granularity)) => {
            Ok(Format::Sgl(SglFormat::new(granularity)))
        }
        (DataFormat::Sgl, None) => Err(InitError::NoSgl { sgls: information.sgls }),
    }
}

/// Returns the limits of the controller itself: its format's with one list page a command, and MDTS.
fn limits(information: &Information, format: &Format, capability: &Capability) -> Result<Limits, InitError> {
    let page_len = capability.page.len();
    let limits = format.limits(page_len)?;
    // In units of the smallest memory page, 0 for no limit: Base section 5.17.2.1. Past 64 bits there is none either.
    let transfer = match information.mdts {
        0 => None,
        mdts => 1_u64.checked_shl(u32::from(mdts)).and_then(|pages| pages.checked_mul(page_len)),
    };
    let Some(transfer) = transfer else { return Ok(limits) };
    Ok(limits.to_builder().set(LimitId::TransferLenMax, transfer, Source::Identify, Force::Hard).build()?)
}

/// Makes the pool of list pages and allocates all of them, so that no command does.
fn list_pages<D: DmaDevice>(device: &D, page_len: u64, pages: u64) -> Result<DmaPool<D>, InitError> {
    let slab_len = LIST_SLAB_LEN.max(page_len).min(page_len.saturating_mul(pages));
    let layout =
        PoolLayout { len: page_len, align: page_len, boundary: page_len, slab_len, objects_max: pages };
    let pool = DmaPool::new(device.clone(), layout)?;
    let all: Result<Vec<_>, _> = (0..pages).map(|_| pool.fetch()).collect();
    drop(all.map_err(|error| InitError::Memory { what: "list pages", error })?);
    Ok(pool)
}

impl<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete> fmt::Debug for Controller<R, I, D, O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("information", &self.information)
            .field("format", &self.format)
            .field("namespaces", &self.namespaces)
            .field("queues", &self.core.queues.len())
            .field("dead", &self.is_dead())
            .finish_non_exhaustive()
    }
}
