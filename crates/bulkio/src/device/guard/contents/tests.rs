//! Disks made up byte by byte, each with one mark, and the texts that a person sees.

use proptest::prelude::*;

use super::*;

/// A disk in memory that cannot be read behind `fails_at`.
struct Fake {
    bytes: Vec<u8>,
    fails_at: u64,
}

impl Fake {
    fn new(len: usize) -> Self {
        Self { bytes: vec![0; len], fails_at: u64::MAX }
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}

impl Bytes for Fake {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, at: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let end = at.saturating_add(len).min(self.len());
        if end > self.fails_at {
            return Err(Errno::IO);
        }
        Ok(self.bytes.get(at as usize..end as usize).unwrap_or_default().to_vec())
    }
}

const LEN: usize = 1 << 20;

fn text(disk: &Fake) -> String {
    Contents::look(disk).unwrap().to_string()
}

fn empty() -> Fake {
    Fake::new(LEN)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The superblock of an ext file system with these features: compatible, incompatible, read-only.
fn ext(features: [u32; 3]) -> Fake {
    let [compatible, incompatible, read_only] = features.map(u32::to_le_bytes);
    let disk = empty().put(1024 + 0x38, &[0x53, 0xef]).put(1024 + 0x78, b"root\0xx");
    disk.put(1024 + 0x5c, &compatible).put(1024 + 0x60, &incompatible).put(1024 + 0x64, &read_only)
}

fn md_1() -> Vec<u8> {
    let mut block = [0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0].to_vec();
    block.resize(32, 0);
    block.extend(b"host:0");
    block
}

#[test]
fn each_mark_is_known() {
    let fat = |at: usize, kind: &[u8], label: usize| {
        empty().put(510, &[0x55, 0xaa]).put(at, kind).put(label, b"STICK      ")
    };
    let old_md = [0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0];
    let cases: Vec<(&str, Fake)> = vec![
        ("", empty()),
        ("", Fake::new(0)),
        ("", Fake::new(512)),
        ("ext2 \"root\"", ext([0, 2, 1])),
        ("ext3 \"root\"", ext([4, 2, 1])),
        ("ext4 \"root\"", ext([4, 0x42, 1])),
        ("ext4 \"root\"", ext([0, 0, 0x400])),
        ("XFS \"data\"", empty().put(0, b"XFSB").put(108, b"data")),
        ("btrfs \"pool\"", empty().put(0x1_0040, b"_BHRfS_M").put(0x1_012b, b"pool")),
        ("F2FS \"ph\u{f6}ne\"", empty().put(1024, &[0x10, 0x20, 0xf5, 0xf2]).put(1148, &utf16("ph\u{f6}ne"))),
        ("FAT \"STICK\"", fat(82, b"FAT32   ", 71)),
        ("FAT \"STICK\"", fat(54, b"FAT16   ", 43)),
        ("FAT", fat(54, b"FAT12   ", 43).put(43, b"NO NAME    ")),
        ("exFAT", empty().put(3, b"EXFAT   ").put(510, &[0x55, 0xaa])),
        ("NTFS", empty().put(3, b"NTFS    ").put(510, &[0x55, 0xaa])),
        (
            "ISO 9660 \"DEBIAN\"",
            empty().put(0x8001, b"CD001").put(0x8028, b"DEBIAN                          "),
        ),
        ("swap \"s\"", empty().put(4086, b"SWAPSPACE2").put(1052, b"s")),
        ("swap", empty().put(65_526, b"SWAPSPACE2")),
        ("swap", empty().put(4086, b"SWAP-SPACE")),
        ("LUKS 1", empty().put(0, b"LUKS\xba\xbe\0\x01")),
        ("LUKS 2 \"safe\"", empty().put(0, b"LUKS\xba\xbe\0\x02").put(24, b"safe")),
        ("LVM2 physical volume", empty().put(512, b"LABELONE").put(536, b"LVM2 001")),
        ("md RAID member \"host:0\"", empty().put(0, &md_1())),
        ("md RAID member \"host:0\"", empty().put(4096, &md_1())),
        ("md RAID member \"host:0\"", empty().put(LEN - 8192, &md_1())),
        // Not a multiple of 4 KiB: the superblock is before the last whole one.
        ("md RAID member \"host:0\"", Fake::new(LEN + 512).put(LEN - 8192, &md_1())),
        ("md RAID member", empty().put(LEN - 65_536, &old_md)),
        ("md RAID member", Fake::new(LEN + 4096).put(LEN - 65_536, &[0xa9, 0x2b, 0x4e, 0xfc])),
        ("ZFS", empty().put((128 << 10) + 4096, &0x00ba_b10c_u64.to_le_bytes())),
        ("ZFS", empty().put((256 << 10) - 1024, &0x00ba_b10c_u64.to_be_bytes())),
        ("squashfs", empty().put(0, b"hsqs")),
        ("bcache", empty().put(4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81")),
        (
            "bcachefs \"root\"",
            empty()
                .put(4120, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef")
                .put(4168, b"root"),
        ),
        ("APFS", empty().put(32, b"NXSB")),
        ("HFS+", empty().put(1024, b"H+\0\x04")),
        ("HFS+", empty().put(1024, b"HX\0\x05")),
        ("UDF", empty().put(0x8001, b"BEA01").put(0x8801, b"NSR02").put(0x9001, b"TEA01")),
        ("ISO 9660, UDF", empty().put(0x8001, b"CD001").put(0x9001, b"BEA01").put(0x9801, b"NSR03")),
        ("GPT (its second header)", empty().put(LEN - 512, b"EFI PART")),
        ("GPT (its second header)", empty().put(LEN - 4096, b"EFI PART")),
    ];
    for (expected, disk) in cases {
        assert_eq!(text(&disk), expected);
    }
}

/// A GPT with blocks of this length: its header, and two entries with a gap between them.
fn gpt(block: usize) -> Fake {
    let header = [b"EFI PART".as_slice(), &[0; 64], &2_u64.to_le_bytes(), &128_u32.to_le_bytes()].concat();
    let header = [header, 128_u32.to_le_bytes().to_vec()].concat();
    let entry = |first: u64, last: u64, name: &str| {
        [&[1; 32], first.to_le_bytes().as_slice(), &last.to_le_bytes(), &[0; 8], &utf16(name)].concat()
    };
    let (first, unit) = (256 << 10, block as u64);
    let mut disk = Fake::new(LEN).put(510, &[0x55, 0xaa]).put(446 + 4, &[0xee]).put(446 + 12, &[1]);
    disk = disk.put(block, &header).put(2 * block, &entry(first / unit, first / unit + 7, "EFI system"));
    disk.put(2 * block + 256, &entry(first / unit + 8, first / unit + 255, "root"))
}

#[test]
fn a_gpt_has_partitions_with_names_and_contents() {
    for block in [512, 4096] {
        let start = (256 << 10) + 8 * block;
        let disk = gpt(block).put(start, b"XFSB").put(start + 108, b"data");
        let contents = Contents::look(&disk).unwrap();
        assert_eq!(contents.to_string(), "GPT, 2 partitions");
        let told: Vec<_> = contents.partitions.iter().map(ToString::to_string).collect();
        let (first, second) = (8 * block, 248 * block);
        assert_eq!(
            told,
            [
                format!("partition 1, {first} bytes, \"EFI system\""),
                format!("partition 3, {second} bytes, \"root\", XFS \"data\"")
            ]
        );
    }
    let protective = empty().put(510, &[0x55, 0xaa]).put(450, &[0xee]);
    assert_eq!(text(&protective), "", "a record without sectors is none");
    assert_eq!(text(&protective.put(458, &[1])), "GPT (its header is missing)");
}

#[test]
fn a_boot_record_has_partitions_unless_it_is_a_file_systems() {
    let record = [[0x80, 0, 0, 0, 0x83, 0, 0, 0], [0, 8, 0, 0, 8, 0, 0, 0]].concat();
    let disk = || empty().put(510, &[0x55, 0xaa]).put(446, &record);
    let contents = Contents::look(&disk().put(1 << 20 >> 1, b"x")).unwrap();
    assert_eq!(contents.to_string(), "MBR, 1 partition");
    assert_eq!((contents.partitions[0].start, contents.partitions[0].len), (1 << 20, 4096));
    assert_eq!(text(&disk().put(446, &[7])), "", "neither active nor not: code");
    assert_eq!(text(&disk().put(3, b"NTFS    ")), "NTFS");
}

#[test]
fn a_disk_that_cannot_be_read_is_never_an_empty_one() {
    let fails_at = |disk: Fake, fails_at| Contents::look(&Fake { fails_at, ..disk });
    assert_eq!(fails_at(empty(), 1000), Err(Errno::IO));
    assert_eq!(fails_at(empty(), LEN as u64 - 1), Err(Errno::IO));
    // What the start says stands.
    assert_eq!(fails_at(ext([0, 0, 0]), LEN as u64 - 1).unwrap().to_string(), "ext2 \"root\"");
    assert_eq!(
        Unseen::Failed(Errno::ACCESS).to_string(),
        format!("could not be looked at: {}", Errno::ACCESS)
    );
}

#[test]
fn labels_are_short_and_steer_no_terminal() {
    let disk = empty().put(0x1_0040, b"_BHRfS_M").put(0x1_012b, b"a\x1b[2Jb\n");
    assert_eq!(text(&disk), "btrfs \"a\u{fffd}[2Jb\"");
    let disk = empty().put(0x1_0040, b"_BHRfS_M").put(0x1_012b, &[b'x'; 256]);
    assert_eq!(text(&disk), format!("btrfs \"{}\"", "x".repeat(64)));
}

proptest! {
    /// A disk is a stranger's: whatever it holds, it is looked at in bounded time and memory.
    #[test]
    fn any_bytes_are_looked_at(
        bytes in proptest::collection::vec(any::<u8>(), 0..8192),
        header in proptest::collection::vec(any::<u8>(), 64),
    ) {
        let start = bytes.len();
        let mut disk = Fake { bytes, fails_at: u64::MAX };
        disk.bytes.extend(header);
        let _ = Contents::look(&disk).unwrap();
        // The same behind the signatures that lead further.
        if start > 1024 {
            let disk = disk.put(512, b"EFI PART").put(512 + 84, &128_u32.to_le_bytes());
            let contents = Contents::look(&disk).unwrap();
            prop_assert!(contents.partitions.len() <= 512);
        }
    }
}
