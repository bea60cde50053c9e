//! The calls that a node makes to its neighbours.

use std::sync::Arc;
use std::time::Duration;

use automerge::sync::State;
use iroh::EndpointId;
use iroh::endpoint::Connection;
use peer_health::{
    Failure, Fault as Blame, HealthRegistry, RetryPolicy, SyncCoordinator, SyncDriver, SyncError,
};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::{sleep, timeout};

use crate::common::Error;
use crate::common::exchange::ask;
use crate::faults::Fault;
use crate::judge::SyncErrors;
use crate::node::{ALPN, Node};

/// How long a sync may take. Nothing in QUIC fails this fast by itself.
pub(crate) const DEADLINE: Duration = Duration::from_millis(1500);

/// A connection, and what automerge knows of the other side. They end together, on both sides, so
/// that nothing of a sync that failed is carried into the next one.
pub(crate) struct Way {
    connection: Connection,
    state: State,
}

/// A coordinator and its driver.
pub(crate) type Driver = (SyncCoordinator<EndpointId>, SyncDriver<EndpointId>);

/// What calls the neighbours of a node, until its last handle is dropped, and the coordinator of it.
pub(crate) fn driver(
    node: &Arc<Node>,
    registry: &HealthRegistry<EndpointId>,
) -> Result<Driver, Error> {
    let coordinator = SyncCoordinator::builder(registry.clone())
        .attempt_deadline(DEADLINE)
        .retry(RetryPolicy { max_delay: Duration::from_secs(1), ..RetryPolicy::default() })
        .build()?;
    let node = Arc::clone(node);
    let driver = coordinator.drive(move |peer| sync(Arc::clone(&node), peer))?;
    Ok((coordinator, driver))
}

async fn pause(rng: &mut StdRng) {
    sleep(Duration::from_millis(rng.random_range(250..=500))).await;
}

/// All there is to do with the driver: whom to call, and when, is its business.
pub(crate) async fn request(
    driver: SyncDriver<EndpointId>,
    peers: Vec<EndpointId>,
    mut rng: StdRng,
) -> Result<(), Error> {
    loop {
        pause(&mut rng).await;
        for peer in &peers {
            driver.request(peer);
        }
    }
}

/// The loop of the design that is replaced, as its caller writes it, for one neighbour.
pub(crate) async fn call(
    node: Arc<Node>,
    design: Arc<SyncErrors>,
    peer: EndpointId,
    mut rng: StdRng,
) -> Result<(), Error> {
    loop {
        pause(&mut rng).await;
        if !design.is_open(&peer) {
            let outcome = timeout(DEADLINE, sync(Arc::clone(&node), peer)).await;
            design.report(peer, outcome.unwrap_or_else(|late| Err(late.into())));
        }
    }
}

/// One sync, on the connection there is or on a new one. One that fails, or is dropped at its
/// deadline, takes its connection with it: the way to the peer may have changed.
async fn sync(node: Arc<Node>, peer: EndpointId) -> Result<(), Failure> {
    if node.fault_now() == Some(Fault::Silent) {
        std::future::pending::<()>().await; // an application that hangs does not call either
    }
    let way = node.ways().remove(&peer);
    let mut way = match way {
        Some(way) => way,
        None => {
            let endpoint = node.endpoint().ok_or_else(no_endpoint)?;
            let connection = endpoint.connect(node.book.address(peer), ALPN).await?;
            Way { connection, state: State::new() }
        }
    };
    let (out, back) = way.connection.open_bi().await?;
    let synced = ask(&node.document, &mut way.state, out, back, &|body| node.tamper(body)).await;
    // There is one document only: if it comes damaged, it is the peer that damages it.
    synced.map_err(|failure| match failure.fault() {
        Blame::Document => failure.with_fault(Blame::Peer),
        _ => failure,
    })?;
    node.ways().insert(peer, way);
    Ok(())
}

fn no_endpoint() -> Failure {
    Failure::from(SyncError::State("no endpoint".into())).with_fault(Blame::Local)
}
