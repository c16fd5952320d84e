//! From a request to parts and vectors: the planner's answer in the form that the kernel takes.

use scatterlist::plan::{Piece, Policy, is_ready, plan};
use scatterlist::{Addr, CpuAddr, Limits, Position, Request, Segment};

use super::error::SubmitReason;
use super::part::Part;

/// Most vectors of one operation: `UIO_MAXIOV` of `include/uapi/linux/uio.h`.
const VECTORS_MAX: usize = 1024;

/// The last position of a file: the greatest `loff_t`.
const POSITION_MAX: u64 = i64::MAX.unsigned_abs();

/// Plans `request` and writes its operations to `parts`, their memory to `vectors`. Both are empty before, and
/// hold nothing of use after an error.
pub(super) fn fill<O, C>(
    request: &Request<CpuAddr, O, C>,
    limits: &Limits,
    parts: &mut Vec<Part>,
    vectors: &mut Vec<libc::iovec>,
) -> Result<(), SubmitReason> {
    let (position, bytes) = (request.position(), request.len_bytes());
    if bytes == 0 {
        return Err(SubmitReason::Empty { position });
    }
    if let Position::At(at) = position
        && at.checked_add(bytes).is_none_or(|end| end > POSITION_MAX)
    {
        return Err(SubmitReason::Position { position, bytes, max: POSITION_MAX });
    }
    if let Some(vector) = one_run(request, limits) {
        let mut part = Part::new(0, position, 0);
        (part.len, part.vectors) = (bytes, 1);
        parts.push(part);
        vectors.push(vector);
        return Ok(());
    }
    let mut at = 0_u64;
    for ready in plan(request.lease().list(), position, limits, Policy::SplitOrError) {
        let ready = ready?;
        let mut part = Part::new(at, ready.position(), vectors.len());
        for piece in ready.pieces() {
            let here = part.at.saturating_add(part.len);
            let segment = match piece {
                Piece::Direct(segment) => segment,
                Piece::Bounce(bounce) => return Err(SubmitReason::Bounce { at: here, bytes: bounce.len }),
            };
            let no_memory = SubmitReason::NoMemory { at: here, addr: segment.addr().raw() };
            let vector = vector(segment).ok_or(no_memory)?;
            if part.vectors == VECTORS_MAX {
                let pieces = VECTORS_MAX.saturating_add(1);
                return Err(SubmitReason::TooManyPieces { at, pieces, max: VECTORS_MAX });
            }
            vectors.push(vector);
            part.vectors = part.vectors.saturating_add(1);
            part.len = part.len.saturating_add(segment.len());
        }
        at = at.saturating_add(part.len);
        parts.push(part);
    }
    Ok(())
}

/// Returns the memory of a request that is one run of bytes and needs no plan, as most are.
fn one_run<O, C>(request: &Request<CpuAddr, O, C>, limits: &Limits) -> Option<libc::iovec> {
    let list = request.lease().list();
    if list.len_segments() != 1 || !is_ready(list, request.position(), limits) {
        return None;
    }
    vector(list.first()?)
}

/// Returns a segment as the kernel takes it; `None` where no memory can be.
fn vector(segment: Segment<CpuAddr>) -> Option<libc::iovec> {
    let pointer = segment.addr().as_ptr();
    let iov_len = usize::try_from(segment.len()).ok()?;
    if pointer.is_null() || usize::try_from(segment.end()).is_err() {
        return None;
    }
    Some(libc::iovec { iov_base: pointer.cast(), iov_len })
}
