//! What is to go wrong: a [`Rule`] says on which operations of a file, how often, and what.
//!
//! The first rule that fits an operation decides. `fs` asks twice: whether the operation is held ([`Effect::Hold`])
//! when it arrives, and what its answer is when it is answered; a rule counts only operations of its own question.

use std::ops::Range;

/// An operation on a file, as it arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Read,
    Write,
    /// `fsync` and `fdatasync`; touches byte 0 on.
    Sync,
}

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Keeps the operation without an answer until the gate is opened.
    Hold,
    /// Moves at most so many bytes. Of 0 bytes, a read is at the end of the file.
    Short(u32),
    /// Moves nothing and answers an error number.
    Errno(i32),
    /// As a disk with bad blocks: the bytes before the range are moved, and an operation that starts inside of it gets the
    /// error number.
    Bad(i32),
    /// As a disk that lies: a write is taken, and one bit of this byte of the file is another one.
    Flip(u64),
}

/// Which operations, how often, and what happens to them.
#[derive(Clone, Debug)]
pub struct Rule {
    op: Option<Op>,
    range: Range<u64>,
    skip: u64,
    left: Option<u64>,
    effect: Effect,
}

impl Rule {
    const fn new(op: Option<Op>) -> Self {
        Self { op, range: 0..u64::MAX, skip: 0, left: None, effect: Effect::Hold }
    }

    /// Starts a rule for reads.
    pub const fn reads() -> Self {
        Self::new(Some(Op::Read))
    }

    /// Starts a rule for writes.
    pub const fn writes() -> Self {
        Self::new(Some(Op::Write))
    }

    /// Starts a rule for flushes.
    pub const fn syncs() -> Self {
        Self::new(Some(Op::Sync))
    }

    /// Starts a rule for everything.
    pub const fn any() -> Self {
        Self::new(None)
    }

    /// Only for operations that touch a byte of the range.
    pub fn touching(self, range: Range<u64>) -> Self {
        Self { range, ..self }
    }

    /// Lets the first `count` operations that fit pass. They count as they arrive, which is not the order of submission where
    /// threads issue them.
    pub fn after(self, count: u64) -> Self {
        Self { skip: count, ..self }
    }

    /// Is spent after `count` operations; without this, never.
    pub fn times(self, count: u64) -> Self {
        Self { left: Some(count), ..self }
    }

    /// Is spent after one operation.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Completes the rule: held at the gate.
    pub fn hold(self) -> Self {
        Self { effect: Effect::Hold, ..self }
    }

    /// Completes the rule: at most `bytes` are moved.
    pub fn short(self, bytes: u32) -> Self {
        Self { effect: Effect::Short(bytes), ..self }
    }

    /// Completes the rule: refused with a positive error number.
    pub fn errno(self, errno: i32) -> Self {
        Self { effect: Effect::Errno(errno), ..self }
    }

    /// Completes the rule: the range is bad; see [`Effect::Bad`].
    pub fn bad(self, errno: i32) -> Self {
        Self { effect: Effect::Bad(errno), ..self }
    }

    /// Completes the rule: a bit of byte `at` of the file is not what was written.
    pub fn flip(self, at: u64) -> Self {
        Self { effect: Effect::Flip(at), ..self }.touching(at..at + 1)
    }

    pub(super) fn holds(&self) -> bool {
        self.effect == Effect::Hold
    }

    /// Says whether the rule decides about an operation, and counts it.
    fn takes(&mut self, op: Op, at: u64, len: u64) -> bool {
        let touches = at < self.range.end && self.range.start < at.saturating_add(len.max(1));
        if self.op.is_some_and(|own| own != op) || !touches || self.left == Some(0) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        true
    }
}

/// Says whether an operation that arrives is held.
pub(super) fn is_held(rules: &mut [Rule], op: Op, at: u64, len: u64) -> bool {
    rules.iter_mut().any(|rule| rule.holds() && rule.takes(op, at, len))
}

/// What an operation may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// At most so many bytes are moved.
    pub(super) bytes: u64,
    /// A byte of the file of which a bit is flipped afterwards.
    pub(super) flips: Option<u64>,
}

/// Returns what an operation may do, `Err` with an error number if it is refused.
pub(super) fn verdict(rules: &mut [Rule], op: Op, at: u64, len: u64) -> Result<Verdict, i32> {
    let moves = |bytes| Ok(Verdict { bytes, flips: None });
    let mut decides = rules.iter_mut().filter(|rule| !rule.holds());
    let Some(rule) = decides.find_map(|rule| rule.takes(op, at, len).then_some(rule)) else {
        return moves(len);
    };
    match rule.effect {
        Effect::Hold => moves(len),
        Effect::Short(bytes) => moves(len.min(bytes.into())),
        Effect::Flip(flipped) => Ok(Verdict { bytes: len, flips: Some(flipped) }),
        Effect::Errno(errno) => Err(errno),
        Effect::Bad(errno) if at >= rule.range.start => Err(errno),
        Effect::Bad(_) => moves(len.min(rule.range.start - at)),
    }
}
