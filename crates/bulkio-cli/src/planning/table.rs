//! The plan for people: the limits side by side, the layout, the first and last transfers, and what is copied on the way.

use std::fmt::Write as _;

use bulkio::copy::{CopyPlan, Cut, PlannedLayout, PlannedSide, PlannedTransfer};
use scatterlist::{Limit, LimitId};

use crate::size::human;

/// The most calls or commands of one transfer that are listed.
const CALLS_MAX: usize = 4;

/// Returns the whole plan, many lines.
pub(super) fn text(plan: &CopyPlan) -> String {
    let mut text = String::new();
    for (name, side) in [("source", &plan.source), ("destination", &plan.destination)] {
        text.push_str(&of_side(name, side));
    }
    text.push('\n');
    text.push_str(&limits(plan));
    match &plan.layout {
        Some(layout) => text.push_str(&of_layout(layout, plan)),
        None => text.push_str("\nno layout: see why below\n"),
    }
    text.push_str(&bounced(plan));
    for side in [&plan.source, &plan.destination] {
        text.push_str(&splits(side));
    }
    for note in &plan.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if !plan.refusals.is_empty() {
        text.push_str("\nthe copy would be refused, before anything is written\n");
    }
    text
}

fn of_side(name: &str, side: &PlannedSide) -> String {
    let len = side.len.map_or_else(String::new, |len| format!(", {len} bytes"));
    let new = if side.is_new { " (not there yet)" } else { "" };
    let way = match &side.not_direct {
        None => "direct".to_owned(),
        Some(why) => format!("not direct: {why}"),
    };
    format!("{name:<11} {}, {}{new}{len}, {way}\n", side.path.display(), side.class)
}

/// The limits side by side, without those that rule nothing on either side.
fn limits(plan: &CopyPlan) -> String {
    let mut text = String::new();
    let mut row = |name: &str, from: &str, to: &str, both: &str| {
        let _ = writeln!(text, "{name:<20} {from:<36} {to:<36} {both}");
    };
    row("limit", "source (from, force)", "destination (from, force)", "together");
    for (id, from) in plan.source.limits.iter() {
        let to = plan.destination.limits.get(id);
        if from.value == id.neutral() && to.value == id.neutral() {
            continue;
        }
        let both = match &plan.together {
            _ if !id.is_memory() => "each its own".to_owned(),
            Some(limits) => value(id, limits.get(id)),
            None => "no memory suits both".to_owned(),
        };
        row(id.name(), &stated(id, from), &stated(id, to), &both);
    }
    text
}

fn stated(id: LimitId, limit: Limit) -> String {
    if limit.value == id.neutral() {
        return "-".to_owned();
    }
    format!("{} ({}, {})", limit.value, limit.source.name(), limit.force.name())
}

fn value(id: LimitId, limit: Limit) -> String {
    if limit.value == id.neutral() { "-".to_owned() } else { limit.value.to_string() }
}

fn of_layout(layout: &PlannedLayout, plan: &CopyPlan) -> String {
    let mut text = String::from("\n");
    let range = layout.len.map_or_else(
        || "as many bytes as the source has".to_owned(),
        |len| format!("{len} bytes ({})", human(len)),
    );
    let _ = writeln!(text, "{range}, from byte {} to byte {}", layout.skip, layout.seek);
    for (name, side) in [("source", &plan.source), ("destination", &plan.destination)] {
        let _ = match side.start_unit {
            1 => writeln!(text, "{name}: transfers start and end anywhere"),
            start => writeln!(
                text,
                "{name}: transfers start at multiples of {start} in position and memory, and end at multiples of {}: {}",
                side.end_unit,
                units(side)
            ),
        };
    }
    let chosen = if layout.is_len_fixed { "as asked (--bs)" } else { "chosen from the limits and the range" };
    let requests = layout.requests.map_or_else(String::new, |count| format!(", {count} of each side"));
    let _ = writeln!(
        text,
        "requests of {} bytes, {chosen}, in whole pages and units of both sides{requests}",
        layout.slot_len
    );
    let found = match layout.depth_max {
        most if most > layout.depth => format!("; what pays is found out, up to {most}"),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "{} in flight on each side, in {} of memory{found}",
        layout.depth,
        human(layout.pool_bytes)
    );
    list(
        &mut text,
        if layout.last.is_empty() { "the transfers" } else { "the first transfers" },
        &layout.first,
    );
    list(&mut text, "the last transfers", &layout.last);
    list(&mut text, "the ragged ends, behind everything else", &layout.edges);
    text
}

/// Where the units come from.
fn units(side: &PlannedSide) -> String {
    let ids = [LimitId::PositionAlign, LimitId::TotalLenAlign, LimitId::PieceLenAlign, LimitId::AddrAlign];
    let hard = ids.map(|id| (id, side.limits.hard_value(id)));
    let hard = hard.iter().filter(|(_, value)| *value > 1).map(|(id, value)| format!("{id} {value}"));
    hard.collect::<Vec<_>>().join(", ")
}

fn list(text: &mut String, heading: &str, transfers: &[PlannedTransfer]) {
    if transfers.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{heading}:");
    let _ = writeln!(
        text,
        "  {:<11}{:>16} {:>11} {:>11}  way      ends with",
        "", "position", "bytes", "in slot"
    );
    for transfer in transfers {
        let position = transfer.position.map_or_else(|| "stream".to_owned(), |at| at.to_string());
        let way = if transfer.direct { "direct" } else { "bounced" };
        let _ = writeln!(
            text,
            "  {:<11}{position:>16} {:>11} {:>11}  {way:<8} {}",
            transfer.step.name().replace('_', " "),
            transfer.len,
            transfer.slot_offset,
            why(transfer),
        );
        calls(text, transfer);
    }
}

fn why(transfer: &PlannedTransfer) -> String {
    let mut why = match transfer.cut {
        Cut::Slot => "its slot".to_owned(),
        Cut::Range => "the range".to_owned(),
        Cut::Ragged => "the block around a ragged end".to_owned(),
        other => other.name().to_owned(),
    };
    if transfer.padding > 0 {
        let _ = write!(why, ", {} zeros to the end of the block", transfer.padding);
    }
    if transfer.aside > 0 {
        let _ = write!(why, ", {} bytes that fill no block go last", transfer.aside);
    }
    why
}

/// The calls or commands of a transfer, where they are not just one piece of memory.
fn calls(text: &mut String, transfer: &PlannedTransfer) {
    if let [call] = transfer.calls.as_slice()
        && call.pieces == 1
    {
        return;
    }
    for call in transfer.calls.iter().take(CALLS_MAX) {
        let cut = call.cut.map_or_else(String::new, |why| format!(", cut: {why}"));
        let _ = writeln!(text, "  {:<11}{:>28} in {} pieces{cut}", "", call.len, call.pieces);
    }
    let more = transfer.calls.len().saturating_sub(CALLS_MAX);
    if more > 0 {
        let _ = writeln!(text, "  {:<11}{:>28} more like these", "", more);
    }
}

fn bounced(plan: &CopyPlan) -> String {
    let mut text = String::from("\n");
    for (name, side) in [("source", &plan.source), ("destination", &plan.destination)] {
        if side.bounced.is_empty() && side.not_direct.is_none() {
            let _ = writeln!(text, "{name}: nothing is copied on the way");
        }
        for (reason, bytes) in &side.bounced {
            let _ = writeln!(text, "{name}: {bytes} bytes bounced: {reason}");
        }
        if let (true, Some(why)) = (side.bounced.is_empty(), &side.not_direct) {
            let _ = writeln!(text, "{name}: every byte is bounced: {why}");
        }
    }
    text
}

/// Where the kernel decides, and planning changes nothing.
fn splits(side: &PlannedSide) -> String {
    let path = side.path.display();
    if !side.splits_below {
        return String::new();
    }
    let soft: Vec<String> = side.soft_limits().map(|(id, value)| format!("{id} {value}")).collect();
    let soft = if soft.is_empty() { "none is stated".to_owned() } else { soft.join(", ") };
    format!(
        "{path}: the kernel splits what the device below does not take whole ({soft}); planning changes nothing there but sizes\n"
    )
}
