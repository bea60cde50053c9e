//! How a schedule forgets peers.

use std::mem;

use super::{PeerState, Schedule};
use crate::registry::PeerKey;

/// The attempt of a peer that was forgotten, if one was being made, and what aborts its call.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::coordinator) struct Forgotten<C> {
    pub(in crate::coordinator) attempt: Option<u64>,
    pub(in crate::coordinator) call: Option<C>,
}

impl<K: PeerKey, C> Schedule<K, C> {
    /// Forgets the peer, which is not called again whether it waits or runs; returns `None` if it was not
    /// there.
    pub(in crate::coordinator) fn forget(&mut self, peer: &K) -> Option<Forgotten<C>> {
        match self.peers.get_mut(peer)? {
            state @ PeerState::Running { .. } => {
                let PeerState::Running { number, call, .. } = state else { return None };
                let (number, call) = (*number, call.take());
                *state = PeerState::Leaving { number, again: false };
                self.running -= 1;
                Some(Forgotten { attempt: Some(number), call })
            }
            PeerState::Leaving { again, .. } => {
                mem::take(again).then_some(Forgotten { attempt: None, call: None })
            }
            PeerState::Requesting { number, .. } => {
                let attempt = Some(*number);
                self.leave(peer);
                Some(Forgotten { attempt, call: None })
            }
            PeerState::Waiting { .. } => {
                self.leave(peer);
                Some(Forgotten { attempt: None, call: None })
            }
        }
    }

    /// Forgets every peer.
    pub(in crate::coordinator) fn clear(&mut self) {
        let peers: Vec<K> = self.peers.keys().cloned().collect();
        peers.iter().for_each(|peer| self.leave(peer));
        self.gone.extend(peers);
    }
}
