//! Every permit ends in exactly one way, and a call that is cancelled, panics or hangs wedges
//! nothing (R5, R8).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use peer_health::{
    CallError, Clock, Failure, Fault, HealthConfig, HealthRegistry, ManualClock, NextAdmission,
    OwnedPermit, Permit, Reason, Recorded, Status, SyncError,
};

use crate::support::{self, SECOND, network, touchy};

fn registry() -> (HealthRegistry<u32>, ManualClock) {
    support::registry(touchy(SECOND).with_probe_lease(3 * SECOND))
}

/// A registry whose peer 7 is due for its one probe.
fn probing() -> (HealthRegistry<u32>, ManualClock) {
    let (registry, hand) = registry();
    registry.acquire(&7).unwrap().failure(network());
    hand.advance(Duration::from_secs(1));
    (registry, hand)
}

#[test]
fn permits_can_be_sent_and_owned_ones_can_be_kept() {
    fn is_send<T: Send>() {}
    fn is_static<T: Send + Sync + 'static>() {}
    is_send::<Permit<'_, String>>();
    is_static::<OwnedPermit<String>>();
    is_static::<peer_health::PeerHandle<String>>();
    is_static::<HealthRegistry<String>>();
}

#[test]
fn a_cancelled_future_frees_the_probes_slot_and_decides_nothing() {
    let (registry, _) = probing();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let call = registry.call_async(&7, std::future::pending::<Result<(), SyncError>>());
        tokio::pin!(call);
        assert!(futures_pending(call.as_mut()).await);
        assert_eq!(registry.acquire(&7).unwrap_err().reason, Reason::ProbesInFlight);
        assert_eq!(registry.next_admission(&7), NextAdmission::Unknown);
    });
    assert_eq!(registry.next_admission(&7), NextAdmission::Now);
    assert_eq!(registry.totals().all.abandoned, 1);
    assert_eq!(registry.call(&7, || Ok::<_, SyncError>(1)), Ok(1));
    assert_eq!(registry.status(&7), Status::Closed);
}

/// Polls once; whether it is pending.
async fn futures_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[test]
fn a_panic_inside_the_call_frees_the_slot_and_goes_on() {
    let (registry, _) = probing();
    let mut handle = registry.peer(&7);
    let by_id = catch_unwind(AssertUnwindSafe(|| {
        registry.call(&7, || -> Result<(), SyncError> { panic!("inside the call") })
    }));
    assert!(by_id.is_err());
    let by_handle = catch_unwind(AssertUnwindSafe(|| {
        handle.call(|| -> Result<(), SyncError> { panic!("inside the call") })
    }));
    assert!(by_handle.is_err());
    assert_eq!(registry.totals().all.abandoned, 2);
    handle.acquire().unwrap().success();
    assert_eq!(registry.status(&7), Status::Closed);
}

#[test]
fn a_leaked_permit_holds_its_slot_no_longer_than_its_lease() {
    let (registry, hand) = probing();
    std::mem::forget(registry.acquire(&7).unwrap());
    hand.advance(Duration::from_secs(3) - Duration::from_nanos(1));
    assert!(registry.acquire(&7).is_err());
    hand.advance(Duration::from_nanos(1));
    registry.acquire(&7).unwrap().success();
    assert_eq!(registry.status(&7), Status::Closed);
}

#[test]
fn a_probe_whose_lease_is_over_is_late_whether_or_not_its_slot_was_given_again() {
    let (registry, hand) = probing();
    let hung = registry.acquire(&7).unwrap();
    hand.advance(Duration::from_secs(3));
    assert_eq!(hung.success(), Recorded::Late);
    assert_eq!(registry.status(&7), Status::HalfOpen);
    registry.acquire(&7).unwrap().success();
    assert_eq!(registry.status(&7), Status::Closed);
}

#[test]
fn an_outcome_that_is_late_changes_nothing_however_the_permit_ends() {
    let endings: [fn(OwnedPermit<u32>) -> Recorded; 4] = [
        |permit| permit.success(),
        |permit| permit.failure(network()),
        |permit| permit.neutral(),
        |permit| {
            drop(permit);
            Recorded::Late
        },
    ];
    for ending in endings {
        let (registry, _) = registry();
        let old = registry.acquire(&7).unwrap();
        registry.acquire(&7).unwrap().failure(network());
        let before = format!("{:?}", registry.snapshot(&7).map(|s| (s.status, s.generation)));
        assert_eq!(ending(old), Recorded::Late);
        let after = format!("{:?}", registry.snapshot(&7).map(|s| (s.status, s.generation)));
        assert_eq!(before, after);
        let totals = registry.totals().all;
        assert_eq!((totals.late, totals.failed, totals.settled()), (1, 1, 2));
    }
}

#[test]
fn a_call_that_was_cancelled_before_its_first_poll_asked_for_nothing() {
    let (registry, _) = probing();
    drop(registry.call_async(&7, std::future::ready(Ok::<_, SyncError>(()))));
    assert_eq!(registry.totals().all.settled(), 1);
    assert_eq!(registry.next_admission(&7), NextAdmission::Now);
}

#[test]
fn the_fault_that_a_failure_states_wins() {
    let (registry, _) = registry();
    let ours = Failure::from(network()).with_fault(Fault::Local);
    assert_eq!(registry.acquire(&7).unwrap().failure(ours), Recorded::Neutral);
    let theirs = Failure::from(SyncError::Document("bad".into())).with_fault(Fault::Peer);
    let recorded = registry.acquire(&7).unwrap().failure(theirs);
    assert!(matches!(recorded, Recorded::Opened { .. }));
    let answer = registry.call(&7, || Ok::<_, SyncError>(()));
    assert!(matches!(answer, Err(CallError::Refused(_))));
}

#[test]
fn permits_outlive_their_registry() {
    let (registry, _) = registry();
    let (owned, mut handle) = (registry.acquire(&7).unwrap(), registry.peer(&8));
    drop(registry);
    assert_eq!(owned.success(), Recorded::Counted);
    assert_eq!(handle.acquire().unwrap().success(), Recorded::Counted);
}

#[test]
fn a_clock_that_panics_or_goes_back_is_survived() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static READS: AtomicU32 = AtomicU32::new(0);
    let clock = Clock::from_fn(|| match READS.fetch_add(1, Ordering::SeqCst) % 4 {
        0 => panic!("no time"),
        1 => Duration::MAX,
        2 => Duration::ZERO,
        _ => Duration::from_secs(5),
    });
    let config = HealthConfig::default().with_failure_threshold(2).with_max_peers(4);
    let registry = HealthRegistry::<u32>::builder().config(config).clock(clock).build().unwrap();
    for n in 0..1000 {
        if let Ok(permit) = registry.acquire(&(n % 9)) {
            match n % 3 {
                0 => permit.failure(network()),
                1 => permit.success(),
                _ => permit.neutral(),
            };
        }
        registry.snapshot(&(n % 9));
        registry.sweep();
    }
    assert!(registry.totals().all.settled() > 0);
}

#[test]
fn a_wait_that_is_ended_early_is_no_success() {
    let config = HealthConfig::default()
        .with_failure_threshold(1)
        .with_open_timeout(Duration::from_secs(1))
        .with_open_jitter(0.0)
        .with_open_multiplier(2.0);
    let registry = HealthRegistry::<u32>::builder().config(config).build().unwrap();
    registry.acquire(&7).unwrap().failure(network());
    let mut waits = Vec::new();
    for _ in 0..3 {
        assert!(registry.end_wait(&7));
        match registry.acquire(&7).unwrap().failure(network()) {
            Recorded::Opened { retry_after } => waits.push(retry_after.as_secs()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(waits, [2, 4, 8]);
}

#[test]
fn refusals_are_counted_by_reason_and_survive_their_peer() {
    let (registry, _) = probing();
    let refused = |registry: &HealthRegistry<u32>| {
        let refused = registry.totals().all.refused;
        (refused.open, refused.probes_in_flight, refused.forced_open)
    };
    let probe = registry.acquire(&7).unwrap();
    assert_eq!(registry.peer(&7).acquire().unwrap_err().reason, Reason::ProbesInFlight);
    probe.failure(network());
    (0..2).for_each(|_| assert!(registry.acquire(&7).is_err()));
    registry.force_open(&7).unwrap();
    (0..3).for_each(|_| assert!(registry.acquire(&7).is_err()));
    assert!(registry.is_circuit_open(&7));
    assert_ne!(registry.next_admission(&7), NextAdmission::Now);
    assert_eq!(refused(&registry), (2, 1, 3), "to look is not to ask");
    assert_eq!(registry.snapshot(&7).unwrap().totals.refused, registry.totals().all.refused);
    assert_eq!(registry.totals().all.settled(), 2, "what is refused is no permit");
    registry.remove(&7);
    assert_eq!(refused(&registry), (2, 1, 3));
    registry.force_open(&7).unwrap();
    assert!(registry.acquire(&7).is_err());
    assert_eq!(refused(&registry), (2, 1, 4));
}
