//! All nodes together, and the tasks that keep them going.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use iroh::SecretKey;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Error;
use crate::faults::Fault;
use crate::gate;
use crate::layout::Layout;
use crate::link;
use crate::node::Node;
use crate::options::Options;

/// Every node writes once more then, so that whoever was away has something to catch up with.
const LATE_WRITES: Duration = Duration::from_secs(3);

pub(crate) struct Mesh {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// What every healthy node's document has to hold in the end.
    pub(crate) keys: HashSet<String>,
    /// When the last fault has begun and the last recovery is over.
    pub(crate) settles: Duration,
    pub(crate) began: Instant,
    tasks: JoinSet<Result<(), Error>>,
}

impl Mesh {
    pub(crate) async fn start(
        options: &Options,
        layout: Layout,
        rng: &mut StdRng,
    ) -> Result<Self, Error> {
        let began = Instant::now();
        let mut nodes = Vec::new();
        for (n, (neighbours, fault)) in layout.neighbours.into_iter().zip(layout.faults).enumerate()
        {
            let name = format!("node-{n}");
            let key = SecretKey::from_bytes(&rng.random());
            let gate = gate::gate(options.gate, rng.random())?;
            let node = Node::new(name, key, neighbours, fault, gate, began).await?;
            for k in ["k1", "k2"] {
                node.document.write(&format!("{}/{k}", node.name))?;
            }
            nodes.push(Arc::new(node));
        }
        let keys = nodes
            .iter()
            .filter(|node| node.counts_as_healthy())
            .flat_map(|node| ["k1", "k2", "late"].map(|k| format!("{}/{k}", node.name)))
            .collect();
        let turns = |fault: &Fault| fault.begins().max(fault.ends().unwrap_or_default());
        let settles = options.faults.iter().map(turns).max().unwrap_or_default();
        let mut mesh = Self { nodes, keys, settles, began, tasks: JoinSet::new() };
        mesh.spawn(rng);
        Ok(mesh)
    }

    fn spawn(&mut self, rng: &mut StdRng) {
        for node in &self.nodes {
            self.tasks.spawn(Arc::clone(node).run());
            let (late, writer) = (self.began + LATE_WRITES, Arc::clone(node));
            self.tasks.spawn(async move {
                sleep_until(late).await;
                Ok(writer.document.write(&format!("{}/late", writer.name))?)
            });
            if node.endpoint().is_none() {
                continue;
            }
            for peer in &node.neighbours {
                let rng = StdRng::from_rng(rng);
                let link = link::run(Arc::clone(node), Arc::clone(&self.nodes[*peer]), rng);
                self.tasks.spawn(async move {
                    link.await;
                    Ok(())
                });
            }
        }
    }

    /// The error of a task that failed, if one did.
    pub(crate) fn trouble(&mut self) -> Option<Error> {
        while let Some(done) = self.tasks.try_join_next() {
            match done {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Some(error),
                Err(error) => return Some(error.into()),
            }
        }
        None
    }

    /// Stops everything. The calls that are out are abandoned; the endpoints say goodbye.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
        let mut closing = JoinSet::new();
        for node in self.nodes {
            closing.spawn(async move { node.close().await });
        }
        // A peer that is not there any more cannot say goodbye: not worth a long wait.
        drop(timeout(Duration::from_secs(1), closing.join_all()).await);
    }
}
