//! The program tells the registry whether this node's own link is up (R33).

use super::hook::HookNotice;
use super::{HealthRegistry, PeerKey};
use crate::circuit::Outcome;
use crate::error::{Failure, Fault};

impl<K: PeerKey> HealthRegistry<K> {
    /// Tells whether this node's own link is up: `false` when the system says that the network is gone, the
    /// device is suspended, or the relay is lost through which all peers are reached; `true` when it is back. A
    /// registry begins with its link up. Never panics, and does no work for each peer.
    ///
    /// While the link is down, a failure of [`Fault::Link`](crate::Fault::Link) counts against nobody
    /// ([R33](crate::_rules#r33)): it is kept as the last error, with
    /// [`Fault::Nobody`](crate::Fault::Nobody), opens no circuit, and gives a probe's slot back. What a peer
    /// itself has done ([`Fault::Peer`](crate::Fault::Peer)) counts as ever, and successes do: peers on the
    /// local network are called, and their circuits move. No circuit closes by this: a peer that was dead before
    /// is still refused, or probed, afterwards.
    ///
    /// A dial that began in the outage may fail long after it, and peers that lost the same relay find it again
    /// one after another. So all of this holds for 30 s after the return too, which is iroh's time-out for a dial,
    /// and whenever it fails for a call that is known to have begun before the return (a driver's is; so is one
    /// whose latency was [stated](crate::Permit::with_latency) or measured). But a probe that is known to have
    /// begun after the return counts at once: a dead peer is open again as soon as it was probed. The price is
    /// that a peer which dies in these 30 s opens a little later.
    ///
    /// A driver on this registry goes on calling while the link is down, each peer ever more seldom up to half a
    /// minute; such failures use up no attempts and no budget. When the link is back, each driver on this
    /// registry calls all peers that wait, as its `kick_all` does; a call that was begun in the outage and is
    /// still out is aborted, and made again. With iroh, `RelayWatch` tells the registry.
    ///
    /// The word is read and written by relaxed operations: a call that fails at the very moment may count, or not.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, Recorded, Status, SyncError};
    ///
    /// let registry = HealthRegistry::<u32>::new();
    /// registry.set_link_up(false);
    /// for _ in 0..100 {
    ///     let lost = SyncError::Network("network is unreachable".into());
    ///     assert_eq!(registry.acquire(&7).unwrap().failure(lost), Recorded::Neutral);
    /// }
    /// let garbage = SyncError::Protocol("not a sync message".into());
    /// assert_eq!(registry.acquire(&7).unwrap().failure(garbage), Recorded::Counted);
    /// registry.set_link_up(true);
    /// assert_eq!(registry.status(&7), Status::Closed);
    /// ```
    pub fn set_link_up(&self, up: bool) {
        if !up {
            self.shared().context.link.take_down();
        } else if self.bring_link_up() {
            self.tell_of_link();
        }
    }

    /// Ends an outage of the link; returns whether there was one.
    pub(crate) fn bring_link_up(&self) -> bool {
        let context = &self.shared().context;
        context.link.bring_up(context.clock.now())
    }

    /// Makes each driver on this registry call all peers that wait (D8), and make the calls anew that were begun
    /// in the outage.
    pub(crate) fn tell_of_link(&self) {
        self.inner.hooks.tell(HookNotice::LinkIsBack);
    }

    /// Makes each driver on this registry call all peers that wait (D8).
    #[cfg(feature = "iroh")]
    pub(crate) fn tell_of_network(&self) {
        self.inner.hooks.tell(HookNotice::NewNetwork);
    }

    /// Returns what [`set_link_up`](Self::set_link_up) was told last; `true` before that.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// assert!(registry.is_link_up());
    /// registry.set_link_up(false);
    /// assert!(!registry.is_link_up());
    /// ```
    pub fn is_link_up(&self) -> bool {
        self.shared().context.link.is_up()
    }

    /// Returns the outcome of a report, of whose call nobody knows when it began, and the failure to keep.
    pub(crate) fn judged(&self, failure: Failure) -> (Outcome, Failure) {
        let cut = self.shared().context.excuses(&failure, None, false);
        let failure = if cut { failure.with_fault(Fault::Nobody) } else { failure };
        let outcome = if failure.counts() { Outcome::Failure } else { Outcome::Neutral };
        (outcome, failure)
    }

    /// Returns whether our own link made a call fail that took so long.
    #[cfg(feature = "tokio")]
    pub(crate) fn excuses(
        &self,
        failure: &Failure,
        took: std::time::Duration,
        is_probe: bool,
    ) -> bool {
        self.shared().context.excuses(failure, Some(crate::time::nanos(took)), is_probe)
    }
}
