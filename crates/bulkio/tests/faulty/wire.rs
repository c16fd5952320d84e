//! The messages of FUSE, as far as files that exist already need them: bytes in, bytes out, nothing borrowed.
//!
//! Every record is of `include/uapi/linux/fuse.h`, protocol 7.23 or newer: little more than lists of integers in the
//! byte order of the machine. [`Request::parse`] takes what /dev/fuse gives; [`Reply`] makes what it takes.
#![expect(clippy::host_endian_bytes, reason = "the protocol has the byte order of the machine")]

/// The protocol that is spoken, `FUSE_KERNEL_VERSION` and a minor version whose records are those below.
const VERSION: (u32, u32) = (7, 31);

/// Flags of `fuse_init_out`.
const FUSE_ASYNC_READ: u32 = 1 << 0;
const FUSE_BIG_WRITES: u32 = 1 << 5;
const FUSE_ASYNC_DIO: u32 = 1 << 15;
const FUSE_MAX_PAGES: u32 = 1 << 22;

/// Flags of `fuse_open_out`. The second lets writes that do not extend the file run beside each other.
const FOPEN_DIRECT_IO: u32 = 1 << 0;
const FOPEN_PARALLEL_DIRECT_WRITES: u32 = 1 << 6;

/// Bit of `fuse_setattr_in.valid`: a new length is given.
const FATTR_SIZE: u32 = 1 << 3;

/// Bytes before the body of a request, `fuse_in_header`, and of a write before its data, `fuse_write_in`.
const HEADER_LEN: usize = 40;
const WRITE_LEN: usize = 40;

/// The number of the folder, `FUSE_ROOT_ID`. Files are numbered from the next one on.
pub const ROOT: u64 = 1;

/// Pages of 4 KiB that one message moves at most: the default of `fs.fuse.max_pages_limit`.
const PAGES_MAX: u16 = 256;

/// Bytes that one message moves at most: a longer operation arrives as several.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Bytes of the longest request.
pub const REQUEST_LEN_MAX: usize = MESSAGE_BYTES_MAX + 4096;

/// Asynchronous operations that the kernel has under way at once, far more than an engine is deep.
const BACKGROUND_MAX: u16 = 8192;

/// A request: who waits for it, which node it is for, what it asks.
#[derive(Debug)]
pub struct Request {
    pub unique: u64,
    pub node: u64,
    pub ask: Ask,
}

/// What a request asks.
#[derive(Debug)]
pub enum Ask {
    Init,
    Lookup(Vec<u8>),
    GetAttr,
    /// The new length, if that is to change.
    SetAttr(Option<u64>),
    Open,
    OpenDir,
    Read {
        at: u64,
        len: u32,
    },
    Write {
        at: u64,
        data: Vec<u8>,
    },
    Sync,
    StatFs,
    /// Of the request with this number.
    Interrupt(u64),
    /// Nothing to do but to say yes.
    Fine,
    /// No answer is expected.
    Silent,
    Unknown,
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

impl Request {
    /// Takes a request apart; `None` if it is too short for what it is.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (unique, node) = (word64(bytes, 8)?, word64(bytes, 16)?);
        let body = bytes.get(HEADER_LEN..)?;
        // The numbers of `enum fuse_opcode`.
        let ask = match word32(bytes, 4)? {
            1 => Ask::Lookup(body.strip_suffix(&[0]).unwrap_or(body).to_vec()),
            // FORGET, BATCH_FORGET
            2 | 42 => Ask::Silent,
            3 => Ask::GetAttr,
            4 => {
                let sized = word32(body, 0)? & FATTR_SIZE != 0;
                let size = word64(body, 16)?;
                Ask::SetAttr(sized.then_some(size))
            }
            14 => Ask::Open,
            15 => Ask::Read { at: word64(body, 8)?, len: word32(body, 16)? },
            16 => {
                let len = usize::try_from(word32(body, 16)?).ok()?;
                let end = WRITE_LEN.checked_add(len)?;
                Ask::Write { at: word64(body, 8)?, data: body.get(WRITE_LEN..end)?.to_vec() }
            }
            17 => Ask::StatFs,
            20 => Ask::Sync,
            26 => Ask::Init,
            27 => Ask::OpenDir,
            36 => Ask::Interrupt(word64(body, 0)?),
            // RELEASE, FLUSH, RELEASEDIR, DESTROY; an empty answer to READDIR (28) is an empty folder
            18 | 25 | 28 | 29 | 38 => Ask::Fine,
            _ => Ask::Unknown,
        };
        Some(Self { unique, node, ask })
    }
}

/// An answer: `fuse_out_header` and what follows it.
#[derive(Debug)]
pub struct Reply(Vec<u8>);

impl Reply {
    fn new(unique: u64, error: i32) -> Self {
        // The length is written last.
        Self(vec![0; 4]).word32(error.cast_unsigned()).word64(unique)
    }

    fn word32(mut self, word: u32) -> Self {
        self.0.extend_from_slice(&word.to_ne_bytes());
        self
    }

    fn word64(mut self, word: u64) -> Self {
        self.0.extend_from_slice(&word.to_ne_bytes());
        self
    }

    fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// `struct fuse_attr`.
    fn attr(self, node: u64, size: u64) -> Self {
        let mode = if node == ROOT { libc::S_IFDIR | 0o755 } else { libc::S_IFREG | 0o666 };
        // Number, length, blocks; times are 0; mode, links, owner, group, device, preferred block, flags.
        let attr = self.word64(node).word64(size).word64(size.div_ceil(512)).zeros(3 * 8 + 3 * 4);
        attr.word32(mode).word32(1).zeros(3 * 4).word32(4096).zeros(4)
    }

    /// Refuses with a positive error number.
    pub fn error(unique: u64, errno: i32) -> Self {
        Self::new(unique, -errno)
    }

    /// Says yes, with bytes that were read or none.
    pub fn bytes(unique: u64, bytes: &[u8]) -> Self {
        let mut reply = Self::new(unique, 0);
        reply.0.extend_from_slice(bytes);
        reply
    }

    /// `struct fuse_init_out`.
    pub fn init(unique: u64, async_direct: bool) -> Self {
        let direct = if async_direct { FUSE_ASYNC_DIO } else { 0 };
        let flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | direct;
        let reply = Self::new(unique, 0).word32(VERSION.0).word32(VERSION.1).word32(1 << 17).word32(flags);
        let reply = reply.word32(u32::from(BACKGROUND_MAX) * 0x1_0001).word32(MESSAGE_BYTES_MAX as u32);
        // Times are in nanoseconds; the upper half of the word with the pages is an alignment for DAX.
        let pages =
            if cfg!(target_endian = "little") { PAGES_MAX.into() } else { u32::from(PAGES_MAX) << 16 };
        reply.word32(1).word32(pages).zeros(8 * 4)
    }

    /// `struct fuse_entry_out`: a name is found. The kernel asks anew each time.
    pub fn entry(unique: u64, node: u64, size: u64) -> Self {
        Self::new(unique, 0).word64(node).zeros(3 * 8 + 2 * 4).attr(node, size)
    }

    /// `struct fuse_attr_out`.
    pub fn attributes(unique: u64, node: u64, size: u64) -> Self {
        Self::new(unique, 0).zeros(8 + 2 * 4).attr(node, size)
    }

    /// `struct fuse_open_out`, of a file or of the folder.
    pub fn open(unique: u64, file: bool) -> Self {
        let flags = if file { FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES } else { 0 };
        Self::new(unique, 0).word64(0).word32(flags).word32(0)
    }

    /// `struct fuse_write_out`.
    pub fn written(unique: u64, bytes: u32) -> Self {
        Self::new(unique, 0).word32(bytes).word32(0)
    }

    /// `struct fuse_kstatfs`: full, in blocks of 4 KiB, with names of up to 255 bytes.
    pub fn stat_fs(unique: u64) -> Self {
        Self::new(unique, 0).zeros(5 * 8).word32(4096).word32(255).word32(4096).zeros(7 * 4)
    }

    /// Returns the bytes to write.
    pub fn into_bytes(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(place) = self.0.get_mut(..4) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
        self.0
    }
}
