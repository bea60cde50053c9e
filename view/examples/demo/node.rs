//! A node whose peers are made up.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use peer_health::{
    Failure, HealthConfig, HealthMonitor, HealthRegistry, SyncCoordinator, SyncDriver, SyncError,
};
use peer_health_view::ViewBuilder;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const NAMES: [&str; 20] = [
    "ada", "basil", "cleo", "dora", "emil", "flora", "gus", "hanna", "igor", "juno", "karl",
    "lina", "mona", "nils", "olga", "paul", "quinn", "rosa", "sven", "tilda",
];
const ASK_EVERY: Duration = Duration::from_millis(700);

/// How a peer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// One call in three fails.
    Flaky,
    Dead,
    Garbage,
    /// Well for twelve seconds, and away for eight.
    Flapping,
}

pub(crate) struct Node {
    pub(crate) monitor: HealthMonitor<String>,
    coordinator: SyncCoordinator<String>,
    pub(crate) driver: SyncDriver<String>,
    asks: JoinHandle<()>,
}

/// Numbers that look random and are the same each time.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

/// The id of a peer: 64 digits, as those of iroh are, the last eight of them its number.
pub(crate) fn id(number: u64) -> String {
    let digits = [0, 1, 2].map(|part| format!("{:016x}", mixed(number * 3 + part))).concat();
    format!("{digits}{:016x}", number)
}

fn number(id: &str) -> u64 {
    u64::from_str_radix(id.get(48..).unwrap_or_default(), 16).unwrap_or_default()
}

/// The name that a peer gave itself, if it gave one.
fn name(number: u64) -> Option<String> {
    let place = usize::try_from(number).ok()?;
    if place == NAMES.len() {
        return Some("<img src=x onerror=document.title='taken'>".into());
    }
    NAMES.get(place).map(ToString::to_string)
}

fn kind(number: u64) -> Kind {
    match mixed(number) % 20 {
        0 | 1 => Kind::Dead,
        2 => Kind::Garbage,
        3 | 4 => Kind::Flaky,
        5 | 6 => Kind::Flapping,
        _ => Kind::Good,
    }
}

impl Node {
    /// Starts a node with so many peers, in a runtime.
    pub(crate) fn start(peers: u64) -> Result<Self, Box<dyn Error>> {
        let config = HealthConfig::default()
            .with_failure_threshold(3)
            .with_open_timeout(Duration::from_secs(3))
            .with_open_max(Duration::from_secs(90));
        let registry = HealthRegistry::builder().config(config).seed(1).build()?;
        let monitor = HealthMonitor::new(registry.clone());
        let coordinator =
            SyncCoordinator::builder(registry).attempt_deadline(Duration::from_secs(1)).build()?;
        let began = tokio::time::Instant::now();
        let driver = coordinator.drive(move |peer: String| async move {
            answer(number(&peer), began.elapsed().as_millis()).await
        })?;
        let asks = tokio::spawn(ask(driver.clone(), peers));
        Ok(Self { monitor, coordinator, driver, asks })
    }

    pub(crate) fn view(&self) -> ViewBuilder<String> {
        ViewBuilder::new(self.monitor.clone())
            .title("node 0")
            .by_display()
            .label(|id| name(number(id)))
            .driver(self.driver.clone())
            .coordinator(self.coordinator.clone())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.asks.abort();
    }
}

async fn ask(driver: SyncDriver<String>, peers: u64) {
    let peers: Arc<[String]> = (0..peers).map(id).collect();
    loop {
        for peer in peers.iter() {
            driver.request(peer);
        }
        sleep(ASK_EVERY).await;
    }
}

async fn answer(peer: u64, millis: u128) -> Result<(), Failure> {
    let chance = mixed(peer ^ u64::try_from(millis).unwrap_or_default());
    let away = (millis / 1000 + u128::from(peer)) % 20 >= 12;
    sleep(Duration::from_millis(15 + mixed(peer) % 160 + chance % 20)).await;
    match kind(peer) {
        Kind::Dead => {
            sleep(Duration::from_secs(60)).await;
            Ok(())
        }
        Kind::Garbage => Err(Failure::remote("message 3 of 7 does not decode: unknown tag 0x5f")),
        Kind::Flaky if chance.is_multiple_of(3) => {
            Err(SyncError::Network("stream reset by peer".into()).into())
        }
        Kind::Flapping if away => Err(SyncError::Network("connection refused".into()).into()),
        _ => Ok(()),
    }
}
