//! Random histories of the library's own tracker, entry and permit (P15).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use shuttle::scheduler::{RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

use crate::checker::{Finding, search, tell};
use crate::permit::Permit;
use crate::program::{Act, Answer, Ending, Entry, Look, Mix, Program, Recorder, Subject};
use crate::program::{THREADS, print};
use crate::subject::{Peer, Time};
use crate::sync::Arc;

/// The numbers of histories by result.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) histories: AtomicUsize,
    /// The histories in which only a reordering of calls explains the answers.
    pub(crate) reordered: AtomicUsize,
    pub(crate) unexplained: AtomicUsize,
    /// The first history that no order explains.
    pub(crate) example: Mutex<String>,
}

/// Makes this many random histories, and checks each.
pub(crate) fn check(
    name: &str,
    histories: usize,
    run: impl Fn() -> (Program, Vec<Entry>) + Send + Sync + 'static,
) -> Arc<Tally> {
    check_under(random(histories), name, run)
}

/// Returns the schedules of this many histories: random, and the same each time.
pub(crate) fn random(histories: usize) -> RandomScheduler {
    RandomScheduler::new_from_seed(0x11EA, histories)
}

/// Checks the histories that this scheduler makes.
pub(crate) fn check_under(
    scheduler: impl Scheduler + 'static,
    name: &str,
    run: impl Fn() -> (Program, Vec<Entry>) + Send + Sync + 'static,
) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let found = Arc::clone(&tally);
    Runner::new(scheduler, config()).run(move || {
        let (program, entries) = run();
        found.histories.fetch_add(1, Ordering::Relaxed);
        match search(&entries, &program.rules) {
            Finding::Plain => {}
            Finding::Found => drop(found.reordered.fetch_add(1, Ordering::Relaxed)),
            Finding::None => {
                if found.unexplained.fetch_add(1, Ordering::Relaxed) == 0 {
                    let mut example = found.example.lock().unwrap_or_else(PoisonError::into_inner);
                    *example = tell(&entries, &program.rules);
                }
            }
        }
    });
    println!(
        "{name}: {} histories, {} explained by another order than the first, {} not linearizable",
        tally.histories.load(Ordering::Relaxed),
        tally.reordered.load(Ordering::Relaxed),
        tally.unexplained.load(Ordering::Relaxed),
    );
    tally
}

/// Returns the number of histories, or a twentieth of it where the build is not optimised.
fn amount(optimised: usize) -> usize {
    let usual = if cfg!(debug_assertions) { optimised / 20 } else { optimised };
    let asked = std::env::var("LINEAR_HISTORIES").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(usual)
}

pub(crate) fn config() -> Config {
    let mut config = Config::new();
    // The search for an order runs in the model, and prints states.
    config.stack_size = 1 << 18;
    config.failure_persistence = FailurePersistence::None;
    config
}

/// A thread's access to the tracker: as by a handle, or as through the registry.
struct Caller {
    peer: Peer,
    rules: Vec<Arc<crate::config::rules::Rules>>,
    by_handle: bool,
}

impl Subject for Caller {
    fn perform(&mut self, act: &Act) -> Answer {
        let Self { peer, rules, by_handle } = self;
        let context = &peer.entry.shared.context;
        match act {
            Act::Acquire => Answer::Admission(peer.admission()),
            Act::Settle(ticket, ending) => {
                let permit = match by_handle {
                    true => Permit::borrowed(&peer.entry, *ticket),
                    false => peer.permit(*ticket),
                };
                match ending {
                    Ending::Success => Answer::Recorded(permit.success()),
                    Ending::Failure(why) => Answer::Recorded(permit.failure(why.as_ref().clone())),
                    Ending::Neutral => Answer::Recorded(permit.neutral()),
                    Ending::Dropped => Answer::Done(true),
                }
            }
            Act::Control(control) => Answer::Done(peer.control(*control)),
            Act::Look => Answer::Look(Look::at(&peer.circuit())),
            Act::Inspect => Answer::Inspect(print(&peer.circuit())),
            Act::NextAdmission => {
                let tracker = &peer.entry.tracker;
                let next = tracker.next_admission(&tracker.circuit(), context, context.clock.now());
                Answer::NextAdmission(next)
            }
            Act::IsCircuitOpen => Answer::IsCircuitOpen(peer.entry.tracker.refuses(context)),
            Act::Report(ending) => {
                let (reply, attempt) = peer.report(ending.outcome(), ending.failure());
                Answer::Report(reply, attempt)
            }
            Act::Configure(number) => {
                context.configure(Arc::clone(&rules[*number]));
                Answer::Done(true)
            }
            Act::Remove => Answer::Done(peer.remove()),
            Act::NoteReachable => Answer::MayBeProbed(peer.entry.tracker.note_reachable(context).0),
            Act::EndWait => Answer::MayBeProbed(peer.entry.tracker.end_wait(context).0),
        }
    }
}

/// Makes one random history, with an audit of events and totals at its end.
fn history(mix: Mix) -> (Program, Vec<Entry>) {
    let program = Program::random(mix);
    let time = Time::default();
    let peer = Peer::new(&program.rules[0], time.clock());
    let rules: Vec<_> = program.rules.iter().map(|config| Arc::new(config.rules())).collect();
    let caller = |thread| {
        let (peer, rules) = (peer.clone(), rules.clone());
        Box::new(Caller { peer, rules, by_handle: thread % 2 == 1 }) as Box<dyn Subject>
    };
    let subjects = (0..=THREADS).map(caller).collect();
    let entries = Recorder::new(time).run(&program, subjects, Act::Inspect);
    let settled = |entry: &&Entry| matches!(entry.act, Act::Settle(..));
    peer.audit(entries.iter().filter(settled).count());
    (program, entries)
}

fn all_are_linearizable(name: &str, mix: Mix, histories: usize) {
    let tally = check(name, histories, move || history(mix));
    assert_eq!(tally.histories.load(Ordering::Relaxed), histories);
    let unexplained = tally.unexplained.load(Ordering::Relaxed);
    let example = tally.example.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(unexplained, 0, "not linearizable, for example:\n{example}");
    let reordered = tally.reordered.load(Ordering::Relaxed);
    assert!(reordered >= histories / 50, "only {reordered} histories were concurrent in earnest");
}

#[test]
fn calls_controls_and_snapshots_are_linearizable() {
    all_are_linearizable("permits", Mix::Permits, amount(60_000));
}

#[test]
fn so_are_reports_removals_and_new_configurations() {
    all_are_linearizable("all", Mix::All, amount(40_000));
}
