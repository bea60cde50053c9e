//! `SyncCoordinator::sync` and `sync_all`: admission, deadline, retries, limits, budgets, and what
//! a future leaves behind that is dropped at any of its awaits.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use peer_health::{
    Failure, Fault, HealthConfig, HealthRegistry, OperationError, Reason, RetryBudget, RetryPolicy,
    Status, SyncCoordinator, SyncError, Window,
};
use tokio::task::{JoinSet, yield_now};

use crate::peers::{
    Answer, Peers, answer, coordinator, even, fails, ms, pass, poll_once, registry, touchy,
};
use crate::support::{self, network, panics};

#[tokio::test(start_paused = true)]
async fn an_operation_is_tried_again_until_it_succeeds() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    peers.tell(7, fails(3));
    let coordinator = coordinator(&registry).build().unwrap();
    assert_eq!(coordinator.sync(&7, |peer| peers.call(peer)).await.unwrap(), 7);
    assert_eq!(peers.times(7), [0, 100, 300, 700]);
    let totals = registry.totals().all;
    assert_eq!((totals.failed, totals.succeeded, totals.settled()), (3, 1, 4));
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_given_up_when_its_attempts_are_used_up_or_not_worth_another() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let coordinator = coordinator(&registry).build().unwrap();
    peers.tell(1, fails(9));
    peers.tell(2, [Answer::Fails(SyncError::Protocol("garbage".into()).into())]);
    let failed = coordinator.sync(&1, |peer| peers.call(peer)).await.unwrap_err();
    assert!(matches!(failed, OperationError::GaveUp { attempts: 5, .. }) && failed.attempts() == 5);
    let failed = coordinator.sync(&2, |peer| peers.call(peer)).await.unwrap_err();
    assert!(matches!(failed, OperationError::GaveUp { attempts: 1, .. }));
    assert!(failed.failure().unwrap().counts());
}

#[tokio::test(start_paused = true)]
async fn ten_operations_with_one_peer_do_not_use_up_each_others_attempts() {
    let config = HealthConfig::default().with_failure_threshold(1000);
    let (registry, peers) = (registry(config), Peers::new());
    peers.tell(7, fails(40));
    let coordinator = coordinator(&registry).max_per_peer(10).build().unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let (coordinator, peers) = (coordinator.clone(), peers.clone());
        tasks.spawn(async move { coordinator.sync(&7, |peer| peers.call(peer)).await });
    }
    while let Some(ended) = tasks.join_next().await {
        assert_eq!(ended.unwrap().unwrap(), 7);
    }
    assert_eq!(peers.calls().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_a_failure_and_is_per_attempt() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    peers.tell(7, [Answer::Hangs, Answer::Hangs]);
    let coordinator = coordinator(&registry).attempt_deadline(ms(1000)).build().unwrap();
    assert_eq!(coordinator.sync(&7, |peer| peers.call(peer)).await.unwrap(), 7);
    assert_eq!(peers.times(7), [0, 1100, 2300]);
    let totals = registry.totals().all;
    assert_eq!((totals.failed, totals.abandoned), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn who_drops_the_future_takes_the_call_back() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    peers.tell(7, [Answer::Hangs]);
    let coordinator = coordinator(&registry).build().unwrap();
    let call = coordinator.sync(&7, |peer| peers.call(peer));
    assert!(tokio::time::timeout(ms(10), call).await.is_err());
    assert_eq!((registry.totals().all.abandoned, peers.running().0), (1, 0));
    assert_eq!(registry.status(&7), Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_may_not_be_called_is_answered_at_once() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    registry.acquire(&7).unwrap().failure(network());
    let coordinator = coordinator(&registry).build().unwrap();
    match coordinator.sync(&7, |peer| peers.call(peer)).await.unwrap_err() {
        OperationError::Refused(refused) => {
            assert_eq!(refused.retry_after, Some(Duration::from_secs(60)));
        }
        other => panic!("{other:?}"),
    }
    assert!(peers.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_as_long_as_the_circuit_is_open_and_as_the_peer_asks() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let busy = Failure::from(network()).with_retry_after(Duration::from_secs(90));
    peers.tell(7, [Answer::Fails(network().into()), Answer::Fails(busy)]);
    let coordinator = coordinator(&registry).build().unwrap();
    assert!(coordinator.sync(&7, |peer| peers.call(peer)).await.is_ok());
    assert_eq!(peers.times(7), [0, 60_000, 150_000]);
}

#[tokio::test(start_paused = true)]
async fn a_severe_failure_is_tried_again_when_the_peer_says_and_no_later_than_its_circuit_would_be()
{
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let severe = || Failure::from(SyncError::ResourceExhaustion("too many streams".into()));
    let busy = |wait| Answer::Fails(severe().with_retry_after(wait));
    peers.tell(7, [busy(Duration::from_secs(30)), busy(Duration::MAX), Answer::Fails(severe())]);
    let coordinator = coordinator(&registry).build().unwrap();
    let failed = coordinator.sync(&7, |peer| peers.call(peer)).await;
    assert!(matches!(failed, Err(OperationError::GaveUp { attempts: 3, .. })), "{failed:?}");
    assert_eq!(peers.times(7), [0, 30_000, 330_000], "five minutes is `open_max`");
}

#[tokio::test(start_paused = true)]
async fn one_probe_goes_out_however_many_operations_wait() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    registry.acquire(&7).unwrap().failure(network());
    pass(Duration::from_secs(60)).await;
    peers.tell(7, [Answer::Takes(ms(50))]);
    let coordinator = coordinator(&registry).max_per_peer(10).build().unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let (coordinator, peers) = (coordinator.clone(), peers.clone());
        tasks.spawn(async move { coordinator.sync(&7, |peer| peers.call(peer)).await });
    }
    let mut refused = 0;
    while let Some(ended) = tasks.join_next().await {
        match ended.unwrap() {
            Ok(_) => {}
            Err(OperationError::Refused(why)) => {
                assert_eq!(why.reason, Reason::ProbesInFlight);
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((refused, peers.calls().len()), (9, 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_operations_run_than_the_limits_and_a_busy_peer_holds_up_no_other() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    peers.tell_all(Answer::Takes(ms(100)));
    answer(&registry, 0..=6);
    let coordinator = coordinator(&registry).max_concurrent(4).build().unwrap();
    let op = |peer| peers.call(peer);
    let whom = std::iter::repeat_n(0, 6).chain(1..=6);
    let results: Vec<_> = coordinator.sync_all(whom, &op).collect().await;
    assert!(results.len() == 12 && results.iter().all(|(_, result)| result.is_ok()));
    assert_eq!(peers.running(), (0, 4));
    assert_eq!(peers.times(0), [0, 100, 200, 300, 400, 500], "one at a time");
    assert!((1..=6).all(|peer| peers.times(peer) <= vec![100]), "{:?}", peers.calls());
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_taken_after_the_slot_so_no_probe_waits_in_the_queue() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    registry.acquire(&7).unwrap().failure(network());
    pass(Duration::from_secs(60)).await;
    peers.tell(1, [Answer::Takes(ms(500))]);
    let coordinator = coordinator(&registry).max_concurrent(1).build().unwrap();
    let mut first = pin!(coordinator.sync(&1, |peer| peers.call(peer)));
    let mut queued = pin!(coordinator.sync(&7, |peer| peers.call(peer)));
    assert!(poll_once(first.as_mut()).await.is_none());
    assert!(poll_once(queued.as_mut()).await.is_none());
    let probe = registry.acquire(&7).unwrap();
    assert!(probe.is_probe(), "the queued operation holds none");
    probe.success();
    assert!(tokio::join!(first, queued).1.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_latency_is_tokios_and_the_queue_is_not_in_it() {
    let config = HealthConfig::default().with_window(Window::count(10)).with_slow_call(ms(200));
    // This clock stands still: what the window sees was stated.
    let (registry, _hand) = support::registry(config);
    let peers = Peers::new();
    peers.tell(1, [Answer::Takes(ms(200))]);
    peers.tell(2, [Answer::Takes(ms(199))]);
    let coordinator = coordinator(&registry).max_concurrent(1).build().unwrap();
    let op = |peer| peers.call(peer);
    let results: Vec<_> = coordinator.sync_all([1, 2], &op).collect().await;
    assert!(results.iter().all(|(_, result)| result.is_ok()));
    let slow = |peer| registry.snapshot(&peer).unwrap().window.slow;
    assert_eq!((slow(1), slow(2), peers.times(2)), (1, 0, vec![200]));
}

#[tokio::test(start_paused = true)]
async fn retries_are_refused_when_the_budget_is_spent_and_say_so() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let budget = RetryBudget::new(10, 0.1).unwrap();
    let coordinator = coordinator(&registry).budget(budget).build().unwrap();
    peers.tell_all(Answer::Fails(network().into()));
    answer(&registry, [1, 2]);
    let failed = coordinator.sync(&1, |peer| peers.call(peer)).await.unwrap_err();
    assert!(matches!(failed, OperationError::GaveUp { attempts: 5, .. }));
    assert_eq!(coordinator.budget().milli_tokens(), 6000, "the first was no retry");
    let failed = coordinator.sync(&2, |peer| peers.call(peer)).await.unwrap_err();
    assert!(matches!(failed, OperationError::BudgetSpent { attempts: 2, .. }));
    let failed = coordinator.sync(&3, |peer| peers.call(peer)).await.unwrap_err();
    assert!(
        matches!(failed, OperationError::GaveUp { attempts: 5, .. }),
        "a stranger needs no token"
    );
    let failed = coordinator.sync(&2, |peer| peers.call(peer)).await.unwrap_err();
    assert_eq!(failed.to_string(), "no budget for a retry after 1 attempts");
}

#[tokio::test(start_paused = true)]
async fn a_peers_budget_is_its_own() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let budget = RetryBudget::new(4, 0.1).unwrap();
    let coordinator = coordinator(&registry).budget_per_peer(budget).build().unwrap();
    answer(&registry, [1, 2]);
    peers.tell(1, fails(9));
    peers.tell(2, fails(1));
    let failed = coordinator.sync(&1, |peer| peers.call(peer)).await.unwrap_err();
    assert!(matches!(failed, OperationError::BudgetSpent { attempts: 3, .. }), "{failed:?}");
    assert!(coordinator.sync(&2, |peer| peers.call(peer)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_peers_fault_takes_no_token() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let offline = Failure::from(network()).with_fault(Fault::Local);
    peers.tell(7, [Answer::Fails(offline)]);
    let coordinator = coordinator(&registry).build().unwrap();
    assert!(coordinator.sync(&7, |peer| peers.call(peer)).await.is_ok());
    assert_eq!(coordinator.budget().milli_tokens(), 1_000_000);
    assert_eq!((registry.totals().all.neutral, registry.totals().all.opened), (1, 0));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let builder = || SyncCoordinator::builder(HealthRegistry::<u32>::new());
    let field = |builder: peer_health::CoordinatorBuilder<u32>| {
        builder.build().err().map(|error| error.field().to_string())
    };
    assert_eq!(field(builder().max_concurrent(0)).as_deref(), Some("max_concurrent"));
    assert_eq!(field(builder().max_per_peer(usize::MAX)).as_deref(), Some("max_per_peer"));
    assert_eq!(
        field(builder().attempt_deadline(Duration::ZERO)).as_deref(),
        Some("attempt_deadline")
    );
    let upside_down = RetryPolicy { max_delay: Duration::ZERO, ..even() };
    assert_eq!(field(builder().retry(upside_down)).as_deref(), Some("initial_delay"));
    let minute = Duration::from_secs(60);
    assert_eq!(field(builder().attempt_deadline(minute)).as_deref(), Some("attempt_deadline"));
    let error = builder().attempt_deadline(minute).build().err().unwrap().to_string();
    assert_eq!(error, "attempt_deadline is 60s: must be below probe_lease, which is 60s");
    assert_eq!(field(builder().attempt_deadline(Duration::from_nanos(59_999_999_999))), None);
    let config = HealthConfig::default().with_probe_lease(None);
    let unleased = HealthRegistry::<u32>::builder().config(config).build().unwrap();
    let builder = SyncCoordinator::builder(unleased);
    assert_eq!(field(builder.attempt_deadline(Duration::MAX)), None);
}

/// An operation with several awaits.
async fn step_by_step(peers: &Peers, peer: u32) -> Result<u32, Failure> {
    yield_now().await;
    let answer = peers.call(peer).await;
    yield_now().await;
    answer
}

/// Nothing is held: an operation with each peer runs at once, and no permit is out.
async fn all_is_free(registry: &HealthRegistry<u32>, coordinator: &SyncCoordinator<u32>, n: usize) {
    pass(Duration::from_secs(600)).await;
    for peer in [7, 8, 9] {
        let mut sync = pin!(coordinator.sync(&peer, async |_| Ok::<_, SyncError>(())));
        let done = poll_once(sync.as_mut()).await;
        assert!(matches!(done, Some(Ok(()))), "after {n} polls, with {peer}: {done:?}");
        assert_eq!(registry.status(&peer), Status::Closed);
    }
    registry.sweep();
    pass(Duration::from_secs(3600)).await;
    registry.sweep();
    assert!(registry.is_empty(), "a permit is out after {n} polls");
}

#[tokio::test(start_paused = true)]
async fn sync_can_be_dropped_at_any_await() {
    let (mut n, mut ended) = (0, false);
    while !ended {
        let (registry, peers) = (registry(touchy()), Peers::new());
        let coordinator = coordinator(&registry).max_concurrent(1).build().unwrap();
        peers.tell(8, [Answer::Takes(ms(50))]);
        peers.tell(7, [Answer::Fails(network().into()), Answer::Takes(ms(40))]);
        let begun = Cell::new(0);
        let op = |peer| {
            begun.set(begun.get() + 1);
            step_by_step(&peers, peer)
        };
        // The other is in the way at first; then the circuit is, and then comes the probe.
        let mut other = Some(Box::pin(coordinator.sync(&8, op)));
        let mut sync = Box::pin(coordinator.sync(&7, op));
        for _ in 0..n {
            if let Some(first) = &mut other
                && poll_once(first.as_mut()).await.is_some()
            {
                other = None;
            }
            ended = poll_once(sync.as_mut()).await.is_some();
            if ended {
                break;
            }
            let time = if other.is_some() { ms(20) } else { Duration::from_secs(5) };
            tokio::time::advance(time).await;
        }
        drop((sync, other));
        assert_eq!(registry.totals().all.settled(), begun.get(), "after {n} polls");
        all_is_free(&registry, &coordinator, n).await;
        n += 1;
    }
    assert!(n > 15, "{n}");
}

#[tokio::test(start_paused = true)]
async fn sync_all_can_be_dropped_at_any_await() {
    let (mut n, mut ended) = (0, false);
    while !ended {
        let (registry, peers) = (registry(touchy()), Peers::new());
        let coordinator = coordinator(&registry).max_concurrent(2).build().unwrap();
        peers.tell(7, [Answer::Fails(network().into()), Answer::Takes(ms(40))]);
        peers.tell(8, [Answer::Takes(ms(50))]);
        peers.tell(9, [Answer::Hangs]);
        let begun = Cell::new(0);
        let op = |peer| {
            begun.set(begun.get() + 1);
            step_by_step(&peers, peer)
        };
        let mut results = Box::pin(coordinator.sync_all([7, 8, 9], &op));
        let mut seen = 0;
        for _ in 0..n {
            let mut next = pin!(results.next());
            match poll_once(next.as_mut()).await {
                Some(Some(_)) => seen += 1,
                Some(None) => ended = true,
                None => tokio::time::advance(ms(2500)).await,
            }
            if ended {
                assert_eq!(seen, 3);
                break;
            }
        }
        drop(results);
        assert_eq!(registry.totals().all.settled(), begun.get(), "after {n} polls");
        all_is_free(&registry, &coordinator, n).await;
        n += 1;
    }
    assert!(n > 15, "{n}");
}

#[tokio::test]
async fn an_operation_that_panics_is_abandoned_and_the_panic_goes_on() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    peers.tell(7, [Answer::Panics]);
    let coordinator = coordinator(&registry).max_concurrent(1).build().unwrap();
    let task = {
        let (coordinator, peers) = (coordinator.clone(), peers.clone());
        tokio::spawn(async move { coordinator.sync(&7, |peer| peers.call(peer)).await })
    };
    assert!(task.await.unwrap_err().is_panic());
    let early = |_| -> std::future::Ready<Result<(), SyncError>> { panics("before the future") };
    let task = {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { coordinator.sync(&7, early).await })
    };
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(registry.totals().all.abandoned, 2);
    assert_eq!(coordinator.sync(&7, |peer| peers.call(peer)).await.unwrap(), 7);
}
