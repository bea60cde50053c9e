//! What is seen of the downloader's connections: the newest to each provider, held by a weak handle.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use iroh::EndpointId;
use iroh::endpoint::{Closed, Connection, ConnectionError, WeakConnectionHandle};

use crate::blame::lock;

/// So many connections are kept before a first look for those that have ended.
const FEW: usize = 64;

/// The newest connection to each provider.
#[derive(Default)]
pub(super) struct Seen {
    newest: Mutex<HashMap<EndpointId, Arc<Noted>>>,
}

/// A connection that was noted.
pub(super) struct Noted {
    handle: WeakConnectionHandle,
    end: Mutex<End>,
}

/// How a connection ended, as far as somebody has asked. The future does not hold the connection.
enum End {
    Open(Pin<Box<dyn Future<Output = Option<Closed>> + Send>>),
    Ended(Option<ConnectionError>),
}

/// The state of a connection.
pub(super) enum State {
    Open(Counts),
    /// With the reason, if it is known.
    Ended(Option<ConnectionError>),
}

/// What a connection has received so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) bytes: u64,
    /// Streams that the provider has reset: iroh-blobs does so for a request that it does not serve.
    pub(super) resets: u64,
}

impl Seen {
    /// Notes a new connection. Now and then it looks at all of them, and forgets those that have ended: the
    /// work is that of one entry per connection that was noted.
    pub(super) fn note(&self, connection: &Connection) {
        let handle = connection.weak_handle();
        let end = Mutex::new(End::Open(Box::pin(handle.closed())));
        let noted = Arc::new(Noted { handle, end });
        let mut newest = lock(&self.newest);
        if newest.len() >= FEW && newest.len() == newest.capacity() {
            newest.retain(|_, noted| noted.is_open());
        }
        newest.insert(connection.remote_id(), noted);
    }

    /// Returns the newest connection to a provider.
    pub(super) fn newest(&self, provider: EndpointId) -> Option<Arc<Noted>> {
        lock(&self.newest).get(&provider).cloned()
    }
}

impl Noted {
    pub(super) fn is_open(&self) -> bool {
        self.handle.upgrade().is_some_and(|connection| connection.close_reason().is_none())
    }

    pub(super) fn state(&self) -> State {
        if let Some(connection) = self.handle.upgrade()
            && connection.close_reason().is_none()
        {
            let stats = connection.stats();
            let (bytes, resets) = (stats.udp_rx.bytes, stats.frame_rx.reset_stream);
            return State::Open(Counts { bytes, resets });
        }
        let mut end = lock(&self.end);
        if let End::Open(closed) = &mut *end {
            let reason = match closed.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(closed) => closed.map(|closed| closed.reason),
                Poll::Pending => None,
            };
            *end = End::Ended(reason);
        }
        match &*end {
            End::Ended(reason) => State::Ended(reason.clone()),
            End::Open(_) => State::Ended(None),
        }
    }
}
