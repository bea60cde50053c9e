//! The schedule follows the circuits (D1, D10, D12): whatever makes a peer admissible earlier is
//! seen at once, and what the driver began it brings to its end.

use std::time::Duration;

use peer_health::{
    Failure, HealthConfig, HealthRegistry, OperationError, Reason, Status, SyncCoordinator,
    SyncDriver, SyncError, WaitReason,
};

use crate::peers::{Answer, Peers, answer, coordinator, ms, pass, registry, request, touchy};
use crate::support::{SECOND, network};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whose call has opened a circuit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Driver,
    Others,
}

/// A peer whose circuit is open for five minutes, for which the driver waits.
async fn open(by: By) -> (HealthRegistry<u32>, Peers, SyncDriver<u32>) {
    let config = touchy().with_open_timeout(Duration::from_secs(300));
    let (registry, peers) = (registry(config), Peers::new());
    match by {
        By::Driver => peers.tell(7, [Answer::Fails(network().into())]),
        By::Others => _ = registry.acquire(&7).unwrap().failure(network()),
    }
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    driver.request(&7);
    pass(SECOND).await;
    let calls = usize::from(by == By::Driver);
    assert_eq!((driver.stats().waiting, peers.calls().len()), (1, calls));
    let waiting = driver.waiting();
    assert_eq!((waiting[0].peer, waiting[0].reason), (7, WaitReason::Circuit));
    assert_eq!(waiting[0].until, Duration::from_secs(299));
    (registry, peers, driver)
}

/// D1: whoever opened the circuit, and whatever lets it admit again.
#[tokio::test(start_paused = true)]
async fn whatever_ends_a_wait_wakes_the_driver() {
    let ends: [fn(&HealthRegistry<u32>); 7] = [
        |registry| assert!(registry.reset(&7)),
        |registry| assert!(registry.end_wait(&7)),
        |registry| assert!(registry.note_reachable(&7)),
        |registry| registry.disable(&7).unwrap(),
        |registry| registry.metrics_only(&7).unwrap(),
        |registry| assert!(registry.remove(&7)),
        // Somebody else probes it.
        |registry| {
            registry.end_wait(&7);
            registry.acquire(&7).unwrap().success();
        },
    ];
    for by in [By::Driver, By::Others] {
        for (n, end) in ends.iter().enumerate() {
            let (registry, peers, _driver) = open(by).await;
            let before = peers.calls().len();
            end(&registry);
            pass(SECOND).await;
            assert_eq!(peers.calls().len(), before + 1, "the {n}th, opened by {by:?}");
        }
    }
}

/// D1: one driver is told like another, whoever was there before it or beside it.
#[tokio::test(start_paused = true)]
async fn a_step_of_a_circuit_wakes_each_driver_that_waits_for_it() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let coordinator = coordinator(&registry).build().unwrap();
    let first = peers.drive(&coordinator);
    peers.drive(&coordinator).shutdown().await;
    let second = peers.drive(&coordinator);
    for (driver, peer) in [(&first, 7), (&second, 8)] {
        registry.acquire(&peer).unwrap().failure(network());
        assert!(driver.request(&peer));
        pass(SECOND).await;
        assert!(registry.reset(&peer));
        pass(SECOND).await;
        assert_eq!((driver.stats().succeeded, driver.stats().waiting), (1, 0), "{peer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_a_wait_costs_no_call() {
    let (registry, peers, driver) = open(By::Others).await;
    registry.force_open(&7).unwrap();
    pass(SECOND).await;
    assert_eq!((peers.calls().len(), driver.stats().given_up), (0, 1), "it is banned");
}

/// R17: a ban that has an end is waited for, like any wait; one that is lifted wakes the driver.
#[tokio::test(start_paused = true)]
async fn a_ban_with_an_end_is_waited_for() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let coordinator = coordinator(&registry).build().unwrap();
    let driver = peers.drive(&coordinator);
    let hour = Duration::from_secs(3600);
    for peer in [7, 8] {
        registry.force_open_for(&peer, hour).unwrap();
        assert!(driver.request(&peer));
    }
    pass(SECOND).await;
    let reasons: Vec<_> = driver.waiting().iter().map(|waiting| waiting.reason).collect();
    assert_eq!(reasons, [WaitReason::Circuit; 2]);
    assert!(registry.reset(&8));
    pass(SECOND).await;
    assert_eq!((peers.times(8).len(), driver.stats().given_up), (1, 0));
    // Nobody else is given more patience than it has: refused, with the rest.
    let refused = coordinator.sync(&7, async |_| Ok::<_, SyncError>(())).await.unwrap_err();
    let OperationError::Refused(refused) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.reason, Reason::ForcedOpen);
    pass(hour - 3 * SECOND).await;
    assert_eq!(peers.times(7).len(), 0);
    pass(2 * SECOND).await;
    assert_eq!((peers.times(7).len(), registry.status(&7)), (1, Status::Closed));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_somebody_elses_probe_is_seen_whatever_the_deadline_is() {
    let deadlines = [Duration::from_secs(10), Duration::from_secs(600), DAY, Duration::MAX];
    for deadline in deadlines {
        let config = touchy().with_success_threshold(2).with_probe_lease(None);
        let (registry, peers) = (registry(config), Peers::new());
        registry.acquire(&7).unwrap().failure(network());
        registry.end_wait(&7);
        let probes = [registry.acquire(&7).unwrap(), registry.acquire(&7).unwrap()];
        let coordinator = coordinator(&registry).attempt_deadline(deadline).build().unwrap();
        let driver = peers.drive(&coordinator);
        driver.request(&7);
        pass(SECOND).await;
        assert_eq!(driver.waiting()[0].reason, WaitReason::Probes);
        let [first, second] = probes;
        // A success that does not decide frees no slot; that a probe was dropped does.
        first.success();
        pass(SECOND).await;
        assert_eq!(peers.calls().len(), 0);
        drop(second);
        pass(SECOND).await;
        assert_eq!((peers.calls().len(), registry.status(&7)), (1, Status::Closed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_ends_is_given_up_with_its_lease() {
    let config = touchy().with_probe_lease(Duration::from_secs(90));
    let (registry, peers) = (registry(config), Peers::new());
    registry.acquire(&7).unwrap().failure(network());
    registry.end_wait(&7);
    let _hangs = registry.acquire(&7).unwrap();
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    driver.request(&7);
    pass(Duration::from_secs(89)).await;
    assert_eq!(peers.calls().len(), 0);
    pass(Duration::from_secs(2)).await;
    assert_eq!(peers.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_is_seen() {
    // A probe hangs; from now on a half-open phase may not last.
    let config = touchy().with_probe_lease(None);
    let (registry, peers) = (registry(config.clone()), Peers::new());
    registry.acquire(&7).unwrap().failure(network());
    registry.end_wait(&7);
    let _hangs = registry.acquire(&7).unwrap();
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    driver.request(&7);
    pass(Duration::from_secs(5)).await;
    assert_eq!(driver.waiting()[0].reason, WaitReason::Probes);
    registry.set_config(config.with_half_open_max(Duration::from_secs(5))).unwrap();
    pass(SECOND).await;
    assert_eq!(driver.waiting()[0].reason, WaitReason::Circuit, "the phase has failed");
}

#[tokio::test(start_paused = true)]
async fn a_half_open_phase_that_the_driver_began_is_brought_to_its_end() {
    for (successes, calls, status) in
        [(1, 1, Status::Closed), (3, 3, Status::Closed), (9, 5, Status::HalfOpen)]
    {
        let config = touchy().with_success_threshold(successes);
        let (registry, peers) = (registry(config), Peers::new());
        let driver = peers.drive(&coordinator(&registry).build().unwrap());
        peers.tell(7, [Answer::Fails(network().into())]);
        peers.tell_all(Answer::Takes(ms(10)));
        driver.request(&7);
        pass(Duration::from_secs(62)).await;
        assert_eq!(peers.times(7).len(), 1 + calls, "no more than max_attempts in a phase");
        assert_eq!((registry.status(&7), driver.stats().waiting), (status, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn probes_end_before_their_lease_though_the_configuration_changed() {
    let config = touchy().with_probe_lease(Duration::from_secs(60));
    let (registry, peers) = (registry(config.clone()), Peers::new());
    let coordinator = coordinator(&registry).attempt_deadline(Duration::from_secs(50));
    let driver = peers.drive(&coordinator.build().unwrap());
    registry.set_config(config.with_probe_lease(Duration::from_secs(20))).unwrap();
    peers.tell_all(Answer::Hangs);
    driver.request(&7);
    pass(Duration::from_secs(49)).await;
    assert_eq!(registry.totals().all.failed, 0, "no probe: its deadline is as it was");
    // Open for a minute; the probe ends after half of its lease, and counts.
    pass(Duration::from_secs(1 + 60 + 9)).await;
    assert_eq!((registry.totals().all.failed, registry.status(&7)), (1, Status::HalfOpen));
    pass(Duration::from_secs(2)).await;
    let totals = registry.totals().all;
    assert_eq!((totals.failed, totals.late, totals.opened), (2, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_half_of_a_short_lease_where_none_was_given() {
    for (lease, deadline) in [(Some(8), 4), (Some(60), 10), (None, 10)] {
        let config = touchy().with_probe_lease(lease.map(Duration::from_secs));
        let (registry, peers) = (registry(config), Peers::new());
        let driver = peers.drive(&SyncCoordinator::new(registry.clone()));
        peers.tell_all(Answer::Hangs);
        driver.request(&7);
        pass(Duration::from_secs(deadline) - ms(1)).await;
        assert_eq!(registry.totals().all.failed, 0);
        pass(ms(3)).await;
        assert_eq!(registry.totals().all.failed, 1, "{lease:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_defaults_a_peer_that_always_fails_is_open_at_its_fifth_call_however_rare_they_are()
 {
    for seconds in [4, 6, 10, 30, 600] {
        let registry = registry(HealthConfig::default());
        for call in 1..=5 {
            let opened = registry.acquire(&7).unwrap().failure(network());
            let opened = matches!(opened, peer_health::Recorded::Opened { .. });
            assert_eq!(opened, call == 5, "the {call}th, each {seconds} s");
            pass(Duration::from_secs(seconds)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_the_circuit_refuses_waits_as_it_says_and_uses_up_no_attempt() {
    let config = touchy().with_failure_threshold(2).with_open_multiplier(1.0);
    let (registry, peers) = (registry(config), Peers::new());
    let coordinator = coordinator(&registry).build().unwrap();
    peers.tell(7, vec![Answer::Fails(network().into()); 4]);
    // Others report failures between its attempts, and have the circuit open each time.
    let others = async {
        for _ in 0..4 {
            pass(ms(50)).await;
            (0..2).for_each(|_| {
                registry.acquire(&7).map(|permit| permit.failure(network())).ok();
            });
            pass(Duration::from_secs(60)).await;
        }
    };
    let (synced, ()) = tokio::join!(coordinator.sync(&7, |peer| peers.call(peer)), others);
    assert!(synced.is_ok(), "{synced:?}");
    let times = peers.times(7);
    assert!(times.len() == 5 && times[1] >= 60_000, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_waits_for_its_retry_or_its_circuit_holds_no_place() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    answer(&registry, 0..8);
    let coordinator = coordinator(&registry).max_concurrent(2).build().unwrap();
    peers.tell_all(Answer::Fails(network().into()));
    let mut waiting = tokio::task::JoinSet::new();
    for peer in 0..6 {
        let (coordinator, peers) = (coordinator.clone(), peers.clone());
        waiting.spawn(async move { coordinator.sync(&peer, |peer| peers.call(peer)).await });
    }
    pass(SECOND).await;
    peers.tell_all(Answer::Well);
    let driver = peers.drive(&coordinator);
    request(&driver, [6, 7]);
    pass(ms(10)).await;
    assert_eq!(driver.stats().succeeded, 2, "six circuits are open for a minute");
    pass(Duration::from_secs(61)).await;
    assert_eq!(registry.totals().all.succeeded, 8 + 2 + 6);
}

/// What becomes of an operation whose first attempt opens the circuit for a minute, and how often the
/// peer is called, when this happens meanwhile.
async fn between_attempts(
    happens: impl AsyncFnOnce(&HealthRegistry<u32>),
) -> (Result<u32, OperationError<Failure>>, usize) {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let coordinator = coordinator(&registry).build().unwrap();
    peers.tell(7, [Answer::Fails(network().into())]);
    let sync = coordinator.sync(&7, |peer| peers.call(peer));
    let (synced, ()) = tokio::join!(sync, happens(&registry));
    (synced, peers.times(7).len())
}

/// R7: that the probes are out is no end of an operation, which asks again.
#[tokio::test(start_paused = true)]
async fn between_its_attempts_an_operation_waits_while_others_probe() {
    let (synced, calls) = between_attempts(async |registry| {
        pass(MINUTE - ms(50)).await;
        registry.end_wait(&7);
        let probe = registry.acquire(&7).unwrap();
        pass(ms(200)).await;
        drop(probe);
    })
    .await;
    assert_eq!((synced.unwrap(), calls), (7, 2));
}

/// R7, R17: the refusal of a ban that has an end says when to come back; that of another does not.
#[tokio::test(start_paused = true)]
async fn between_its_attempts_an_operation_waits_for_the_end_of_a_ban_and_for_no_reset() {
    let (synced, calls) = between_attempts(async |registry| {
        registry.force_open_for(&7, 2 * MINUTE).unwrap();
    })
    .await;
    assert_eq!((synced.unwrap(), calls), (7, 2));
    let (synced, calls) = between_attempts(async |registry| {
        registry.force_open(&7).unwrap();
        pass(MINUTE + ms(150)).await;
        registry.reset(&7);
    })
    .await;
    let failed = synced.unwrap_err();
    assert_eq!((failed.attempts(), calls), (1, 1), "it was given up when it met the ban");
}
