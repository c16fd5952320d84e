//! What the server of a [`FaultyFs`](super::fs::FaultyFs) and the handles of its files share: the bytes, the operations and what is
//! to become of each.
//!
//! An operation arrives, is held or not, and is carried out when the server collects [`Shared::replies`]. The
//! lock is held until the kernel has the answer, so who sees an answer recorded knows that the kernel is done with the memory.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::rules::{self, Op, Rule};
use super::wire::Reply;

/// Most operations that are recorded before they are taken out.
pub(super) const SEEN_MAX: usize = 1 << 16;

/// Longest file.
const CONTENT_MAX: u64 = 1 << 30;

/// What became of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nothing yet: it is held.
    None,
    /// So many bytes were moved.
    Bytes(u64),
    /// It was refused with an error number.
    Errno(i32),
}

/// An operation as the file saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its number, in the order of arrival, unique in its file system.
    pub number: u64,
    pub op: Op,
    /// Its position in the file, in bytes.
    pub at: u64,
    /// Its bytes; 0 for a flush.
    pub len: u64,
    pub answer: Answer,
    /// Whether the kernel asked that it end early (`FUSE_INTERRUPT`).
    pub interrupted: bool,
}

/// An operation that has no answer yet.
#[derive(Debug)]
pub(super) struct Held {
    unique: u64,
    number: u64,
    op: Op,
    pub(super) at: u64,
    len: u64,
    data: Vec<u8>,
    /// The error number to answer, whatever the rules say.
    forced: Option<i32>,
}

impl Held {
    /// Is to be answered with an error number, whatever the rules say.
    pub(super) fn refused(self, errno: i32) -> Self {
        Self { forced: Some(errno), ..self }
    }
}

#[derive(Debug, Default)]
pub(super) struct FileState {
    pub(super) content: Vec<u8>,
    pub(super) rules: Vec<Rule>,
    pub(super) seen: Vec<Seen>,
    /// Operations that `seen` had no room for.
    pub(super) dropped: u64,
    pub(super) held: VecDeque<Held>,
    /// Let go, for the server to answer.
    pub(super) freed: VecDeque<Held>,
    pub(super) on_interrupt: Option<i32>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) files: Vec<FileState>,
    numbers: u64,
    pub(super) ended: bool,
}

/// What the server and the handles share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Wakes the server.
    wake: OwnedFd,
    pub(super) async_direct: bool,
}

impl Shared {
    pub(super) fn new(contents: Vec<Vec<u8>>, async_direct: bool) -> Result<Self, String> {
        let files = contents.into_iter();
        let files = files.map(|content| FileState { content, ..FileState::default() }).collect();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = wake.map_err(|errno| format!("eventfd: {errno}"))?;
        let state = Mutex::new(State { files, ..State::default() });
        Ok(Self { state, changed: Condvar::new(), wake, async_direct })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake_fd(&self) -> i32 {
        self.wake.as_raw_fd()
    }

    #[expect(clippy::host_endian_bytes, reason = "the counter has the byte order of the machine")]
    pub(super) fn wake(&self) {
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).expect("the server is woken");
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    pub(super) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Returns the length of a file; `None` if there is no such file.
    pub(super) fn len(&self, file: usize) -> Option<u64> {
        self.state().files.get(file).map(|file| file.content.len() as u64)
    }

    pub(super) fn set_len(&self, file: usize, len: u64) -> Result<(), i32> {
        if len > CONTENT_MAX {
            return Err(libc::EFBIG);
        }
        let mut state = self.state();
        let file = state.files.get_mut(file).ok_or(libc::ENOENT)?;
        file.content.resize(len as usize, 0);
        Ok(())
    }

    /// Takes an operation from the kernel. It is answered by one of the next [`replies`](Self::replies).
    pub(super) fn arrive(&self, file: usize, unique: u64, op: Op, at: u64, len: u64, data: Vec<u8>) {
        let mut state = self.state();
        let number = state.numbers;
        state.numbers += 1;
        let Some(file) = state.files.get_mut(file) else { return };
        if file.seen.len() < SEEN_MAX {
            file.seen.push(Seen { number, op, at, len, answer: Answer::None, interrupted: false });
        } else {
            file.dropped += 1;
        }
        let held = Held { unique, number, op, at, len, data, forced: None };
        if rules::is_held(&mut file.rules, op, at, len) {
            file.held.push_back(held);
        } else {
            file.freed.push_back(held);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Notes that the kernel wants an operation to end early.
    pub(super) fn interrupt(&self, unique: u64) {
        let mut state = self.state();
        for file in &mut state.files {
            let Some(place) = file.held.iter().position(|held| held.unique == unique) else { continue };
            let number = file.held[place].number;
            if let Some(seen) = file.seen.iter_mut().find(|seen| seen.number == number) {
                seen.interrupted = true;
            }
            if let Some(errno) = file.on_interrupt
                && let Some(held) = file.held.remove(place)
            {
                file.freed.push_back(held.refused(errno));
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Carries out the operations that are not held and gives each answer to `send`, which returns when the kernel has
    /// it.
    pub(super) fn replies(&self, mut send: impl FnMut(Reply)) {
        let mut state = self.state();
        for file in &mut state.files {
            while let Some(held) = file.freed.pop_front() {
                let (reply, answer) = file.carry_out(&held);
                // With the lock: who then sees the answer knows that the kernel is done with the memory.
                send(reply);
                if let Some(seen) = file.seen.iter_mut().find(|seen| seen.number == held.number) {
                    seen.answer = answer;
                }
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl FileState {
    fn carry_out(&mut self, held: &Held) -> (Reply, Answer) {
        let verdict = match held.forced {
            Some(errno) => Err(errno),
            None => rules::verdict(&mut self.rules, held.op, held.at, held.len),
        };
        let moved = verdict.and_then(|verdict| {
            let moved = self.moved(held, verdict.bytes as usize)?;
            if let Some(byte) = verdict.flips.and_then(|at| self.content.get_mut(at as usize)) {
                *byte ^= 1;
            }
            Ok(moved)
        });
        match moved {
            Ok((reply, bytes)) => (reply, Answer::Bytes(bytes as u64)),
            Err(errno) => (Reply::error(held.unique, errno), Answer::Errno(errno)),
        }
    }

    fn moved(&mut self, held: &Held, bytes: usize) -> Result<(Reply, usize), i32> {
        let at = held.at as usize;
        match held.op {
            Op::Sync => Ok((Reply::bytes(held.unique, &[]), 0)),
            Op::Read => {
                let rest = self.content.get(at..).unwrap_or_default();
                let bytes = &rest[..bytes.min(rest.len())];
                Ok((Reply::bytes(held.unique, bytes), bytes.len()))
            }
            Op::Write => {
                let end = held.at.checked_add(bytes as u64).filter(|end| *end <= CONTENT_MAX);
                let end = end.ok_or(libc::EFBIG)? as usize;
                if self.content.len() < end {
                    self.content.resize(end, 0);
                }
                self.content[at..end].copy_from_slice(&held.data[..bytes]);
                Ok((Reply::written(held.unique, bytes as u32), bytes))
            }
        }
    }
}
