//! Who asks that calls be timed, and what it costs where nobody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peer_health::{Clock, Failure, HealthConfig, HealthMonitor, HealthRegistry, SyncError};

const SECOND: Duration = Duration::from_secs(1);

/// A registry whose clock counts how often it is read, and stands at so many seconds.
struct Scene {
    registry: HealthRegistry<u32>,
    reads: Arc<AtomicU64>,
    seconds: Arc<AtomicU64>,
}

impl Scene {
    fn new(config: HealthConfig) -> Self {
        let (reads, seconds) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (read, shown) = (reads.clone(), seconds.clone());
        let clock = Clock::from_fn(move || {
            read.fetch_add(1, Ordering::Relaxed);
            Duration::from_secs(shown.load(Ordering::Relaxed))
        });
        let registry = HealthRegistry::builder().config(config).clock(clock).build().unwrap();
        Self { registry, reads, seconds }
    }

    /// Makes a call of so many seconds each way: how often the clock was read, and the latency then.
    async fn calls(&self, seconds: u64) -> (u64, Option<Duration>) {
        let mut peer = self.registry.peer(&7); // a newcomer's place is another matter
        let before = self.reads.load(Ordering::Relaxed);
        let op = || {
            self.seconds.fetch_add(seconds, Ordering::Relaxed);
            Ok::<_, SyncError>(())
        };
        peer.call(op).unwrap();
        peer.call_async(async { op() }).await.unwrap();
        self.registry.call(&7, op).unwrap();
        self.registry.call_async(&7, async { op() }).await.unwrap();
        let reads = self.reads.load(Ordering::Relaxed) - before;
        (reads, self.registry.snapshot(&7).unwrap().latency)
    }
}

#[tokio::test]
async fn a_healthy_call_reads_no_clock_unless_somebody_asks_how_long_it_took() {
    let scene = Scene::new(HealthConfig::default());
    assert_eq!(scene.calls(3).await, (0, None));
    let monitor = HealthMonitor::new(scene.registry.clone());
    let another = HealthMonitor::new(scene.registry.clone());
    let (reads, latency) = scene.calls(3).await;
    assert!(reads >= 8, "each call at both ends");
    assert_eq!(latency, Some(3 * SECOND));
    drop(monitor);
    assert!(scene.calls(3).await.0 >= 8, "the other still asks");
    drop(another);
    assert_eq!(scene.calls(3).await.0, 0);
}

#[tokio::test]
async fn the_configuration_asks_too_and_may_stop() {
    let scene = Scene::new(HealthConfig::default().with_timing(true));
    assert_eq!(scene.calls(2).await.1, Some(2 * SECOND));
    scene.registry.set_config(HealthConfig::default()).unwrap();
    assert_eq!(scene.calls(9).await, (0, Some(2 * SECOND)));
    scene.registry.set_config(scene.registry.config().with_timing(true)).unwrap();
    assert_eq!(scene.calls(2).await.1, Some(2 * SECOND));
    assert!(scene.calls(2).await.0 >= 8);
}

#[tokio::test]
async fn a_slow_call_rule_measures_by_itself() {
    let scene = Scene::new(HealthConfig::default().with_slow_call(60 * SECOND));
    assert_eq!(scene.calls(4).await.1, Some(4 * SECOND));
}

#[test]
fn a_call_that_failed_is_no_sample_and_a_monitor_ranks_by_what_calls_took() {
    let scene = Scene::new(HealthConfig::default());
    let monitor = HealthMonitor::new(scene.registry.clone());
    for (peer, seconds) in [(1, 5), (2, 1), (3, 3)] {
        let op = |outcome| {
            scene.seconds.fetch_add(seconds, Ordering::Relaxed);
            outcome
        };
        scene.registry.call(&peer, || op(Ok::<_, Failure>(()))).unwrap();
        let ours = || op(Err::<(), _>(Failure::local("disk full")));
        scene.registry.call(&peer, ours).unwrap_err();
        let latency = scene.registry.snapshot(&peer).unwrap().latency;
        assert_eq!(latency, Some(Duration::from_secs(seconds)));
    }
    assert_eq!(monitor.rank(&[1, 2, 3]), [&2, &3, &1]);
}
