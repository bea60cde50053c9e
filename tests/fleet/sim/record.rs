//! What is kept of a simulation: a few numbers for each peer and for the node. Times are
//! milliseconds since it began.

use std::collections::BTreeMap;

/// Why a peer that answered before should be served again soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// It is back, and nobody says so.
    Back,
    /// It is back and has called us.
    News,
    /// An outage of the node's own is over, and nobody says so.
    Recovered,
    /// The same, and `kick_all` or `resume` was called.
    Kicked,
    /// The same, and `set_link_up` told of its begin and its end.
    Linked,
    /// It was back, and then the registry's clock jumped past the longest wait: the machine slept.
    Awake,
    /// The node was started again.
    Restarted,
}

impl Why {
    pub(crate) const ALL: [Self; 7] = [
        Self::Back,
        Self::News,
        Self::Recovered,
        Self::Kicked,
        Self::Linked,
        Self::Awake,
        Self::Restarted,
    ];
}

/// A peer is back, and not yet served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Return {
    pub(crate) why: Why,
    pub(crate) at: u64,
    /// From when on the time counts: the next request if the driver did not wait for the peer.
    pub(crate) from: Option<u64>,
    /// It was being called when it came back.
    pub(crate) in_flight: bool,
}

/// The returns of one peer for one reason: how many, and the one that was the latest by its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Returns {
    pub(crate) count: u32,
    pub(crate) late: u32,
    /// The time that passed and the time that was allowed.
    pub(crate) worst: Option<(u64, u64)>,
}

impl Returns {
    pub(crate) fn add(&mut self, took: u64, limit: u64) {
        self.count += 1;
        self.late += u32::from(took > limit);
        let is_worse = |(was, allowed): (u64, u64)| {
            took.saturating_sub(limit) > was.saturating_sub(allowed)
                || took > was && was <= allowed && took <= limit
        };
        if self.worst.is_none_or(is_worse) {
            self.worst = Some((took, limit));
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Record {
    pub(crate) first_request: Option<u64>,
    pub(crate) first_call: Option<u64>,
    pub(crate) first_success: Option<u64>,
    /// How many keys had been requested when the peer was first called.
    pub(crate) unknown: u32,
    pub(crate) calls: u32,
    /// Rounds that count for W1, and those in which a call succeeded.
    pub(crate) rounds: u32,
    pub(crate) served: u32,
    /// Failed calls in each hour since the first call.
    pub(crate) failed: Vec<u32>,
    /// Failed calls each time that the peer went down.
    pub(crate) downs: Vec<u32>,
    /// Failures in a row.
    pub(crate) streak: u32,
    /// Calls with a closed circuit after so many failures in a row that it should be open.
    pub(crate) beyond: u32,
    /// When its circuit first opened.
    pub(crate) opened: Option<u64>,
    /// Whether its circuit has closed again.
    pub(crate) closed: bool,
    pub(crate) returns: BTreeMap<Why, Returns>,
}

impl Record {
    pub(crate) fn failed_in(&mut self, hour: usize) {
        count(&mut self.failed, hour);
    }

    pub(crate) fn failed_when_down(&mut self, down: usize) {
        count(&mut self.downs, down);
    }
}

/// Counts one more at this index.
pub(crate) fn count(counts: &mut Vec<u32>, at: usize) {
    if counts.len() <= at {
        counts.resize(at + 1, 0);
    }
    counts[at] += 1;
}

/// What the node held at most, whenever it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Peak {
    pub(crate) tracked: usize,
    pub(crate) waiting: usize,
    pub(crate) tasks: usize,
    /// Log lines in each hour.
    pub(crate) lines: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Report {
    pub(crate) peers: Vec<Record>,
    pub(crate) requests: u64,
    pub(crate) calls: u64,
    /// Calls of strangers, in `calls` too.
    pub(crate) strangers: u64,
    pub(crate) peak: Peak,
    /// Whether retries were allowed twenty minutes after each outage of the node's own.
    pub(crate) retries_back: Vec<bool>,
    /// Calls of dead peers in each second of the minute after each restart.
    pub(crate) restarts: Vec<Vec<u32>>,
    /// More calls were made than any rule can allow, and the node was stopped.
    pub(crate) runaway: bool,
    /// Circuits of dead peers that are open at the end, and of healthy ones.
    pub(crate) dead_open: u32,
    pub(crate) healthy_open: u32,
    /// Dead peers whose circuit is closed at the end, after enough failures in a row.
    pub(crate) dead_closed: u32,
}
