//! What is seen of the downloader's connections: the newest to each provider, held by a weak handle.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use iroh::EndpointId;
use iroh::endpoint::{Closed, Connection, ConnectionError, VarInt, WeakConnectionHandle};

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
    is_silent: AtomicBool,
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
    /// Whatever came, keep-alives and acknowledgements too.
    pub(super) bytes: u64,
    /// Frames with data of a stream: what a provider that is merely connected does not send.
    pub(super) frames: u64,
    /// Streams that the provider has reset: iroh-blobs does so for a request that it does not serve.
    pub(super) resets: u64,
}

impl Counts {
    /// Returns what was received after `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(before.bytes),
            frames: self.frames.saturating_sub(before.frames),
            resets: self.resets.saturating_sub(before.resets),
        }
    }
}

impl Seen {
    /// Notes a new connection. Now and then it looks at all of them, and forgets those that have ended: the
    /// work is that of one entry per connection that was noted.
    pub(super) fn note(&self, connection: &Connection) {
        let handle = connection.weak_handle();
        let end = Mutex::new(End::Open(Box::pin(handle.closed())));
        let noted = Arc::new(Noted { handle, end, is_silent: AtomicBool::new(false) });
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

    /// Closes the connection, since the provider says nothing on it: the downloader goes on with the next.
    pub(super) fn close_silent(&self) {
        // Relaxed: the close below publishes it, by the lock of the connection.
        self.is_silent.store(true, Ordering::Relaxed);
        if let Some(connection) = self.handle.upgrade() {
            connection.close(VarInt::from_u32(0), b"silent");
        }
    }

    /// Returns whether the connection was closed since the provider said nothing.
    pub(super) fn was_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed) // pairs with the store in `close_silent`
    }

    pub(super) fn state(&self) -> State {
        if let Some(connection) = self.handle.upgrade()
            && connection.close_reason().is_none()
        {
            let stats = connection.stats();
            let (frames, resets) = (stats.frame_rx.stream, stats.frame_rx.reset_stream);
            return State::Open(Counts { bytes: stats.udp_rx.bytes, frames, resets });
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
