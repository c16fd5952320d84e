//! [`StartInfo`]: what a PVH loader says of the machine.
//!
//! "x86/HVM direct boot ABI" of Xen, `docs/misc/pvh.pandoc`; the structures are in `xen/include/public/arch-x86/hvm/start_info.h`.
//! The loader says nothing of where it may leave them, so each is checked to lie in memory that the kernel does not use.
#![expect(unsafe_code, reason = "reads the loader's structures by address")]

/// Of the start info (`XEN_HVM_START_MAGIC_VALUE`).
const MAGIC: u32 = 0x336e_c578;
/// The first version with a memory map.
const VERSION_MIN: u32 = 1;
/// Memory (`XEN_HVM_MEMMAP_TYPE_RAM`).
const TYPE_RAM: u64 = 1;
/// Bytes of the start info of that version.
const LEN: u64 = 56;
/// Bytes of an entry of the memory map: an address, a size, a type of 32 bits and 32 more.
const ENTRY_LEN: u64 = 24;
/// Most bytes of the command line that are taken.
const COMMAND_LINE_MAX: u64 = 1024;

/// Why the start info is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartInfoError {
    /// It is something else.
    #[error("the start info at {addr:#x} begins with {magic:#x}, it must be {MAGIC:#x}")]
    Magic {
        /// Where it is.
        addr: u64,
        /// What stands there.
        magic: u32,
    },
    /// It has no memory map.
    #[error("the start info has version {version}, {VERSION_MIN} is the first with a memory map")]
    Version {
        /// Its version.
        version: u32,
    },
    /// A part lies where it may be overwritten.
    #[error("the {part} of the loader is {len} bytes at {addr:#x}, it must end at or below {end_max:#x}")]
    High {
        /// Which.
        part: &'static str,
        /// Where it is.
        addr: u64,
        /// Its bytes: of the command line, the first.
        len: u64,
        /// Where memory of the kernel starts.
        end_max: u64,
    },
}

/// The loader's start info.
///
/// # Invariants
/// 1. `addr` is that of a start info of version 1 or newer. It, its memory map and the command line, as far as they are read, end at or
///    below `end`; memory there is mapped one to one, and nobody writes it while this lives.
#[derive(Debug)]
pub(super) struct StartInfo {
    addr: u64,
    end: u64,
}

impl StartInfo {
    /// Takes what the loader left at `addr`, if it lies below `end`.
    ///
    /// # Safety
    /// The loader left a start info there. Memory below `end` is mapped one to one, and nobody writes it while this lives.
    pub(super) unsafe fn at(addr: u64, end: u64) -> Result<Self, StartInfoError> {
        below("start info", addr, LEN, end)?;
        // SAFETY: the caller's promise.
        let magic = unsafe { read::<u32>(addr) };
        // SAFETY: the caller's promise.
        let version = unsafe { read::<u32>(addr.saturating_add(4)) };
        if magic != MAGIC {
            return Err(StartInfoError::Magic { addr, magic });
        }
        if version < VERSION_MIN {
            return Err(StartInfoError::Version { version });
        }
        let info = Self { addr, end };
        let (map, entries) = info.map();
        below("memory map", map, entries.saturating_mul(ENTRY_LEN), end)?;
        below("command line", info.word(24), 1, end)?;
        Ok(info)
    }

    /// Where the memory map is, and how many entries it has.
    fn map(&self) -> (u64, u64) {
        (self.word(40), self.word(48) & 0xffff_ffff)
    }

    /// Iterates over the regions of memory: first byte, and the one past the last.
    pub(super) fn ram(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (map, entries) = self.map();
        (0..entries).filter_map(move |index| {
            let entry = map.checked_add(index.checked_mul(ENTRY_LEN)?)?;
            // SAFETY: (1).
            let [start, len, kind] =
                [0, 8, 16].map(|offset| unsafe { read::<u64>(entry.saturating_add(offset)) });
            let end = start.checked_add(len)?;
            (kind & 0xffff_ffff == TYPE_RAM).then_some((start, end))
        })
    }

    /// Returns the command line, as far as it is text.
    pub(super) fn command_line(&self) -> &str {
        let addr = self.word(24);
        if addr == 0 {
            return "";
        }
        let len_max = COMMAND_LINE_MAX.min(self.end.saturating_sub(addr));
        // SAFETY: (1): none but the first so many bytes is read.
        let byte = |index: u64| unsafe { read::<u8>(addr.saturating_add(index)) };
        let len = (0..len_max).find(|index| byte(*index) == 0).unwrap_or(len_max);
        let pointer = core::ptr::with_exposed_provenance(usize::try_from(addr).unwrap_or(0));
        // SAFETY: (1): these bytes were read just now.
        let bytes = unsafe { core::slice::from_raw_parts(pointer, usize::try_from(len).unwrap_or(0)) };
        core::str::from_utf8(bytes).unwrap_or("")
    }

    fn word(&self, offset: u64) -> u64 {
        // SAFETY: (1); offsets of words of the start info.
        unsafe { read(self.addr.saturating_add(offset)) }
    }
}

/// Fails unless a part ends at or below `end_max`.
fn below(part: &'static str, addr: u64, len: u64, end_max: u64) -> Result<(), StartInfoError> {
    let fits = addr.checked_add(len).is_some_and(|end| end <= end_max);
    if fits { Ok(()) } else { Err(StartInfoError::High { part, addr, len, end_max }) }
}

/// Reads a value.
///
/// # Safety
/// It is there, and any bits are a value.
unsafe fn read<T: Copy>(addr: u64) -> T {
    let pointer = core::ptr::with_exposed_provenance::<T>(usize::try_from(addr).unwrap_or(0));
    // SAFETY: the caller's promise.
    unsafe { pointer.read_unaligned() }
}
