//! Every interleaving of two calls, and of three where that is small enough, on the library's own tracker,
//! entry and permit. A model puts its result in words; the test lists all that may occur.
//!
//! `closed 0, streak 1, 0 out` is the circuit at the end: status, generation, streak, probes out.

use crate::circuit::Control;
use crate::event::EventKind;
use crate::scene::{OPEN, Scene, all_three, both, every_interleaving, failure, rules, word};
use crate::sync::{Arc, Swap, while_settings_stay};

#[test]
fn the_stand_in_shows_every_order_of_two_accesses() {
    fn model() -> String {
        let swap = Swap::new(Arc::new(0));
        let add = || {
            let seen = swap.load();
            match swap.compare_and_swap(&seen, Arc::new(*seen + 1)) {
                Ok(()) => "done".into(),
                Err(found) => format!("found {found}"),
            }
        };
        both(add, add)
    }
    every_interleaving(6, model, &["done | done", "done | found 1", "found 1 | done"]);
}

#[test]
fn a_success_clears_the_streak_and_a_failure_beside_it_leaves_none_or_one() {
    fn model() -> String {
        let scene = Scene::with_streak(rules(3, 1), 1);
        let (a, b) = (scene.permit(), scene.permit());
        let outcome = both(|| word(a.success()), || word(b.failure(failure())));
        scene.ends(outcome)
    }
    let after_it = "counted | counted -> closed 0, streak 0, 0 out";
    let before_it = "counted | counted -> closed 0, streak 1, 0 out";
    every_interleaving(15, model, &[after_it, before_it]);
}

#[test]
fn two_failures_at_the_threshold_open_once() {
    fn model() -> String {
        let scene = Scene::with_streak(rules(2, 1), 0);
        let (a, b) = (scene.permit(), scene.permit());
        let outcome = both(|| word(a.failure(failure())), || word(b.failure(failure())));
        scene.ends(outcome)
    }
    let first = "opened | counted -> open 1, streak 2, 0 out";
    let second = "counted | opened -> open 1, streak 2, 0 out";
    every_interleaving(20, model, &[first, second]);
}

#[test]
fn a_failure_beside_the_one_that_opens_is_late() {
    fn model() -> String {
        let scene = Scene::with_streak(rules(2, 1), 1);
        let (a, b) = (scene.permit(), scene.permit());
        let outcome = both(|| word(a.failure(failure())), || word(b.failure(failure())));
        scene.ends(outcome)
    }
    let first = "opened | late -> open 1, streak 2, 0 out";
    let second = "late | opened -> open 1, streak 2, 0 out";
    every_interleaving(20, model, &[first, second]);
}

#[test]
fn at_the_deadline_one_of_two_gets_the_only_probe() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 1));
        let outcome = both(|| scene.ask(), || scene.ask());
        assert!(matches!(scene.peer.told()[..], [_, EventKind::HalfOpened]));
        scene.ends(outcome)
    }
    let first = "probe | probes in flight -> halfopen 2, streak 1, 1 out";
    let second = "probes in flight | probe -> halfopen 2, streak 1, 1 out";
    every_interleaving(100, model, &[first, second]);
}

#[test]
fn at_the_deadline_both_get_a_probe_where_there_are_two() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 2));
        let outcome = both(|| scene.ask(), || scene.ask());
        scene.ends(outcome)
    }
    every_interleaving(100, model, &["probe | probe -> halfopen 2, streak 1, 2 out"]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "49,044 interleavings: optimised builds only")]
fn at_the_deadline_two_of_three_get_the_two_probes() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 2));
        let ask = || scene.ask_at_once();
        let outcome = while_settings_stay(|| all_three(ask, ask, ask));
        scene.ends(outcome)
    }
    let first = "probes in flight | probe | probe -> halfopen 2, streak 1, 2 out";
    let second = "probe | probes in flight | probe -> halfopen 2, streak 1, 2 out";
    let third = "probe | probe | probes in flight -> halfopen 2, streak 1, 2 out";
    every_interleaving(40_000, model, &[first, second, third]);
}

#[test]
fn a_probe_that_fails_reopens_whether_the_other_has_succeeded_or_not() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 2));
        let (a, b) = (scene.permit(), scene.permit());
        let outcome = both(|| word(a.success()), || word(b.failure(failure())));
        scene.ends(outcome)
    }
    let before = "counted | opened -> open 3, streak 1, 0 out";
    let after = "late | opened -> open 3, streak 1, 0 out";
    every_interleaving(50, model, &[before, after]);
}

#[test]
fn two_probes_that_succeed_close_once() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 2));
        let (a, b) = (scene.permit(), scene.permit());
        let outcome = both(|| word(a.success()), || word(b.success()));
        scene.ends(outcome)
    }
    every_interleaving(100, model, &["counted | counted -> closed 3, streak 0, 0 out"]);
}

#[test]
fn of_two_probes_that_fail_one_reopens_and_the_other_is_late() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 2));
        let (a, b) = (scene.permit(), scene.permit());
        let outcome = both(|| word(a.failure(failure())), || word(b.failure(failure())));
        scene.ends(outcome)
    }
    let first = "opened | late -> open 3, streak 1, 0 out";
    let second = "late | opened -> open 3, streak 1, 0 out";
    every_interleaving(20, model, &[first, second]);
}

#[test]
fn the_slot_of_a_probe_and_its_success_are_one_step() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 1));
        let probe = scene.permit();
        let outcome = both(|| word(probe.success()), || scene.ask());
        scene.ends(outcome)
    }
    let before = "counted | probes in flight -> closed 3, streak 0, 0 out";
    let after = "counted | permit -> closed 3, streak 0, 0 out";
    every_interleaving(50, model, &[before, after]);
}

#[test]
fn a_look_shows_the_circuit_before_or_after_a_step_and_nothing_between() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 1));
        let probe = scene.permit();
        let outcome = both(|| word(probe.success()), || scene.look());
        scene.ends(outcome)
    }
    let before = "counted | halfopen 2, streak 1, 1 out -> closed 3, streak 0, 0 out";
    let after = "counted | closed 3, streak 0, 0 out -> closed 3, streak 0, 0 out";
    every_interleaving(6, model, &[before, after]);
}

#[test]
fn a_look_never_shows_a_closed_circuit_at_its_threshold() {
    fn model() -> String {
        let scene = Scene::with_streak(rules(2, 1), 1);
        let permit = scene.permit();
        let outcome = both(|| word(permit.failure(failure())), || scene.look());
        scene.ends(outcome)
    }
    let before = "opened | closed 0, streak 1, 0 out -> open 1, streak 2, 0 out";
    let after = "opened | open 1, streak 2, 0 out -> open 1, streak 2, 0 out";
    every_interleaving(5, model, &[before, after]);
}

#[test]
fn a_dropped_probe_gives_its_slot_back_once() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 1));
        let probe = scene.permit();
        let dropped = move || {
            drop(probe);
            "dropped"
        };
        let outcome = both(dropped, || scene.ask());
        scene.ends(outcome)
    }
    let before = "dropped | probe -> halfopen 2, streak 1, 1 out";
    let after = "dropped | probes in flight -> halfopen 2, streak 1, 0 out";
    every_interleaving(20, model, &[before, after]);
}

#[test]
fn a_lease_that_has_run_out_gives_its_slot_once() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 1).with_probe_lease(OPEN));
        let hung = scene.permit();
        scene.time.advance(10);
        let outcome = both(|| scene.ask(), || scene.ask());
        let late = word(hung.success());
        scene.ends(format!("{outcome}, {late}"))
    }
    let first = "probe | probes in flight, late -> halfopen 2, streak 1, 1 out";
    let second = "probes in flight | probe, late -> halfopen 2, streak 1, 1 out";
    every_interleaving(20, model, &[first, second]);
}

#[test]
fn a_success_after_its_lease_is_late_beside_the_probe_that_takes_its_slot() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 1).with_probe_lease(OPEN));
        let hung = scene.permit();
        scene.time.advance(10);
        let outcome = both(|| word(hung.success()), || scene.ask());
        scene.ends(outcome)
    }
    every_interleaving(50, model, &["late | probe -> halfopen 2, streak 1, 1 out"]);
}

#[test]
fn a_failure_beside_force_open_is_late_or_undone_by_it() {
    fn model() -> String {
        let scene = Scene::with_streak(rules(1, 1), 0);
        let permit = scene.permit();
        let force = || scene.peer.control(Control::ForceOpen);
        let outcome = both(|| word(permit.failure(failure())), force);
        scene.ends(outcome)
    }
    let before = "opened | true -> forcedopen 2, streak 0, 0 out";
    let after = "late | true -> forcedopen 1, streak 0, 0 out";
    every_interleaving(20, model, &[before, after]);
}

#[test]
fn a_reset_beside_the_success_of_a_probe_closes_too() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 1));
        let probe = scene.permit();
        let outcome = both(|| word(probe.success()), || scene.peer.control(Control::Reset));
        scene.ends(outcome)
    }
    let before = "counted | true -> closed 4, streak 0, 0 out";
    let after = "late | true -> closed 3, streak 0, 0 out";
    every_interleaving(50, model, &[before, after]);
}

#[test]
fn of_two_controls_the_later_one_stays() {
    fn model() -> String {
        let scene = Scene::new(rules(1, 1));
        let force = || scene.peer.control(Control::ForceOpen);
        let disable = || scene.peer.control(Control::Disable);
        let outcome = both(force, disable);
        scene.ends(outcome)
    }
    let forced = "true | true -> forcedopen 2, streak 0, 0 out";
    let disabled = "true | true -> disabled 2, streak 0, 0 out";
    every_interleaving(20, model, &[forced, disabled]);
}

#[test]
fn a_failure_beside_a_removal_is_counted_before_it_or_late() {
    fn model() -> String {
        let scene = Scene::with_streak(rules(1, 1), 0);
        let permit = scene.permit();
        let outcome = both(|| word(permit.failure(failure())), || scene.peer.remove());
        scene.ends(outcome)
    }
    let before = "opened | true -> closed 2, streak 0, 0 out";
    let after = "late | true -> closed 1, streak 0, 0 out";
    every_interleaving(20, model, &[before, after]);
}

#[test]
fn a_success_beside_a_removal_is_counted_once_whichever_is_first() {
    fn model() -> String {
        let scene = Scene::new(rules(1, 1));
        let permit = scene.permit();
        let outcome = both(|| word(permit.success()), || scene.peer.remove());
        scene.ends(outcome)
    }
    let before = "counted | true -> closed 1, streak 0, 0 out";
    let after = "late | true -> closed 1, streak 0, 0 out";
    every_interleaving(10, model, &[before, after]);
}

#[test]
fn of_two_removals_one_has_done_it() {
    fn model() -> String {
        let scene = Scene::new(rules(1, 1));
        let outcome = both(|| scene.peer.remove(), || scene.peer.remove());
        scene.ends(outcome)
    }
    let first = "true | false -> closed 1, streak 0, 0 out";
    let second = "false | true -> closed 1, streak 0, 0 out";
    every_interleaving(20, model, &[first, second]);
}

#[test]
fn a_report_and_a_permit_that_fail_at_the_threshold_open_once() {
    fn model() -> String {
        let scene = Scene::with_streak(rules(2, 1), 1);
        let permit = scene.permit();
        let outcome = both(|| word(permit.failure(failure())), || scene.report_failure());
        scene.ends(outcome)
    }
    let first = "opened | refused -> open 1, streak 2, 0 out";
    let second = "late | opened -> open 1, streak 2, 0 out";
    every_interleaving(20, model, &[first, second]);
}

#[test]
fn a_reported_success_beside_a_probe_that_fails_closes_or_comes_too_late() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 1));
        let probe = scene.permit();
        let outcome = both(|| word(probe.failure(failure())), || scene.report_success());
        scene.ends(outcome)
    }
    let before = "opened | neutral -> open 3, streak 1, 0 out";
    let after = "late | counted -> closed 3, streak 0, 0 out";
    every_interleaving(20, model, &[before, after]);
}

#[test]
fn a_reported_failure_at_the_deadline_begins_half_open_or_ends_it() {
    fn model() -> String {
        let scene = Scene::at_the_deadline(rules(1, 1));
        let outcome = both(|| scene.ask(), || scene.report_failure());
        scene.ends(outcome)
    }
    let before = "probe | refused -> open 3, streak 1, 0 out";
    let after = "probe | now -> halfopen 2, streak 1, 1 out";
    every_interleaving(50, model, &[before, after]);
}

#[test]
fn a_lowered_threshold_is_honoured_by_this_failure_or_by_the_next() {
    fn model() -> String {
        let scene = Scene::with_streak(rules(9, 1), 1);
        let (a, b) = (scene.permit(), scene.permit());
        let lower = || {
            let rules = Arc::new(rules(2, 1).rules());
            scene.peer.entry.shared.context.configure(rules);
            "lowered"
        };
        let outcome = both(|| word(a.failure(failure())), lower);
        let next = word(b.failure(failure()));
        scene.ends(format!("{outcome}, then {next}"))
    }
    let before = "counted | lowered, then opened -> open 1, streak 3, 0 out";
    let after = "opened | lowered, then late -> open 1, streak 2, 0 out";
    every_interleaving(4, model, &[before, after]);
}
