//! The plan as one JSON object. The names are stable: fields are added, never renamed. Lengths are bytes.

use bulkio::copy::{CopyPlan, PlannedLayout, PlannedSide, PlannedTransfer};
use serde::Serialize;

use crate::probing::JsonLimit;

#[derive(Serialize)]
struct Json {
    source: JsonSide,
    destination: JsonSide,
    /// The limits of memory that suit both; `null` where none does.
    together: Option<Vec<JsonLimit>>,
    /// `null` where that is refused.
    layout: Option<JsonLayout>,
    /// Why the copy would be refused before anything is written.
    refusals: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct JsonSide {
    path: String,
    class: &'static str,
    is_new: bool,
    /// `null` where it does not say.
    len_bytes: Option<u64>,
    limits: Vec<JsonLimit>,
    direct: bool,
    /// Why not; `null` where it is.
    direct_refused: Option<String>,
    bounces: Vec<JsonBounce>,
    start_unit: u64,
    end_unit: u64,
    splits_below: bool,
}

#[derive(Serialize)]
struct JsonBounce {
    reason: String,
    bytes: u64,
}

#[derive(Serialize)]
struct JsonLayout {
    skip: u64,
    seek: u64,
    /// `null` where only the end of the source will tell, as is `requests`.
    bytes: Option<u64>,
    block_bytes: u64,
    requests: Option<u64>,
    depth: u32,
    depth_max: u32,
    pool_bytes: u64,
    first: Vec<JsonTransfer>,
    last: Vec<JsonTransfer>,
    edges: Vec<JsonTransfer>,
}

#[derive(Serialize)]
struct JsonTransfer {
    /// `read`, `write`, `edge_read` or `edge_write`.
    step: &'static str,
    /// `null` for a stream.
    position: Option<u64>,
    bytes: u64,
    slot_offset: u64,
    padding: u64,
    aside: u64,
    direct: bool,
    /// `slot`, `range` or `ragged`.
    cut: &'static str,
    calls: Vec<JsonCall>,
}

#[derive(Serialize)]
struct JsonCall {
    position: Option<u64>,
    bytes: u64,
    pieces: u64,
    /// The limit that made it end before the transfer does; `null` where none did.
    cut: Option<String>,
}

/// Returns the object on one line.
pub(super) fn object(plan: &CopyPlan) -> serde_json::Result<String> {
    serde_json::to_string(&Json {
        source: side(&plan.source),
        destination: side(&plan.destination),
        together: plan
            .together
            .as_ref()
            .map(|limits| limits.iter().filter(|(id, _)| id.is_memory()).map(JsonLimit::new).collect()),
        layout: plan.layout.as_ref().map(layout),
        refusals: plan.refusals.iter().map(ToString::to_string).collect(),
        notes: plan.notes.clone(),
    })
}

fn side(side: &PlannedSide) -> JsonSide {
    JsonSide {
        path: side.path.display().to_string(),
        class: side.class.name(),
        is_new: side.is_new,
        len_bytes: side.len,
        limits: side.limits.iter().map(JsonLimit::new).collect(),
        direct: side.not_direct.is_none(),
        direct_refused: side.not_direct.clone(),
        bounces: side
            .bounced
            .iter()
            .map(|(reason, bytes)| JsonBounce { reason: reason.clone(), bytes: *bytes })
            .collect(),
        start_unit: side.start_unit,
        end_unit: side.end_unit,
        splits_below: side.splits_below,
    }
}

fn layout(layout: &PlannedLayout) -> JsonLayout {
    let transfers = |list: &[PlannedTransfer]| list.iter().map(transfer).collect();
    JsonLayout {
        skip: layout.skip,
        seek: layout.seek,
        bytes: layout.len,
        block_bytes: layout.slot_len,
        requests: layout.requests,
        depth: layout.depth,
        depth_max: layout.depth_max,
        pool_bytes: layout.pool_bytes,
        first: transfers(&layout.first),
        last: transfers(&layout.last),
        edges: transfers(&layout.edges),
    }
}

fn transfer(transfer: &PlannedTransfer) -> JsonTransfer {
    let call = |call: &bulkio::copy::PlannedCall| JsonCall {
        position: call.position,
        bytes: call.len,
        pieces: call.pieces,
        cut: call.cut.map(|why| why.to_string()),
    };
    JsonTransfer {
        step: transfer.step.name(),
        position: transfer.position,
        bytes: transfer.len,
        slot_offset: transfer.slot_offset,
        padding: transfer.padding,
        aside: transfer.aside,
        direct: transfer.direct,
        cut: transfer.cut.name(),
        calls: transfer.calls.iter().map(call).collect(),
    }
}
