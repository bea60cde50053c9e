//! The calls that one node makes to one neighbour: the same loop for both gates.

use std::sync::Arc;
use std::time::Duration;

use automerge::sync::State;
use iroh::endpoint::{Connection, VarInt};
use peer_health::{Failure, Fault as Blame, SyncError};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::{sleep, timeout};

use crate::faults::Fault;
use crate::node::{ALPN, Node};
use crate::wire;

/// How long a sync may take. Nothing in QUIC fails this fast by itself.
pub(crate) const DEADLINE: Duration = Duration::from_millis(1500);

/// A connection, and what automerge knows of the other side. They end together, on both sides, so
/// that nothing of a sync that failed is carried into the next one.
struct Way {
    connection: Connection,
    state: State,
}

pub(crate) async fn run(node: Arc<Node>, peer: Arc<Node>, mut rng: StdRng) {
    let mut way = None;
    loop {
        sleep(Duration::from_millis(rng.random_range(250..=500))).await;
        if node.fault_now() == Some(Fault::Silent) {
            continue; // an application that hangs does not call either
        }
        match node.gate.enter(&peer.id) {
            Ok(pass) => {
                // The deadline is inside the permit: it is a failure. To drop this whole task, as
                // the end of the mesh does, is none.
                let outcome = timeout(DEADLINE, sync(&node, &peer, &mut way)).await;
                let outcome = outcome.unwrap_or_else(|_| {
                    Err(SyncError::Network(format!("no answer within {DEADLINE:?}")).into())
                });
                if outcome.is_err() {
                    // The way to the peer may have changed: look it up again.
                    if let Some(Way { connection, .. }) = way.take() {
                        connection.close(VarInt::from_u32(1), b"the sync failed");
                    }
                }
                pass(outcome);
            }
            Err(Some(wait)) => sleep(wait).await,
            Err(None) => {}
        }
    }
}

/// One sync, on the connection there is or on a new one.
async fn sync(node: &Node, peer: &Node, way: &mut Option<Way>) -> Result<(), Failure> {
    let Way { connection, state } = match way {
        Some(way) => way,
        None => {
            let endpoint = node.endpoint().ok_or_else(no_endpoint)?;
            let connection = endpoint.connect(peer.address(), ALPN).await?;
            way.insert(Way { connection, state: State::new() })
        }
    };
    let (out, back) = connection.open_bi().await?;
    wire::ask(node, state, out, back).await
}

fn no_endpoint() -> Failure {
    Failure::from(SyncError::State("no endpoint".into())).with_fault(Blame::Local)
}
