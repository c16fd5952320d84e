//! [`FaultyFs`]: files in memory behind a real mount, which are late, short or broken when a test says so.
//!
//! The kernel's side of them is an ordinary regular file, so io_uring, native AIO and blocking calls all reach
//! [`FaultyFile`] as they would reach a disk. `server` answers the kernel on a thread of its own; `rules` says what goes
//! wrong; `shared` is what lies between.
//!
//! # What the kernel does in between
//! As seen with Linux 6.18; `tests/faults` holds the engines against it.
//!
//! - The page cache is not used, with and without `O_DIRECT`: every operation arrives (`FOPEN_DIRECT_IO`).
//! - An operation arrives in messages that touch 256 pages of memory at most: 1 MiB where the memory is aligned. Blocking calls send one message
//!   after the other and stop at the first that is short or fails: their result is exact. io_uring and AIO send all at once, and the result is
//!   made of the answers: one errno is the result of the whole operation, whatever was moved; the first short read ends the bytes read; **a
//!   short write becomes `EIO`**. So a write that comes out short is seen by blocking calls alone, or past the end of a disk.
//! - A read is cut at the length of the file before it arrives. A read of 0 bytes is the end of the file for everybody.
//! - `EINTR` reaches the caller, of all three. `EAGAIN` reaches the callers of blocking calls and AIO; io_uring tries again by itself,
//!   for as long as it is answered: do not answer it without a bound. Other error numbers, `ENODATA` and `ENOSPC` among them, pass.
//! - Under `O_DIRECT` io_uring needs no worker thread: it issues an operation on the caller's thread and goes on (`FUSE_ASYNC_DIO`). The kernel then
//!   asks for no interruption when the operation is cancelled: its result comes with the answer. A blocking call that gets a signal does ask.
//! - Without `FUSE_ASYNC_DIO` ([`FsOptions`]) a call occupies its thread until the answer: `io_uring_enter` and `io_submit` too. There
//!   **io_uring moves wrong bytes**: it goes on by itself after a short answer, but at the position at which the operation began. Blocking calls and AIO
//!   are right, and see short writes.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::rules::Rule;
use super::server;
use super::shared::{FileState, Held, SEEN_MAX, Seen, Shared};

/// How long a test waits for the kernel at most, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a [`FaultyFs`] is served.
#[derive(Clone, Copy, Debug)]
pub struct FsOptions {
    /// Whether the kernel may leave an operation under `O_DIRECT` under way while its caller goes on (`FUSE_ASYNC_DIO`).
    /// Without it every operation occupies the thread that issues it; not for io_uring, see above.
    pub async_direct: bool,
}

impl Default for FsOptions {
    fn default() -> Self {
        Self { async_direct: true }
    }
}

/// A file system of a few files in memory. Everything that is held is let go with an error when it is dropped.
///
/// It is mounted nowhere: the kernel has it as long as a descriptor of it is open, so that nothing is left behind even when
/// the process is killed. Paths to it lead through `/proc/PID/fd`.
#[derive(Debug)]
pub struct FaultyFs {
    files: Vec<FaultyFile>,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

impl FaultyFs {
    /// Makes a file system with a file for each content.
    pub fn new(contents: Vec<Vec<u8>>) -> Result<Self, String> {
        Self::with(FsOptions::default(), contents)
    }

    /// As [`FaultyFs::new`], served as `options` say.
    pub fn with(options: FsOptions, contents: Vec<Vec<u8>>) -> Result<Self, String> {
        let count = contents.len();
        let shared = Arc::new(Shared::new(contents, options.async_direct)?);
        let (server, root) = server::start(Arc::clone(&shared))?;
        let root = Arc::new(root);
        let file = |index| FaultyFile { index, shared: Arc::clone(&shared), root: Arc::clone(&root) };
        let files = (0..count).map(file).collect();
        Ok(Self { files, shared, server: Some(server) })
    }

    /// Returns a handle of a file.
    pub fn file(&self, index: usize) -> &FaultyFile {
        &self.files[index]
    }
}

impl Drop for FaultyFs {
    fn drop(&mut self) {
        self.shared.end();
        self.shared.wake();
        if let Some(server) = self.server.take() {
            let ended = server.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server of the files panicked");
        }
    }
}

/// A file of a [`FaultyFs`], and what is to go wrong with it. Clones are the same file.
#[derive(Clone, Debug)]
pub struct FaultyFile {
    index: usize,
    shared: Arc<Shared>,
    root: Arc<OwnedFd>,
}

impl FaultyFile {
    /// Returns a path that leads to the file, for this process and those of the same user.
    pub fn path(&self) -> PathBuf {
        let root = format!("/proc/{}/fd/{}", std::process::id(), self.root.as_raw_fd());
        PathBuf::from(root).join(server::name(self.index))
    }

    /// Opens the file with flags of open(2).
    pub fn open(&self, flags: i32) -> Arc<OwnedFd> {
        let access = flags & libc::O_ACCMODE;
        let mut options = OpenOptions::new();
        options.read(access != libc::O_WRONLY).write(access != libc::O_RDONLY);
        let file = options.custom_flags(flags & !libc::O_ACCMODE).open(self.path());
        Arc::new(file.expect("the file of the file system opens").into())
    }

    fn with<T>(&self, act: impl FnOnce(&mut FileState) -> T) -> T {
        act(&mut self.shared.state().files[self.index])
    }

    /// Returns the bytes of the file, without the kernel.
    pub fn content(&self) -> Vec<u8> {
        self.with(|file| file.content.clone())
    }

    /// Changes bytes within the length of the file, without the kernel.
    pub fn overwrite(&self, at: usize, bytes: &[u8]) {
        self.with(|file| file.content[at..at + bytes.len()].copy_from_slice(bytes));
    }

    /// Adds a rule behind those that there are.
    pub fn add(&self, rule: Rule) {
        self.with(|file| file.rules.push(rule));
    }

    /// Takes all rules away. What is held stays so.
    pub fn clear_rules(&self) {
        self.with(|file| file.rules.clear());
    }

    /// Says what happens to an operation that is held and that the kernel wants to end early: nothing (`None`, as
    /// at first), or an error number is answered.
    pub fn on_interrupt(&self, errno: Option<i32>) {
        self.with(|file| file.on_interrupt = errno);
    }

    /// Returns the operations recorded so far, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.with(|file| {
            assert_eq!(file.dropped, 0, "more than {SEEN_MAX} operations");
            file.seen.clone()
        })
    }

    /// Returns the operations recorded so far, and starts anew. The fate of those that are held is not recorded then.
    pub fn take_seen(&self) -> Vec<Seen> {
        let seen = self.seen();
        self.with(|file| file.seen.clear());
        seen
    }

    /// Returns how many operations are held.
    pub fn held(&self) -> usize {
        self.with(|file| file.held.len())
    }

    /// Returns the positions of the operations that are held, in the order of arrival: not that of submission where threads
    /// issue them.
    pub fn held_at(&self) -> Vec<u64> {
        self.with(|file| file.held.iter().map(|held| held.at).collect())
    }

    /// Waits until at least `count` operations are held.
    ///
    /// # Panics
    /// After 20 seconds.
    pub fn wait_held(&self, count: usize) {
        self.wait_for(&format!("{count} operations to be held"), |file| file.held.len() >= count);
    }

    /// Waits until a recorded operation fits.
    ///
    /// # Panics
    /// After 20 seconds.
    pub fn wait_seen(&self, mut fits: impl FnMut(&Seen) -> bool) {
        self.wait_for("an operation", |file| file.seen.iter().any(&mut fits));
    }

    /// Waits until so many recorded operations fit.
    ///
    /// # Panics
    /// After 20 seconds.
    pub fn wait_seen_count(&self, count: usize, fits: impl Fn(&Seen) -> bool) {
        let is_there = |file: &FileState| file.seen.iter().filter(|seen| fits(seen)).count() >= count;
        self.wait_for("operations", is_there);
    }

    fn wait_for(&self, what: &str, mut there: impl FnMut(&FileState) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state();
        while !there(&state.files[self.index]) {
            let left = deadline.saturating_duration_since(Instant::now());
            let file = &state.files[self.index];
            assert!(!left.is_zero() && !state.ended, "waited in vain for {what}: {:?}", file.seen);
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Opens the gate for good: takes the rules that hold away, lets everything go that is held, and returns when the
    /// kernel has all answers: what was read is in memory, and what was written is in the file.
    pub fn open_gate(&self) {
        self.with(|file| file.rules.retain(|rule| !rule.holds()));
        self.free(|held| held.drain(..).collect());
    }

    /// Lets the operation go that is held longest, and returns when the kernel has the answer. The gate stays closed.
    pub fn free_one(&self) {
        self.free(|held| held.pop_front().into_iter().collect());
    }

    /// As [`free_one`](Self::free_one) for the operation that was held last.
    pub fn free_last(&self) {
        self.free(|held| held.pop_back().into_iter().collect());
    }

    /// As [`free_one`](Self::free_one) for the operation that is held longest of those at a position.
    ///
    /// # Panics
    /// If there is none.
    pub fn free_at(&self, position: u64) {
        self.free(|held| {
            let place = held.iter().position(|held| held.at == position);
            held.remove(place.expect("an operation is held at the position")).into_iter().collect()
        });
    }

    /// Refuses everything that is held, and returns when the kernel knows. The gate stays closed.
    pub fn refuse_held(&self, errno: i32) {
        self.free(|held| held.drain(..).map(|held| held.refused(errno)).collect());
    }

    fn free(&self, choose: impl FnOnce(&mut VecDeque<Held>) -> Vec<Held>) {
        self.with(|file| {
            let chosen = choose(&mut file.held);
            file.freed.extend(chosen);
        });
        self.shared.wake();
        // The server answers with the lock held, so what it has taken is answered.
        self.wait_for("the answers", |file| file.freed.is_empty());
    }
}
