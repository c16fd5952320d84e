//! Limits: any values, built and stacked. Nothing panics, and what a stack gives keeps what each of the two demands.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use scatterlist::{Force, LimitId, Limits};
use scatterlist_fuzz as fuzz;

fuzz_target!(|data: &[u8]| {
    // Too few bytes is not a case.
    let _ = one(&mut Unstructured::new(data));
});

fn one(input: &mut Unstructured<'_>) -> Result<()> {
    let Some(upper) = built(input)? else { return Ok(()) };
    let Some(lower) = built(input)? else { return Ok(()) };
    match upper.stack(&lower) {
        Ok(stacked) => {
            for id in LimitId::MEMORY.into_iter().chain(LimitId::DEVICE) {
                assert!(keeps(id, &stacked, &upper), "{id}: {stacked:?} on {upper:?}");
                // The lower record counts its chunks from where it lies itself.
                if id != LimitId::PositionOffset {
                    assert!(keeps(id, &stacked, &lower), "{id}: {stacked:?} on {lower:?}");
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(stacked) = upper.stack_memory(lower.memory()) {
        for id in LimitId::MEMORY {
            assert!(keeps(id, &stacked, &upper) && keeps(id, &stacked, &lower), "{id}");
        }
    }
    Ok(())
}

/// Builds, and builds again from what was built.
fn built(input: &mut Unstructured<'_>) -> Result<Option<Limits>> {
    Ok(match fuzz::limits(input)?.build() {
        Ok(limits) => {
            assert_eq!(limits.to_builder().build(), Ok(limits));
            Some(limits)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    })
}

/// Whether all that `stacked` lets through is let through by the one limit of `side`, where that is hard.
/// Written from the documentation of [`LimitId`].
fn keeps(id: LimitId, stacked: &Limits, side: &Limits) -> bool {
    let demanded = side.get(id);
    if demanded.force == Force::Soft || demanded.value == id.neutral() {
        return true;
    }
    let (value, demanded) = (stacked.hard_value(id), demanded.value);
    match id {
        LimitId::AddrMax
        | LimitId::CoherentAddrMax
        | LimitId::SegmentsMax
        | LimitId::PiecesMax
        | LimitId::SegmentLenMax
        | LimitId::TransferLenMax
        | LimitId::Capacity => value <= demanded,
        LimitId::AddrMin | LimitId::TransferLenMin | LimitId::CopyBelow | LimitId::BounceOffsetMask => {
            value >= demanded
        }
        // A multiple of the demanded granule.
        LimitId::AddrAlign
        | LimitId::PieceLenAlign
        | LimitId::TotalLenAlign
        | LimitId::GapBoundary
        | LimitId::PositionAlign
        | LimitId::PositionAlignOpt => value.is_multiple_of(demanded),
        // A boundary that falls on every demanded one; 0 would be none.
        LimitId::SegmentBoundary | LimitId::PageLen | LimitId::ChunkLen => {
            value != 0 && demanded.is_multiple_of(value)
        }
        LimitId::PositionOffset => value == demanded,
        // A hint.
        _ => true,
    }
}
