//! R33 with a real relay on loopback, by which alone all peers are reached: it is killed, or our way to it is cut,
//! and comes back on the same port; or the network goes, and comes back, in a namespace of the test's own. Nothing
//! sleeps; whatever is waited for has a deadline.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use iroh::endpoint::{PortmapperConfig, presets::Minimal};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, RelayUrl, SecretKey};
use iroh_relay::server::{RelayConfig, Server, ServerConfig};
use peer_health::iroh::RelayWatch;
use peer_health::{
    EventKind, Failure, HealthConfig, HealthRegistry, Status, SyncCoordinator, SyncDriver,
    SyncError,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

const ALPN: &[u8] = b"peer-health/relay";
const DEADLINE: Duration = Duration::from_secs(60);
const HEALTHY: usize = 15;
const DEAD: usize = 5;
/// A call that nobody answers ends so.
const CALL: Duration = Duration::from_secs(2);

async fn in_time<F: Future>(future: F) -> F::Output {
    timeout(DEADLINE, future).await.expect("done before the deadline")
}

/// Looks again whenever something was told, until it is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let looks = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while !is_so() {
            tick.tick().await;
        }
    };
    timeout(DEADLINE, looks).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

async fn relay(at: SocketAddr) -> (Server, SocketAddr) {
    let mut config = ServerConfig::default();
    config.relay = Some(RelayConfig::new(at));
    let server = in_time(Server::spawn(config)).await.unwrap();
    let at = server.http_addr().unwrap();
    (server, at)
}

/// Our way to the relay: a proxy, that ends with all that it carries when it is aborted.
async fn way(at: SocketAddr, to: SocketAddr) -> (JoinHandle<()>, SocketAddr) {
    let listener = TcpListener::bind(at).await.unwrap();
    let at = listener.local_addr().unwrap();
    let carries = tokio::spawn(async move {
        let mut carried = JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            carried.spawn(async move {
                let mut to = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    (carries, at)
}

fn url(at: SocketAddr) -> RelayUrl {
    format!("http://{at}").parse().unwrap()
}

/// What is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Our way to the relay: the peers keep theirs.
    Way,
    /// The relay itself. Each peer finds it again by itself, as iroh's backoff says.
    Relay,
    /// The network, for us, the peers and the relay, which keep their sockets.
    Network,
}

/// An endpoint that has no address but that relay's.
async fn by_relay(url: &RelayUrl) -> Endpoint {
    let endpoint = Endpoint::builder(Minimal)
        .secret_key(SecretKey::generate())
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::custom([url.clone()]))
        .clear_address_lookup()
        .clear_ip_transports()
        .portmapper_config(PortmapperConfig::Disabled)
        .bind();
    let endpoint = in_time(endpoint).await.unwrap();
    in_time(endpoint.online()).await;
    endpoint
}

/// Answers a byte on each stream.
async fn answering(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                let mut byte = [0];
                if recv.read_exact(&mut byte).await.is_ok() {
                    let _ = send.write_all(&byte).await;
                    let _ = send.finish();
                }
            }
            Ok::<_, iroh::endpoint::ConnectingError>(())
        });
    }
}

async fn ask(us: Endpoint, peer: EndpointId, url: RelayUrl) -> Result<(), Failure> {
    let addr = EndpointAddr::new(peer).with_relay_url(url);
    let connection = us.connect(addr, ALPN).await?;
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(b"?").await?;
    recv.read_exact(&mut [0]).await?;
    connection.close(0_u32.into(), b"bye");
    Ok(())
}

struct Node {
    registry: HealthRegistry<EndpointId>,
    driver: SyncDriver<EndpointId>,
    us: Endpoint,
    opened: mpsc::UnboundedReceiver<EndpointId>,
    healthy: Vec<EndpointId>,
    dead: Vec<EndpointId>,
}

impl Node {
    async fn new(ours: &RelayUrl, theirs: &RelayUrl) -> Self {
        let us = by_relay(ours).await;
        let mut healthy = Vec::new();
        for _ in 0..HEALTHY {
            let peer = by_relay(theirs).await;
            healthy.push(peer.id());
            tokio::spawn(answering(peer));
        }
        let dead = (0..DEAD).map(|_| SecretKey::generate().public()).collect();
        let (tell, opened) = mpsc::unbounded_channel();
        let config = HealthConfig::default()
            .with_failure_threshold(2)
            .with_open_timeout(Duration::from_secs(600));
        let registry = HealthRegistry::builder()
            .config(config)
            .listener(move |event| {
                if let EventKind::Opened { .. } = event.kind {
                    let _ = tell.send(event.peer);
                }
            })
            .build()
            .unwrap();
        let coordinator =
            SyncCoordinator::builder(registry.clone()).attempt_deadline(CALL).build().unwrap();
        let (endpoint, to) = (us.clone(), ours.clone());
        let driver =
            coordinator.drive(move |peer| ask(endpoint.clone(), peer, to.clone())).unwrap();
        Self { registry, driver, us, opened, healthy, dead }
    }

    fn served(&self) -> u64 {
        self.driver.stats().succeeded
    }

    fn request(&self) {
        self.healthy.iter().for_each(|peer| _ = self.driver.request(peer));
    }
}

/// The outage lasts until calls were cut so many times, and at least so long.
async fn outage(cut: Cut, lasts: Duration) {
    let free = (Ipv4Addr::LOCALHOST, 0).into();
    let (server, at) = relay(free).await;
    let (carries, way_at) = way(free, at).await;
    let ours = if cut == Cut::Way { way_at } else { at };
    let mut node = Node::new(&url(ours), &url(at)).await;
    let watch = tokio::spawn(RelayWatch::new(node.registry.clone()).follow(&node.us));

    node.request();
    node.dead.iter().for_each(|peer| _ = node.driver.request(peer));
    for _ in 0..DEAD {
        assert!(node.dead.contains(&in_time(node.opened.recv()).await.unwrap()));
    }
    until("all are served once", || node.served() == HEALTHY as u64).await;

    let began = Instant::now();
    let mut server = Some(server);
    match cut {
        Cut::Way => {
            carries.abort();
            assert!(in_time(carries).await.unwrap_err().is_cancelled());
        }
        Cut::Relay => in_time(server.take().unwrap().shutdown()).await.unwrap(),
        Cut::Network => ip("link set lo down"),
    }
    until("the watch says that the link is down", || !node.registry.is_link_up()).await;
    node.request();
    let neutral = node.registry.totals().all.neutral;
    until("three calls to each were cut", || {
        let cut = node.registry.totals().all.neutral - neutral;
        cut >= 3 * HEALTHY as u64 && began.elapsed() >= lasts
    })
    .await;
    assert!(node.opened.try_recv().is_err(), "no circuit opened for it");
    let stats = node.driver.stats();
    assert!(!stats.local_trouble && stats.given_up == 0, "{stats:?}");
    for peer in &node.dead {
        assert_eq!(node.registry.status(peer), Status::Open);
    }

    match cut {
        Cut::Way => _ = way(way_at, at).await,
        Cut::Relay => server = Some(relay(at).await.0),
        Cut::Network => ip("link set lo up"),
    }
    until("the watch says that the link is back", || node.registry.is_link_up()).await;
    let back = Instant::now();
    let served = until("all are served again", || node.served() == 2 * HEALTHY as u64);
    match cut {
        Cut::Way => timeout(Duration::from_secs(5), served).await.expect("served within 5 s"),
        Cut::Relay | Cut::Network => served.await,
    }
    println!("link back after {:?}; all served {:?} later", back - began, back.elapsed());
    for peer in &node.healthy {
        assert_eq!(node.registry.status(peer), Status::Closed);
    }
    for peer in &node.dead {
        assert_ne!(node.registry.status(peer), Status::Closed);
    }
    assert!(!node.opened.try_recv().is_ok_and(|peer| node.healthy.contains(&peer)));

    in_time(node.us.close()).await;
    in_time(watch).await.unwrap();
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_to_the_relay_that_is_cut_for_a_while_opens_no_circuit() {
    outage(Cut::Way, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_and_comes_back_opens_no_circuit() {
    outage(Cut::Relay, Duration::ZERO).await;
}

/// The whole minute: `cargo test -p peer-health-iroh --test relay -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute"]
async fn a_way_to_the_relay_that_is_cut_for_a_minute_opens_no_circuit() {
    outage(Cut::Way, Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_watch_that_ends_in_an_outage_leaves_the_link_up() {
    let (server, at) = relay((Ipv4Addr::LOCALHOST, 0).into()).await;
    let endpoint = by_relay(&url(at)).await;
    let registry = HealthRegistry::<EndpointId>::new();
    let watch = tokio::spawn(RelayWatch::new(registry.clone()).follow(&endpoint));
    in_time(server.shutdown()).await.unwrap();
    until("the link is down", || !registry.is_link_up()).await;
    watch.abort();
    assert!(in_time(watch).await.unwrap_err().is_cancelled());
    assert!(registry.is_link_up());
}

/// Changes the network of the namespace that this process is in.
fn ip(words: &str) {
    let ran = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(ran.status.success(), "ip {words}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// The variable that names the network namespace from which a test was started in one of its own.
const STARTED_FROM: &str = "PEER_HEALTH_STARTED_FROM";

/// Does this in a network namespace of its own, if this machine lets it have one: the test of that name is run there.
fn in_a_namespace(test: &str, does: impl Future<Output = ()>) {
    let namespace = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
    if let Some(from) = std::env::var_os(STARTED_FROM) {
        assert_ne!(namespace.as_os_str(), from, "the network of the machine is left alone");
        ip("link set lo up");
        return tokio::runtime::Runtime::new().unwrap().block_on(does);
    }
    let run = |words: &[&str]| {
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--net"])
            .args(words)
            .env(STARTED_FROM, &namespace)
            .output()
    };
    match run(&["ip", "link", "set", "lo", "up"]) {
        Ok(ran) if ran.status.success() => {}
        Ok(ran) => {
            let cause = String::from_utf8_lossy(&ran.stderr);
            return eprintln!("skipped: no namespace with a network: {cause}");
        }
        Err(error) => return eprintln!("skipped: there is no unshare: {error}"),
    }
    let this = std::env::current_exe().unwrap();
    let ran = run(&[this.to_str().unwrap(), "--exact", test, "--nocapture"]).unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let cause = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}\n{cause}");
    println!("{said}");
}

#[test]
fn a_network_that_goes_and_comes_back_opens_no_circuit() {
    let test = "a_network_that_goes_and_comes_back_opens_no_circuit";
    in_a_namespace(test, outage(Cut::Network, Duration::ZERO));
}

#[test]
fn an_ip_address_that_iroh_tells_of_wakes_the_drivers() {
    in_a_namespace("an_ip_address_that_iroh_tells_of_wakes_the_drivers", new_address());
}

async fn new_address() {
    let endpoint = Endpoint::builder(Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .portmapper_config(PortmapperConfig::Disabled)
        .bind();
    let endpoint = in_time(endpoint).await.unwrap();
    let has = |ip: [u8; 4]| endpoint.addr().ip_addrs().any(|at| at.ip() == IpAddr::from(ip));
    until("iroh knows the first address", || has([127, 0, 0, 1])).await;

    // A peer that failed waits for ten minutes, and nobody requests it again.
    let config = HealthConfig::default()
        .with_failure_threshold(1)
        .with_open_timeout(Duration::from_secs(600));
    let registry = HealthRegistry::builder().config(config).build().unwrap();
    let watch = RelayWatch::new(registry.clone()).with_wake_every(Duration::ZERO);
    let watch = tokio::spawn(watch.follow(&endpoint));
    let (tell, mut called) = mpsc::unbounded_channel();
    let coordinator = SyncCoordinator::builder(registry.clone()).build().unwrap();
    let driver = coordinator
        .drive(move |peer: u32| {
            let _ = tell.send(peer);
            async { Err::<(), _>(SyncError::Network("gone".into())) }
        })
        .unwrap();
    driver.request(&7);
    assert_eq!(in_time(called.recv()).await, Some(7));
    until("its circuit is open", || registry.status(&7) == Status::Open).await;
    assert!(called.try_recv().is_err(), "it waits");

    ip("addr add 10.9.8.7/24 dev lo");
    until("iroh knows the second address", || has([10, 9, 8, 7])).await;
    assert_eq!(in_time(called.recv()).await, Some(7));
    in_time(endpoint.close()).await;
    in_time(watch).await.unwrap();
}
