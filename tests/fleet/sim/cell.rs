//! A cell: one node, its peers, its configuration, and what happens to it.

use std::time::Duration;

use peer_health::{CoordinatorConfig, HealthConfig};

use super::peer::{Behaviour, Failing, Peer, chance};

pub(crate) const SECOND: u64 = 1000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;

/// When a peer is requested. Times are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rhythm {
    /// Each peer once in this time, each at a moment of its own.
    Every(u64),
    /// All peers at the same moment, once in this time.
    Burst(u64),
    /// All peers at the same moment, at random, once in this time on average.
    Change(u64),
}

impl Rhythm {
    pub(crate) fn interval(self) -> u64 {
        let (Self::Every(each) | Self::Burst(each) | Self::Change(each)) = self;
        each
    }
}

/// So many peers that behave alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    pub(crate) count: u32,
    pub(crate) behaviour: Behaviour,
    pub(crate) rhythm: Rhythm,
}

/// How an outage of the node's own looks from within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nobody answers.
    Silent,
    /// Each call fails at once, as this node's fault.
    Local,
    /// Each call fails at once, and nothing says whose fault that is.
    Refused,
}

/// What the node is told about its own outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    /// `kick_all` at its end.
    Kicked,
    /// `pause` at its begin, `resume` at its end.
    Paused,
    /// `set_link_up(false)` at its begin, `set_link_up(true)` at its end.
    Link,
}

#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Outage {
        lasts: u64,
        cut: Cut,
        told: Told,
    },
    /// The registry's clock jumps by so much, tokio's does not: the machine slept, or was set.
    Jump(i64),
    Replaced(Box<HealthConfig>),
    Kicked,
    /// The process ends and is started again, so long after; what it knew is restored, or not.
    Restart {
        lasts: u64,
        restored: bool,
    },
}

/// What is set; none is the library's default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) name: &'static str,
    pub(crate) health: HealthConfig,
    pub(crate) coordinator: CoordinatorConfig,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    pub(crate) groups: Vec<Group>,
    /// So many strangers come in an hour, each with a new key, and all of them fail.
    pub(crate) strangers: u32,
    pub(crate) happenings: Vec<(u64, Happening)>,
    pub(crate) settings: Settings,
    pub(crate) hours: u32,
    pub(crate) seed: u64,
}

impl Settings {
    /// The settings of doc/guide.md, all together.
    pub(crate) fn guide() -> Self {
        let health = HealthConfig::default()
            .with_failure_threshold(3)
            .with_window(peer_health::Window::count(100))
            .with_failure_rate(0.5)
            .with_open_timeout(Duration::from_secs(2))
            .with_open_multiplier(2.0)
            .with_open_max(Duration::from_secs(60))
            .with_success_threshold(1);
        let mut coordinator = CoordinatorConfig::default();
        coordinator.max_concurrent = 128;
        coordinator.attempt_deadline = Some(Duration::from_secs(2));
        coordinator.retry.max_attempts = 3;
        coordinator.budget.max_tokens = 500;
        coordinator.budget.per_second = 0.0;
        Self { name: "guide", health, coordinator }
    }

    /// A streak that a pause of five seconds breaks, and waits that do not grow.
    pub(crate) fn impatient() -> Self {
        let health = HealthConfig::default()
            .with_streak_gap(Duration::from_secs(5))
            .with_open_multiplier(1.0)
            .with_open_jitter(0.0);
        Self { name: "streak window 5 s, constant waits", health, ..Self::default() }
    }

    pub(crate) fn of(name: &'static str, health: HealthConfig) -> Self {
        Self { name, health, ..Self::default() }
    }

    pub(crate) fn places(&self) -> usize {
        self.coordinator.max_concurrent
    }

    /// The deadline of an attempt, in milliseconds.
    pub(crate) fn deadline(&self) -> u64 {
        self.coordinator
            .attempt_deadline
            .map_or(10 * SECOND, |deadline| deadline.as_millis() as u64)
    }
}

impl Cell {
    /// Three hours of these peers, all requested in one rhythm.
    pub(crate) fn of(healthy: u32, others: u32, behaviour: Behaviour, rhythm: Rhythm) -> Self {
        let cell = Self { hours: 3, seed: 1, ..Self::default() };
        let cell = if healthy > 0 { cell.and(healthy, Behaviour::Healthy, rhythm) } else { cell };
        if others > 0 { cell.and(others, behaviour, rhythm) } else { cell }
    }

    pub(crate) fn and(mut self, count: u32, behaviour: Behaviour, rhythm: Rhythm) -> Self {
        self.groups.push(Group { count, behaviour, rhythm });
        self
    }

    pub(crate) fn strangers(self, strangers: u32) -> Self {
        Self { strangers, ..self }
    }

    pub(crate) fn at(mut self, at: u64, happening: Happening) -> Self {
        self.happenings.push((at, happening));
        self
    }

    pub(crate) fn outage(self, at: u64, lasts: u64, cut: Cut, told: Told) -> Self {
        self.at(at, Happening::Outage { lasts, cut, told })
    }

    /// A restart by which nothing is forgotten.
    pub(crate) fn restart(self, at: u64, lasts: u64) -> Self {
        self.at(at, Happening::Restart { lasts, restored: true })
    }

    pub(crate) fn with(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    pub(crate) fn places(mut self, places: usize) -> Self {
        self.settings.coordinator.max_concurrent = places;
        self
    }

    /// The deadline of an attempt, in seconds.
    pub(crate) fn deadline(mut self, seconds: u64) -> Self {
        self.settings.coordinator.attempt_deadline = Some(Duration::from_secs(seconds));
        self
    }

    pub(crate) fn hours(self, hours: u32) -> Self {
        Self { hours, ..self }
    }

    pub(crate) fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    pub(crate) fn count(&self) -> u32 {
        self.groups.iter().map(|group| group.count).sum()
    }

    pub(crate) fn end(&self) -> u64 {
        u64::from(self.hours) * HOUR
    }

    /// Each peer with the rhythm in which it is requested, in the order of their keys.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (Peer, Rhythm)> {
        let all = self.groups.iter().flat_map(|g| (0..g.count).map(|_| (g.behaviour, g.rhythm)));
        (0_u64..).zip(all).map(|(key, (behaviour, rhythm))| {
            let cycle = match behaviour {
                Behaviour::Flaps { down, up, .. } => down + up,
                _ => 0,
            };
            let latency = match behaviour {
                Behaviour::Slow(takes) => takes,
                _ => 20 + (chance(self.seed, key, 1) * 280.0) as u64,
            };
            let ahead = (chance(self.seed, key, 2) * cycle as f64) as u64;
            (Peer { behaviour, ahead, latency }, rhythm)
        })
    }

    /// All configurations that this node has, one after the other.
    pub(crate) fn configs(&self) -> impl Iterator<Item = &HealthConfig> {
        let later = self.happenings.iter().filter_map(|(_, happening)| match happening {
            Happening::Replaced(config) => Some(&**config),
            _ => None,
        });
        std::iter::once(&self.settings.health).chain(later)
    }

    /// Outages of the node's own: when each begins and ends, and what the node is told.
    pub(crate) fn outages(&self) -> impl Iterator<Item = (u64, u64, Cut, Told)> {
        self.happenings.iter().filter_map(|(at, happening)| match *happening {
            Happening::Outage { lasts, cut, told } => Some((*at, at + lasts, cut, told)),
            _ => None,
        })
    }

    /// Outages of the node's own link of which it is told: when each begins and ends.
    pub(crate) fn links_away(&self) -> impl Iterator<Item = (u64, u64)> {
        self.outages().filter(|(.., told)| *told == Told::Link).map(|(from, to, ..)| (from, to))
    }

    /// Whether a failure counts against nobody, of a call that began and ended then (R33).
    pub(crate) fn excuses(&self, began: u64, ended: u64) -> bool {
        self.links_away().any(|(from, to)| began <= to && ended >= from)
    }

    /// How many requests will be made, news and strangers included.
    pub(crate) fn requests(&self) -> u64 {
        let each = |group: &Group| {
            let calls = match group.behaviour {
                Behaviour::Calls(_) => self.end() / SECOND,
                _ => 0,
            };
            u64::from(group.count) * (self.end() / group.rhythm.interval() + calls)
        };
        let strangers = u64::from(self.strangers) * u64::from(self.hours);
        self.groups.iter().map(each).sum::<u64>() + strangers
    }
}

impl Failing {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Refuses => "refusing",
            Self::Garbage => "garbage",
        }
    }
}
