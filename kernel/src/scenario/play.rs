//! Play the disk: pages that the NVMe controller fills are the very pages that the sound device's descriptors name.
//!
//! The player reads the first namespace in chunks through a channel of its target: memory that suits both devices. A read that is done
//! becomes a request of the stream with the same lease, so there is nothing to copy and no place to do it. Beside it, a second producer
//! copies the namespace to the other one through the same controller. The host compares what was played with what is on the disk.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::vec::Vec;

use nvme_driver::{Finished, Namespace, Options};
use scatterlist::map::DmaDevice;
use scatterlist::plan::plan;
use scatterlist::{Direction, Lease, LimitId, Outcome, PhysAddr, Position, Request, ScatterList, Shared};

use super::board::{Board, Note};
use super::disks::{self, Queue, Sound};
use super::drive::{Job, drive, whole};
use super::patience::{IDLE_NS, Look, patiently};
use super::stack::{no_limits, on_device};
use super::{Arguments, Failure, fact, failure};
use crate::driver::nvme::NvmeDisk;
use crate::machine::Machine;
use crate::memory::{Buffer, Choice, Owner};
use crate::refused::Retry;
use crate::registers::Clock as _;

/// Chunks that are read, wait or play at a time.
const AHEAD: u64 = 12;

/// Bytes of a request of the other producer.
const COPY_LEN: u64 = 128 << 10;

/// How long the sound device may take to pass on what it has fetched.
const TAIL_NS: u64 = 400_000_000;

pub(super) fn run(machine: &'static Machine, arguments: &Arguments<'_>) -> Result<(), Failure> {
    on_device!(machine, arguments, &no_limits(), |device| on(machine, arguments, device))
}

fn on<D>(machine: &'static Machine, arguments: &Arguments<'_>, device: D) -> Result<(), Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let options = Options { queues: 2, ..Options::default() };
    let (mut controller, _, told) =
        disks::controller::<_, Owner, Shared<Note>>(machine, arguments, device.clone(), options)?;
    let mut sound = disks::sound(machine, device)?;
    let (namespaces, queues) = controller.parts_mut();
    let have = (namespaces.len(), queues.len());
    let ([music, other, ..], [first, second, ..]) = (namespaces, queues) else {
        return Err(disks::too_few(have, 2));
    };
    let len = arguments.number("bytes")?;
    let both = music.target().limits().stack_memory(sound.target().limits().memory())?;
    let mut player = Player {
        machine,
        // Both producers share the controller's target; the player's is a channel of it.
        channel: music.channel(&both)?,
        queue: first,
        sound: &mut sound,
        chunk_len: arguments.number("chunk")?,
        len,
        contiguous: arguments.number_or("contiguous", 0)? != 0,
        next: 0,
        board: Board::new(),
        lists: VecDeque::new(),
        ready: BTreeMap::new(),
        next_to_play: 0,
        played: 0,
        chunks: 0,
        bounced_bytes: 0,
    };
    let copy_len = arguments.number("copy")?;
    let (mut copied, mut before) = (0, 0);
    patiently(machine, &format!("the stream of {len} bytes"), IDLE_NS, |_| {
        player.step()?;
        if copied < copy_len {
            copy_one(machine, second, [music, other], copied)?;
            copied = copied.saturating_add(COPY_LEN);
        }
        let played = player.played;
        Ok(if played >= len { Look::Done } else { Look::at(&mut before, played) })
    })?;
    fact!("chunks", player.chunks);
    fact!("bounced", player.bounced_bytes);
    let end = machine.clock.now_ns();
    while machine.clock.now_ns().saturating_sub(end) < TAIL_NS {
        machine.clock.pause();
    }
    fact!("entries", sound.entries());
    fact!("underruns", sound.underruns());
    fact!("fifo_errors", sound.fifo_errors());
    sound.stop()?;
    told.state()?;
    Ok(controller.shut_down()?)
}

/// Reads chunks ahead and plays them.
struct Player<'a, D: DmaDevice<Addr = PhysAddr>> {
    machine: &'static Machine,
    channel: Namespace<D>,
    queue: &'a mut Queue<D>,
    sound: &'a mut Sound<D>,
    chunk_len: u64,
    len: u64,
    contiguous: bool,
    /// Where the next chunk is read.
    next: u64,
    board: Board,
    /// The lists of chunks, in their order on the disk: where their samples were put.
    lists: VecDeque<ScatterList<PhysAddr>>,
    /// Chunks that were read, by where on the disk, until the sound device takes them: a controller completes in any order.
    ready: BTreeMap<u64, Lease<PhysAddr, Owner>>,
    /// Which of them is next.
    next_to_play: u64,
    /// Bytes.
    played: u64,
    /// Entries that the chunks take in the ring.
    /// Chunks that were played from the memory that they were read to.
    chunks: u64,
    bounced_bytes: u64,
}

impl<D: DmaDevice<Addr = PhysAddr>> Player<'_, D> {
    /// Does what can be done now.
    fn step(&mut self) -> Result<(), Failure> {
        while self.next < self.len
            && self.next.saturating_sub(self.played) < AHEAD.saturating_mul(self.chunk_len)
        {
            self.read()?;
        }
        self.queue.ring();
        let (ready, mut wrong) = (&mut self.ready, None);
        self.queue.poll(|done| {
            let outcome = done.outcome;
            let Finished::Transfer(request) = done.finished else { return };
            if outcome != Outcome::whole(request.len_bytes()) {
                wrong = Some(outcome);
            }
            if let Position::At(position) = request.position() {
                ready.insert(position, request.complete(outcome));
            }
        })?;
        if let Some(outcome) = wrong {
            return Err(failure(format!("a read ended with {outcome:?}")));
        }
        while let Some(lease) = self.ready.remove(&self.next_to_play) {
            if !self.play(lease)? {
                break;
            }
        }
        let (lists, played, chunks, mut wrong) = (&mut self.lists, &mut self.played, &mut self.chunks, None);
        self.sound.poll_with(&mut |request, outcome| {
            // The memory that was played is the memory that was read to: the same frames, in the same order.
            let same = lists.pop_front().is_some_and(|list| list == *request.lease().list());
            if same && outcome == Outcome::whole(request.len_bytes()) {
                *chunks = chunks.saturating_add(1);
            } else {
                wrong = Some(outcome);
            }
            *played = played.saturating_add(request.len_bytes());
            drop(request.complete(outcome));
        })?;
        match wrong {
            Some(outcome) => Err(failure(format!("other memory, or a chunk that ended with {outcome:?}"))),
            None => Ok(()),
        }
    }

    /// Submits the read of the next chunk, as one command.
    fn read(&mut self) -> Result<(), Failure> {
        let len = self.chunk_len.min(self.len.saturating_sub(self.next));
        let limits = self.channel.target().list_limits();
        let make = if self.contiguous { Buffer::contiguous } else { Buffer::new };
        let choice = Choice::SCATTERED.up_to(limits.hard_value(LimitId::AddrMax));
        let lease = make(self.machine.memory, len, 0, choice)?.lease()?;
        let mut planned =
            plan(lease.list(), Position::At(self.next), limits, self.channel.target().plan_policy());
        let first = planned.next().ok_or_else(|| failure(format!("{len} bytes are no command")))??;
        if first.len_bytes() != len {
            let cut = first.len_bytes();
            return Err(failure(format!("a chunk of {len} bytes is cut at {cut}, it must be one command")));
        }
        self.bounced_bytes = self.bounced_bytes.saturating_add(first.bounced_bytes());
        self.lists.push_back(lease.list().clone());
        let note = Shared::new(len, self.board.note(0));
        let request = Request::new(lease, Direction::FromDevice, Position::At(self.next), note);
        self.queue.submit(&self.channel, request)?;
        self.next = self.next.saturating_add(len);
        Ok(())
    }

    /// Gives a chunk to the sound device. Says `false` where it is full: the chunk waits.
    fn play(&mut self, lease: Lease<PhysAddr, Owner>) -> Result<bool, Failure> {
        let limits = self.sound.target().list_limits();
        let ready = plan(lease.list(), Position::Stream, limits, self.sound.target().plan_policy()).next();
        let len = lease.list().len_bytes();
        let ready = ready.ok_or_else(|| failure(format!("{len} bytes are no request of a stream")))??;
        let bounced_bytes = ready.bounced_bytes();
        let note = Shared::new(len, self.board.note(1));
        let request = Request::new(lease, Direction::ToDevice, Position::Stream, note);
        match self.sound.play(request) {
            Ok(()) => {
                self.bounced_bytes = self.bounced_bytes.saturating_add(bounced_bytes);
                self.next_to_play = self.next_to_play.saturating_add(len);
                if self.next_to_play >= self.len {
                    self.sound.drain();
                }
                Ok(true)
            }
            Err(refused) if refused.retry == Retry::Later => {
                let outcome = Outcome { asked: refused.request.len_bytes(), done: 0, fault: None };
                self.ready.insert(self.next_to_play, refused.request.complete(outcome));
                Ok(false)
            }
            Err(refused) => Err(refused.error.into()),
        }
    }
}

/// One read and one write of the other producer.
fn copy_one<D: DmaDevice<Addr = PhysAddr>>(
    machine: &'static Machine,
    queue: &mut Queue<D>,
    [from, to]: [&Namespace<D>; 2],
    position: u64,
) -> Result<(), Failure> {
    let buffer = Buffer::new(machine.memory, COPY_LEN, 0, Choice::SCATTERED)?;
    let read = Vec::from([Job { buffer, direction: Direction::FromDevice, position }]);
    let (read, _) = drive(machine, &mut NvmeDisk::new(from, &mut *queue), read)?;
    let write = whole(read)?.into_iter();
    let write = write.map(|buffer| Job { buffer, direction: Direction::ToDevice, position }).collect();
    let (written, _) = drive(machine, &mut NvmeDisk::new(to, queue), write)?;
    whole(written).map(drop)
}
