//! One word in which a closed circuit counts, so that a failure and the success after it replace no
//! value, and a call to a healthy peer reads nothing else.
//!
//! The values of a circuit are numbered: its *epochs*. The word names the epoch that it belongs to:
//!
//! | state | what it carries | who decides |
//! |---|---|---|
//! | at rest | the generation | the word: Closed, no window, a [`FailureRun`] of zero |
//! | counting | the [`FailureRun`] | the value of its epoch, but for the run |
//! | frozen | the [`FailureRun`] | as counting, and final: the value is about to be replaced |
//! | frozen, of an earlier epoch | nothing | the value alone |
//!
//! | step | who takes it | made from |
//! |---|---|---|
//! | at rest, counting -> at rest, counting | a call that is counted: [`count`](Word::count) | the word that it saw |
//! | -> frozen | whoever is about to replace the value: [`freeze`](Word::freeze) | the word that its step was made from |
//! | frozen -> at rest, counting, of the next epoch | whoever has replaced the value: [`publish`](Word::publish) | the word that it froze |
//!
//! What holds:
//! 1. A word of epoch e that is not frozen means that value e is in place: it is published after
//!    that was put there, and frozen before it is replaced.
//! 2. Of one epoch the word counts, then is frozen, and never counts again. So what the next value was
//!    made from is final, and no call that was counted is lost.
//! 3. Nobody waits. Who finds the word frozen makes a step of its own, from the value and the run that
//!    is frozen; whoever is first to replace the value has made the step. A compare-and-swap that is
//!    lost is another's that was won.
//! 4. A value whose numbers do not fit, or that is not Closed, is never published: it decides alone.
//!
//! An epoch has 30 bits. For a thread to take one value for another by its epoch, that one circuit has to be replaced
//! 2^29 times, for a minute without a pause, while the thread stands between two loads; a permit
//! names the generation, which never wraps.

use crate::sync::{AtomicU64, Ordering, prefetch};

/// What a closed circuit counts from call to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FailureRun {
    /// Failures in a row.
    pub(crate) streak: u32,
    /// Errors since the last success, neutral ones too.
    pub(crate) attempts: u32,
}

#[derive(Debug)]
pub(crate) struct Word(AtomicU64);

/// What the word was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading(u64);

/// What a reading says of the value of some epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// This is its run, and a call may be counted.
    Counting(FailureRun),
    /// This was its run in the end.
    Frozen(FailureRun),
    /// Nothing: the value decides alone.
    Silent,
    /// The value has been replaced.
    Replaced,
}

/// What is to be published of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) epoch: u32,
    pub(crate) generation: u64,
    /// Whether it keeps a window: then it is never at rest.
    pub(crate) window: bool,
    pub(crate) run: FailureRun,
}

// Bits 62 and 63: the state. Then 30 bits: the epoch. Then 32 bits: the generation, or two times 16 of
// the run.
const STATE: u64 = 3 << 62;
const AT_REST: u64 = 2 << 62;
const COUNTING: u64 = 1 << 62;
const FROZEN: u64 = 0;
const EPOCH: u32 = (1 << 30) - 1;

/// The epoch that follows.
pub(crate) fn next(epoch: u32) -> u32 {
    epoch.wrapping_add(1) & EPOCH
}

fn with(state: u64, epoch: u32, low: u32) -> u64 {
    state | u64::from(epoch & EPOCH) << 32 | u64::from(low)
}

fn pack(run: FailureRun) -> Option<u32> {
    let (streak, attempts) = (u16::try_from(run.streak).ok()?, u16::try_from(run.attempts).ok()?);
    Some(u32::from(streak) << 16 | u32::from(attempts))
}

#[allow(clippy::cast_possible_truncation, reason = "two times 16 bits")]
fn unpack(low: u64) -> FailureRun {
    let half = u64::from(u16::MAX);
    FailureRun { streak: (low >> 16 & half) as u32, attempts: (low & half) as u32 }
}

impl Published {
    fn word(self) -> Option<u64> {
        let (low, run) = (u32::try_from(self.generation).ok()?, pack(self.run)?);
        Some(match self.run == FailureRun::default() && !self.window {
            true => with(AT_REST, self.epoch, low),
            false => with(COUNTING, self.epoch, run),
        })
    }

    /// Whether the word may ever count for this value: whoever replaces it has to freeze the word.
    pub(crate) fn counts(self) -> bool {
        self.word().is_some()
    }
}

impl Reading {
    /// The generation of the circuit, if it is at rest.
    #[inline]
    pub(crate) fn generation(self) -> Option<u64> {
        (self.0 & STATE == AT_REST).then_some(self.0 & u64::from(u32::MAX))
    }

    /// What it says of the value of this epoch.
    #[allow(clippy::cast_possible_truncation, reason = "the epoch is cut to its bits")]
    pub(crate) fn about(self, epoch: u32) -> About {
        let ahead = ((self.0 >> 32) as u32).wrapping_sub(epoch) & EPOCH;
        match (self.0 & STATE, ahead) {
            (AT_REST, 0) => About::Counting(FailureRun::default()),
            (COUNTING, 0) => About::Counting(unpack(self.0)),
            (FROZEN, 0) => About::Frozen(unpack(self.0)),
            // Of an earlier epoch.
            (FROZEN, ahead) if ahead > EPOCH / 2 => About::Silent,
            _ => About::Replaced,
        }
    }
}

impl Word {
    /// The word of a circuit that begins with this, in its epoch zero.
    pub(crate) fn new(first: Option<Published>) -> Self {
        Self(AtomicU64::new(Self::first(first)))
    }

    fn first(first: Option<Published>) -> u64 {
        // Frozen, of the epoch before the first.
        first.and_then(Published::word).unwrap_or_else(|| with(FROZEN, EPOCH, 0))
    }

    /// Begins anew, as the word of another circuit. Only while nobody else knows it.
    pub(crate) fn begin(&self, first: Option<Published>) {
        // Relaxed: pairs with nothing; whoever comes to know it comes to know this first.
        self.0.store(Self::first(first), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn read(&self) -> Reading {
        // Acquire: pairs with the Release in `publish`: who reads of an epoch finds its value, or a
        // later one; and with that in `count`: who sees a streak sees what came before the calls that
        // made it.
        Reading(self.0.load(Ordering::Acquire))
    }

    /// Brings the word into the cache, before it is asked.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.0);
    }

    /// Counts a call: the run becomes that of `next`, if the word still is what was read. `None` if it
    /// does not fit.
    pub(crate) fn count(&self, seen: Reading, next: Published) -> Option<bool> {
        // Release, Relaxed: pairs with the Acquire in `read`. If it fails, nothing is decided by what
        // was found.
        let counted =
            self.0.compare_exchange(seen.0, next.word()?, Ordering::Release, Ordering::Relaxed);
        Some(counted.is_ok())
    }

    /// Before a value is replaced whose run was `run`, by this reading: nobody counts for it any more.
    pub(crate) fn freeze(&self, seen: Reading, epoch: u32, run: FailureRun) -> Option<Reading> {
        let frozen = with(FROZEN, epoch, pack(run)?);
        if frozen == seen.0 {
            return Some(seen);
        }
        // Acquire, Relaxed: pairs with the Release in `count`: the calls that this run consists of may be
        // others by now than those that were seen. The value that follows releases this to all who find
        // it. If it fails, nothing is decided by what was found.
        let made = self.0.compare_exchange(seen.0, frozen, Ordering::Acquire, Ordering::Relaxed);
        made.is_ok().then_some(Reading(frozen))
    }

    /// After a value was put in place: it counts from here on, if the word still is as it was frozen, or
    /// as it was read before a value of which it said nothing was replaced.
    pub(crate) fn publish(&self, frozen: Reading, next: Published) {
        let Some(word) = next.word() else { return };
        // Release, Relaxed: pairs with the Acquire in `read`. If it fails, somebody is about to replace
        // what was put in place.
        let _ = self.0.compare_exchange(frozen.0, word, Ordering::Release, Ordering::Relaxed);
    }
}
