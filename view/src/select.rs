//! Which peers a list shows, and in which order.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use peer_health::{PeerKey, Snapshot, Status};

use crate::names::Names;
use crate::sample::{Known, Line, Sample};

/// The place of a peer in the list: who needs a look comes first. Among them, those that opened and failed
/// most often come first, and then those that were seen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    class: u8,
    opened: Reverse<u64>,
    failed: Reverse<u64>,
    number: u64,
}

/// The class of a closed circuit with a running streak.
const STRUGGLING: u8 = 2;

impl Place {
    pub(crate) fn of(seen: &Snapshot, number: u64) -> Self {
        let class = match seen.status {
            Status::Open => 0,
            Status::HalfOpen => 1,
            Status::Closed if seen.consecutive_failures > 0 => STRUGGLING,
            Status::ForcedOpen => 3,
            Status::MetricsOnly => 4,
            Status::Disabled => 5,
            _ => 6,
        };
        let totals = seen.totals;
        Self { class, opened: Reverse(totals.opened), failed: Reverse(totals.failed), number }
    }
}

impl Place {
    pub(crate) fn numbered(self, number: u64) -> Self {
        Self { number, ..self }
    }
}

/// A place as a text, from which the next page goes on: whether or not its peer is still there.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, opened: Reverse(opened), failed: Reverse(failed), number } = self;
        write!(f, "{class}-{opened}-{failed}-{number}")
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(()).and_then(|part| part.parse().map_err(drop));
        let [class, opened, failed, number] = [part()?, part()?, part()?, part()?];
        let class = u8::try_from(class).map_err(drop)?;
        let place = Self { class, opened: Reverse(opened), failed: Reverse(failed), number };
        parts.next().is_none().then_some(place).ok_or(())
    }
}

/// The peers that a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Select {
    All,
    /// Open, half-open, or closed with a running streak.
    Trouble,
    Open,
    HalfOpen,
    Closed,
    ForcedOpen,
    MetricsOnly,
    Disabled,
}

impl Select {
    pub(crate) const ALL: [Self; 8] = [
        Self::All,
        Self::Trouble,
        Self::Open,
        Self::HalfOpen,
        Self::Closed,
        Self::ForcedOpen,
        Self::MetricsOnly,
        Self::Disabled,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Trouble => "trouble",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Closed => "closed",
            Self::ForcedOpen => "forced_open",
            Self::MetricsOnly => "metrics_only",
            Self::Disabled => "disabled",
        }
    }

    /// Returns how many of these each filter would show.
    pub(crate) fn counts<K>(lines: &[Line<K>]) -> BTreeMap<&'static str, usize> {
        let count = |select: Self| lines.iter().filter(|line| select.takes(line)).count();
        Self::ALL.into_iter().map(|select| (select.name(), count(select))).collect()
    }

    pub(crate) fn takes<K>(self, line: &Line<K>) -> bool {
        match self {
            Self::All => true,
            Self::Trouble => line.place.class <= STRUGGLING,
            Self::Open => line.status == Status::Open,
            Self::HalfOpen => line.status == Status::HalfOpen,
            Self::Closed => line.status == Status::Closed,
            Self::ForcedOpen => line.status == Status::ForcedOpen,
            Self::MetricsOnly => line.status == Status::MetricsOnly,
            Self::Disabled => line.status == Status::Disabled,
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) select: Select,
    /// In lower case.
    pub(crate) search: String,
    pub(crate) after: Option<Place>,
    pub(crate) limit: usize,
}

/// A page of the list.
pub(crate) struct Page<K> {
    pub(crate) peers: Vec<Arc<Known<K>>>,
    /// Where the next page goes on, if there is one.
    pub(crate) next: Option<Place>,
    /// The number of peers on all pages.
    pub(crate) matching: usize,
}

impl Asked {
    pub(crate) fn page<K: PeerKey>(&self, sample: &Sample<K>, names: &Names<K>) -> Page<K> {
        let mut page = Page { peers: Vec::new(), next: None, matching: 0 };
        let mut last = None;
        for line in &sample.lines {
            if !self.select.takes(line) || !line.peer.is_found_by(&self.search, names) {
                continue;
            }
            page.matching += 1;
            if self.after.is_some_and(|after| line.place <= after) {
                continue;
            }
            if page.peers.len() < self.limit {
                page.peers.push(Arc::clone(&line.peer));
                last = Some(line.place);
            } else {
                page.next = last;
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let place = Place { class: 2, opened: Reverse(3), failed: Reverse(u64::MAX), number: 9 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for nonsense in ["", "1", "1-2-3", "1-2-3-4-5", "256-1-1-1", "a-b-c-d", "1-2-3--4"] {
            assert_eq!(nonsense.parse::<Place>(), Err(()), "{nonsense}");
        }
    }
}
