//! What a listener was told, and whether that can have happened (R29).

use std::collections::HashSet;
use std::sync::Mutex;

use peer_health::{Event, EventKind, HealthRegistry, Status};

use super::storm::Peer;

type Told = Vec<(u64, EventKind)>;

/// The generations and events of each peer, in whatever order they were told.
pub(crate) struct History(Vec<Mutex<Told>>);

/// A peer's last tracker.
struct Life {
    status: Status,
    /// The generation of its last event, if there was any.
    last: Option<u64>,
    opened: u64,
}

impl History {
    pub(crate) fn of(peers: u64) -> Self {
        Self((0..peers).map(|_| Mutex::default()).collect())
    }

    pub(crate) fn note(&self, event: &Event<Peer>) {
        if matches!(event.kind, EventKind::LocalOutage | EventKind::LocalRecovered) {
            return; // no transition
        }
        let told = &self.0[usize::try_from(event.peer.0).unwrap()];
        told.lock().unwrap().push((event.generation, event.kind));
    }

    /// Every transition was told once, none was left out, each follows from the one before it, and
    /// what is known of the peers now is where they lead. To be asked when nothing is going on.
    pub(crate) fn check(&self, registry: &HealthRegistry<Peer>) {
        let all: Vec<Told> = self.0.iter().map(|told| told.lock().unwrap().clone()).collect();
        let count = |wanted: fn(&EventKind) -> bool| {
            all.iter().flatten().filter(|(_, kind)| wanted(kind)).count() as u64
        };
        let totals = registry.totals();
        let opened = count(|kind| matches!(kind, EventKind::Opened { .. }));
        assert_eq!(totals.all.opened, opened, "each trip is told once");
        assert_eq!(totals.evicted, count(|kind| *kind == EventKind::Evicted));
        assert_eq!(totals.removed, count(|kind| *kind == EventKind::Removed));
        // Where a tracker may begin: where one that is gone has ended, whoever's it was.
        let ends = all.iter().flatten().filter(|(_, kind)| is_end(*kind)).map(|(at, _)| *at);
        let begins: HashSet<u64> = ends.chain([0]).collect();
        for (peer, told) in all.into_iter().enumerate() {
            let peer = Peer(peer as u64);
            let life = told_of(&peer, told, &begins);
            let Some(seen) = registry.snapshot(&peer) else {
                assert_eq!(life.last, None, "{peer:?} is gone, and nobody was told");
                continue;
            };
            assert_eq!(seen.status, life.status, "{peer:?}");
            assert_eq!(seen.totals.opened, life.opened, "{peer:?}");
            match life.last {
                Some(last) => assert_eq!(seen.generation, last, "{peer:?}"),
                None => assert!(begins.contains(&seen.generation), "{peer:?}: {seen:?}"),
            }
        }
    }
}

/// Goes through what was told of one peer, from its first tracker to its last.
fn told_of(peer: &Peer, mut told: Told, begins: &HashSet<u64>) -> Life {
    told.sort_unstable_by_key(|(generation, _)| *generation);
    let unborn = || Life { status: Status::Closed, last: None, opened: 0 };
    let (mut life, mut ended) = (unborn(), 0);
    for (n, &(generation, kind)) in told.iter().enumerate() {
        let around =
            || format!("{peer:?}: {:?}", &told[n.saturating_sub(3)..(n + 2).min(told.len())]);
        match life.last {
            Some(last) => {
                assert_eq!(generation, last + 1, "told twice or not at all: {}", around())
            }
            None => {
                assert!(generation > ended, "lives overlap: {}", around());
                assert!(begins.contains(&(generation - 1)), "the first is missing: {}", around());
            }
        }
        let status = after(life.status, kind);
        life.status = status.unwrap_or_else(|| panic!("not from {:?}: {}", life.status, around()));
        life.last = Some(generation);
        life.opened += u64::from(life.status == Status::Open);
        if is_end(kind) {
            (life, ended) = (unborn(), generation);
        }
    }
    life
}

fn is_end(kind: EventKind) -> bool {
    matches!(kind, EventKind::Evicted | EventKind::Removed)
}

/// Where the circuit stands after this; `None` if that cannot happen there.
fn after(status: Status, kind: EventKind) -> Option<Status> {
    match (kind, status) {
        (EventKind::Opened { .. }, Status::Closed | Status::HalfOpen) => Some(Status::Open),
        // The second: as old as it may get, without a verdict (R6).
        (EventKind::HalfOpened, Status::Open | Status::HalfOpen) => Some(Status::HalfOpen),
        (EventKind::Closed, Status::HalfOpen) => Some(Status::Closed),
        (EventKind::Overridden(imposed), _) => Some(imposed),
        (EventKind::Reset | EventKind::Removed, _) => Some(Status::Closed),
        (EventKind::Evicted, Status::Closed | Status::Open | Status::HalfOpen) => {
            Some(Status::Closed)
        }
        _ => None,
    }
}
