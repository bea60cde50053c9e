//! When a watch wakes the drivers, on paused time: what iroh would tell is told by the test, with iroh's own
//! addresses and watchers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::iroh::{EndpointAddr, EndpointId, SecretKey, TransportAddr};
use n0_watcher::Watchable;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Home, RelayWatch};
use crate::registry::HealthRegistry;
use crate::registry::hook::{HookNotice, Hooked};

/// An endpoint as a watch sees it, and the seconds at which the watch woke the drivers.
struct Endpoint {
    id: EndpointId,
    home: Watchable<Home>,
    addr: Watchable<EndpointAddr>,
    registry: HealthRegistry<u32>,
    began: Instant,
    woken: Arc<Mutex<Vec<u64>>>,
    watch: JoinHandle<()>,
    _hooked: Hooked,
}

impl Endpoint {
    /// One that is connected to its relay, and has the addresses 10.0.0.1 and 10.0.0.2.
    async fn followed(set: impl FnOnce(RelayWatch<u32>) -> RelayWatch<u32>) -> Self {
        Self::begins(Home::Connected, &[1, 2], set).await
    }

    async fn begins(
        home: Home,
        ips: &[u8],
        set: impl FnOnce(RelayWatch<u32>) -> RelayWatch<u32>,
    ) -> Self {
        let id = SecretKey::from_bytes(&[7; 32]).public();
        let (home, addr) = (Watchable::new(home), Watchable::new(addr(id, ips, 1)));
        let (registry, began) = (HealthRegistry::new(), Instant::now());
        let woken = Arc::new(Mutex::new(Vec::new()));
        let wakes = Arc::clone(&woken);
        let hooked = registry.hook(move |notice| {
            if let HookNotice::LinkIsBack | HookNotice::NewNetwork = notice {
                wakes.lock().unwrap().push(began.elapsed().as_secs());
            }
        });
        let watch = set(RelayWatch::new(registry.clone())).run(home.watch(), addr.watch());
        let watch = tokio::spawn(watch);
        let endpoint = Self { id, home, addr, registry, began, woken, watch, _hooked: hooked };
        endpoint.at(0).await;
        endpoint
    }

    /// Lets time pass until so many seconds are over, and half of one, in which what was told is taken.
    async fn at(&self, seconds: u64) {
        let until = self.began + Duration::from_millis(seconds * 1000 + 500);
        sleep(until.saturating_duration_since(Instant::now())).await;
    }

    async fn has_ips(&self, at: u64, ips: &[u8]) {
        self.at(at).await;
        let _ = self.addr.set(addr(self.id, ips, 1));
    }

    async fn is_home(&self, at: u64, home: Home) {
        self.at(at).await;
        let _ = self.home.set(home);
    }

    fn woken(&self) -> Vec<u64> {
        self.woken.lock().unwrap().clone()
    }
}

/// An address with these of the net 10.0.0.0, all with that port.
fn addr(id: EndpointId, ips: &[u8], port: u16) -> EndpointAddr {
    let ips = ips.iter().map(|ip| TransportAddr::Ip(([10, 0, 0, *ip], port).into()));
    EndpointAddr { id, addrs: ips.collect::<BTreeSet<_>>() }
}

#[tokio::test(start_paused = true)]
async fn drivers_are_woken_by_an_ip_address_that_is_new_and_by_no_other_change() {
    let endpoint = Endpoint::followed(|watch| watch).await;
    assert!(endpoint.woken().is_empty(), "what it has at first is not new");
    endpoint.has_ips(1000, &[1, 2, 3]).await;
    endpoint.has_ips(2000, &[1]).await;
    let _ = endpoint.addr.set(addr(endpoint.id, &[1], 2));
    endpoint.at(3000).await;
    assert_eq!(endpoint.woken(), [1000], "another port, or an address less, wakes nobody");
    endpoint.has_ips(4000, &[2]).await;
    endpoint.has_ips(5000, &[2, 3]).await;
    endpoint.at(6000).await;
    assert_eq!(endpoint.woken(), [1000, 4000, 5000], "an address that was gone is new again");
}

#[tokio::test(start_paused = true)]
async fn wakes_that_come_too_soon_are_made_up_for_by_one_when_two_minutes_are_over() {
    let endpoint = Endpoint::followed(|watch| watch).await;
    for (at, ip) in [(10, 3), (20, 4), (129, 5)] {
        endpoint.has_ips(at, &[ip]).await;
    }
    assert_eq!(endpoint.woken(), [10], "the first at once");
    endpoint.at(1000).await;
    assert_eq!(endpoint.woken(), [10, 130], "the others together, and none without a cause");
    endpoint.has_ips(1000, &[6]).await;
    endpoint.at(1119).await;
    endpoint.has_ips(1121, &[7]).await;
    endpoint.at(2000).await;
    assert_eq!(endpoint.woken(), [10, 130, 1000, 1121]);
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_what_was_set() {
    let endpoint = Endpoint::followed(|watch| watch.with_wake_every(Duration::from_secs(7))).await;
    for at in 1..=20 {
        endpoint.has_ips(at, &[3 + (at % 2) as u8]).await;
    }
    endpoint.at(100).await;
    assert_eq!(endpoint.woken(), [1, 8, 15, 22]);
    let endpoint = Endpoint::followed(|watch| watch.with_wake_every(Duration::ZERO)).await;
    for at in 1..=5 {
        endpoint.has_ips(at, &[3 + (at % 2) as u8]).await;
    }
    endpoint.at(100).await;
    assert_eq!(endpoint.woken(), [1, 2, 3, 4, 5], "zero is no limit");
}

/// R33: a relay is believed at once, in both directions; the drivers are woken as rarely as for an address.
#[tokio::test(start_paused = true)]
async fn a_relay_that_comes_and_goes_is_believed_each_time_and_wakes_once_in_two_minutes() {
    let endpoint = Endpoint::followed(|watch| watch).await;
    for at in (10..100).step_by(20) {
        endpoint.is_home(at, Home::Failed).await;
        endpoint.at(at + 1).await;
        assert!(!endpoint.registry.is_link_up());
        endpoint.is_home(at + 2, Home::Dialled).await;
        endpoint.at(at + 3).await;
        assert!(!endpoint.registry.is_link_up(), "it is tried again, and no more");
        endpoint.is_home(at + 10, Home::Connected).await;
        endpoint.at(at + 11).await;
        assert!(endpoint.registry.is_link_up());
    }
    endpoint.at(1000).await;
    assert_eq!(endpoint.woken(), [20, 140]);
    endpoint.is_home(1000, Home::Failed).await;
    endpoint.is_home(1010, Home::Missing).await;
    endpoint.at(1011).await;
    assert!(endpoint.registry.is_link_up(), "it is left alone without a relay");
    assert_eq!(endpoint.woken(), [20, 140, 1010]);
}

#[tokio::test(start_paused = true)]
async fn while_the_relay_is_away_nobody_is_woken() {
    let endpoint = Endpoint::followed(|watch| watch).await;
    endpoint.has_ips(10, &[3]).await;
    endpoint.has_ips(20, &[4]).await; // due at 130
    endpoint.is_home(100, Home::Failed).await;
    endpoint.has_ips(200, &[5]).await;
    endpoint.at(1000).await;
    assert_eq!(endpoint.woken(), [10], "those calls would fail");
    endpoint.is_home(1000, Home::Connected).await;
    endpoint.at(2000).await;
    assert_eq!(endpoint.woken(), [10, 1000], "all of it together, at the return");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_dialled_or_missing_from_the_start_is_no_outage() {
    for home in [Home::Dialled, Home::Missing] {
        let endpoint = Endpoint::begins(home, &[1], |watch| watch).await;
        assert!(endpoint.registry.is_link_up());
        endpoint.is_home(20, Home::Connected).await;
        endpoint.at(1000).await;
        assert!(endpoint.registry.is_link_up());
        assert!(endpoint.woken().is_empty(), "{home:?}: nothing was down");
    }
}

/// iroh dials a relay that it has lost at once: no watcher sees the error before.
#[tokio::test(start_paused = true)]
async fn a_relay_that_is_dialled_again_is_lost() {
    let endpoint = Endpoint::followed(|watch| watch).await;
    endpoint.is_home(10, Home::Dialled).await;
    endpoint.at(11).await;
    assert!(!endpoint.registry.is_link_up());
    endpoint.is_home(20, Home::Connected).await;
    endpoint.at(21).await;
    assert!(endpoint.registry.is_link_up());
    assert_eq!(endpoint.woken(), [20]);
}

#[tokio::test(start_paused = true)]
async fn the_return_of_a_relay_waits_for_no_wake_by_an_address() {
    let endpoint = Endpoint::begins(Home::Connected, &[], |watch| watch).await;
    endpoint.has_ips(5, &[1]).await;
    endpoint.at(6).await;
    assert!(endpoint.woken().is_empty(), "it has found out where it is");
    endpoint.has_ips(10, &[2]).await;
    endpoint.is_home(20, Home::Failed).await;
    endpoint.is_home(80, Home::Connected).await;
    endpoint.has_ips(90, &[3]).await;
    endpoint.at(1000).await;
    assert_eq!(endpoint.woken(), [10, 80, 200]);
}

/// A program says that the network is back, which the relay is not yet.
#[tokio::test(start_paused = true)]
async fn a_relay_that_fails_again_takes_the_link_down_again() {
    let endpoint = Endpoint::followed(|watch| watch).await;
    endpoint.is_home(10, Home::Failed).await;
    endpoint.at(11).await;
    endpoint.registry.set_link_up(true);
    endpoint.is_home(20, Home::Dialled).await;
    endpoint.at(21).await;
    assert!(!endpoint.registry.is_link_up());
}

#[tokio::test(start_paused = true)]
async fn no_limit_is_too_long() {
    let endpoint = Endpoint::followed(|watch| watch.with_wake_every(Duration::MAX)).await;
    endpoint.has_ips(10, &[3]).await;
    endpoint.has_ips(20, &[4]).await;
    endpoint.at(1000).await;
    assert_eq!(endpoint.woken(), [10]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_what_it_watches_and_leaves_the_link_up() {
    let Endpoint { home, addr, registry, watch, .. } = Endpoint::followed(|watch| watch).await;
    let _ = home.set(Home::Failed);
    tokio::task::yield_now().await;
    assert!(!registry.is_link_up());
    drop(addr);
    assert!(watch.await.is_ok());
    assert!(registry.is_link_up());
}
