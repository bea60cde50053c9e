//! The news that a hook hears, and the state of a peer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Mutex;

use super::*;
use crate::config::HealthConfig;
use crate::error::SyncError;
use crate::outcome::Reason;
use crate::permit::OwnedPermit;
use crate::time::{Clock, ManualClock};

const SECOND: Duration = Duration::from_secs(1);

/// A registry in which one failure opens a circuit, and the news of its hook.
struct Scene {
    registry: HealthRegistry<u32>,
    hand: ManualClock,
    told: Arc<Mutex<Vec<String>>>,
    _hooked: Hooked,
}

impl Scene {
    fn new(config: HealthConfig) -> Self {
        let (clock, hand) = Clock::manual();
        let config = config.with_failure_threshold(1).with_open_jitter(0.0);
        let registry = HealthRegistry::builder().config(config).clock(clock).build().unwrap();
        let told = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&told);
        let hooked = registry.hook(move |told: HookNotice<'_, u32>| {
            log.lock().unwrap().push(match told {
                HookNotice::Peer(peer) => format!("{peer}"),
                HookNotice::Gone { peer, answered } => format!("{peer} gone, answered: {answered}"),
                HookNotice::Configured => "configured".into(),
                HookNotice::LinkIsBack => "link is back".into(),
                #[cfg(feature = "iroh")]
                HookNotice::NewNetwork => unreachable!("no watch follows an endpoint"),
                HookNotice::Unheard(_) => unreachable!("a number is cloned"),
                #[cfg(feature = "metrics")]
                HookNotice::Count(_) => unreachable!("nobody asks"),
            });
        });
        Self { registry, hand, told, _hooked: hooked }
    }

    /// Returns the news since the last call.
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    fn acquire(&self) -> OwnedPermit<u32> {
        self.registry.acquire(&7).unwrap()
    }

    fn fail(&self) {
        self.acquire().failure(SyncError::Network("reset".into()));
    }
}

#[test]
fn a_hook_hears_of_every_transition_and_of_no_healthy_call() {
    let scene = Scene::new(HealthConfig::default().with_success_threshold(1));
    scene.acquire().success();
    drop(scene.acquire());
    assert_eq!(scene.told(), [""; 0]);
    scene.fail();
    assert_eq!(scene.told(), ["7"], "opened");
    scene.hand.advance(5 * SECOND);
    let probe = scene.acquire();
    assert_eq!(scene.told(), ["7"], "half-opened");
    probe.success();
    assert_eq!(scene.told(), ["7"], "closed");
    scene.registry.disable(&7).unwrap();
    scene.registry.reset(&7);
    assert_eq!(scene.told(), ["7", "7"], "overridden, reset");
    scene.registry.set_config(HealthConfig::default()).unwrap();
    assert_eq!(scene.told(), ["configured"]);
}

#[test]
fn a_hook_hears_of_probes_that_do_not_decide_and_of_waits_that_are_cut_short() {
    let scene = Scene::new(HealthConfig::default().with_success_threshold(2));
    scene.fail();
    scene.told();
    assert!(scene.registry.end_wait(&7));
    assert_eq!(scene.told(), ["7"]);
    assert!(scene.registry.end_wait(&7));
    assert_eq!(scene.told(), [""; 0], "it was over already");
    drop(scene.acquire());
    assert_eq!(scene.told(), ["7", "7"], "half-opened, dropped");
    scene.acquire().neutral();
    scene.acquire().success();
    assert_eq!(scene.told(), ["7", "7"], "neutral, counted");
    scene.fail();
    assert_eq!(scene.told(), ["7"], "reopened");
    assert!(scene.registry.note_reachable(&7));
    assert_eq!(scene.told(), ["7"]);
}

#[test]
fn a_hook_hears_who_is_gone_and_whether_it_ever_answered() {
    let scene = Scene::new(HealthConfig::default().with_max_peers(1));
    scene.acquire().success();
    scene.registry.remove(&7);
    scene.registry.disable(&7).unwrap();
    scene.registry.remove(&7);
    assert_eq!(scene.told(), ["7 gone, answered: true", "7", "7 gone, answered: false"]);
    scene.acquire().neutral();
    scene.registry.acquire(&8).unwrap().success();
    assert_eq!(scene.told(), ["7 gone, answered: false"], "evicted");
}

#[test]
fn a_hook_is_told_after_the_listeners_and_its_panic_stays_with_it() {
    let order = Arc::<Mutex<Vec<&str>>>::default();
    let (first, second, third) = (Arc::clone(&order), Arc::clone(&order), Arc::clone(&order));
    let registry = HealthRegistry::<u32>::new();
    let panics = registry.hook(move |_| {
        first.lock().unwrap().push("panics");
        panic!("hook");
    });
    let hooked = registry.hook(move |_| second.lock().unwrap().push("hook"));
    let _listening = registry.listen(move |_| third.lock().unwrap().push("listener"));
    registry.force_open(&7).unwrap();
    assert_eq!(*order.lock().unwrap(), ["listener", "panics", "hook"]);
    drop((panics, hooked));
    registry.reset(&7);
    assert_eq!(order.lock().unwrap().len(), 4, "the listener alone");
}

#[test]
fn a_peer_stands_as_its_circuit_does_and_to_ask_is_no_refusal() {
    let lease = 60 * SECOND;
    let scene = Scene::new(HealthConfig::default().with_success_threshold(1));
    let standing = || scene.registry.standing(&7);
    assert_eq!(standing(), Standing::default(), "unknown");
    assert!(!scene.registry.contains(&7));
    scene.acquire().success();
    assert_eq!(standing(), Standing { answered: true, ..Standing::default() });
    scene.hand.advance(SECOND);
    scene.fail();
    let opened_at = Some(scene.registry.now());
    assert_eq!(opened_at, Some(Tick(1_000_000_000)));
    let open = Standing {
        answered: true,
        troubled: true,
        refused: Some(Refused::new(Reason::Open, Some(5 * SECOND))),
        look_again: None,
        opened_at,
    };
    assert_eq!(standing(), open);
    scene.hand.advance(5 * SECOND);
    assert_eq!(standing(), Standing { refused: None, ..open });
    let probe = scene.acquire();
    scene.hand.advance(SECOND);
    let refused = Some(Refused::new(Reason::ProbesInFlight, None));
    let probed = Standing { refused, look_again: Some(lease - SECOND), ..open };
    assert_eq!(standing(), probed);
    let config = HealthConfig::default().with_half_open_max(10 * SECOND);
    scene.registry.set_config(config).unwrap();
    assert_eq!(standing().look_again, Some(9 * SECOND));
    scene.hand.advance(9 * SECOND);
    assert_eq!(standing().look_again, Some(Duration::ZERO), "it opens when somebody asks");
    drop(probe);
    assert_eq!(standing(), Standing { refused: None, ..open });
    scene.registry.force_open(&7).unwrap();
    let banned = Some(Refused::new(Reason::ForcedOpen, None));
    assert_eq!(standing(), Standing { answered: true, refused: banned, ..Standing::default() });
    assert_eq!(scene.registry.totals().all.refused, Default::default());
}
