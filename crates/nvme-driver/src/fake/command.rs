//! What the fake controller does with the commands in its queues.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use scatterlist::desc::prp::{self, Prps};
use scatterlist::desc::sgl::{self, Descriptor};
use scatterlist::{Addr as _, BusAddr, Segment};

use super::bus::FakeBus;
use super::device::FakeController;
use super::fault::{Aborts, Condition, Fault};
use super::setup::Setup;
use super::state::{Completions, State, Submission};
use crate::spec::{self, cns, io};

/// Status fields: SCT in bits 10:8, SC in bits 7:0; see [`crate::status`].
const INVALID_OPCODE: u16 = 0x001;
const INVALID_FIELD: u16 = 0x002;
const DATA_TRANSFER_ERROR: u16 = 0x004;
const ABORTED: u16 = 0x007;
const INVALID_NAMESPACE: u16 = 0x00b;
const OUT_OF_RANGE: u16 = 0x080;
const QUEUE_ID_INVALID: u16 = 0x101;
const QUEUE_SIZE_INVALID: u16 = 0x102;

/// A command, taken apart.
#[derive(Clone, Copy, Debug)]
struct Command {
    opcode: u8,
    is_sgl: bool,
    id: u16,
    namespace: u32,
    data: [u8; 16],
    cdw: [u32; 4],
}

impl Command {
    fn parse(bytes: &[u8; 64]) -> Self {
        let dword = |at: usize| {
            let four = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
            u32::from_le_bytes(four.unwrap_or([0; 4]))
        };
        let [opcode, flags, low, high, ..] = *bytes;
        Self {
            opcode,
            is_sgl: flags >> 6 != 0,
            id: u16::from_le_bytes([low, high]),
            namespace: dword(4),
            data: bytes.get(24..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; 16]),
            cdw: [dword(40), dword(44), dword(48), dword(52)],
        }
    }
}

/// What becomes of a command.
enum Answer {
    /// It completes with a result and a status field.
    Complete(u32, u16),
    /// It does not complete.
    Nothing,
}

impl<B: FakeBus> FakeController<B> {
    /// Does what is in the queues. Returns how many commands that were.
    pub fn run(&self) -> usize {
        self.run_vector(None)
    }

    /// Does what is in the queues of one vector, or of all.
    pub(super) fn run_vector(&self, vector: Option<u16>) -> usize {
        let mut state = self.lock();
        let stuck = matches!(state.condition, Some(Condition::Fatal | Condition::Gone));
        if stuck || !self.is_ready(&state) {
            return 0;
        }
        let mut count = 0_usize;
        let ids: Vec<u16> = state.submission.keys().copied().collect();
        for id in ids {
            while let Some((queue, completions)) = pair(&state, id) {
                let full = after(completions.tail, completions.entries) == completions.head;
                let other = vector.is_some_and(|vector| vector != completions.vector);
                if other || full || queue.head == queue.tail {
                    break;
                }
                self.step(&mut state, id, queue);
                count = count.saturating_add(1);
            }
        }
        count
    }

    /// Does the next command of a queue.
    fn step(&self, state: &mut State, id: u16, queue: Submission) {
        let at = u64::from(queue.head).saturating_mul(spec::SUBMISSION_LEN).saturating_add(queue.base);
        let head = after(queue.head, queue.entries);
        if let Some(queue) = state.submission.get_mut(&id) {
            queue.head = head;
        }
        let mut bytes = [0; 64];
        if self.bus.read(BusAddr::new(at), &mut bytes).is_err() {
            return state.complain(format!("the entry of queue {id} at {at:#x} cannot be read"));
        }
        let command = Command::parse(&bytes);
        let fault = if id == 0 { None } else { next_fault(state) };
        let answer = match fault {
            Some(Fault::Status(status)) => Answer::Complete(0, status),
            Some(Fault::Stall) => {
                state.stalled.insert((id, command.id));
                Answer::Nothing
            }
            _ if id == 0 => self.admin(state, &command),
            _ => Answer::Complete(0, self.io(state, &command)),
        };
        let Answer::Complete(result, status) = answer else { return };
        let (mut queue, mut named, mut said, mut phase, mut times) = (id, command.id, head, true, 1);
        match fault {
            Some(Fault::Lose) => times = 0,
            Some(Fault::WrongCommand(other)) => named = other,
            Some(Fault::WrongQueue(other)) => queue = other,
            Some(Fault::WrongHead(other)) => said = other,
            Some(Fault::WrongPhase) => phase = false,
            Some(Fault::Twice) => times = 2,
            Some(Fault::Rogue(addr)) => {
                self.bus.write(addr, &[0xa5; 8]);
            }
            _ => {}
        }
        for _ in 0..times {
            let entry = [u64::from(result), ids(said, queue, named, status)];
            self.post(state, id, entry, phase);
        }
    }

    /// Writes a completion of a submission queue.
    fn post(&self, state: &mut State, id: u16, [result, word]: [u64; 2], right_phase: bool) {
        let Some((queue, completions)) = pair(state, id) else { return };
        let at =
            u64::from(completions.tail).saturating_mul(spec::COMPLETION_LEN).saturating_add(completions.base);
        let phase = u64::from(completions.phase == right_phase).wrapping_shl(48);
        let (low, high) = (result.to_le_bytes(), (word | phase).to_le_bytes());
        // The half with the phase tag last.
        let written = self.bus.write(BusAddr::new(at), &low)
            && self.bus.write(BusAddr::new(at.saturating_add(8)), &high);
        if !written {
            state.complain(format!("the completion of queue {id} at {at:#x} cannot be written"));
        }
        if let Some(completions) = state.completion.get_mut(&queue.completion) {
            completions.tail = after(completions.tail, completions.entries);
            if completions.tail == 0 {
                completions.phase = !completions.phase;
            }
        }
    }

    fn admin(&self, state: &mut State, command: &Command) -> Answer {
        let [cdw10, cdw11, ..] = command.cdw;
        let (low, high) = (half(cdw10), half(cdw10.wrapping_shr(16)));
        let status = match command.opcode {
            spec::admin::IDENTIFY => self.identify(state, command),
            spec::admin::SET_FEATURES if cdw10 == spec::admin::NUMBER_OF_QUEUES => {
                let wanted = half(cdw11).min(half(cdw11.wrapping_shr(16)));
                let last = u32::from(wanted.min(self.setup.queues_max.saturating_sub(1)));
                return Answer::Complete(last | last.wrapping_shl(16), 0);
            }
            spec::admin::CREATE_COMPLETION_QUEUE => self.create(state, command, low, high, true),
            spec::admin::CREATE_SUBMISSION_QUEUE => self.create(state, command, low, high, false),
            spec::admin::ABORT => return self.abort(state, low, high),
            _ => INVALID_OPCODE,
        };
        Answer::Complete(0, status)
    }

    fn abort(&self, state: &mut State, queue: u16, command: u16) -> Answer {
        match state.aborts {
            Aborts::Stall => Answer::Nothing,
            Aborts::Refuse => Answer::Complete(1, 0),
            Aborts::Accept if state.stalled.remove(&(queue, command)) => {
                let head = state.submission.get(&queue).map_or(0, |queue| queue.head);
                self.post(state, queue, [0, ids(head, queue, command, ABORTED)], true);
                Answer::Complete(0, 0)
            }
            Aborts::Accept => Answer::Complete(1, 0),
        }
    }

    fn create(&self, state: &mut State, command: &Command, id: u16, last: u16, is_completion: bool) -> u16 {
        let [_, cdw11, ..] = command.cdw;
        let base = Prps::from_le_bytes(command.data).prp1().raw();
        let exists = match is_completion {
            true => state.completion.contains_key(&id),
            false => state.submission.contains_key(&id),
        };
        if id == 0 || id > self.setup.queues_max || exists {
            return QUEUE_ID_INVALID;
        }
        if last == 0 || last > self.setup.mqes {
            return QUEUE_SIZE_INVALID;
        }
        if cdw11 & 1 == 0 || base & self.page().len().wrapping_sub(1) != 0 {
            return INVALID_FIELD;
        }
        let (entries, high) = (last.saturating_add(1), half(cdw11.wrapping_shr(16)));
        if is_completion {
            let vector = if cdw11 & 0b10 == 0 { 0 } else { high };
            let queue = Completions { base, entries, tail: 0, head: 0, phase: true, vector };
            state.completion.insert(id, queue);
        } else if state.completion.contains_key(&high) {
            state.submission.insert(id, Submission { base, entries, head: 0, tail: 0, completion: high });
        } else {
            return 0x100;
        }
        0
    }

    fn identify(&self, state: &mut State, command: &Command) -> u16 {
        let [cdw10, ..] = command.cdw;
        let mut bytes = vec![0; 4096];
        match cdw10 & 0xff {
            cns::CONTROLLER => self.describe(&mut bytes),
            cns::ACTIVE_NAMESPACES => {
                let mut ids: Vec<u32> = state.spaces.iter().map(|space| space.setup.id).collect();
                ids.sort_unstable();
                let ids = ids.into_iter().filter(|id| *id > command.namespace);
                let (places, _) = bytes.as_chunks_mut::<4>();
                places.iter_mut().zip(ids).for_each(|(place, id)| *place = id.to_le_bytes());
            }
            cns::NAMESPACE => {
                let Some(space) = state.space(command.namespace) else { return INVALID_NAMESPACE };
                let setup = &space.setup;
                put(&mut bytes, 0, &setup.blocks.to_le_bytes());
                put(&mut bytes, 25, &[15]);
                put(&mut bytes, 26, &[setup.format & 0xf]);
                put(&mut bytes, 46, &setup.noiob.to_le_bytes());
                for format in 0..16_usize {
                    let [low, high] = setup.metadata_len.to_le_bytes();
                    let own = [low, high, setup.block_len_log2, 0];
                    let chosen = format == usize::from(setup.format);
                    let at = format.saturating_mul(4).saturating_add(128);
                    put(&mut bytes, at, if chosen { &own } else { &[8, 0, 12, 0] });
                }
            }
            _ => return INVALID_FIELD,
        }
        let prps = Prps::from_le_bytes(command.data);
        let runs: Result<Vec<_>, _> = prp::walk(&self.bus, self.page(), prps, 4096).collect();
        match runs {
            Ok(runs) if self.scatter(&runs, &bytes) => 0,
            _ => DATA_TRANSFER_ERROR,
        }
    }

    fn describe(&self, bytes: &mut [u8]) {
        let Setup { mdts, sgls, oncs, vwc, acl, maxcmd, entry_sizes: (sqes, cqes), namespaces, .. } =
            &self.setup;
        put(bytes, 4, b"SERIAL 0001         ");
        put(bytes, 24, b"A controller in software                ");
        put(bytes, 64, b"1.0     ");
        put(bytes, 77, &[*mdts]);
        put(bytes, 258, &[*acl]);
        put(bytes, 512, &[*sqes, *cqes]);
        put(bytes, 514, &maxcmd.to_le_bytes());
        put(bytes, 516, &namespaces.iter().map(|space| space.id).max().unwrap_or(0).to_le_bytes());
        put(bytes, 520, &oncs.to_le_bytes());
        put(bytes, 525, &[*vwc]);
        put(bytes, 536, &sgls.to_le_bytes());
    }

    fn io(&self, state: &mut State, command: &Command) -> u16 {
        let [cdw10, cdw11, cdw12, _] = command.cdw;
        if command.opcode == io::FLUSH {
            state.flushes = state.flushes.saturating_add(1);
            return if state.space(command.namespace).is_some() { 0 } else { INVALID_NAMESPACE };
        }
        if command.opcode == io::DATASET_MANAGEMENT {
            return self.deallocate(state, command);
        }
        let first = u64::from(cdw10) | u64::from(cdw11).wrapping_shl(32);
        let blocks = u64::from(cdw12 & 0xffff).saturating_add(1);
        let bad = (first..first.saturating_add(blocks))
            .find_map(|block| state.bad_blocks.get(&(command.namespace, block)).copied());
        let Some(space) = state.space(command.namespace) else { return INVALID_NAMESPACE };
        let shift = u32::from(space.setup.block_len_log2);
        let (start, len) = (first.wrapping_shl(shift), blocks.wrapping_shl(shift));
        let Some(place) = range(&mut space.bytes, start, len) else { return OUT_OF_RANGE };
        if let Some(status) = bad {
            return status;
        }
        if command.opcode == io::WRITE_ZEROES {
            place.fill(0);
            return 0;
        }
        let page_len = self.page().len();
        let longest =
            if self.setup.mdts == 0 { u64::MAX } else { page_len.wrapping_shl(u32::from(self.setup.mdts)) };
        if len > longest {
            return INVALID_FIELD;
        }
        let runs = match self.runs(command, len) {
            Ok(runs) => runs,
            Err(status) => {
                let what = format!("command {command:?} of {len} bytes names no memory: {status:#x}");
                state.complain(what);
                return status;
            }
        };
        let moved = match command.opcode {
            io::READ => self.scatter(&runs, place),
            io::WRITE => self.gather(&runs, place),
            _ => return INVALID_OPCODE,
        };
        if moved { 0 } else { DATA_TRANSFER_ERROR }
    }

    fn deallocate(&self, state: &mut State, command: &Command) -> u16 {
        let [cdw10, cdw11, ..] = command.cdw;
        let len = u64::from(cdw10 & 0xff).saturating_add(1).saturating_mul(16);
        let prps = Prps::from_le_bytes(command.data);
        let Ok(runs) = prp::walk(&self.bus, self.page(), prps, len).collect::<Result<Vec<_>, _>>() else {
            return DATA_TRANSFER_ERROR;
        };
        let mut list = vec![0; usize::try_from(len).unwrap_or(0)];
        if !self.gather(&runs, &mut list) {
            return DATA_TRANSFER_ERROR;
        }
        let Some(space) = state.space(command.namespace) else { return INVALID_NAMESPACE };
        let shift = u32::from(space.setup.block_len_log2);
        let (ranges, _) = list.as_chunks::<16>();
        for range_bytes in ranges {
            let whole = u128::from_le_bytes(*range_bytes);
            let word =
                |shift: u32| u64::try_from(whole.wrapping_shr(shift) & u128::from(u64::MAX)).unwrap_or(0);
            let (blocks, first) = (word(0).wrapping_shr(32), word(64));
            let bytes = range(&mut space.bytes, first.wrapping_shl(shift), blocks.wrapping_shl(shift));
            match bytes {
                // What is deallocated reads as anything; this controller makes it 0xDA, which no test writes.
                Some(bytes) if cdw11 & io::DEALLOCATE != 0 => bytes.fill(0xda),
                Some(_) => {}
                None => return OUT_OF_RANGE,
            }
        }
        0
    }

    /// Finds the memory of a command, as the hardware does.
    fn runs(&self, command: &Command, len: u64) -> Result<Vec<Segment<BusAddr>>, u16> {
        if !command.is_sgl {
            let prps = Prps::from_le_bytes(command.data);
            let runs = prp::walk(&self.bus, self.page(), prps, len).collect::<Result<_, _>>();
            return runs.map_err(|_| 0x013);
        }
        let granularity = self.setup.sgls & 0b11;
        if granularity == 0 {
            return Err(INVALID_FIELD);
        }
        let descriptor = Descriptor::from_le_bytes(command.data);
        let runs = sgl::walk(&self.bus, descriptor, len).collect::<Result<Vec<Segment<BusAddr>>, _>>();
        let runs = runs.map_err(|_| 0x00d_u16)?;
        let odd = runs.iter().any(|run| (run.addr().raw() | run.len()) & 0b11 != 0);
        if granularity == 0b10 && odd { Err(0x00f) } else { Ok(runs) }
    }

    fn scatter(&self, runs: &[Segment<BusAddr>], bytes: &[u8]) -> bool {
        let mut rest = bytes;
        runs.iter().all(|run| {
            let len = usize::try_from(run.len()).unwrap_or(usize::MAX);
            let Some((here, after)) = rest.split_at_checked(len) else { return false };
            rest = after;
            self.bus.write(run.addr(), here)
        })
    }

    fn gather(&self, runs: &[Segment<BusAddr>], bytes: &mut [u8]) -> bool {
        let mut rest = bytes;
        runs.iter().all(|run| {
            let len = usize::try_from(run.len()).unwrap_or(usize::MAX);
            let Some((here, after)) = core::mem::take(&mut rest).split_at_mut_checked(len) else {
                return false;
            };
            rest = after;
            self.bus.read(run.addr(), here).is_ok()
        })
    }
}

/// Returns a submission queue and its completion queue.
fn pair(state: &State, id: u16) -> Option<(Submission, Completions)> {
    let queue = *state.submission.get(&id)?;
    Some((queue, *state.completion.get(&queue.completion)?))
}

fn next_fault(state: &mut State) -> Option<Fault> {
    state.commands = state.commands.saturating_add(1);
    let count = state.commands;
    state.faults.remove(&count)
}

const fn after(index: u16, entries: u16) -> u16 {
    let after = index.wrapping_add(1);
    if after >= entries { 0 } else { after }
}

/// The second word of a completion, without its phase tag.
fn ids(head: u16, queue: u16, command: u16, status: u16) -> u64 {
    let high = u64::from(command) | u64::from(status).wrapping_shl(17);
    u64::from(head) | u64::from(queue).wrapping_shl(16) | high.wrapping_shl(32)
}

fn half(dword: u32) -> u16 {
    u16::try_from(dword & 0xffff).unwrap_or(0)
}

fn put(bytes: &mut [u8], at: usize, from: &[u8]) {
    let end = at.saturating_add(from.len());
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(from);
    }
}

fn range(bytes: &mut [u8], start: u64, len: u64) -> Option<&mut [u8]> {
    let start = usize::try_from(start).ok()?;
    bytes.get_mut(start..start.checked_add(usize::try_from(len).ok()?)?)
}
