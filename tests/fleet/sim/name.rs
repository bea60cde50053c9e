//! What a cell is called: everything that tells it from the others.

use std::fmt;

use super::cell::{Cell, Cut, Group, HOUR, Happening, MINUTE, Rhythm, SECOND, Settings, Told};
use super::peer::Behaviour;

/// A time in its largest whole unit: "10 min".
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms.is_multiple_of(HOUR) && ms > 0 => write!(f, "{} h", ms / HOUR),
            ms if ms.is_multiple_of(MINUTE) && ms > 0 => write!(f, "{} min", ms / MINUTE),
            ms if ms.is_multiple_of(SECOND) => write!(f, "{} s", ms / SECOND),
            ms => write!(f, "{ms} ms"),
        }
    }
}

impl fmt::Display for Rhythm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Every(each) => write!(f, "{}", Time(each)),
            Self::Burst(each) => write!(f, "bursts of {}", Time(each)),
            Self::Change(each) => write!(f, "changes of {}", Time(each)),
        }
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Healthy => f.write_str("healthy"),
            Self::Slow(takes) => write!(f, "slow ({})", Time(takes)),
            Self::Flaky(each) => write!(f, "flaky (1 of {each})"),
            Self::Dead(how) => f.write_str(how.name()),
            Self::Drops => f.write_str("accept and drop"),
            Self::Calls(how) => write!(f, "{} calling us", how.name()),
            Self::Corrupt => f.write_str("corrupt"),
            Self::Local => f.write_str("local fault"),
            Self::Away { how, from, to: u64::MAX, .. } => {
                write!(f, "{} from {} for good", how.name(), Time(from))
            }
            Self::Away { how, from, to, news } => {
                let news = if news { ", news" } else { "" };
                write!(f, "{} from {} for {}{news}", how.name(), Time(from), Time(to - from))
            }
            Self::Flaps { how, down, up } => {
                write!(f, "flapping ({} {}, up {})", how.name(), Time(down), Time(up))
            }
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outage { lasts, cut, told } => {
                let cut = match cut {
                    Cut::Silent => "silent",
                    Cut::Local => "local",
                    Cut::Refused => "refused",
                };
                let told = match told {
                    Told::Nothing => "",
                    Told::Kicked => ", kick_all",
                    Told::Paused => ", paused",
                    Told::Link => ", set_link_up",
                };
                write!(f, "own outage ({cut}, {}{told})", Time(*lasts))
            }
            Self::Jump(by) if *by < 0 => write!(f, "clock back {}", Time(by.unsigned_abs())),
            Self::Jump(by) => write!(f, "suspend {}", Time(by.unsigned_abs())),
            Self::Replaced(_) => f.write_str("configuration replaced"),
            Self::Kicked => f.write_str("kick_all"),
            Self::Restart { lasts, restored: true } => write!(f, "restart of {}", Time(*lasts)),
            Self::Restart { lasts, .. } => write!(f, "restart of {}, all forgotten", Time(*lasts)),
        }
    }
}

impl Cell {
    pub(crate) fn name(&self) -> String {
        let alike = self.groups.windows(2).all(|two| two[0].rhythm == two[1].rhythm);
        let group = |group: &Group| match alike {
            true => format!("{} {}", group.count, group.behaviour),
            false => format!("{} {} each {}", group.count, group.behaviour, group.rhythm),
        };
        let mut parts = vec![self.groups.iter().map(group).collect::<Vec<_>>().join(" + ")];
        parts.extend(self.groups.first().filter(|_| alike).map(|g| g.rhythm.to_string()));
        if self.strangers > 0 {
            parts.push(format!("{} strangers", self.strangers));
        }
        parts.extend(self.happenings.iter().map(|(_, happening)| happening.to_string()));
        if !self.settings.name.is_empty() {
            parts.push(self.settings.name.to_string());
        }
        if self.settings.name.is_empty() {
            let (settings, usual) = (&self.settings, Settings::default());
            if settings.places() != usual.places() {
                parts.push(format!("{} places", settings.places()));
            }
            if settings.deadline() != usual.deadline() {
                parts.push(format!("deadline {}", Time(settings.deadline())));
            }
        }
        if self.hours != 3 {
            parts.push(format!("{} h", self.hours));
        }
        if self.seed != 1 {
            parts.push(format!("seed {}", self.seed));
        }
        parts.join(", ")
    }
}
