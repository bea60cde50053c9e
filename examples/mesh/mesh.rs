//! All nodes together, and the tasks that keep them going.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use iroh::{EndpointId, SecretKey};
use peer_health::Event;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::calls;
use crate::common::Error;
use crate::faults::Fault;
use crate::judge::Judge;
use crate::layout::Layout;
use crate::node::{Book, Node};
use crate::options::Options;

/// Every node writes once more then, so that whoever was away has something to catch up with.
const LATE_WRITES: Duration = Duration::from_secs(3);

/// When a node, by its place in the mesh, was told of the circuit of a neighbour.
pub(crate) type News = (Duration, usize, Event<EndpointId>);

pub(crate) struct Mesh {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// What every healthy node's document has to hold in the end.
    pub(crate) keys: HashSet<String>,
    /// When the last fault has begun and the last recovery is over.
    pub(crate) settles: Duration,
    pub(crate) began: Instant,
    pub(crate) news: UnboundedReceiver<News>,
    /// By place in the mesh.
    pub(crate) drivers: BTreeMap<usize, calls::Driver>,
    tasks: JoinSet<Result<(), Error>>,
}

impl Mesh {
    pub(crate) async fn start(
        options: &Options,
        layout: Layout,
        rng: &mut StdRng,
    ) -> Result<Self, Error> {
        let began = Instant::now();
        let (tell, news) = unbounded_channel();
        let book = Book::default();
        let mut nodes = Vec::new();
        for (n, (neighbours, fault)) in layout.neighbours.into_iter().zip(layout.faults).enumerate()
        {
            let name = format!("node-{n}");
            let key = SecretKey::from_bytes(&rng.random());
            let tell = tell.clone();
            // Nobody listens once the mesh has stopped.
            let listener =
                move |event: &_| drop(tell.send((began.elapsed(), n, Event::clone(event))));
            let judge = Judge::new(options.gate, rng.random(), listener)?;
            let node = Node::new(name, key, neighbours, fault, judge, book.clone(), began).await?;
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
        let (drivers, tasks) = (BTreeMap::new(), JoinSet::new());
        let mut mesh = Self { nodes, keys, settles, began, news, drivers, tasks };
        mesh.spawn(rng)?;
        Ok(mesh)
    }

    fn spawn(&mut self, rng: &mut StdRng) -> Result<(), Error> {
        for (n, node) in self.nodes.iter().enumerate() {
            let peers = node.neighbours.iter().map(|n| self.nodes[*n].id);
            let driver = match &node.judge {
                _ if node.endpoint().is_none() => None,
                Judge::Ours(monitor) => {
                    let (coordinator, driver) = calls::driver(node, monitor.registry())?;
                    self.drivers.insert(n, (coordinator, driver.clone()));
                    let rng = StdRng::from_rng(rng);
                    self.tasks.spawn(calls::request(driver.clone(), peers.collect(), rng));
                    Some(driver)
                }
                Judge::SyncErrors(design) => {
                    for peer in peers {
                        let (node, design) = (Arc::clone(node), Arc::clone(design));
                        self.tasks.spawn(calls::call(node, design, peer, StdRng::from_rng(rng)));
                    }
                    None
                }
            };
            self.tasks.spawn(Arc::clone(node).run(driver));
            let (late, writer) = (self.began + LATE_WRITES, Arc::clone(node));
            self.tasks.spawn(async move {
                sleep_until(late).await;
                Ok(writer.document.write(&format!("{}/late", writer.name))?)
            });
        }
        Ok(())
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
        drop(self.drivers);
        self.tasks.shutdown().await;
        let mut closing = JoinSet::new();
        for node in self.nodes {
            closing.spawn(async move { node.close().await });
        }
        // A peer that is not there any more cannot say goodbye: not worth a long wait.
        drop(timeout(Duration::from_secs(1), closing.join_all()).await);
    }
}
