//! A node of a mesh of real endpoints on loopback, to which everything happens that a row can tell of: peers
//! that answer, one that dies, one that was never there and comes, one that hangs, an operator, strangers by
//! the hundred, an outage of its own. In the end it stands still, so that its values can be compared.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iroh::{Endpoint, EndpointAddr, EndpointId, SecretKey};
use peer_health::iroh::connect;
use peer_health::sync_errors::ErrorHandler;
use peer_health::{
    Event, EventKind, Failure, HealthConfig, HealthRegistry, OwnedPermit, RetryBudget, RetryPolicy,
    Status, SyncCoordinator, SyncDriver,
};
use tokio::time::{interval, timeout};

use crate::loopback;
use crate::support::{SECOND, network};

const ALPN: &[u8] = b"peer-health/metrics";
/// Longer than anything takes.
const NEVER: Duration = Duration::from_secs(60);

/// The node that is looked at, and what it holds on to.
pub(crate) struct Mesh {
    pub(crate) registry: HealthRegistry<EndpointId>,
    drivers: [SyncDriver<EndpointId>; 2],
    transitions: Arc<Mutex<Vec<EventKind>>>,
    _probe: OwnedPermit<EndpointId>,
    _endpoints: Vec<Endpoint>,
}

async fn endpoint() -> Endpoint {
    loopback::node(ALPN).bind().await.unwrap()
}

/// Answers each stream with what it brings, or takes it and says nothing.
async fn serve(endpoint: Endpoint, answers: bool) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let mut unanswered = Vec::new();
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                let mut byte = [0];
                if recv.read_exact(&mut byte).await.is_ok() && answers {
                    let _ = send.write_all(&byte).await;
                } else {
                    unanswered.push(send);
                }
            }
        });
    }
}

fn address(endpoint: &Endpoint) -> EndpointAddr {
    EndpointAddr::new(endpoint.id()).with_ip_addr(endpoint.bound_sockets()[0])
}

fn stranger() -> EndpointId {
    SecretKey::generate().public()
}

/// Waits until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looks = async {
        let mut next = interval(Duration::from_millis(5));
        while !is_so() {
            next.tick().await;
        }
    };
    timeout(NEVER, looks).await.unwrap_or_else(|_| panic!("never: {what}"));
}

impl Mesh {
    pub(crate) async fn new(
        registry: HealthRegistry<EndpointId>,
        transitions: Arc<Mutex<Vec<EventKind>>>,
    ) -> Self {
        let [us, live, dies, comes, hangs] = [
            endpoint().await,
            endpoint().await,
            endpoint().await,
            endpoint().await,
            endpoint().await,
        ];
        for (endpoint, answers) in [(&live, true), (&dies, true), (&comes, true), (&hangs, false)] {
            tokio::spawn(serve(endpoint.clone(), answers));
        }
        let ids = [&live, &dies, &comes, &hangs].map(Endpoint::id);
        let mut book: HashMap<_, _> =
            [&live, &dies, &hangs].map(|peer| (peer.id(), address(peer))).into();
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let nowhere = EndpointAddr::new(comes.id()).with_ip_addr(silent.local_addr().unwrap());
        book.insert(comes.id(), nowhere);
        let book = Arc::new(Mutex::new(book));

        strangers(&registry);
        let (dialler, known) = (us.clone(), Arc::clone(&book));
        let op = move |peer| {
            let (dialler, to) = (dialler.clone(), known.lock().unwrap()[&peer].clone());
            async move {
                let connection = connect(&dialler, to, ALPN, Duration::from_millis(300)).await?;
                let (mut send, mut recv) = connection.open_bi().await?;
                send.write_all(b"?").await?;
                recv.read_exact(&mut [0]).await?;
                Ok::<_, Failure>(())
            }
        };
        let quick = Duration::from_millis(20);
        let coordinator = SyncCoordinator::builder(registry.clone())
            .attempt_deadline(5 * NEVER)
            .retry(RetryPolicy { initial_delay: quick, max_delay: quick, ..RetryPolicy::default() })
            .budget(RetryBudget::new(1, 0.001).unwrap())
            .build()
            .unwrap();
        let driver = coordinator.drive(op).unwrap();

        // The mesh: one dies after it has answered, one is there at last, one hangs.
        let [live, dies_id, comes_id, hangs_id] = ids;
        let succeeded =
            |peer| registry.snapshot(&peer).is_some_and(|peer| peer.totals.succeeded > 0);
        [live, dies_id, hangs_id].iter().for_each(|peer| assert!(driver.request(peer)));
        until("two answer", || succeeded(live) && succeeded(dies_id)).await;
        dies.close().await;
        let opened = |peer| registry.snapshot(&peer).map_or(0, |peer| peer.totals.opened);
        until("one is dead, and one is not there", || {
            [live, dies_id, comes_id].iter().for_each(|peer| _ = driver.request(peer));
            opened(dies_id) > 1 && opened(comes_id) > 0 && registry.totals().retries_refused > 0
        })
        .await;
        book.lock().unwrap().insert(comes_id, address(&comes));
        until("it is there", || {
            driver.request(&comes_id);
            succeeded(comes_id) && registry.status(&comes_id) == Status::Closed
        })
        .await;
        driver.pause();
        until("all calls but the one that hangs have ended", || driver.stats().running == 1).await;
        [live, comes_id].iter().for_each(|peer| _ = driver.request(peer));

        // A driver that has no endpoint.
        let offline =
            coordinator.drive(async |_| Err::<(), _>(Failure::local("no endpoint"))).unwrap();
        offline.request(&stranger());
        until("its calls fail locally", || offline.stats().local_trouble).await;
        offline.pause();
        until("it rests", || offline.stats().running == 0).await;

        let _probe = operate(&registry, &driver);
        cut_off(&registry);
        let drivers = [driver, offline];
        Self { registry, drivers, transitions, _probe, _endpoints: vec![us, hangs] }
    }

    /// A registry whose circuits open and close within a second, and the transitions that it makes.
    pub(crate) fn registry() -> (HealthRegistry<EndpointId>, Arc<Mutex<Vec<EventKind>>>) {
        let config = HealthConfig::default()
            .with_failure_threshold(3)
            .with_open_timeout(SECOND / 2)
            .with_open_multiplier(1.0)
            .with_success_threshold(1)
            .with_probe_lease(10 * NEVER)
            .with_max_peers(64);
        let transitions = Arc::<Mutex<Vec<EventKind>>>::default();
        let heard = Arc::clone(&transitions);
        let listener = move |event: &Event<EndpointId>| heard.lock().unwrap().push(event.kind);
        let registry = HealthRegistry::builder().config(config).listener(listener).build().unwrap();
        (registry, transitions)
    }

    /// What each series should show, by other ways to know it than the metrics have.
    pub(crate) fn expected(&self) -> BTreeMap<String, u64> {
        let totals = self.registry.totals();
        let (all, mut expected) = (totals.all, BTreeMap::new());
        let mut row = |name: &str, value: u64| expected.insert(name.to_string(), value);
        row("calls_total{outcome=\"succeeded\"}", all.succeeded);
        row("calls_total{outcome=\"failed\"}", all.failed);
        row("calls_total{outcome=\"neutral\"}", all.neutral);
        row("calls_total{outcome=\"abandoned\"}", all.abandoned);
        row("calls_total{outcome=\"late\"}", all.late);
        row("reports_total{outcome=\"succeeded\"}", all.reported_successes);
        row("reports_total{outcome=\"failed\"}", all.reported_errors);
        row("refused_total{reason=\"open\"}", all.refused.open);
        row("refused_total{reason=\"probes_in_flight\"}", all.refused.probes_in_flight);
        row("refused_total{reason=\"forced_open\"}", all.refused.forced_open);
        row("evicted_total", totals.evicted);
        row("removed_total", totals.removed);
        row("untracked_total", totals.untracked);
        row("retries_total", totals.retries);
        row("retries_refused_total", totals.retries_refused);
        let (mut states, mut probes) = (BTreeMap::<String, u64>::new(), 0);
        self.registry.for_each(|_, peer| {
            *states.entry(peer.status.to_string().replace([' ', '-'], "_")).or_default() += 1;
            probes += peer.probes_in_flight as u64;
        });
        states.iter().for_each(|(state, n)| _ = row(&format!("peers{{state=\"{state}\"}}"), *n));
        row("probes_in_flight", probes);
        row("local_outage", self.registry.local_outage().into());
        let heard = self.transitions.lock().unwrap();
        let count =
            |is: fn(&EventKind) -> bool| heard.iter().filter(|kind| is(kind)).count() as u64;
        use EventKind::{Closed, HalfOpened, LocalOutage, Opened, Overridden, Reset};
        let opened = |kind: &EventKind| matches!(kind, Opened { .. });
        let reopened = |kind: &EventKind| matches!(kind, Opened { reopened: true, .. });
        row("transitions_total{to=\"open\"}", count(opened) - count(reopened));
        row("transitions_total{to=\"reopened\"}", count(reopened));
        row("transitions_total{to=\"half_open\"}", count(|kind| *kind == HalfOpened));
        row("transitions_total{to=\"closed\"}", count(|kind| *kind == Closed));
        row("transitions_total{to=\"overridden\"}", count(|kind| matches!(kind, Overridden(_))));
        row("transitions_total{to=\"reset\"}", count(|kind| *kind == Reset));
        row("local_outages_total", count(|kind| *kind == LocalOutage));
        let stats = self.drivers.each_ref().map(SyncDriver::stats);
        row("driver_waiting", stats.iter().map(|stats| stats.waiting as u64).sum());
        row("driver_running", stats.iter().map(|stats| stats.running as u64).sum());
        row("driver_local_trouble", stats.iter().map(|stats| u64::from(stats.local_trouble)).sum());
        expected
    }
}

/// Strangers come and go until the table is full of calls that have not ended.
fn strangers(registry: &HealthRegistry<EndpointId>) {
    (0..100).for_each(|_| _ = registry.acquire(&stranger()).unwrap().success());
    let mut calls = Vec::new();
    while registry.totals().untracked == 0 {
        calls.push(registry.acquire(&stranger()).unwrap());
    }
    drop(calls);
    let mut all = Vec::new();
    registry.for_each(|peer, _| all.push(*peer));
    all.iter().for_each(|peer| assert!(registry.remove(peer)));
}

/// What operators and callers do by hand. Returns a probe that is out.
fn operate(
    registry: &HealthRegistry<EndpointId>,
    driver: &SyncDriver<EndpointId>,
) -> OwnedPermit<EndpointId> {
    let [banned, off, watched, late, lost, open, probed] = std::array::from_fn(|_| stranger());
    let call = registry.acquire(&late).unwrap();
    registry.force_open(&late).unwrap();
    call.success();
    registry.reset(&late);
    registry.force_open(&banned).unwrap();
    registry.acquire(&banned).unwrap_err();
    registry.disable(&off).unwrap();
    registry.metrics_only(&watched).unwrap();
    driver.note_lost(&lost, network());
    ErrorHandler::with_registry(registry.clone()).record_success(&watched);
    for peer in [open, probed] {
        (0..3).for_each(|_| _ = registry.acquire(&peer).unwrap().failure(network()));
        registry.acquire(&peer).unwrap_err();
    }
    registry.end_wait(&probed);
    let probe = registry.acquire(&probed).unwrap();
    registry.acquire(&probed).unwrap_err();
    probe
}

/// All peers that have answered fail at once, until the guard holds a circuit closed.
fn cut_off(registry: &HealthRegistry<EndpointId>) {
    registry.set_config(registry.config().with_outage_guard(true)).unwrap();
    let peers: Vec<_> = (0..20).map(|_| stranger()).collect();
    peers.iter().for_each(|peer| _ = registry.acquire(peer).unwrap().success());
    let fail = |peer| (0..3).for_each(|_| _ = registry.acquire(peer).unwrap().failure(network()));
    peers.iter().take_while(|_| !registry.local_outage()).for_each(fail);
    assert!(registry.local_outage());
}
