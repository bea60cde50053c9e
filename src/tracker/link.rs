//! This node's own link (R33): while it is down, and for calls that its outage may have cut, a failure of the
//! way to a peer is nobody's fault.
//!
//! Only a failure of [`Fault::Link`] asks, so no call that succeeds pays for this. One word holds all of it,
//! and orders nothing: a call that fails just as the word changes may count, or not.

use crate::error::{Failure, Fault};
use crate::sync::{Ordering, Total};
use crate::time::Tick;

/// The link is up, and was never down.
const UP: u64 = 0;
/// The link is down; any other value is the time of its return, plus one.
const DOWN: u64 = u64::MAX;
/// How long after the link's return a failure of it counts against nobody: 30 s. Dials that were under way have
/// ended by then, by iroh's time-out and by most, and a peer that lost the same relay has found it again.
const GRACE: u64 = 30_000_000_000;

/// The state of this node's link.
#[derive(Debug)]
pub(crate) struct OwnLink(Total);

impl Default for OwnLink {
    fn default() -> Self {
        Self(Total::new(UP))
    }
}

impl OwnLink {
    pub(crate) fn is_up(&self) -> bool {
        // Relaxed: pairs with `take_down` and `bring_up`; no thread reads anything else by it.
        self.0.load(Ordering::Relaxed) != DOWN
    }

    pub(crate) fn take_down(&self) {
        // Relaxed: pairs with `excuses` and `is_up`, as explained there.
        self.0.store(DOWN, Ordering::Relaxed);
    }

    /// Ends the outage now, and returns whether there was one: a link that is up keeps the time of its return.
    pub(crate) fn bring_up(&self, now: Tick) -> bool {
        let back = now.0.min(DOWN - 2) + 1;
        // Relaxed, twice: pairs with `excuses` and `is_up`, as explained there.
        self.0.compare_exchange(DOWN, back, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Returns whether this failure is the doing of our own link. `began` tells when its call began, by the
    /// time that it gets, if that is known. A probe that is known to have begun after the return counts at once:
    /// its peer was in trouble before. No clock is read before the link was down for the first time.
    pub(crate) fn excuses(
        &self,
        failure: &Failure,
        now: impl FnOnce() -> Tick,
        began: impl FnOnce(Tick) -> Option<Tick>,
        is_probe: bool,
    ) -> bool {
        if failure.fault() != Fault::Link {
            return false;
        }
        // Relaxed: pairs with `take_down` and `bring_up`; no thread reads anything else by it.
        match self.0.load(Ordering::Relaxed) {
            UP => false,
            DOWN => true,
            back => {
                let (back, now) = (Tick(back - 1), now());
                let soon = now < back.plus(GRACE);
                began(now).map_or(soon, |began| began < back || soon && !is_probe)
            }
        }
    }
}
