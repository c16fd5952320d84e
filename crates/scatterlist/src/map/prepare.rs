//! [`prepare`]: maps a request and fetches its descriptors in one step, and undoes both on any failure.
//!
//! The generic place that the 2002 proposal wanted for what every driver did by itself. A driver adds the values: it
//! takes the [command](InFlight::command) of what it prepared and rings its doorbell; on the completion it turns
//! the flight back and [unprepares](Prepared::unprepare), which gives the request back to be completed.

use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::panic::Location;

use lock_api::RawMutex;

use super::device::DmaDevice;
use super::direction::MapDirection as _;
use super::error::{MapError, Resource};
use super::flight::InFlight;
use super::flight::sealed::Parts;
use super::mapped::{MapFailed, Mapped};
use super::pool::{DmaPool, PoolObject};
use super::target::DmaTarget;
use super::terms::{Bounced, CpuSync};
use crate::desc::{DescriptorFormat, DescriptorMemory};
use crate::plan::{Policy, fits_device, plan};
use crate::request::Shell;
use crate::{
    Addr as _, BusAddr, Complete, Direction, Outcome, Position, Request, ScatterList, Segments as _,
};

/// Where the descriptors of a target come from: memory that the target's own device sees at the bus addresses that objects
/// say. A pool of another device leads the hardware astray.
pub trait DescriptorPool {
    /// One object, back in the pool when it is dropped.
    type Object: DescriptorMemory;

    /// Returns the words of 8 bytes of an object.
    fn object_words(&self) -> usize;

    /// Takes an object.
    ///
    /// # Errors
    /// [`MapError::Shortage`] when all are out.
    #[track_caller]
    fn fetch(&self) -> Result<Self::Object, MapError>;
}

impl<D: DmaDevice, R: RawMutex> DescriptorPool for DmaPool<D, R> {
    type Object = PoolObject<D, R>;

    fn object_words(&self) -> usize {
        usize::try_from(self.layout().len.div_ceil(8)).unwrap_or(usize::MAX)
    }

    fn fetch(&self) -> Result<PoolObject<D, R>, MapError> {
        DmaPool::fetch(self)
    }
}

impl<P: DescriptorPool + ?Sized> DescriptorPool for &P {
    type Object = P::Object;

    fn object_words(&self) -> usize {
        (**self).object_words()
    }

    fn fetch(&self) -> Result<P::Object, MapError> {
        (**self).fetch()
    }
}

/// Why a request could not be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError<E: core::error::Error + 'static> {
    /// It breaks a limit of the target, its memory could not be mapped, or the pool is short.
    #[error(transparent)]
    Map(#[from] MapError),
    /// It could not be encoded.
    #[error("the request cannot be encoded: {0}")]
    Encode(#[source] E),
}

/// A request that could not be prepared: it comes back as it was, nothing is mapped, all descriptors are back.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct PrepareFailed<T, E: core::error::Error + 'static> {
    /// The request.
    pub request: T,
    /// Why it was not prepared.
    #[source]
    pub error: PrepareError<E>,
}

/// The objects of one request; most need none or one, and those allocate nothing.
pub(super) enum Objects<T> {
    None,
    One([T; 1]),
    Many(Vec<T>),
}

impl<T> Objects<T> {
    #[track_caller]
    #[inline]
    fn fetch<P: DescriptorPool<Object = T>>(pool: &P, count: usize) -> Result<Self, MapError> {
        match count {
            0 => Ok(Self::None),
            1 => Ok(Self::One([pool.fetch()?])),
            _ => {
                let mut objects = Vec::new();
                let need = u64::try_from(count).unwrap_or(u64::MAX);
                let short = MapError::Shortage { what: Resource::Heap, need, have: 0 };
                objects.try_reserve_exact(count).map_err(|_| short)?;
                for _ in 0..count {
                    objects.push(pool.fetch()?);
                }
                Ok(Self::Many(objects))
            }
        }
    }

    #[inline]
    fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::None => &mut [],
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }

    fn as_slice(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

/// A request with its memory mapped and its descriptors filled, idle: no device holds it.
///
/// Dropping it unmaps, gives the descriptors back, and drops the request's completions.
pub struct Prepared<D: DmaDevice, P: DescriptorPool, O, C, T> {
    pub(super) command: T,
    pub(super) objects: Objects<P::Object>,
    pub(super) mapped: Mapped<D, O, Direction>,
    pub(super) shell: Shell<C>,
}

/// Maps `request` for `target`, as one transfer, and encodes its descriptors in `format`.
///
/// ```
/// use scatterlist::desc::PrpFormat;
/// use scatterlist::map::{Direct, DmaDevice, DmaPool, HeapMemory, Offset, PoolLayout, prepare};
/// use scatterlist::{Addr, Direction, Lease, Position, Request};
///
/// // PRPs of 4 KiB pages, lists of one page: the format says what limits that implies.
/// let format = PrpFormat::new(4096)?;
/// let device = &Direct::new(HeapMemory::default(), Offset::NONE, &format.limits(1)?)?;
/// let pages = PoolLayout { len: 4096, align: 4096, boundary: 4096, slab_len: 1 << 16, objects_max: 64 };
/// let target = device.target().with_pool(DmaPool::new(device, pages)?);
///
/// let lease = Lease::from_vec(vec![0_u8; 64 << 10]).map_err(|(_, error)| error)?;
/// let request = Request::new(lease, Direction::FromDevice, Position::At(0), ());
/// let flight = prepare(&target, request, &format).map_err(|failed| failed.error)?.into_flight();
/// // The driver writes `command` into its queue and rings the doorbell; later the completion comes.
/// let command = flight.command();
/// assert_eq!(command.prp1().raw() % 4, 0);
/// // SAFETY: no device was ever told.
/// let request = unsafe { flight.complete() }.unprepare();
/// assert_eq!(target.pool().objects_out(), 0);
/// assert_eq!(request.len_bytes(), 64 << 10);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// The request as it was, with why: the limits, the mapping or the pool ([`PrepareError::Map`]) or the format
/// ([`PrepareError::Encode`]).
#[track_caller]
pub fn prepare<D, P, O, C, F>(
    target: &DmaTarget<D, P>,
    request: Request<D::Addr, O, C>,
    format: &F,
) -> PrepareResult<D, P, O, C, F>
where
    D: DmaDevice,
    P: DescriptorPool,
    F: DescriptorFormat,
{
    let place = Location::caller();
    let direction = request.direction();
    // What headers and trailers added lies nowhere on the device.
    if let Err(error) = fits_device(request.position(), request.payload_bytes(), target.limits()) {
        return Err(PrepareFailed { request, error: MapError::Limit(error).into() });
    }
    let (lease, shell) = request.detach();
    let terms = target.terms(direction.value(), CpuSync::Whole, place);
    // Held against the limits when it is described, which plans it anyway.
    let mapped = match Mapped::map_unchecked(target.device().clone(), lease, direction, &terms) {
        Ok(mapped) => mapped,
        Err(MapFailed { given, error }) => {
            return Err(PrepareFailed { request: shell.attach(given), error: error.into() });
        }
    };
    match describe(target, &mapped, format) {
        Ok((command, objects)) => Ok(Prepared { command, objects, mapped, shell }),
        Err(error) => Err(PrepareFailed { request: shell.attach(mapped.unmap()), error }),
    }
}

/// A request prepared in the format `F`.
pub type PreparedFor<D, P, O, C, F> = Prepared<D, P, O, C, <F as DescriptorFormat>::Command>;

/// What [`prepare`] gives.
pub type PrepareResult<D, P, O, C, F> = Result<
    PreparedFor<D, P, O, C, F>,
    PrepareFailed<Request<<D as super::Backend>::Addr, O, C>, <F as DescriptorFormat>::Error>,
>;

/// A command and the objects it points to.
pub(super) type Described<F, P> = (<F as DescriptorFormat>::Command, Objects<<P as DescriptorPool>::Object>);

/// Fetches and fills the descriptors of what is mapped.
#[track_caller]
#[inline]
pub(super) fn describe<D, P, O, F>(
    target: &DmaTarget<D, P>,
    mapped: &Mapped<D, O, Direction>,
    format: &F,
) -> Result<Described<F, P>, PrepareError<F::Error>>
where
    D: DmaDevice,
    P: DescriptorPool,
    F: DescriptorFormat,
{
    let limits = target.reach().bus_memory();
    // Most requests of a page or two are no more than this.
    if let Some(run) = mapped.bus().only()
        && limits.hard().takes(run.addr().raw(), run.len())
        && let Some(command) = format.encode_run(run)
    {
        return Ok((command, Objects::None));
    }
    // Looked at where it is: it is large.
    let next = plan(mapped.bus(), Position::Stream, limits, Policy::WholeOrError).next();
    let ready = match &next {
        Some(Ok(ready)) => ready,
        Some(Err(error)) => return Err(MapError::Limit(*error).into()),
        // A mapping holds at least a byte, so there is something to plan.
        None => return Err(MapError::Empty.into()),
    };
    let count = format.objects_needed(ready, target.pool().object_words()).map_err(PrepareError::Encode)?;
    let mut objects = Objects::fetch(target.pool(), count)?;
    let command = format.encode(ready, objects.as_mut_slice()).map_err(PrepareError::Encode)?;
    Ok((command, objects))
}

impl<D: DmaDevice, P: DescriptorPool, O, C, T> Prepared<D, P, O, C, T> {
    /// Undoes [`prepare`]: unmaps, gives the descriptors back, and returns the request.
    #[track_caller]
    pub fn unprepare(self) -> Request<D::Addr, O, C> {
        let Self { mapped, shell, .. } = self;
        shell.attach(mapped.unmap())
    }

    /// Returns where on the device the transfer starts.
    pub const fn position(&self) -> Position {
        self.shell.position()
    }

    /// Returns the bytes of the transfer.
    pub fn len_bytes(&self) -> u64 {
        self.mapped.len_bytes()
    }

    /// Tells which of the bytes go through other memory, in order, and why.
    pub fn visit_bounces(&self, visit: impl FnMut(Bounced)) {
        self.mapped.visit_bounces(visit);
    }

    /// Returns how many of the bytes go through other memory.
    pub fn bounced_bytes(&self) -> u64 {
        self.mapped.bounced_bytes()
    }

    /// Gives it to a device: the command comes out.
    #[inline]
    pub const fn into_flight(self) -> InFlight<Self> {
        InFlight::new(self)
    }
}

impl<D: DmaDevice, P: DescriptorPool, O, C, T> InFlight<Prepared<D, P, O, C, T>> {
    /// Returns what the device is told.
    pub fn command(&self) -> &T {
        &self.held().command
    }

    /// Returns where on the device the transfer starts.
    pub fn position(&self) -> Position {
        self.held().position()
    }

    /// Returns the bytes of the transfer.
    pub fn len_bytes(&self) -> u64 {
        self.held().len_bytes()
    }

    /// Returns the objects that hold the descriptors.
    pub fn descriptors(&self) -> &[P::Object] {
        self.held().objects.as_slice()
    }
}

impl<D: DmaDevice, P: DescriptorPool, O, C: Complete, T> InFlight<Prepared<D, P, O, C, T>> {
    /// Gives a request up that a device may hold for good: its completions get their shares of the outcome; memory and
    /// descriptors stay taken, which is said as for any flight that is dropped.
    pub fn abandon(self, outcome: Outcome) {
        let Prepared { command, objects, mapped, shell } = ManuallyDrop::into_inner(self.leak());
        // First of all, for dropping a command or telling a completion may panic.
        core::mem::forget(mapped);
        core::mem::forget(objects);
        drop(command);
        shell.complete(outcome);
    }
}

impl<D: DmaDevice, P: DescriptorPool, O, C, T> Parts for Prepared<D, P, O, C, T> {
    type Bus = ScatterList<BusAddr>;

    fn held_bus(&self) -> &Self::Bus {
        self.mapped.bus()
    }

    fn say_leaked(&self) {
        self.mapped.say_leaked();
    }
}

impl<D: DmaDevice, P: DescriptorPool, O, C, T> fmt::Debug for Prepared<D, P, O, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("mapped", &self.mapped).finish_non_exhaustive()
    }
}
