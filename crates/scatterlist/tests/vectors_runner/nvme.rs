//! `PRP` and `NSGL`: planned for the format, encoded, compared with the entries in the file, and walked as the
//! controller would: what it collects must be the segments that went in.
//!
//! Segments are taken as they stand, with a barrier between them, as of different owners. Where they are
//! adjacent they are also joined, as a list joins them, and the entries must be the same. Where the file
//! expects an error, they are only taken as they stand: segments that meet inside a page are one run to a list,
//! and no error.

use scatterlist::desc::{PlainMemory, prp, sgl};
use scatterlist::plan::{Policy, Ready, plan};
use scatterlist::{Addr as _, BusAddr, Limits, Position, ScatterList, Segment};
use serde_json::Value;

use super::fields::{Fields, items, pairs};
use super::{Verdict, same};

type List = ScatterList<BusAddr>;

/// Where the list memories lie: far from each other, so that no chain works by accident.
const LISTS: u64 = 0x7000_0000;
const LISTS_APART: u64 = 0x100_0000;

fn list(segments: &[(u64, u64)], barrier: bool) -> Result<List, String> {
    let mut list = List::new();
    for &(addr, len) in segments {
        let segment = Segment::new(BusAddr::new(addr), len).map_err(|error| error.to_string())?;
        let segment = if barrier { segment.with_barrier() } else { segment };
        list.append(segment).map_err(|error| error.to_string())?;
    }
    Ok(list)
}

/// Plans a list whole and hands it to `encode`; every refusal is text.
fn planned<T>(
    list: &List,
    limits: &Limits,
    encode: impl FnOnce(&Ready<'_, List>) -> Result<T, String>,
) -> Result<T, String> {
    let ready = plan(list, Position::Stream, limits, Policy::WholeOrError).next();
    let ready = ready.ok_or("nothing to plan")?.map_err(|error| error.to_string())?;
    encode(&ready)
}

/// Compares what a walker collects with the list, byte for byte: adjacent runs count as one.
fn walked<E: std::fmt::Display>(
    runs: impl Iterator<Item = Result<Segment<BusAddr>, E>>,
    segments: &[(u64, u64)],
) -> Verdict {
    let runs: Vec<_> = runs.collect::<Result<_, _>>().map_err(|error| format!("walked: {error}"))?;
    let collected = List::from_segments(runs).map_err(|error| error.to_string())?;
    same("what the controller transfers", &collected, &list(segments, false)?)
}

/// What a case expects: an error, or the object to compare with.
fn expected(case: &mut Fields) -> Result<Option<Fields>, String> {
    // What the source's own code answers; where it differs it carries an erratum.
    case.optional("expect_upstream");
    match case.value("expect")? {
        Value::String(word) if word == "error" => Ok(None),
        value => Fields::new("`expect`", value).map(Some),
    }
}

/// The list memories of one case.
struct Memories(Vec<(u64, Vec<u64>)>);

impl Memories {
    /// `count` memories of `slots` words. A first one that is short stands at the end of its page, where a link is
    /// looked for.
    fn new(count: usize, slots: u64, page: u64) -> Result<Self, String> {
        let len = usize::try_from(slots).map_err(|error| error.to_string())?;
        let place = |index: usize| {
            let addr = LISTS + LISTS_APART * u64::try_from(index).unwrap_or(0);
            let gap = if index == 0 { page.saturating_sub(slots * 8) } else { 0 };
            (addr + gap, vec![0; len])
        };
        Ok(Self((0..count).map(place).collect()))
    }

    fn as_bus(&mut self) -> Vec<PlainMemory<'_>> {
        self.0.iter_mut().map(|(addr, words)| PlainMemory::new(BusAddr::new(*addr), words)).collect()
    }

    fn addr(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, |(addr, _)| *addr)
    }

    fn word(&self, list: usize, index: usize) -> Option<u64> {
        self.0.get(list)?.1.get(index).copied().map(u64::from_le)
    }
}

/// A page list as the file words it: numbers, `LIST`, `LIST+32`, `&list_page1`.
fn address(what: &str, value: &Value, memories: &Memories) -> Result<u64, String> {
    let unknown = || format!("`{what}` is {value}, which is not understood");
    let text = match value {
        Value::String(text) => text.as_str(),
        other => return other.as_u64().ok_or_else(unknown),
    };
    if let Some(rest) = text.strip_prefix("LIST") {
        let offset = match rest.strip_prefix('+') {
            Some(offset) => offset.parse().map_err(|_| unknown())?,
            None if rest.is_empty() => 0_u64,
            None => return Err(unknown()),
        };
        return Ok(memories.addr(0) + offset);
    }
    let index = text.strip_prefix("&list_page").ok_or_else(unknown)?;
    Ok(memories.addr(index.parse().map_err(|_| unknown())?))
}

/// The slots that a list page is to hold, in words such as `b+1p..b+511p, then link`; `b` is the first page of
/// the data, `p` the page size.
fn worded(text: &str, base: u64, page: u64, link: u64) -> Result<Vec<u64>, String> {
    let unknown = || format!("`{text}` is not understood");
    let place = |text: &str| -> Result<u64, String> {
        match text.trim().strip_prefix('b').ok_or_else(unknown)? {
            "" => Ok(0),
            rest => {
                let pages = rest.strip_prefix('+').and_then(|rest| rest.strip_suffix('p'));
                pages.and_then(|pages| pages.parse().ok()).ok_or_else(unknown)
            }
        }
    };
    let mut slots = Vec::new();
    for part in text.split(',').map(str::trim) {
        if matches!(part, "then link" | "link") {
            slots.push(link);
        } else {
            let (from, to) = part.split_once("..").unwrap_or((part, part));
            slots.extend((place(from)?..=place(to)?).map(|index| base + index * page));
        }
    }
    Ok(slots)
}

struct PrpCase {
    page: prp::MemoryPage,
    segments: Vec<(u64, u64)>,
    lists: usize,
    slots: u64,
    /// The buffer of a list that all its slices share.
    shared: Option<u64>,
    expect: Option<Fields>,
}

pub(super) fn prps(mut case: Fields, page: u64) -> Verdict {
    let page_len = case.optional_number("page_size")?.unwrap_or(page);
    let page = prp::MemoryPage::new(page_len).map_err(|error| error.to_string())?;
    let lists = case.optional_number("list_pages")?.unwrap_or(1);
    let buffer = case.optional_number("buffer_base")?;
    let shared = match case.optional("shared_list") {
        None => None,
        Some(Value::String(rule)) if rule == format!("list[i]=base+(i+1)*{page_len}") => {
            Some(buffer.ok_or("a shared list without `buffer_base`")?)
        }
        Some(rule) => return Err(format!("`shared_list` is {rule}, which is not understood")),
    };
    let slots = case.optional_number("list_capacity")?.unwrap_or(page.slots());
    let read = PrpCase {
        page,
        segments: case.pairs("segments")?,
        lists: usize::try_from(lists).map_err(|error| error.to_string())?,
        slots,
        shared,
        expect: expected(&mut case)?,
    };
    case.finish()?;
    read.run()
}

impl PrpCase {
    fn run(self) -> Verdict {
        let mut memories = Memories::new(self.lists, self.slots, self.page.len())?;
        let stands = self.encoded(&mut memories, true);
        let Some(expect) = self.expect else {
            return stands.map_or(Ok(()), |prps| Err(format!("expected an error, got {prps:?}")));
        };
        let ends = self.segments.iter().map(|(addr, len)| addr + len);
        let adjacent = |((end, (next, _)), len): ((u64, &(u64, u64)), u64)| end == *next && end % len != 0;
        let inside =
            ends.zip(self.segments.iter().skip(1)).zip(std::iter::repeat(self.page.len())).any(adjacent);
        let joined = PrpCase { expect: None, segments: self.segments.clone(), ..self };
        let mut again = Memories::new(self.lists, self.slots, self.page.len())?;
        let prps = joined.encoded(&mut again, false)?;
        if !inside {
            same("as they stand and joined", &stands?, &prps)?;
            same("lists as they stand and joined", &memories.0, &again.0)?;
        }
        joined.compare(expect, prps, &again)
    }

    /// Encodes and walks.
    fn encoded(&self, memories: &mut Memories, barrier: bool) -> Result<prp::Prps, String> {
        let lists = list(&self.segments, barrier)?;
        let most = u64::try_from(self.lists).map_err(|error| error.to_string())?;
        let entries = self.page.list_entries(self.slots, most);
        let limits = prp::limits(self.page, entries).map_err(|error| error.to_string())?;
        let by_plan = planned(&lists, &limits, |ready| {
            let needed =
                prp::lists_needed(ready, self.page, self.slots).map_err(|error| error.to_string())?;
            if needed > most {
                return Err(format!("{needed} list pages are needed, {most} are there"));
            }
            let encoded = prp::encode(ready, self.page, &mut memories.as_bus());
            encoded.map_err(|error| format!("planned, and not encoded: {error}"))
        });
        // Planned for no limits, the encoder itself must come to the same answer.
        let alone = planned(&lists, &Limits::default(), |ready| {
            prp::encode(ready, self.page, &mut memories.as_bus()).map_err(|error| error.to_string())
        });
        let prps = match (by_plan, alone) {
            (Ok(planned), Ok(alone)) if planned == alone => planned,
            (Err(why), Err(_)) => return Err(why),
            (planned, alone) => panic!("planned: {planned:?}, encoder alone: {alone:?}"),
        };
        let bytes = self.segments.iter().map(|(_, len)| len).sum();
        walked(prp::walk(&memories.as_bus()[..], self.page, prps, bytes), &self.segments)?;
        let Some(buffer) = self.shared else { return Ok(prps) };
        self.sliced(memories, buffer)
    }

    /// The same from a list that was made once for the whole buffer.
    fn sliced(&self, memories: &mut Memories, buffer: u64) -> Result<prp::Prps, String> {
        let &[(addr, len)] = self.segments.as_slice() else {
            return Err("a slice is one segment".to_owned());
        };
        let bytes = (self.slots + 1) * self.page.len();
        let mut bus = memories.as_bus();
        let first = bus.first_mut().ok_or("no list memory")?;
        let shared = prp::SharedList::new(self.page, BusAddr::new(buffer), bytes, first);
        let shared = shared.map_err(|error| error.to_string())?;
        let offset = addr.checked_sub(buffer).ok_or("a slice before its buffer")?;
        let prps = shared.slice(offset, len).map_err(|error| error.to_string())?;
        walked(prp::walk(&bus[..], self.page, prps, len), &self.segments)?;
        Ok(prps)
    }

    fn compare(&self, mut expect: Fields, prps: prp::Prps, memories: &Memories) -> Verdict {
        same("prp1", &prps.prp1().raw(), &address("prp1", &expect.value("prp1")?, memories)?)?;
        same("prp2", &prps.prp2().raw(), &address("prp2", &expect.value("prp2")?, memories)?)?;
        let page = self.page.len();
        let first = self.segments.first().map_or(0, |(addr, _)| *addr);
        let entries: u64 = self.segments.iter().map(|(addr, len)| (addr % page + len).div_ceil(page)).sum();
        // Entries behind the first, unless the second lies in the command.
        let mut left = if entries > 2 { entries - 1 } else { 0 };
        let mut all = Vec::new();
        for index in 0..self.lists {
            let here = if left > self.slots { self.slots } else { left };
            let linked = left > here;
            let count = usize::try_from(here).unwrap_or(usize::MAX);
            let slots: Vec<u64> = (0..count).filter_map(|slot| memories.word(index, slot)).collect();
            all.extend(slots.iter().take(count - usize::from(linked)).copied());
            left -= here - u64::from(linked);
            let link = memories.addr(index + 1);
            let key = |suffix: &str| format!("list_page{index}{suffix}");
            if let Some(value) = expect.optional(&key("")) {
                let wanted = match &value {
                    Value::String(text) => worded(text, first - first % page, page, link)?,
                    _ => items(&key(""), value)?
                        .iter()
                        .map(|slot| address(&key(""), slot, memories))
                        .collect::<Result<_, _>>()?,
                };
                same(&key(""), &slots, &wanted)?;
            }
            for (suffix, got) in [("_first", slots.first()), ("_last", slots.last())] {
                if let Some(value) = expect.optional(&key(suffix)) {
                    same(&key(suffix), &got.copied(), &Some(address(suffix, &value, memories)?))?;
                }
            }
            if let Some(wanted) = expect.optional_number(&key("_count"))? {
                same(&key("_count"), &here, &wanted)?;
            }
        }
        if let Some(value) = expect.optional("list") {
            let wanted: Vec<u64> = items("list", value)?
                .iter()
                .map(|entry| address("list", entry, memories))
                .collect::<Result<_, _>>()?;
            // A file may state the first entries only; the walk has seen all of them.
            let stated = if wanted.is_empty() { all.len() } else { wanted.len().min(all.len()) };
            same("list", &all.get(..stated).unwrap_or_default(), &wanted.as_slice())?;
        }
        if let Some(wanted) = expect.optional_number("list_count")? {
            same("list_count", &u64::try_from(all.len()).unwrap_or(0), &wanted)?;
        }
        for (key, got) in [("list_first", all.first()), ("list_last", all.last())] {
            if let Some(value) = expect.optional(key) {
                same(key, &got.copied(), &Some(address(key, &value, memories)?))?;
            }
        }
        expect.finish()
    }
}

/// Where every address lies for the bus, in cases of the source's fake translation.
const FAKE_BUS: u64 = 0xdead_beef;

pub(super) fn nsgl(mut case: Fields, _page: u64) -> Verdict {
    if let Some(bytes) = case.optional_number("md_len")? {
        return metadata(case, bytes);
    }
    let offset = case.optional_number("offset")?.unwrap_or(0);
    let size = case.optional_number("size")?;
    let segments = match (case.optional("segments"), case.optional("iov"), case.optional_number("va")?) {
        (Some(segments), None, None) => part("segments", segments, offset, size)?,
        (None, Some(iov), None) => part("iov", iov, offset, size)?,
        (None, None, Some(_)) => {
            let mapping = case.number("mapping_len")?;
            fake(size.ok_or("`va` without `size`")?, mapping)?
        }
        _ => return Err("neither `segments` nor `iov` nor `va`, or several".to_owned()),
    };
    let list_addr = case.optional_number("list_addr")?.unwrap_or(LISTS);
    let room = case.optional_number("list_capacity")?.unwrap_or(256);
    let expect = expected(&mut case)?;
    case.finish()?;

    // Mappings of different buffers are not joined, whatever lies next to whatever.
    let list = list(&segments, true)?;
    let limits = sgl::limits(room, sgl::Granularity::Byte).map_err(|error| error.to_string())?;
    let words = usize::try_from(room * 2).map_err(|error| error.to_string())?;
    let mut memories = Memories(vec![(list_addr, vec![0; words])]);
    let encoded = planned(&list, &limits, |ready| {
        let needed = sgl::segments_needed(ready, room).map_err(|error| error.to_string())?;
        same("list memories needed", &needed, &u64::from(segments.len() > 1))?;
        sgl::encode(ready, &mut memories.as_bus()).map_err(|error| error.to_string())
    });
    let Some(mut expect) = expect else {
        return encoded.map_or(Ok(()), |pointer| Err(format!("expected an error, got {pointer:?}")));
    };
    let pointer = encoded?;
    let bytes = segments.iter().map(|(_, len)| len).sum();
    walked(sgl::walk(&memories.as_bus()[..], pointer, bytes), &segments)?;
    same("inline", &told(pointer)?, &descriptor(&expect.value("inline")?)?)?;
    let wanted = items("list", expect.optional("list").unwrap_or(Value::Null))?;
    let wanted: Vec<_> = wanted.iter().map(descriptor).collect::<Result<_, _>>()?;
    let count = if segments.len() > 1 { segments.len() } else { 0 };
    let held = (0..count).map(|index| {
        let word = |at| memories.word(0, at).ok_or("a descriptor past the list memory");
        told(sgl::Descriptor::from_words([word(index * 2)?, word(index * 2 + 1)?]))
    });
    same("list", &held.collect::<Result<Vec<_>, _>>()?, &wanted)?;
    expect.finish()
}

/// `size` bytes from byte `offset` of segments on.
fn part(what: &str, value: Value, offset: u64, size: Option<u64>) -> Result<Vec<(u64, u64)>, String> {
    let segments = pairs(what, value)?;
    let (mut skip, mut left) = (offset, size.unwrap_or(u64::MAX));
    let mut part = Vec::new();
    for (addr, len) in segments {
        let before = skip.min(len);
        skip -= before;
        let here = (len - before).min(left);
        left -= here;
        if here > 0 {
            part.push((addr + before, here));
        }
    }
    match size {
        Some(_) if left > 0 => Err(format!("{left} bytes more than `{what}` holds")),
        _ => Ok(part),
    }
}

/// `size` bytes of mappings of `mapping` bytes each, all at one address.
fn fake(size: u64, mapping: u64) -> Result<Vec<(u64, u64)>, String> {
    let count = size.checked_div(mapping).ok_or("mappings of no bytes")?;
    let rest = size % mapping;
    let whole = (0..count).map(|_| (FAKE_BUS, mapping));
    Ok(whole.chain((rest > 0).then_some((FAKE_BUS, rest))).collect())
}

type Told = (String, u64, u64);

/// A descriptor of the file: its type, address and length.
fn descriptor(value: &Value) -> Result<Told, String> {
    match value.as_array().map(Vec::as_slice) {
        Some([Value::String(kind), addr, len]) => match (addr.as_u64(), len.as_u64()) {
            (Some(addr), Some(len)) => Ok((kind.clone(), addr, len)),
            _ => Err(format!("{value} is no descriptor")),
        },
        _ => Err(format!("{value} is no descriptor")),
    }
}

fn told(descriptor: sgl::Descriptor) -> Result<Told, String> {
    let kind = match descriptor.kind() {
        sgl::Kind::DataBlock => "data_block",
        sgl::Kind::BitBucket => "bit_bucket",
        sgl::Kind::Segment => "segment",
        sgl::Kind::LastSegment => "last_segment",
        other => return Err(format!("a descriptor of kind {other:?}")),
    };
    same("subtype", &descriptor.subtype(), &0)?;
    same("reserved bytes", &descriptor.reserved(), &0)?;
    Ok((kind.to_owned(), descriptor.addr().raw(), descriptor.len().into()))
}

/// Metadata of `bytes` in mappings of `mapping_len` bytes each.
fn metadata(mut case: Fields, bytes: u64) -> Verdict {
    let mapping = case.optional_number("mapping_len")?.unwrap_or(bytes);
    let addr = case.optional_number("md_addr")?.unwrap_or(FAKE_BUS & !3);
    let expect = expected(&mut case)?;
    case.finish()?;
    // Mappings that do not follow each other, as the case says.
    let segments: Vec<_> = fake(bytes, mapping)?
        .into_iter()
        .zip(0_u64..)
        .map(|((_, len), index)| (addr + index * 0x10_0000, len))
        .collect();
    let list = list(&segments, true)?;
    let limits = sgl::metadata_limits(sgl::Granularity::Dword).map_err(|error| error.to_string())?;
    let pointer = |limits: &Limits| {
        planned(&list, limits, |ready| {
            let pointer = sgl::metadata_contiguous(ready, sgl::Granularity::Dword);
            pointer.map(BusAddr::raw).map_err(|error| error.to_string())
        })
    };
    let (by_plan, alone) = (pointer(&limits), pointer(&Limits::default()));
    match expect {
        None if by_plan.is_err() && alone.is_err() => Ok(()),
        None => Err(format!("expected an error, got {by_plan:?} and {alone:?}")),
        Some(mut expect) => {
            same("mptr", &by_plan?, &expect.number("mptr")?)?;
            expect.finish()
        }
    }
}
