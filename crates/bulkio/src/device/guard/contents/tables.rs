//! The two kinds of partition table: GPT, and that of the master boot record.

use rustix::io::Errno;

use super::source::{Bytes, label_utf16, le32, le64, slice};
use super::{Found, Partition};

/// UEFI 2.10, 5.3.2 "GPT Header": the signature, in the block 1.
const SIGNATURE: &[u8] = b"EFI PART";

/// Lengths of a block that a disk may have.
const BLOCK_LENS: [u64; 2] = [512, 4096];

/// What the master boot record counts in (UEFI 2.10, 5.2.1 "Legacy Master Boot Record").
const SECTOR_LEN: u64 = 512;

/// The same: the first of the four records, and the length of each.
const RECORDS_AT: usize = 446;
const RECORD_LEN: usize = 16;

/// The same, 5.2.3: the type of the one record that protects a GPT.
const PROTECTIVE: u8 = 0xee;

/// UEFI 2.10, 5.3.3: an entry is at least so long; one of 512 bytes is far longer than any that was seen.
const ENTRY_LEN: std::ops::RangeInclusive<u32> = 128..=512;

/// Entries that are read at most: four times as many as the least that a table reserves room for.
const ENTRIES_MAX: u32 = 512;

/// Finds the partition table and its partitions. `bare` says that no file system begins where the disk does: the boot code of one can
/// look like a boot record.
pub(super) fn read(
    disk: &dyn Bytes,
    head: &[u8],
    bare: bool,
) -> Result<(Option<Found>, Vec<Partition>), Errno> {
    let table = |kind| Some(Found { kind, label: None });
    for block_len in BLOCK_LENS {
        let header = usize::try_from(block_len).ok().and_then(|at| head.get(at..));
        if let Some(header) = header.filter(|header| header.starts_with(SIGNATURE)) {
            return Ok((table("GPT"), entries(disk, header, block_len)?));
        }
    }
    let records = records(head);
    if records.iter().any(|record| record.kind == PROTECTIVE) {
        return Ok((table("GPT (its header is missing)"), Vec::new()));
    }
    if !bare || records.is_empty() {
        return Ok((None, Vec::new()));
    }
    let partitions = records.iter().map(|record| Partition {
        number: record.number,
        start: u64::from(record.start).saturating_mul(SECTOR_LEN),
        len: u64::from(record.sectors).saturating_mul(SECTOR_LEN),
        label: None,
        holds: Vec::new(),
    });
    Ok((table("MBR"), partitions.collect()))
}

/// UEFI 2.10, 5.3.2: the second header of a GPT is the last block of the disk, whose table is whole where somebody wiped the start.
pub(super) fn second_header(disk: &dyn Bytes) -> Result<Option<Found>, Errno> {
    for block_len in BLOCK_LENS {
        let Some(at) = disk.len().checked_sub(block_len) else { continue };
        if disk.read(at, block_len)?.starts_with(SIGNATURE) {
            return Ok(Some(Found { kind: "GPT (its second header)", label: None }));
        }
    }
    Ok(None)
}

/// Reads the entries of a GPT (UEFI 2.10, 5.3.2 and 5.3.3). A header that makes no sense has none.
fn entries(disk: &dyn Bytes, header: &[u8], block_len: u64) -> Result<Vec<Partition>, Errno> {
    let said = || Some((le64(header, 72)?, le32(header, 80)?, le32(header, 84)?));
    let Some((block, count, entry_len)) = said().filter(|(_, _, len)| ENTRY_LEN.contains(len)) else {
        return Ok(Vec::new());
    };
    let count = count.min(ENTRIES_MAX);
    let bytes =
        disk.read(block.saturating_mul(block_len), u64::from(count).saturating_mul(entry_len.into()))?;
    let chunks = bytes.chunks_exact(usize::try_from(entry_len).unwrap_or(usize::MAX));
    let partition = |(number, entry): (u32, &[u8])| {
        // The type of an entry that is not used is zero.
        slice(entry, 0, 16).filter(|kind| kind.iter().any(|&byte| byte != 0))?;
        let (first, last) = (le64(entry, 32)?, le64(entry, 40)?);
        let blocks = last.checked_sub(first)?.saturating_add(1);
        Some(Partition {
            number,
            start: first.saturating_mul(block_len),
            len: blocks.saturating_mul(block_len),
            label: label_utf16(entry, 56, 36),
            holds: Vec::new(),
        })
    };
    Ok((1..).zip(chunks).filter_map(partition).collect())
}

struct Record {
    number: u32,
    kind: u8,
    start: u32,
    sectors: u32,
}

/// Reads the records of a master boot record; none where it is none.
fn records(head: &[u8]) -> Vec<Record> {
    let Some([0x55, 0xaa]) = slice(head, 510, 2) else { return Vec::new() };
    let records = slice(head, RECORDS_AT, RECORD_LEN.saturating_mul(4)).unwrap_or_default();
    let records = || (1..).zip(records.chunks_exact(RECORD_LEN));
    // Active or not: another value is code, or something else.
    if !records().all(|(_, record)| matches!(record.first(), Some(0 | 0x80))) {
        return Vec::new();
    }
    let read = |(number, record): (u32, &[u8])| {
        let (&kind, start, sectors) = (record.get(4)?, le32(record, 8)?, le32(record, 12)?);
        (kind != 0 && sectors != 0).then_some(Record { number, kind, start, sectors })
    };
    records().filter_map(read).collect()
}
