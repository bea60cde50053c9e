//! Keys that panic while they are exported and restored: each costs its own peer at the most.

use std::time::Duration;

use peer_health::{Saved, SavedState, Status};

use super::*;

const ALL_PLACES: usize = PLACES as usize;

fn exported(trap: &Arc<Trap>, peers: u32) -> Vec<Saved<Key>> {
    let registry = Registry::builder().config(config()).build().unwrap();
    let key = Key::of(trap);
    (0..peers).for_each(|id| registry.force_open(&key(id)).unwrap());
    registry.export()
}

#[test]
fn a_key_that_panics_when_it_is_cloned_is_left_out_of_an_export() {
    let trap = Arc::<Trap>::default();
    let registry = Registry::builder().config(config()).build().unwrap();
    let key = Key::of(&trap);
    (0..PLACES).for_each(|id| registry.force_open(&key(id)).unwrap());
    for nth in 1..=i64::from(PLACES) {
        trap.arm(What::Clone, nth, false);
        assert_eq!(registry.export().len(), ALL_PLACES - 1);
        assert_eq!(trap.disarm(), 1);
    }
    trap.arm(What::Clone, 1, true);
    assert!(registry.export().is_empty());
    trap.disarm();
    assert_eq!(registry.export().len(), ALL_PLACES);
}

#[test]
fn a_key_that_panics_while_it_is_restored_costs_its_own_peer() {
    for what in [What::Hash, What::Eq, What::Clone, What::Drop] {
        for nth in 1..=8 {
            let trap = Arc::<Trap>::default();
            // Two of each, so that keys are compared and dropped.
            let saved = [exported(&trap, PLACES), exported(&trap, PLACES)].concat();
            trap.arm(what, nth, false);
            let builder = Registry::builder().config(config());
            let registry = builder.restore(saved, Some(Duration::ZERO)).build().unwrap();
            let sprung = trap.disarm();
            assert!(sprung == 1 || what == What::Clone, "{what:?} {nth}");
            let key = Key::of(&trap);
            let there = (0..PLACES).filter(|id| registry.status(&key(*id)) == Status::ForcedOpen);
            // What panics once is restored by its second value.
            assert_eq!(there.count(), ALL_PLACES, "{what:?} {nth}");
            assert_eq!(registry.len(), ALL_PLACES, "{what:?} {nth}: no place is lost");
        }
    }
}

/// A key whose destructor panics too, while the panic of its `Hash` unwinds: that would end the process.
#[test]
fn a_key_that_panics_when_it_is_hashed_and_dropped_ends_nothing() {
    #[derive(Debug, Clone)]
    struct Hopeless(Arc<AtomicU8>);

    impl PartialEq for Hopeless {
        fn eq(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }
    }

    impl Eq for Hopeless {}

    impl Hopeless {
        fn fail(&self) {
            if self.0.load(Ordering::Relaxed) > 0 {
                panics();
            }
        }
    }

    impl Hash for Hopeless {
        fn hash<H: Hasher>(&self, _: &mut H) {
            self.fail();
        }
    }

    impl Drop for Hopeless {
        fn drop(&mut self) {
            self.fail();
        }
    }

    let armed = Arc::<AtomicU8>::default();
    let registry = HealthRegistry::new();
    registry.force_open(&Hopeless(Arc::clone(&armed))).unwrap();
    let saved = registry.export();
    armed.store(1, Ordering::Relaxed);
    let restored = HealthRegistry::builder().restore(saved, None).build().unwrap();
    armed.store(0, Ordering::Relaxed);
    assert!(restored.is_empty());
}

#[test]
fn keys_that_panic_for_ever_leave_a_registry_without_them() {
    for what in [What::Hash, What::Drop] {
        let trap = Arc::<Trap>::default();
        let saved = exported(&trap, PLACES);
        let banned =
            |saved: &Saved<Key>| matches!(saved.state, SavedState::ForcedOpen { rest: None, .. });
        assert!(saved.iter().all(banned));
        trap.arm(what, 1, true);
        let builder = Registry::builder().config(config());
        let registry = builder.restore(saved, None).build().unwrap();
        trap.disarm();
        let len = registry.len();
        assert_eq!(len, if what == What::Hash { 0 } else { ALL_PLACES }, "{what:?}");
        assert!(registry.acquire(&Key(PLACES + 5, trap)).is_ok());
    }
}
