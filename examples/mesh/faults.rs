//! What goes wrong, and when.

use std::fmt;
use std::time::Duration;

use rand::RngExt;

use crate::common::document::damage;
use crate::common::frames::frame;

/// The way in which one node fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Whatever it sends is noise. It stays so.
    Garbage,
    /// It takes connections and never answers. It stays so.
    Silent,
    /// Its endpoint is gone, and comes back with the same key on another port.
    Down,
    /// It refuses connections for a while.
    Refuse,
    /// What it sends arrives damaged for a while.
    Corrupt,
    /// It was never there: its neighbours have the address of a port that nobody listens on.
    Dead,
}

impl Fault {
    pub(crate) const ALL: [Self; 6] =
        [Self::Garbage, Self::Silent, Self::Down, Self::Refuse, Self::Corrupt, Self::Dead];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Silent => "silent",
            Self::Down => "down",
            Self::Refuse => "refuse",
            Self::Corrupt => "corrupt",
            Self::Dead => "dead",
        }
    }

    /// When it begins, after the mesh did.
    pub(crate) fn begins(self) -> Duration {
        Duration::from_secs(if self == Self::Dead { 0 } else { 2 })
    }

    /// When it is over; `None` if the node stays bad.
    pub(crate) fn ends(self) -> Option<Duration> {
        match self {
            Self::Garbage | Self::Silent | Self::Dead => None,
            Self::Refuse => Some(Duration::from_secs(6)),
            Self::Down => Some(Duration::from_secs(7)),
            Self::Corrupt => Some(Duration::from_secs(8)),
        }
    }

    pub(crate) fn lasts(self) -> bool {
        self.ends().is_none()
    }

    pub(crate) fn is_on(self, at: Duration) -> bool {
        self.begins() <= at && self.ends().is_none_or(|end| at < end)
    }

    /// What this node puts on the wire in place of `body`, if its fault is of that kind.
    pub(crate) fn tamper(self, body: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Garbage => {
                let mut noise = vec![0; body.len().max(16)];
                rand::rng().fill(&mut noise[..]);
                let honest = frame(&noise);
                // Now the length is noise too, now only the message: two ways to be caught.
                Some(if rand::random() { honest } else { noise })
            }
            // What carries no changes loses its end.
            Self::Corrupt if !body.is_empty() => {
                let damaged = damage(body);
                Some(frame(damaged.as_deref().unwrap_or(&body[..body.len() / 2])))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ends() {
            Some(end) => write!(f, "{} until {} s", self.name(), end.as_secs()),
            None => f.write_str(self.name()),
        }
    }
}

/// Reads a list of faults; `option` is its name in an error.
pub(crate) fn parse(option: &str, list: &str) -> Result<Vec<Fault>, String> {
    if list == "none" {
        return Ok(Vec::new());
    }
    let known = || Fault::ALL.map(Fault::name).join(", ");
    list.split(',')
        .map(|name| {
            Fault::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(|| {
                format!("{option} {list}: \"{name}\" is none of {} (or none alone)", known())
            })
        })
        .collect()
}
