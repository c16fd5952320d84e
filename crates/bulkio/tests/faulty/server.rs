//! The thread that answers the kernel for a [`FaultyFs`](super::fs::FaultyFs).
//!
//! It has a table of descriptors of its own, with nothing in it but its end of the connection. A thread that dies
//! waits in the kernel until its io_uring operations end; were the connection in the same table, it would be closed only after that, so a
//! killed test would hang for good with an operation held. As it is, the server dies on its own, the connection ends, and every
//! operation with it.
#![expect(unsafe_code, reason = "a table of descriptors of the thread's own has no safe call")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use super::rules::Op;
use super::shared::Shared;
use super::wire::{Ask, REQUEST_LEN_MAX, ROOT, Reply, Request};

/// The name of a file: one that the machine's own root does not have, see `FaultyDisk`.
pub(super) fn name(index: usize) -> String {
    format!("bulkio-faulty-{index}")
}

fn index_of(name: &[u8]) -> Option<usize> {
    std::str::from_utf8(name).ok()?.strip_prefix("bulkio-faulty-")?.parse().ok()
}

/// Starts a server; returns it and the folder with the files, as an `O_PATH` descriptor.
pub(super) fn start(shared: Arc<Shared>) -> Result<(JoinHandle<()>, OwnedFd), String> {
    let (sender, made) = mpsc::channel();
    let run = move || match Server::new(shared) {
        Ok(server) => {
            // Whoever waits for it is gone if this fails, and the server ends with the connection.
            let _ = sender.send(Ok(server.root_path()));
            server.run();
        }
        Err(reason) => drop(sender.send(Err(reason))),
    };
    let named = thread::Builder::new().name("faulty-fs".to_owned());
    let server = named.spawn(run).map_err(|error| format!("no thread: {error}"))?;
    let path = made.recv().map_err(|_| "the server did not start".to_owned())??;
    // The descriptor is in the server's table; the kernel leads there all the same.
    let root = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(&path);
    Ok((server, root.map_err(|error| format!("{path}: {error}"))?.into()))
}

#[derive(Debug)]
struct Server {
    shared: Arc<Shared>,
    /// Dropped first: with it the connection ends, and everything that waits for an answer.
    connection: OwnedFd,
    mount: OwnedFd,
}

/// Gives this thread a table of descriptors of its own with the standard three and `keep` in it.
fn own_table(keep: i32) -> io::Result<()> {
    let keep = keep.cast_unsigned();
    let checked = |result: i64| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: changes this thread alone; it owns no descriptor yet.
    checked(unsafe { libc::unshare(libc::CLONE_FILES) }.into())?;
    for (first, last) in [(3, keep.saturating_sub(1)), (keep.saturating_add(1).max(3), u32::MAX)] {
        if first <= last {
            // SAFETY: closes copies in this thread's own table, which nobody knows of.
            checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) })?;
        }
    }
    Ok(())
}

impl Server {
    fn new(shared: Arc<Shared>) -> Result<Self, String> {
        let failed = |what: &str, errno: Errno| format!("{what}: {errno}");
        own_table(shared.wake_fd()).map_err(|error| format!("a table of descriptors: {error}"))?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let connection = rustix::fs::open("/dev/fuse", flags, Mode::empty());
        let connection = connection.map_err(|errno| failed("/dev/fuse", errno))?;
        let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC);
        let context = context.map_err(|errno| failed("fsopen of fuse", errno))?;
        for (key, value) in [
            ("fd", connection.as_raw_fd().to_string()),
            ("rootmode", "40000".to_owned()),
            ("user_id", rustix::process::geteuid().as_raw().to_string()),
            ("group_id", rustix::process::getegid().as_raw().to_string()),
        ] {
            let set = fsconfig_set_string(&context, key, &*value);
            set.map_err(|errno| failed(&format!("option {key} of fuse"), errno))?;
        }
        fsconfig_create(&context).map_err(|errno| failed("a superblock of fuse", errno))?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
        let mount = mount.map_err(|errno| failed("fsmount of fuse", errno))?;
        Ok(Self { shared, connection, mount })
    }

    fn root_path(&self) -> String {
        let thread = rustix::thread::gettid().as_raw_nonzero();
        format!("/proc/self/task/{thread}/fd/{}", self.mount.as_raw_fd())
    }

    fn run(self) {
        // SAFETY: this thread's table keeps it open as long as the thread lives.
        let wake = unsafe { BorrowedFd::borrow_raw(self.shared.wake_fd()) };
        let mut buffer = vec![0; REQUEST_LEN_MAX];
        while !self.shared.has_ended() {
            let mut files =
                [PollFd::new(&self.connection, PollFlags::IN), PollFd::from_borrowed_fd(wake, PollFlags::IN)];
            match poll(&mut files, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => panic!("poll: {errno}"),
            }
            // Nothing to read is as good as something.
            let _ = rustix::io::read(wake, &mut [0; 8]);
            match rustix::io::read(&self.connection, &mut buffer) {
                Ok(len) => self.take(&buffer[..len]),
                // ENOENT: the request was interrupted before it was read.
                Err(Errno::AGAIN | Errno::INTR | Errno::NOENT) => {}
                Err(Errno::NODEV) => break,
                Err(errno) => panic!("reading /dev/fuse: {errno}"),
            }
            self.shared.replies(|reply| self.send(reply));
        }
        self.shared.end();
    }

    fn take(&self, bytes: &[u8]) {
        let Some(Request { unique, node, ask }) = Request::parse(bytes) else {
            panic!("a request of {} bytes that cannot be read", bytes.len());
        };
        let size = |node: u64| {
            let index = node.checked_sub(ROOT + 1).map(|index| index as usize);
            index.map_or(Some(0), |index| self.shared.len(index)).ok_or(libc::ENOENT)
        };
        let file = node.saturating_sub(ROOT + 1) as usize;
        let reply = match ask {
            Ask::Silent => return,
            Ask::Interrupt(of) => return self.shared.interrupt(of),
            Ask::Read { at, len } => {
                return self.shared.arrive(file, unique, Op::Read, at, len.into(), Vec::new());
            }
            Ask::Write { at, data } => {
                return self.shared.arrive(file, unique, Op::Write, at, data.len() as u64, data);
            }
            Ask::Sync => return self.shared.arrive(file, unique, Op::Sync, 0, 0, Vec::new()),
            Ask::Init => Ok(Reply::init(unique, self.shared.async_direct)),
            Ask::Lookup(name) => {
                let index = index_of(&name).ok_or(libc::ENOENT);
                index.and_then(|index| {
                    let node = ROOT + 1 + index as u64;
                    Ok(Reply::entry(unique, node, size(node)?))
                })
            }
            Ask::GetAttr => size(node).map(|size| Reply::attributes(unique, node, size)),
            Ask::SetAttr(len) => len
                .map_or(Ok(()), |len| self.shared.set_len(file, len))
                .and_then(|()| Ok(Reply::attributes(unique, node, size(node)?))),
            Ask::Open | Ask::OpenDir => Ok(Reply::open(unique, matches!(ask, Ask::Open))),
            Ask::StatFs => Ok(Reply::stat_fs(unique)),
            Ask::Fine => Ok(Reply::bytes(unique, &[])),
            Ask::Unknown => Err(libc::ENOSYS),
        };
        self.send(reply.unwrap_or_else(|errno| Reply::error(unique, errno)));
    }

    fn send(&self, reply: Reply) {
        match rustix::io::write(&self.connection, &reply.into_bytes()) {
            // ENOENT: nobody waits for the answer any more.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => panic!("the kernel refused an answer: {errno}"),
        }
    }
}
