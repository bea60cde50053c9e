//! One document poisons every sync that it is part of: it is put into quarantine, and nobody is
//! blamed who only serves it.
//!
//! ```text
//! cargo run --release --features iroh --example documents
//! ```
//!
//! Three real iroh endpoints on loopback keep four Automerge documents in sync. One of them is
//! damaged everywhere: two nodes send changes of it that do not apply, and what the third has stored
//! does not even load. Each node has two registries. One is for peers, and in it a failure of
//! [`Fault::Document`] counts against nobody. The other is for documents, keyed by their names, and
//! in it the same failure counts: a permit of the document is asked for before its sync, so that
//! after three failures it is left out, and tried again after a wait that doubles.
//!
//! A document that has a history takes damaged changes without an error: that a sync makes no
//! progress has to be noticed (`common/exchange.rs`).

#[path = "common/mod.rs"]
mod common;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use automerge::sync::State;
use iroh::endpoint::{Connection, Incoming, VarInt};
use iroh::{Endpoint, EndpointAddr, EndpointId, SecretKey};
use peer_health::{
    Failure, Fault, HealthConfig, HealthRegistry, NextAdmission, PeerKey, Status, SyncCoordinator,
    SyncError,
};
use tokio::time::{Instant, sleep};

use crate::common::document::{Document, damage};
use crate::common::frames::{self, frame};
use crate::common::loopback::{self, port};
use crate::common::{Error, exchange};

const ALPN: &[u8] = b"peer-health/documents/0";
const POISONED: &str = "poisoned";
const DOCUMENTS: [&str; 4] = ["budget", "minutes", "plans", POISONED];
const NODES: [&str; 3] = ["ann", "bob", "cid"];
/// How long all of it is given, and how long it is watched once it is as it should be.
const LIMIT: Duration = Duration::from_secs(60);
const WATCHED: Duration = Duration::from_secs(2);

struct Node {
    endpoint: Endpoint,
    addresses: Arc<HashMap<EndpointId, EndpointAddr>>,
    /// `None` for one that does not load.
    documents: BTreeMap<&'static str, Option<Document>>,
    peers: HealthRegistry<EndpointId>,
    quarantine: HealthRegistry<&'static str>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(wrong) if wrong.is_empty() => {
            println!("\nthe document is in quarantine, and all else is well");
            ExitCode::SUCCESS
        }
        Ok(wrong) => {
            println!("\nwrong: {}", wrong.join("\nwrong: "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("documents: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is not as it should be in the end.
async fn run() -> Result<Vec<String>, Error> {
    let mut endpoints = Vec::new();
    let mut addresses = HashMap::new();
    for _ in NODES {
        let endpoint = loopback::endpoint(&SecretKey::generate(), ALPN)?.bind().await?;
        let address = EndpointAddr::new(endpoint.id()).with_ip_addr(port(&endpoint)?);
        addresses.insert(endpoint.id(), address);
        endpoints.push(endpoint);
    }
    let addresses = Arc::new(addresses);
    let mut nodes = Vec::new();
    for (name, endpoint) in NODES.into_iter().zip(endpoints) {
        let node = Arc::new(Node::new(name, endpoint, Arc::clone(&addresses))?);
        tokio::spawn(Arc::clone(&node).serve());
        nodes.push(node);
    }
    let mut drivers = Vec::new();
    for node in &nodes {
        let caller = Arc::clone(node);
        let coordinator = SyncCoordinator::builder(node.peers.clone())
            .attempt_deadline(Duration::from_secs(10))
            .build()?;
        drivers.push(coordinator.drive(move |peer| Arc::clone(&caller).sync(peer))?);
    }
    let (began, mut right_since) = (Instant::now(), None);
    let wrong = loop {
        for (node, driver) in nodes.iter().zip(&drivers) {
            for peer in addresses.keys().filter(|peer| **peer != node.endpoint.id()) {
                driver.request(peer);
            }
        }
        sleep(Duration::from_millis(100)).await;
        let wrong = wrong(&nodes);
        let since: Instant = *right_since.get_or_insert_with(Instant::now);
        if !wrong.is_empty() {
            right_since = None;
        } else if since.elapsed() >= WATCHED {
            break wrong;
        }
        if began.elapsed() >= LIMIT {
            break wrong;
        }
    };
    for driver in &drivers {
        driver.shutdown().await;
    }
    show(&nodes);
    for node in &nodes {
        node.endpoint.close().await;
    }
    Ok(wrong)
}

impl Node {
    fn new(
        name: &str,
        endpoint: Endpoint,
        addresses: Arc<HashMap<EndpointId, EndpointAddr>>,
    ) -> Result<Self, Error> {
        let mut documents = BTreeMap::new();
        for document in DOCUMENTS {
            let actor = endpoint.id();
            let fresh = Document::new(actor.as_bytes());
            fresh.write(name)?;
            let mut stored = fresh.save();
            if document == POISONED && name == NODES[2] {
                let middle = stored.len() / 2;
                stored[middle] ^= 1;
            }
            documents.insert(document, Document::load(&stored, actor.as_bytes()).ok());
        }
        // A document that is bad stays so until somebody repairs it.
        let quarantine = HealthConfig::default()
            .with_failure_threshold(3)
            .with_success_threshold(1)
            .with_open_timeout(Duration::from_secs(1))
            .with_open_multiplier(2.0);
        Ok(Self {
            endpoint,
            addresses,
            documents,
            peers: HealthRegistry::new(),
            quarantine: HealthRegistry::builder().config(quarantine).build()?,
        })
    }

    /// All documents that are not in quarantine, with one peer.
    async fn sync(self: Arc<Self>, peer: EndpointId) -> Result<(), Failure> {
        let address = self.addresses.get(&peer).cloned().unwrap_or(peer.into());
        let connection = self.endpoint.connect(address, ALPN).await?;
        for (name, document) in &self.documents {
            let Ok(permit) = self.quarantine.acquire(name) else { continue };
            match one(&connection, name, document.as_ref()).await {
                Ok(()) => permit.success(),
                // In this registry it is the document that is judged. The others go on.
                Err(failure) if failure.fault() == Fault::Document => {
                    permit.failure(failure.with_fault(Fault::Peer))
                }
                // This is for the registry of peers, and says nothing of the document.
                Err(failure) => {
                    permit.neutral();
                    return Err(failure);
                }
            };
        }
        connection.close(VarInt::from_u32(0), b"thank you");
        Ok(())
    }

    async fn serve(self: Arc<Self>) {
        while let Some(incoming) = self.endpoint.accept().await {
            let node = Arc::clone(&self);
            tokio::spawn(async move { node.meet(incoming).await.ok() });
        }
    }

    /// Says of each document that it is asked for whether it has it, and syncs it.
    async fn meet(&self, incoming: Incoming) -> Result<(), Failure> {
        let connection = incoming.await?;
        loop {
            let (mut out, mut back) = connection.accept_bi().await?;
            let name = frames::receive(&mut back).await?.unwrap_or_default();
            let found = self.documents.iter().find(|(known, _)| known.as_bytes() == name);
            let Some((name, Some(document))) = found else {
                frames::send(&mut out, b"unreadable").await?;
                continue;
            };
            frames::send(&mut out, b"here it is").await?;
            let tamper = |body: &[u8]| tamper(name, body);
            // What goes wrong with one document is for the one who asks to judge.
            exchange::answer(document, &mut State::new(), out, back, &tamper).await.ok();
        }
    }
}

/// One document, on a stream of its own.
async fn one(
    connection: &Connection,
    name: &str,
    document: Option<&Document>,
) -> Result<(), Failure> {
    let unreadable = |whose: &str| SyncError::Document(format!("{whose} does not load"));
    let document = document.ok_or_else(|| unreadable("ours"))?;
    let (mut out, mut back) = connection.open_bi().await?;
    frames::send(&mut out, name.as_bytes()).await?;
    if frames::receive(&mut back).await?.as_deref() != Some(b"here it is") {
        return Err(unreadable("the peer's").into());
    }
    exchange::ask(document, &mut State::new(), out, back, &|body| tamper(name, body)).await
}

fn tamper(name: &str, body: &[u8]) -> Option<Vec<u8>> {
    damage(body).filter(|_| name == POISONED).map(|damaged| frame(&damaged))
}

fn wrong(nodes: &[Arc<Node>]) -> Vec<String> {
    let keys: HashSet<String> = NODES.into_iter().map(Into::into).collect();
    let mut wrong = Vec::new();
    for (node, name) in nodes.iter().zip(NODES) {
        node.peers.for_each(|peer, snapshot| {
            if snapshot.status != Status::Closed || snapshot.totals.failed > 0 {
                wrong.push(format!("{name} blames {} for a document", peer.fmt_short()));
            }
        });
        for (known, document) in &node.documents {
            let closed = node.quarantine.status(known) == Status::Closed;
            if closed == (*known == POISONED) {
                let is = if closed { "is not" } else { "is" };
                wrong.push(format!("{known} {is} in quarantine at {name}"));
            }
            let held = document.as_ref().map_or(0, |document| document.holds(&keys));
            if *known != POISONED && held < keys.len() {
                wrong.push(format!("{name} has {held} of {} keys of {known}", keys.len()));
            }
        }
    }
    wrong
}

fn show(nodes: &[Arc<Node>]) {
    println!(
        "{:4}  {:10}  {:9}  {:>5}  {:>6}  wait  last error",
        "at", "of", "circuit", "ok", "failed"
    );
    for (node, name) in nodes.iter().zip(NODES) {
        rows(name, &node.peers, |peer| peer.fmt_short().to_string());
        rows(name, &node.quarantine, |document| (*document).to_owned());
    }
}

fn rows<K: PeerKey>(at: &str, registry: &HealthRegistry<K>, name: impl Fn(&K) -> String) {
    let mut rows = Vec::new();
    registry.for_each(|of, snapshot| {
        let wait = match snapshot.next_admission {
            NextAdmission::After(wait) => format!("{:.1}", wait.as_secs_f64()),
            _ => String::new(),
        };
        let error = snapshot.last_error.map(|error| error.to_string()).unwrap_or_default();
        rows.push(format!(
            "{at:4}  {:10}  {:9}  {:>5}  {:>6}  {wait:>4}  {error}",
            name(of),
            format!("{:?}", snapshot.status),
            snapshot.totals.succeeded,
            snapshot.totals.failed,
        ));
    });
    rows.sort();
    rows.iter().for_each(|row| println!("{}", row.trim_end()));
}
