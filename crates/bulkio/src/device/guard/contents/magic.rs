//! The marks of file systems, volumes and swap: where each is, what it looks like, and where its label is.
//!
//! Each entry names the header or specification that its place is from. A mark is a few fixed bytes, so what is found may be stale:
//! that somebody once had it there is reason enough to ask.

use rustix::io::Errno;

use super::Found;
use super::source::{Bytes, label, label_utf16, le16, le32, le64, slice};

/// Where a label is.
#[derive(Clone, Copy)]
enum Label {
    None,
    /// At this byte, so many bytes.
    Bytes(usize, usize),
    /// At this byte, so many units of UTF-16.
    Utf16(usize, usize),
}

/// Bytes at a place that mark what is there.
struct Mark {
    kind: &'static str,
    at: usize,
    bytes: &'static [u8],
    label: Label,
}

const fn mark(kind: &'static str, at: usize, bytes: &'static [u8], label: Label) -> Mark {
    Mark { kind, at, bytes, label }
}

/// What is marked by fixed bytes alone.
const MARKS: &[Mark] = &[
    // Linux, fs/xfs/libxfs/xfs_format.h: XFS_SB_MAGIC, and sb_fname of struct xfs_dsb.
    mark("XFS", 0, b"XFSB", Label::Bytes(108, 12)),
    // Linux, include/uapi/linux/btrfs_tree.h: BTRFS_SUPER_INFO_OFFSET, BTRFS_MAGIC; label of struct btrfs_super_block.
    mark("btrfs", 0x1_0040, b"_BHRfS_M", Label::Bytes(0x1_012b, 256)),
    // Linux, include/linux/f2fs_fs.h: F2FS_SUPER_OFFSET, F2FS_SUPER_MAGIC; volume_name of struct f2fs_super_block.
    mark("F2FS", 1024, &[0x10, 0x20, 0xf5, 0xf2], Label::Utf16(1024 + 124, 512)),
    // exFAT file system specification, 3.1.2 "FileSystemName".
    mark("exFAT", 3, b"EXFAT   ", Label::None),
    // Linux, fs/ntfs3/ntfs.h: struct NTFS_BOOT, system_id.
    mark("NTFS", 3, b"NTFS    ", Label::None),
    // ECMA-119, 8.1 and 8.4: the first volume descriptor is in the sector 16 of 2048 bytes; "Volume Identifier" is at byte 40.
    mark("ISO 9660", 0x8001, b"CD001", Label::Bytes(0x8028, 32)),
    // LVM2, lib/label/label.h: LABEL_ID in one of the first four sectors, the type behind 24 bytes.
    mark("LVM2 physical volume", 24, b"LVM2 001", Label::None),
    mark("LVM2 physical volume", 512 + 24, b"LVM2 001", Label::None),
    mark("LVM2 physical volume", 1024 + 24, b"LVM2 001", Label::None),
    mark("LVM2 physical volume", 1536 + 24, b"LVM2 001", Label::None),
    // Linux, fs/squashfs/squashfs_fs.h: SQUASHFS_MAGIC.
    mark("squashfs", 0, b"hsqs", Label::None),
    // Linux, drivers/md/bcache/bcache_ondisk.h: SB_SECTOR 8, magic of struct cache_sb_disk; drivers/md/bcache/super.c: bcache_magic.
    mark(
        "bcache",
        4096 + 24,
        &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81],
        Label::None,
    ),
    // bcachefs, fs/bcachefs/bcachefs_format.h: BCH_SB_SECTOR 8, BCHFS_MAGIC in struct bch_sb; the label behind two UUIDs of 16 bytes.
    mark(
        "bcachefs",
        4096 + 24,
        &[0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef],
        Label::Bytes(4096 + 72, 32),
    ),
    // Apple File System Reference, "nx_superblock_t": nx_magic behind a header of 32 bytes.
    mark("APFS", 32, b"NXSB", Label::None),
    // Apple, TN1150, "Volume Header": signature and version, 1024 bytes from the start; the second is HFSX.
    mark("HFS+", 1024, b"H+\0\x04", Label::None),
    mark("HFS+", 1024, b"HX\0\x05", Label::None),
];

/// Lists what the start of a disk or a partition is marked as.
pub(super) fn in_head(head: &[u8]) -> Vec<Found> {
    let marks =
        MARKS.iter().filter(|mark| slice(head, mark.at, mark.bytes.len()) == Some(mark.bytes)).map(|mark| {
            let label = match mark.label {
                Label::None => None,
                Label::Bytes(at, len) => label(head, at, len),
                Label::Utf16(at, units) => label_utf16(head, at, units),
            };
            Found { kind: mark.kind, label }
        });
    let md = [0, 4096].into_iter().find_map(|at| md_1(head.get(at..)?));
    let others = [ext(head), fat(head), swap(head), luks(head), md, zfs(head), udf(head)];
    let mut found: Vec<_> = marks.chain(others.into_iter().flatten()).collect();
    found.dedup();
    found
}

/// Linux, fs/ext4/ext4.h: struct `ext4_super_block`, 1024 bytes from the start; `EXT4_SUPER_MAGIC`, the sets of features.
fn ext(head: &[u8]) -> Option<Found> {
    const HAS_JOURNAL: u32 = 0x4;
    /// `EXTENTS`, `64BIT`, `FLEX_BG`.
    const INCOMPATIBLE_OF_EXT4: u32 = 0x40 | 0x80 | 0x200;
    /// `HUGE_FILE`, `GDT_CSUM`, `DIR_NLINK`, `EXTRA_ISIZE`, `METADATA_CSUM`.
    const READ_ONLY_OF_EXT4: u32 = 0x8 | 0x10 | 0x20 | 0x40 | 0x400;
    let block = head.get(1024..)?;
    if le16(block, 0x38)? != 0xef53 {
        return None;
    }
    let (compatible, incompatible, read_only) = (le32(block, 0x5c)?, le32(block, 0x60)?, le32(block, 0x64)?);
    let kind = if incompatible & INCOMPATIBLE_OF_EXT4 != 0 || read_only & READ_ONLY_OF_EXT4 != 0 {
        "ext4"
    } else if compatible & HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    };
    Some(Found { kind, label: label(block, 0x78, 16) })
}

/// Microsoft, FAT32 File System Specification 1.03, "Boot Sector and BPB": `BS_FilSysType` and `BS_VolLab`, and the two bytes at 510.
fn fat(head: &[u8]) -> Option<Found> {
    if slice(head, 510, 2)? != [0x55, 0xaa] {
        return None;
    }
    let at = if slice(head, 82, 8)? == b"FAT32   " {
        71
    } else if matches!(slice(head, 54, 8)?, b"FAT12   " | b"FAT16   " | b"FAT     ") {
        43
    } else {
        return None;
    };
    Some(Found { kind: "FAT", label: label(head, at, 11).filter(|label| label != "NO NAME") })
}

/// Linux, include/linux/swap.h: union `swap_header`: the mark ends the first page, of whatever size the machine has; the label.
fn swap(head: &[u8]) -> Option<Found> {
    const MARK_LEN: usize = 10;
    let is_marked = |page: usize| {
        let mark = slice(head, page.saturating_sub(MARK_LEN), MARK_LEN);
        mark.is_some_and(|mark| mark == b"SWAPSPACE2" || mark == b"SWAP-SPACE")
    };
    let marked = [4096, 8192, 16_384, 32_768, 65_536].into_iter().any(is_marked);
    marked.then(|| Found { kind: "swap", label: label(head, 1052, 16) })
}

/// LUKS On-Disk Format Specification 1.2.3, "phdr", and 2.1, "Binary Header": the magic, the version, the label of the second.
fn luks(head: &[u8]) -> Option<Found> {
    if slice(head, 0, 6)? != b"LUKS\xba\xbe" {
        return None;
    }
    match slice(head, 6, 2)? {
        [0, 1] => Some(Found { kind: "LUKS 1", label: None }),
        _ => Some(Found { kind: "LUKS 2", label: label(head, 24, 48) }),
    }
}

/// Linux, include/uapi/linux/raid/md_p.h: `MD_SB_MAGIC`.
const MD_MAGIC: u32 = 0xa92b_4efc;

/// The same: struct `mdp_superblock_1`, `major_version` and `set_name`.
fn md_1(block: &[u8]) -> Option<Found> {
    let is_md = le32(block, 0)? == MD_MAGIC && le32(block, 4)? == 1;
    is_md.then(|| Found { kind: "md RAID member", label: label(block, 32, 32) })
}

/// OpenZFS, include/sys/vdev_impl.h and uberblock_impl.h: the ring of uberblocks is the second half of a label of 256 KiB, at least
/// one a KiB, each with `UBERBLOCK_MAGIC` in the order of its machine.
fn zfs(head: &[u8]) -> Option<Found> {
    const MAGIC: u64 = 0x00ba_b10c;
    let mut ring = (128 << 10..256 << 10).step_by(1 << 10).map_while(|at| le64(head, at));
    let is_zfs = ring.any(|word| word == MAGIC || word == MAGIC.swap_bytes());
    is_zfs.then_some(Found { kind: "ZFS", label: None })
}

/// ECMA-167, 2/8.3.1 and 3/9.1: descriptors of 2048 bytes follow each other from byte 32768 on; an identifier behind the first byte of one says which the volume is.
fn udf(head: &[u8]) -> Option<Found> {
    let mut identifiers = (0x8001..0x1_0000).step_by(2048).map_while(|at| slice(head, at, 5));
    let is_udf = identifiers.any(|identifier| matches!(identifier, b"NSR02" | b"NSR03"));
    is_udf.then_some(Found { kind: "UDF", label: None })
}

/// Lists what the end of a disk, its last `tail_len` bytes, is marked as.
pub(super) fn at_end(disk: &dyn Bytes, tail_len: u64) -> Result<Vec<Found>, Errno> {
    const KIB: u64 = 1 << 10;
    let len = disk.len();
    let start = len.saturating_sub(tail_len);
    let tail = disk.read(start, tail_len)?;
    let at = |position: u64| usize::try_from(position.checked_sub(start)?).ok();
    let mut found = Vec::new();
    // Linux, drivers/md/md.c, super_1_load, minor version 0: 8 KiB from the end, rounded down to 4 KiB.
    let last = len.checked_sub(8 * KIB).map(|position| position & !(4 * KIB - 1)).and_then(at);
    found.extend(last.and_then(|at| md_1(tail.get(at..)?)));
    // include/uapi/linux/raid/md_p.h, MD_NEW_SIZE_SECTORS: 64 KiB from the end, rounded down to 64 KiB; the order of its machine.
    let old = (len & !(64 * KIB - 1)).checked_sub(64 * KIB).and_then(at);
    let magic = old.and_then(|at| le32(&tail, at));
    if magic.is_some_and(|magic| magic == MD_MAGIC || magic == MD_MAGIC.swap_bytes()) {
        found.push(Found { kind: "md RAID member", label: None });
    }
    Ok(found)
}
