//! One node: an endpoint, a document, and what it knows of its neighbours.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use automerge::sync::State;
use iroh::endpoint::{
    Connection, Incoming, NetReportConfig, PortmapperConfig, QuicTransportConfig, VarInt, presets,
};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::document::Document;
use crate::faults::Fault;
use crate::gate::Gate;
use crate::{Error, link, wire};

pub(crate) const ALPN: &[u8] = b"peer-health/mesh/0";

/// In ms. How long a connection that nothing arrives on is kept; the default is 30 s.
const MAX_IDLE: u32 = 5_000;

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) id: EndpointId,
    /// By place in the mesh.
    pub(crate) neighbours: Vec<usize>,
    pub(crate) fault: Option<Fault>,
    pub(crate) document: Document,
    pub(crate) gate: Box<dyn Gate>,
    key: SecretKey,
    /// `None` for a node that is not there.
    endpoint: watch::Sender<Option<Endpoint>>,
    /// Where the others look for it: what an address book would say.
    port: watch::Sender<SocketAddr>,
    /// When the mesh began.
    began: Instant,
}

impl Node {
    pub(crate) async fn new(
        name: String,
        key: SecretKey,
        neighbours: Vec<usize>,
        fault: Option<Fault>,
        gate: Box<dyn Gate>,
        began: Instant,
    ) -> Result<Self, Error> {
        let (endpoint, port) = if fault == Some(Fault::Dead) {
            // A port that was just free; nobody listens there once the socket is dropped.
            (None, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
        } else {
            let endpoint = bind(&key).await?;
            let port = port(&endpoint)?;
            (Some(endpoint), port)
        };
        let id = key.public();
        Ok(Self {
            name,
            id,
            neighbours,
            fault,
            document: Document::new(id.as_bytes()),
            gate,
            key,
            endpoint: watch::Sender::new(endpoint),
            port: watch::Sender::new(port),
            began,
        })
    }

    /// The fault, while it is on.
    pub(crate) fn fault_now(&self) -> Option<Fault> {
        self.fault.filter(|fault| fault.is_on(self.began.elapsed()))
    }

    /// Whether this node is to be judged as a healthy one: it has no fault that lasts.
    pub(crate) fn counts_as_healthy(&self) -> bool {
        !self.fault.is_some_and(Fault::lasts)
    }

    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.borrow().clone()
    }

    pub(crate) fn address(&self) -> EndpointAddr {
        EndpointAddr::new(self.id).with_ip_addr(*self.port.borrow())
    }

    /// Answers whoever calls; goes down and comes back if that is its fault.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), Error> {
        let Some(endpoint) = self.endpoint() else { return Ok(()) };
        let ends = self.fault.and_then(Fault::ends);
        let (Some(Fault::Down), Some(ends)) = (self.fault, ends) else {
            self.serve(endpoint).await;
            return Ok(());
        };
        let down = self.began + Fault::Down.begins();
        tokio::select! {
            () = Arc::clone(&self).serve(endpoint.clone()) => {}
            () = sleep_until(down) => {}
        }
        // The node's own calls go on, with an endpoint that is closed: whose fault is that?
        endpoint.close().await;
        let old = *self.port.borrow();
        drop(endpoint);
        sleep_until(self.began + ends).await;
        let endpoint = loop {
            let endpoint = bind(&self.key).await?;
            if port(&endpoint)? != old {
                break endpoint;
            }
        };
        self.port.send_replace(port(&endpoint)?);
        self.endpoint.send_replace(Some(endpoint.clone()));
        self.serve(endpoint).await;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        if let Some(endpoint) = self.endpoint() {
            endpoint.close().await;
        }
    }

    /// Until the endpoint is closed.
    async fn serve(self: Arc<Self>, endpoint: Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            if self.fault_now() == Some(Fault::Refuse) {
                incoming.refuse();
            } else {
                tokio::spawn(Arc::clone(&self).meet(incoming));
            }
        }
    }

    async fn meet(self: Arc<Self>, incoming: Incoming) {
        if let Ok(connection) = incoming.await {
            self.answer(&connection).await;
            connection.close(VarInt::from_u32(1), b"not understood, or not now");
        }
    }

    /// Answers one sync after the other, until one fails or the connection ends.
    async fn answer(&self, connection: &Connection) {
        let mut state = State::new();
        while let Ok((out, back)) = connection.accept_bi().await {
            match self.fault_now() {
                Some(Fault::Refuse) => return,
                // The connection lives and nothing comes: the caller has to have a deadline.
                Some(Fault::Silent) => return drop(connection.closed().await),
                _ => {}
            }
            match timeout(link::DEADLINE, wire::answer(self, &mut state, out, back)).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    }
}

/// An endpoint that knows of no relay, no name service and no interface but loopback.
async fn bind(key: &SecretKey) -> Result<Endpoint, Error> {
    let transport = QuicTransportConfig::builder()
        .max_idle_timeout(Some(VarInt::from_u32(MAX_IDLE).into()))
        .build();
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(key.clone())
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?
        .transport_config(transport)
        .bind()
        .await?;
    Ok(endpoint)
}

fn port(endpoint: &Endpoint) -> Result<SocketAddr, Error> {
    endpoint.bound_sockets().first().copied().ok_or_else(|| "the endpoint has no socket".into())
}
