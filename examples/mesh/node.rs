//! One node: an endpoint, a document, and what it knows of its neighbours.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use automerge::sync::State;
use iroh::endpoint::{Incoming, VarInt};
use iroh::{Endpoint, EndpointAddr, EndpointId, SecretKey};
use peer_health::iroh::HealthHooks;
use peer_health::{Status, SyncDriver};
use tokio::time::{Instant, sleep_until, timeout};

use crate::calls::{DEADLINE, Way};
use crate::common::Error;
use crate::common::document::Document;
use crate::common::exchange::answer;
use crate::common::loopback::{self, dead_port, port};
use crate::faults::Fault;
use crate::judge::Judge;

pub(crate) const ALPN: &[u8] = b"peer-health/mesh/0";

/// Where the nodes look for each other.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<HashMap<EndpointId, SocketAddr>>>);

impl Book {
    fn write(&self, id: EndpointId, port: SocketAddr) {
        lock(&self.0).insert(id, port);
    }

    /// An id alone, for a node that is not in the book.
    pub(crate) fn address(&self, id: EndpointId) -> EndpointAddr {
        let to = EndpointAddr::new(id);
        match lock(&self.0).get(&id) {
            Some(port) => to.with_ip_addr(*port),
            None => to,
        }
    }
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) id: EndpointId,
    /// By place in the mesh.
    pub(crate) neighbours: Vec<usize>,
    pub(crate) fault: Option<Fault>,
    pub(crate) document: Document,
    pub(crate) judge: Judge,
    pub(crate) book: Book,
    key: SecretKey,
    /// `None` for a node that is not there.
    endpoint: Mutex<Option<Endpoint>>,
    /// To neighbours that are not being called at this moment.
    ways: Mutex<HashMap<EndpointId, Way>>,
    /// When the mesh began.
    began: Instant,
}

impl Node {
    pub(crate) async fn new(
        name: String,
        key: SecretKey,
        neighbours: Vec<usize>,
        fault: Option<Fault>,
        judge: Judge,
        book: Book,
        began: Instant,
    ) -> Result<Self, Error> {
        let (endpoint, port) = if fault == Some(Fault::Dead) {
            (None, dead_port()?)
        } else {
            let endpoint = bind(&key, &judge).await?;
            let port = port(&endpoint)?;
            (Some(endpoint), port)
        };
        let id = key.public();
        book.write(id, port);
        let (document, endpoint) = (Document::new(id.as_bytes()), Mutex::new(endpoint));
        let ways = Mutex::default();
        Ok(Self { name, id, neighbours, fault, document, judge, book, key, endpoint, ways, began })
    }

    /// The fault, while it is on.
    pub(crate) fn fault_now(&self) -> Option<Fault> {
        self.fault.filter(|fault| fault.is_on(self.began.elapsed()))
    }

    /// What goes on the wire in place of a message.
    pub(crate) fn tamper(&self, body: &[u8]) -> Option<Vec<u8>> {
        self.fault_now()?.tamper(body)
    }

    /// Whether this node is to be judged as a healthy one: it has no fault that lasts.
    pub(crate) fn counts_as_healthy(&self) -> bool {
        !self.fault.is_some_and(Fault::lasts)
    }

    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        lock(&self.endpoint).clone()
    }

    pub(crate) fn ways(&self) -> MutexGuard<'_, HashMap<EndpointId, Way>> {
        lock(&self.ways)
    }

    /// Answers whoever calls; goes down and comes back if that is its fault.
    pub(crate) async fn run(
        self: Arc<Self>,
        driver: Option<SyncDriver<EndpointId>>,
    ) -> Result<(), Error> {
        let Some(endpoint) = self.endpoint() else { return Ok(()) };
        let ends = self.fault.and_then(Fault::ends);
        let (Some(Fault::Down), Some(ends)) = (self.fault, ends) else {
            self.serve(endpoint, &driver).await;
            return Ok(());
        };
        let down = sleep_until(self.began + Fault::Down.begins());
        tokio::select! {
            () = Arc::clone(&self).serve(endpoint.clone(), &driver) => {}
            () = down => {}
        }
        // The node's own calls go on, with an endpoint that is closed: whose fault is that?
        endpoint.close().await;
        let old = port(&endpoint)?;
        drop(endpoint);
        sleep_until(self.began + ends).await;
        let endpoint = loop {
            let endpoint = bind(&self.key, &self.judge).await?;
            if port(&endpoint)? != old {
                break endpoint;
            }
        };
        self.book.write(self.id, port(&endpoint)?);
        *lock(&self.endpoint) = Some(endpoint.clone());
        if let Some(driver) = &driver {
            driver.resume(); // the trouble of our own is over
        }
        self.serve(endpoint, &driver).await;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        if let Some(endpoint) = self.endpoint() {
            endpoint.close().await;
        }
    }

    /// Until the endpoint is closed.
    async fn serve(self: Arc<Self>, endpoint: Endpoint, driver: &Option<SyncDriver<EndpointId>>) {
        while let Some(incoming) = endpoint.accept().await {
            if self.fault_now() == Some(Fault::Refuse) {
                incoming.refuse();
            } else {
                tokio::spawn(Arc::clone(&self).meet(incoming, driver.clone()));
            }
        }
    }

    /// Answers one sync after the other, until one fails or the connection ends.
    async fn meet(self: Arc<Self>, incoming: Incoming, mut driver: Option<SyncDriver<EndpointId>>) {
        let Ok(connection) = incoming.await else { return };
        let mut state = State::new();
        let tamper = &|body: &[u8]| self.tamper(body);
        while let Ok((out, back)) = connection.accept_bi().await {
            match self.fault_now() {
                Some(Fault::Refuse) => break,
                // The connection lives and nothing comes: the caller has to have a deadline.
                Some(Fault::Silent) => return drop(connection.closed().await),
                _ => {}
            }
            let Ok(Ok(())) =
                timeout(DEADLINE, answer(&self.document, &mut state, out, back, tamper)).await
            else {
                break;
            };
            // Once for each connection: whom we have given up calls us, and makes sense.
            let peer = connection.remote_id();
            if let Some(driver) = driver.take()
                && self.judge.view(&peer).status != Status::Closed
            {
                driver.note_reachable(&peer);
            }
        }
        connection.close(VarInt::from_u32(1), b"not understood, or not now");
    }
}

/// The hooks tell the registry who has come through to us, and are a net below the driver: no dial
/// goes out to a peer whose circuit is open.
async fn bind(key: &SecretKey, judge: &Judge) -> Result<Endpoint, Error> {
    let builder = loopback::endpoint(key, ALPN)?;
    Ok(match judge {
        Judge::Ours(monitor) => {
            builder.hooks(HealthHooks::new(monitor.registry().clone())).bind().await?
        }
        Judge::SyncErrors(_) => builder.bind().await?,
    })
}

/// No panic is possible while one of the locks here is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
