//! A node that is killed while it writes what it knows, and started again: the node of `examples/restart.rs`,
//! in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::disallowed_methods,
    reason = "a node that is started again tells time by the system's date"
)]

#[path = "../../examples/restart.rs"]
mod node;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, process, thread};

use peer_health::{Clock, HealthConfig, HealthRegistry, ManualClock, Saved, SavedState, SyncError};

const HOUR: Duration = Duration::from_secs(3600);
/// How long a machine may take that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);
/// The path of the state, for the node that is a child of a test.
const STATE: &str = "PEER_HEALTH_TEST_STATE";

/// The waits are so long that none ends in a test.
fn config() -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(1)
        .with_open_timeout(10 * HOUR)
        .with_open_max(100 * HOUR)
        .with_open_jitter(0.0)
}

fn peers() -> Vec<String> {
    (0..1000).map(|n| format!("{}-{n}", if is_dead(n) { "dead" } else { "healthy" })).collect()
}

fn is_dead(n: u32) -> bool {
    !n.is_multiple_of(10)
}

/// A folder that is gone with this.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("peer-health-{}-{name}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn state(&self) -> PathBuf {
        self.0.join("peers.json")
    }

    fn temporary(&self) -> PathBuf {
        self.0.join("peers.new")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child that no test leaves behind.
struct Node(Child);

impl Node {
    fn start(state: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "the_node", "--ignored", "--nocapture"]).env(STATE, state);
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    /// Ends the node as `kill -9` does.
    fn kill(mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "the node has ended by itself");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "this is the node that others start and kill"]
fn the_node() {
    let Some(state) = env::var_os(STATE).map(PathBuf::from) else { return };
    let called = state.with_extension("called");
    let call = |peer: &str| match peer.starts_with("dead") {
        true => {
            fs::write(&called, peer).unwrap();
            Err(SyncError::Network("no answer".into()))
        }
        false => Ok(()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let every = Duration::from_millis(1); // it does hardly anything but save
    let (peers, never) = (peers(), std::future::pending());
    runtime.block_on(node::run(&state, config(), every, &peers, call, never)).unwrap();
}

/// A node before its first restart: of its dead peers some have failed again and again.
fn known() -> (HealthRegistry<String>, ManualClock) {
    let (clock, hand) = Clock::manual();
    let registry = HealthRegistry::builder().config(config()).clock(clock).build().unwrap();
    let fail = |peer: &String| {
        let _ = registry.call(peer, || Err::<(), _>(SyncError::Network("no answer".into())));
    };
    let peers = peers();
    let dead = || peers.iter().filter(|peer| peer.starts_with("dead"));
    dead().for_each(fail);
    for round in 1..=3 {
        for (_, peer) in dead().enumerate().filter(|(n, _)| n % 4 >= round) {
            assert!(registry.end_wait(peer));
            fail(peer);
        }
    }
    for peer in peers.iter().filter(|peer| peer.starts_with("healthy")) {
        registry.acquire(peer).unwrap().success();
    }
    (registry, hand)
}

/// Until when each open peer waits, how often its wait grew, and who answered.
#[derive(Debug, Default)]
struct Knowledge {
    open: BTreeMap<String, (SystemTime, u32)>,
    answered: Vec<String>,
}

impl Knowledge {
    fn read(state: &Path) -> Self {
        let (saved, downtime) = node::load(state).expect("the file is whole");
        let exported_at = SystemTime::now() - downtime.expect("the clock went on");
        let mut known = Self::default();
        for Saved { peer, state, answered, .. } in saved {
            if answered {
                known.answered.push(peer.clone());
            }
            if let SavedState::Open { rest, failed_half_opens, .. } = state {
                known.open.insert(peer, (exported_at + rest, failed_half_opens));
            }
        }
        known.answered.sort();
        known
    }
}

/// How far apart two times are.
fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

#[test]
fn a_node_that_is_killed_ten_times_while_it_writes_knows_what_it_knew() {
    let folder = Folder::new("killed");
    node::save(&known().0, &folder.state()).unwrap();
    let first = Knowledge::read(&folder.state());
    assert_eq!((first.open.len(), first.answered.len()), (900, 100));
    let grown = |n| first.open.values().filter(|(_, failed)| *failed == n).count();
    assert_eq!([0, 1, 2, 3].map(grown), [225; 4]);

    let (mut in_the_middle, mut rounds, began) = (0, 0, Instant::now());
    while in_the_middle < 10 {
        assert!(
            began.elapsed() < PATIENCE,
            "killed {in_the_middle} times of {rounds} while it wrote"
        );
        let before = fs::metadata(folder.state()).unwrap().modified().unwrap();
        let _ = fs::remove_file(folder.temporary());
        let node = Node::start(&folder.state());
        // It has written once, and is at it again.
        let has_written = || fs::metadata(folder.state()).unwrap().modified().unwrap() != before;
        while !(has_written() && folder.temporary().exists()) {
            assert!(began.elapsed() < PATIENCE, "the node does not write");
            thread::yield_now();
        }
        node.kill();
        rounds += 1;
        in_the_middle += u32::from(folder.temporary().exists());

        let now = Knowledge::read(&folder.state());
        assert_eq!(now.answered, first.answered);
        assert!(now.open.keys().eq(first.open.keys()), "nobody new is blamed, and nobody let off");
        for (peer, (until, failed)) in &now.open {
            let (until_then, failed_then) = first.open[peer];
            assert_eq!(*failed, failed_then, "{peer}: the growth");
            let off = apart(*until, until_then);
            assert!(off < Duration::from_secs(60), "{peer}: {off:?} off, of a wait of hours");
        }
        assert!(!folder.state().with_extension("called").exists(), "a dead peer was called");
    }
}

/// The state of `known`, as if it had been written then.
fn written_at(at: SystemTime, registry: &HealthRegistry<String>, state: &Path) {
    fs::write(state, serde_json::to_vec(&(at, registry.export())).unwrap()).unwrap();
}

fn open_after(state: &Path) -> usize {
    let (saved, downtime) = node::load(state).unwrap();
    let (clock, _hand) = Clock::manual();
    let builder = HealthRegistry::builder().config(config()).clock(clock);
    let registry = builder.restore(saved, downtime).build().unwrap();
    peers().iter().filter(|peer| registry.acquire(peer).is_err()).count()
}

#[test]
fn a_clock_that_was_set_back_and_a_downtime_of_a_week_leave_nobody_alone() {
    let (folder, (registry, _)) = (Folder::new("clock"), known());
    let (state, now) = (folder.state(), SystemTime::now());
    for (at, open) in [(now, 900), (now + HOUR, 0), (now - 168 * HOUR, 0), (now - HOUR / 2, 900)] {
        written_at(at, &registry, &state);
        assert_eq!(open_after(&state), open, "{at:?}");
    }
}

#[test]
fn a_node_that_was_offline_when_it_saved_leaves_nobody_alone_for_longer_than_the_spread() {
    let (folder, (registry, hand)) = (Folder::new("offline"), known());
    hand.advance(Duration::from_secs(61));
    node::save(&registry, &folder.state()).unwrap();
    let (saved, downtime) = node::load(&folder.state()).unwrap();
    let (clock, hand) = Clock::manual();
    let builder = HealthRegistry::builder().config(config()).clock(clock);
    let registry = builder.restore(saved, downtime).build().unwrap();
    hand.advance(Duration::from_secs(5));
    assert!(peers().iter().all(|peer| registry.acquire(peer).is_ok()));
}

#[test]
fn a_file_that_cannot_be_read_is_said_and_no_file_is_none() {
    let folder = Folder::new("unreadable");
    assert!(node::load(&folder.state()).unwrap().0.is_empty());
    for text in ["", "[", "[{\"secs_since_epoch\":1", "{}", "\u{0}"] {
        fs::write(folder.state(), text).unwrap();
        assert!(node::load(&folder.state()).is_err(), "{text:?}");
    }
}

#[tokio::test]
async fn what_was_learned_is_saved_at_the_end() {
    let folder = Folder::new("end");
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let tell = std::sync::Mutex::new(Some(tell));
    let call = |peer: &str| {
        if peer == "dead-999" {
            drop(tell.lock().unwrap().take()); // all were called
        }
        if peer.starts_with("dead") { Err(SyncError::Network("no answer".into())) } else { Ok(()) }
    };
    let end = async { _ = told.await };
    node::run(&folder.state(), config(), HOUR, &peers(), call, end).await.unwrap();
    let known = Knowledge::read(&folder.state());
    assert_eq!((known.open.len(), known.answered.len()), (900, 100));
}
