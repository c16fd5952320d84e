//! What a grabber says of itself, for people and programs, and which memory it could fill without a copy on the way to another end.

use std::fmt::Write as _;

use bulkio::device::video::{MemoryModel, ModelReport, Rate, Rates, Sizes, VideoFacts};
use serde::Serialize;

use super::other_end::{Frames, JsonOtherEnd, OtherEnd, Verdict, common_divisor};

#[derive(Serialize)]
struct Json<'a> {
    path: String,
    kind: &'static str,
    driver: &'a str,
    card: &'a str,
    bus: &'a str,
    inputs: Vec<JsonInput<'a>>,
    /// The input that is chosen.
    input: Option<u32>,
    /// As the device stands.
    format: JsonFormat,
    formats: Vec<JsonFormats<'a>>,
    memory: Vec<JsonMemory>,
    /// The other end that was asked about, if one was.
    to: Option<JsonOtherEnd<'a>>,
}

#[derive(Serialize)]
struct JsonInput<'a> {
    index: u32,
    name: &'a str,
    /// `V4L2_IN_ST_*`; 0 where nothing is known to be wrong with the signal.
    status: u32,
}

#[derive(Serialize)]
struct JsonFormat {
    fourcc: String,
    width: u32,
    height: u32,
    rate: Option<String>,
    frame_bytes: u64,
    planes: Vec<JsonPlane>,
    compressed: bool,
    field: &'static str,
}

#[derive(Serialize)]
struct JsonPlane {
    bytes: u32,
    stride_bytes: u32,
}

#[derive(Serialize)]
struct JsonFormats<'a> {
    fourcc: String,
    description: &'a str,
    compressed: bool,
    emulated: bool,
    sizes: JsonSizes,
}

/// A list, a range, or `null` where the driver does not say.
#[derive(Serialize)]
#[serde(untagged)]
enum JsonSizes {
    List(Vec<JsonSize>),
    Steps { min: [u32; 2], max: [u32; 2], step: [u32; 2], rates: JsonRates },
    Unknown,
}

#[derive(Serialize)]
struct JsonSize {
    width: u32,
    height: u32,
    rates: JsonRates,
}

/// A list, a range, or `null` where the driver does not say.
#[derive(Serialize)]
#[serde(untagged)]
enum JsonRates {
    List(Vec<String>),
    Steps { slowest: String, fastest: String },
    Unknown,
}

#[derive(Serialize)]
struct JsonMemory {
    model: &'static str,
    works: bool,
    /// Why it does not work; null where it does.
    refused: Option<String>,
    /// What the place of a frame in memory must be a multiple of; null where it does not work.
    align: Option<u64>,
    pinnable: Option<bool>,
    /// What would become of frames on the way to the other end (direct, edges, copied); null where it does not work, or none was asked about.
    verdict: Option<&'static str>,
    reason: Option<String>,
}

/// Returns one JSON object.
pub(super) fn json(facts: &VideoFacts, to: Option<&OtherEnd>) -> serde_json::Result<String> {
    let format = &facts.format;
    serde_json::to_string(&Json {
        path: facts.path.display().to_string(),
        kind: "video",
        driver: &facts.driver,
        card: &facts.card,
        bus: &facts.bus,
        inputs: facts
            .inputs
            .iter()
            .map(|input| JsonInput { index: input.index, name: &input.name, status: input.status })
            .collect(),
        input: facts.input,
        format: JsonFormat {
            fourcc: format.fourcc.to_string(),
            width: format.width,
            height: format.height,
            rate: format.rate.map(|rate| rate.to_string()),
            frame_bytes: format.frame_len,
            planes: format
                .planes
                .iter()
                .map(|plane| JsonPlane { bytes: plane.size_bytes, stride_bytes: plane.stride_bytes })
                .collect(),
            compressed: format.compressed,
            field: format.field.name(),
        },
        formats: facts
            .formats
            .iter()
            .map(|format| JsonFormats {
                fourcc: format.fourcc.to_string(),
                description: &format.description,
                compressed: format.compressed,
                emulated: format.emulated,
                sizes: JsonSizes::of(&format.sizes),
            })
            .collect(),
        memory: facts.models.iter().map(|model| JsonMemory::of(model, verdict(facts, model, to))).collect(),
        to: to.map(OtherEnd::json),
    })
}

impl JsonSizes {
    fn of(sizes: &Sizes) -> Self {
        match sizes {
            Sizes::Discrete(sizes) => Self::List(
                sizes
                    .iter()
                    .map(|size| JsonSize {
                        width: size.width,
                        height: size.height,
                        rates: JsonRates::of(&size.rates),
                    })
                    .collect(),
            ),
            Sizes::Steps { min, max, step, rates } => Self::Steps {
                min: (*min).into(),
                max: (*max).into(),
                step: (*step).into(),
                rates: JsonRates::of(rates),
            },
            _ => Self::Unknown,
        }
    }
}

impl JsonRates {
    fn of(rates: &Rates) -> Self {
        match rates {
            Rates::Discrete(rates) => Self::List(rates.iter().map(Rate::to_string).collect()),
            Rates::Steps { slowest, fastest } => {
                Self::Steps { slowest: slowest.to_string(), fastest: fastest.to_string() }
            }
            _ => Self::Unknown,
        }
    }
}

impl JsonMemory {
    fn of(report: &ModelReport, verdict: Option<Verdict>) -> Self {
        Self {
            model: report.model.name(),
            works: report.works(),
            refused: report.refusal.as_ref().map(ToString::to_string),
            align: report.works().then_some(report.align),
            pinnable: report.pinnable,
            verdict: verdict.as_ref().map(Verdict::name),
            reason: verdict.as_ref().and_then(Verdict::reason).map(str::to_owned),
        }
    }
}

/// Returns a table for people, several lines.
pub(super) fn table(facts: &VideoFacts, to: Option<&OtherEnd>) -> String {
    let mut text = String::new();
    let VideoFacts { path, driver, card, bus, format, .. } = facts;
    let _ = writeln!(text, "{}: video, {card}, driver {driver}, at {bus}", path.display());
    for input in &facts.inputs {
        let chosen = if facts.input == Some(input.index) { ", chosen" } else { "" };
        let signal = if input.status == 0 { "" } else { ", no usable signal" };
        let _ = writeln!(text, "  input {input}{chosen}{signal}");
    }
    let at_most = if format.compressed { "at most " } else { "" };
    let planes = match format.planes.as_slice() {
        [] | [_] => String::new(),
        planes => {
            let lens: Vec<String> = planes.iter().map(|plane| plane.size_bytes.to_string()).collect();
            format!(" in planes of {}", lens.join(", "))
        }
    };
    let _ = writeln!(text, "  stands at {format}: frames of {at_most}{} bytes{planes}", format.frame_len);
    let mut formats = facts.formats.iter().map(|format| (format, size_lines(&format.sizes))).peekable();
    while let Some((format, sizes)) = formats.next() {
        let compressed = if format.compressed { ", compressed" } else { "" };
        let emulated = if format.emulated { ", made by software" } else { "" };
        let _ = writeln!(text, "format {:<8} {}{compressed}{emulated}", format.fourcc, format.description);
        // Formats in a row mostly have the same sizes.
        if formats.peek().is_none_or(|(_, next)| *next != sizes) {
            for line in sizes {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    for model in &facts.models {
        let _ = writeln!(text, "memory {:<14} {}", model.model, memory_words(model));
    }
    if let Some(to) = to {
        let _ = writeln!(text, "to {to}");
        for model in &facts.models {
            let words = verdict(facts, model, Some(to))
                .map_or_else(|| "does not work".to_owned(), |verdict| verdict.to_string());
            let _ = writeln!(text, "  by {:<14} {words}", model.model);
        }
    }
    text
}

/// The sizes, those of the same rates together.
fn size_lines(sizes: &Sizes) -> Vec<String> {
    let list = match sizes {
        Sizes::Discrete(list) => list,
        Sizes::Steps { rates, .. } => return vec![format!("{sizes} at {}", rate_words(rates))],
        _ => return vec![sizes.to_string()],
    };
    let mut lines: Vec<(String, String)> = Vec::new();
    for size in list {
        let (rates, size) = (rate_words(&size.rates), format!("{}x{}", size.width, size.height));
        match lines.iter_mut().find(|(same, _)| *same == rates) {
            Some((_, sizes)) => {
                let _ = write!(sizes, ", {size}");
            }
            None => lines.push((rates, size)),
        }
    }
    lines.into_iter().map(|(rates, sizes)| format!("{sizes} at {rates}")).collect()
}

/// Rates as people write them: 30, not 30/1.
fn rate_words(rates: &Rates) -> String {
    let words = |rate: &Rate| match rate.seconds {
        1 => rate.frames.to_string(),
        _ => rate.to_string(),
    };
    match rates {
        Rates::Discrete(rates) => rates.iter().map(words).collect::<Vec<_>>().join(", "),
        Rates::Steps { slowest, fastest } => format!("{} to {}", words(slowest), words(fastest)),
        _ => rates.to_string(),
    }
}

fn memory_words(report: &ModelReport) -> String {
    if let Some(refusal) = &report.refusal {
        return format!("does not work: {refusal}");
    }
    let place = match report.model {
        MemoryModel::UserPointer => format!(", frames may begin at multiples of {} bytes", report.align),
        _ => String::new(),
    };
    let pins = match report.pinnable {
        Some(true) => "",
        Some(false) => ", no other device can have it",
        None => ", whether another device can have it is not known",
    };
    format!("works{place}{pins}")
}

/// What would become of frames in this memory on the way to the other end; `None` where it does not work, or there is no other end.
fn verdict(facts: &VideoFacts, report: &ModelReport, to: Option<&OtherEnd>) -> Option<Verdict> {
    let format = &facts.format;
    let to = to.filter(|_| report.works())?;
    let place_align = (report.model == MemoryModel::UserPointer).then_some(report.align);
    let lies_apart = !report.together && format.planes.len() > 1;
    let step = format.planes.iter().fold(0, |step, plane| common_divisor(plane.size_bytes.into(), step));
    Some(to.verdict(&Frames {
        len: (!format.compressed).then_some(format.frame_len),
        place_align,
        apart: lies_apart.then_some(step),
        pinnable: report.pinnable,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_as_people_write_them() {
        let rate = |text: &str| text.parse::<Rate>().expect("a rate");
        let rates = Rates::Discrete(["30", "30000/1001", "12.5"].map(rate).to_vec());
        assert_eq!(rate_words(&rates), "30, 30000/1001, 125/10");
        let rates = Rates::Steps { slowest: rate("1"), fastest: rate("60") };
        assert_eq!(rate_words(&rates), "1 to 60");
        assert_eq!(size_lines(&Sizes::Unknown), ["what the driver does not list"]);
        let steps = Sizes::Steps { min: (16, 16), max: (64, 32), step: (8, 4), rates };
        assert_eq!(size_lines(&steps), ["16x16 to 64x32 in steps of 8x4 at 1 to 60"]);
        assert!(matches!(JsonSizes::of(&steps), JsonSizes::Steps { max: [64, 32], .. }));
    }
}
