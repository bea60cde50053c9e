//! Conversions of errors, operations, and closures that are shown something.

use peer_health::{CallError, Failure, Fault, Recorded};

use super::*;

/// An error whose conversion panics.
#[derive(Debug)]
struct Unreadable;

impl From<&Unreadable> for Failure {
    fn from(_: &Unreadable) -> Self {
        panics()
    }
}

#[test]
fn an_error_that_cannot_be_converted_is_nobodys_fault() {
    let registry = HealthRegistry::<u32>::builder().config(config()).build().unwrap();
    let permit = registry.acquire(&7).unwrap();
    assert_eq!(ends(|| permit.failure(&Unreadable)), Some(Recorded::Neutral));
    let seen = registry.snapshot(&7).unwrap();
    assert_eq!((seen.totals.neutral, seen.totals.abandoned, seen.consecutive_failures), (1, 0, 0));
    assert_eq!(seen.last_error.unwrap().fault(), Fault::Nobody);
    let called = ends(|| registry.call(&7, || Err::<(), _>(Unreadable)));
    assert!(matches!(called, Some(Err(CallError::Failed(Unreadable)))));
}

#[test]
fn an_operation_that_panics_is_abandoned_and_frees_its_probe() {
    let (registry, hand) = support::registry::<u32>(config());
    registry.acquire(&7).unwrap().failure(network());
    hand.advance(std::time::Duration::from_secs(60));
    let called = ends(|| registry.call(&7, || -> Result<(), SyncError> { panics() }));
    assert!(called.is_none(), "the panic is the caller's own");
    assert_eq!(registry.snapshot(&7).unwrap().totals.abandoned, 1);
    assert_eq!(registry.acquire(&7).unwrap().success(), Recorded::Counted);
    assert_eq!(registry.status(&7), peer_health::Status::Closed);
}

#[test]
fn a_closure_that_is_shown_all_peers_may_panic() {
    let trap = Arc::<Trap>::default();
    let key = Key::of(&trap);
    let registry = Registry::builder().config(config()).build().unwrap();
    (0..PLACES).for_each(|id| drop(registry.acquire(&key(id))));
    let mut shown = 0;
    let ended = ends(|| {
        registry.for_each(|_, _| {
            shown += 1;
            if shown == 3 {
                panics();
            }
        });
    });
    assert!(ended.is_none(), "the panic is the caller's own");
    assert_sound(&registry, key);
}
