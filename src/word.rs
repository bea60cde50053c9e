//! A word in which a closed circuit counts, so that a failure and the success after it replace no value, and
//! a call to a healthy peer reads nothing else.
//!
//! The tracker numbers the values of a circuit: their *epochs*. The word names the epoch it belongs to:
//!
//! | state | content | what decides |
//! |---|---|---|
//! | at rest | the generation | the word: Closed, no window, a [`FailureRun`] of zero |
//! | counting | the [`FailureRun`] | the value of its epoch, but for the run |
//! | frozen | the [`FailureRun`] | as counting, and final: the value is about to be replaced |
//! | frozen, of an earlier epoch | nothing | the value alone |
//!
//! | step | taken by | made from |
//! |---|---|---|
//! | at rest, counting -> at rest, counting | a call that counts: `count` | the word that the call read |
//! | -> frozen | a thread before it replaces the value: `freeze` | the word that its step was made from |
//! | frozen -> at rest, counting, of the next epoch | the same thread later: `publish` | the frozen word |
//!
//! These invariants hold:
//! 1. A word of epoch e that is not frozen means that value e is in place: a thread publishes the word after
//!    it has put the value there, and freezes it before it replaces the value.
//! 2. In one epoch the word counts, then is frozen, and never counts again. So the run that the next value
//!    was made from is final, and no counted call is lost.
//! 3. No thread waits. A thread that finds the word frozen makes a step of its own from the value and the
//!    frozen run; the first thread that replaces the value has made the step. A thread loses a
//!    compare-and-swap only because another thread has won one.
//! 4. No thread publishes a value whose numbers do not fit or that is not Closed. While such a value is in
//!    place, the value decides alone, and the word says nothing.
//!
//! An epoch has 30 bits. A thread can take one value for another by its epoch only if other threads replace
//! that one circuit 2^29 times, for a minute without a pause, while it stands between two loads; a permit
//! names the generation, which never wraps. A note of the word at rest is taken for that of another value
//! only if 2^30 replacements lie between, and no call was counted in the last of them.
//!
//! A run has no version. A thread takes a streak for the one that it read if, while it stands between its load
//! and its compare-and-swap, that streak ended and another one became as long. If the configuration was
//! replaced meanwhile, too, its failure is counted by the threshold before: the next failure opens.

use crate::config::rules::Rules;
use crate::sync::{AtomicU64, Ordering, prefetch};

/// The counts of a closed circuit from call to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FailureRun {
    /// The failures in a row.
    pub(crate) streak: u32,
    /// The errors since the last success, neutral ones too.
    pub(crate) errors: u32,
}

impl FailureRun {
    /// Returns whether this streak opens a circuit (R14).
    pub(crate) fn reaches(self, rules: &Rules) -> bool {
        rules.streak.is_some_and(|threshold| self.streak >= threshold)
    }

    /// Returns the run after an outcome that is no counted failure and carries an error if `errs`.
    pub(crate) fn erring(self, errs: bool) -> Self {
        Self { errors: self.errors.saturating_add(errs.into()), ..self }
    }

    /// Returns the run after one more failure in a row.
    pub(crate) fn failed(self, errs: bool) -> Self {
        Self { streak: self.streak.saturating_add(1), ..self.erring(errs) }
    }
}

#[derive(Debug)]
pub(crate) struct Word(AtomicU64);

/// The word as a thread read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading(u64);

/// What a reading says of the value of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// This is the value's run, and a call may be counted.
    Counting(FailureRun),
    /// This was the value's last run.
    Frozen(FailureRun),
    /// The word says nothing: the value decides alone.
    Silent,
    /// Another value has replaced it.
    Replaced,
}

/// The part of a value that the word publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) epoch: u32,
    pub(crate) generation: u64,
    /// Whether the value keeps a window: then its word is never at rest.
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

/// Returns the epoch that follows.
pub(crate) fn next(epoch: u32) -> u32 {
    epoch.wrapping_add(1) & EPOCH
}

fn with(state: u64, epoch: u32, low: u32) -> u64 {
    state | u64::from(epoch & EPOCH) << 32 | u64::from(low)
}

fn pack(run: FailureRun) -> Option<u32> {
    let (streak, errors) = (u16::try_from(run.streak).ok()?, u16::try_from(run.errors).ok()?);
    Some(u32::from(streak) << 16 | u32::from(errors))
}

#[allow(clippy::cast_possible_truncation, reason = "two times 16 bits")]
fn unpack(low: u64) -> FailureRun {
    let half = u64::from(u16::MAX);
    FailureRun { streak: (low >> 16 & half) as u32, errors: (low & half) as u32 }
}

impl Published {
    fn word(self) -> Option<u64> {
        let (low, run) = (u32::try_from(self.generation).ok()?, pack(self.run)?);
        Some(match self.run == FailureRun::default() && !self.window {
            true => with(AT_REST, self.epoch, low),
            false => with(COUNTING, self.epoch, run),
        })
    }

    /// Returns the word of this value once it is at rest; `None` if it never is.
    pub(crate) fn at_rest(self) -> Option<Reading> {
        let rested = Self { run: FailureRun::default(), ..self };
        rested.word().filter(|_| !self.window).map(Reading)
    }

    /// Returns whether the word may ever count for this value, which a thread then freezes to replace it.
    pub(crate) fn counts(self) -> bool {
        self.word().is_some()
    }
}

impl Reading {
    /// Returns the generation of the circuit, if the word is at rest.
    #[inline]
    pub(crate) fn generation(self) -> Option<u64> {
        (self.0 & STATE == AT_REST).then_some(self.0 & u64::from(u32::MAX))
    }

    /// Returns the reading as a number, and from such a number: for a note beside the word.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns whether this is a word that counts or is at rest, and `rest` the word at rest of the same value.
    #[inline]
    pub(crate) fn counts_for(self, rest: Self) -> bool {
        match self.0 & STATE {
            // Of one epoch, the upper halves differ by the state alone.
            COUNTING => (self.0 ^ rest.0) >> 32 == (COUNTING ^ AT_REST) >> 32,
            AT_REST => self == rest,
            _ => false,
        }
    }

    /// Returns the run of a word that counts or is at rest.
    #[inline]
    pub(crate) fn run(self) -> FailureRun {
        if self.0 & STATE == AT_REST { FailureRun::default() } else { unpack(self.0) }
    }

    /// Returns the word of the same value that counts this run; `None` if that does not fit.
    #[inline]
    pub(crate) fn counting(self, run: FailureRun) -> Option<Self> {
        Some(Self(COUNTING | self.0 & u64::from(EPOCH) << 32 | u64::from(pack(run)?)))
    }

    /// Returns what this reading says of the value of `epoch`.
    #[allow(clippy::cast_possible_truncation, reason = "the epoch is cut to its bits")]
    pub(crate) fn about(self, epoch: u32) -> About {
        let ahead = ((self.0 >> 32) as u32).wrapping_sub(epoch) & EPOCH;
        match (self.0 & STATE, ahead) {
            (AT_REST, 0) => About::Counting(FailureRun::default()),
            (COUNTING, 0) => About::Counting(unpack(self.0)),
            (FROZEN, 0) => About::Frozen(unpack(self.0)),
            // The word is of an earlier epoch.
            (FROZEN, ahead) if ahead > EPOCH / 2 => About::Silent,
            _ => About::Replaced,
        }
    }
}

impl Word {
    /// Returns the word of a circuit that begins with `first`, in its epoch zero.
    pub(crate) fn new(first: Option<Published>) -> Self {
        Self(AtomicU64::new(Self::first(first)))
    }

    fn first(first: Option<Published>) -> u64 {
        // Without a value to publish the word begins frozen, of the epoch before the first.
        first.and_then(Published::word).unwrap_or_else(|| with(FROZEN, EPOCH, 0))
    }

    /// Begins anew, as the word of another circuit. The caller is the only thread that knows the word.
    pub(crate) fn begin(&self, first: Option<Published>) {
        // Relaxed: pairs with nothing; a thread that comes to know the word acquires this first.
        self.0.store(Self::first(first), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn read(&self) -> Reading {
        // Acquire: pairs with the Release in `publish`: a thread that reads an epoch finds its value, or a
        // later one; and with that in `count`: a thread that sees a streak sees what came before the calls
        // that made it.
        Reading(self.0.load(Ordering::Acquire))
    }

    /// Brings the word into the cache, ahead of a look at it.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.0);
    }

    /// Counts a call: the run becomes that of `next`, if the word still is what was read. Returns `None` if
    /// the run does not fit.
    pub(crate) fn count(&self, seen: Reading, next: Published) -> Option<bool> {
        Some(self.count_to(seen, Reading(next.word()?)))
    }

    /// Counts a call: the word becomes `next`, of the same value, if it still is what was read.
    pub(crate) fn count_to(&self, seen: Reading, next: Reading) -> bool {
        // Release, Relaxed: pairs with the Acquire in `read`. If it fails, the thread decides nothing by the
        // word it found.
        self.0.compare_exchange(seen.0, next.0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Freezes the word of a value with this run, before a thread replaces the value: no call counts there
    /// any more. Returns `None` if the word has changed since it was read.
    pub(crate) fn freeze(&self, seen: Reading, epoch: u32, run: FailureRun) -> Option<Reading> {
        let frozen = with(FROZEN, epoch, pack(run)?);
        if frozen == seen.0 {
            return Some(seen);
        }
        // Acquire, Relaxed: pairs with the Release in `count`: other calls than those seen may make up this
        // run by now. The value that follows releases them to all threads that find it. If it fails, the
        // thread decides nothing by the word it found.
        let made = self.0.compare_exchange(seen.0, frozen, Ordering::Acquire, Ordering::Relaxed);
        made.is_ok().then_some(Reading(frozen))
    }

    /// Makes the word count for a value that is now in place, if the word still is as `frozen` has it.
    pub(crate) fn publish(&self, frozen: Reading, next: Published) {
        let Some(word) = next.word() else { return };
        // Release, Relaxed: pairs with the Acquire in `read`. If it fails, another thread is about to
        // replace the value.
        let _ = self.0.compare_exchange(frozen.0, word, Ordering::Release, Ordering::Relaxed);
    }
}
