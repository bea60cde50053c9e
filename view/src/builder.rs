//! The choices of what a view shows and who may use it.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use peer_health::{HealthMonitor, PeerKey, SyncCoordinator, SyncDriver};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::board::{Board, Link};
use crate::guard::{Hosts, Token, guard};
use crate::history::History;
use crate::names::Names;
use crate::sample::{Samples, Source};
use crate::{api, control, page, stream};

/// The shortest token.
const SHORTEST: usize = 16;
/// The longest body: a control has a number in it.
const LONGEST: usize = 1024;

/// An error: a choice of a [`ViewBuilder`] that makes no sense. It names the choice and the value, but for
/// the token, which no log should show.
///
/// ```
/// use peer_health::{HealthMonitor, HealthRegistry};
/// use peer_health_view::ViewBuilder;
/// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
/// let error = ViewBuilder::new(monitor).token("guess").router().unwrap_err();
/// assert_eq!((error.field(), error.to_string().contains("guess")), ("token", false));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field} {problem}")]
#[non_exhaustive]
pub struct ViewError {
    field: &'static str,
    problem: String,
}

impl ViewError {
    /// Returns the choice that makes no sense.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// let error = ViewBuilder::new(monitor).allow_host("http://node").router().unwrap_err();
    /// assert_eq!(error.field(), "allow_host");
    /// ```
    pub fn field(&self) -> &'static str {
        self.field
    }
}

/// Makes the router of a view: [`router`](crate::router) with choices.
///
/// By default the title is `peer-health`, peers are written as `Debug` prints them, there is no driver to
/// show, the view answers to `localhost`, `127.0.0.1` and `[::1]`, controls are off, a stream has a heartbeat
/// every 5 s, and at most 64 streams are open.
///
/// ```
/// use peer_health::{HealthMonitor, HealthRegistry};
/// use peer_health_view::ViewBuilder;
///
/// let monitor = HealthMonitor::new(HealthRegistry::<String>::new());
/// let built = ViewBuilder::new(monitor)
///     .title("node 7")
///     .by_display()
///     .token("a secret of the operator")
///     .router();
/// assert!(built.is_ok());
/// ```
#[must_use]
pub struct ViewBuilder<K: PeerKey> {
    monitor: HealthMonitor<K>,
    names: Names<K>,
    title: String,
    links: Vec<Link>,
    driver: Option<SyncDriver<K>>,
    coordinator: Option<SyncCoordinator<K>>,
    token: Option<String>,
    hosts: Vec<String>,
    heartbeat: Duration,
    streams: usize,
}

impl<K: PeerKey> ViewBuilder<K> {
    /// Makes a builder with the defaults.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// assert!(ViewBuilder::new(monitor).router().is_ok());
    /// ```
    pub fn new(monitor: HealthMonitor<K>) -> Self {
        Self {
            monitor,
            names: Names::by_debug(),
            title: "peer-health".into(),
            links: Vec::new(),
            driver: None,
            coordinator: None,
            token: None,
            hosts: Vec::new(),
            heartbeat: Duration::from_secs(5),
            streams: 64,
        }
    }

    /// Sets the title of the page: the name of the node, for instance.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// assert!(ViewBuilder::new(monitor).title("node 7").router().is_ok());
    /// ```
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Writes peers as `Display` does, and reads them by `FromStr`, so that a peer can be banned that is not
    /// known yet. For `EndpointId` and `String`.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<String>::new());
    /// assert!(ViewBuilder::new(monitor).by_display().router().is_ok());
    /// ```
    pub fn by_display(mut self) -> Self
    where
        K: Display + FromStr,
    {
        self.names.set_display();
        self
    }

    /// Writes peers by a function. Each peer needs a text of its own.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<[u8; 4]>::new());
    /// let hex = |peer: &[u8; 4]| format!("{:08x}", u32::from_be_bytes(*peer));
    /// assert!(ViewBuilder::new(monitor).write_peers(hex).router().is_ok());
    /// ```
    pub fn write_peers(mut self, write: impl Fn(&K) -> String + Send + Sync + 'static) -> Self {
        self.names.write = Box::new(write);
        self
    }

    /// Reads peers by a function, so that a peer can be banned that is not known yet. `None` says that the
    /// text names no peer; the view then looks among the peers it knows.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// assert!(ViewBuilder::new(monitor).read_peers(|text| text.parse().ok()).router().is_ok());
    /// ```
    pub fn read_peers(mut self, read: impl Fn(&str) -> Option<K> + Send + Sync + 'static) -> Self {
        self.names.read = Some(Box::new(read));
        self
    }

    /// Sets a function that gives a peer's name for people, which the page shows before its id. A peer may
    /// have told it: the page shows it as text, whatever is in it.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// let name = |peer: &u32| (*peer == 7).then(|| "alice".to_string());
    /// assert!(ViewBuilder::new(monitor).label(name).router().is_ok());
    /// ```
    pub fn label(mut self, label: impl Fn(&K) -> Option<String> + Send + Sync + 'static) -> Self {
        self.names.label = Some(Box::new(label));
        self
    }

    /// Shows a driver: what it does and for whom it waits. The view holds a handle, and with it the driver:
    /// [shut it down](SyncDriver::shutdown) to end it while the view lives.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry, SyncCoordinator, SyncError};
    /// use peer_health_view::ViewBuilder;
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// let coordinator = SyncCoordinator::new(monitor.registry().clone());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// let view = ViewBuilder::new(monitor).driver(driver).coordinator(coordinator);
    /// assert!(view.router().is_ok());
    /// # Ok::<(), peer_health::DriveError>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn driver(mut self, driver: SyncDriver<K>) -> Self {
        self.driver = Some(driver);
        self
    }

    /// Shows the retry budget of a coordinator.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry, SyncCoordinator};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// let coordinator = SyncCoordinator::new(monitor.registry().clone());
    /// assert!(ViewBuilder::new(monitor).coordinator(coordinator).router().is_ok());
    /// ```
    pub fn coordinator(mut self, coordinator: SyncCoordinator<K>) -> Self {
        self.coordinator = Some(coordinator);
        self
    }

    /// Adds a link to another view, of another node for instance: a name, and an address, which may be
    /// relative to the server (`/node-7`).
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// let view = ViewBuilder::new(monitor).link("node 8", "/node-8");
    /// assert!(view.router().is_ok());
    /// ```
    pub fn link(mut self, name: impl Into<String>, href: impl Into<String>) -> Self {
        self.links.push(Link { name: name.into(), href: href.into() });
        self
    }

    /// Switches controls on, for whoever sends `Authorization: Bearer` and this token: at least 16
    /// characters that no one can guess. The connection is not encrypted: send it over loopback or a tunnel.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// assert_eq!(ViewBuilder::new(monitor).token("").router().unwrap_err().field(), "token");
    /// ```
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Answers to one more name: what stands in the browser's address line, without `http://`. Without a
    /// port it stands for all ports.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// assert!(ViewBuilder::new(monitor).allow_host("node.internal").router().is_ok());
    /// ```
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Sets how long a stream is silent at most: a summary is sent that often, even if nothing has changed.
    /// The page says that it has lost touch after three times as long.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// use std::time::Duration;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// let never = ViewBuilder::new(monitor).heartbeat(Duration::ZERO).router();
    /// assert_eq!(never.unwrap_err().field(), "heartbeat");
    /// ```
    pub fn heartbeat(mut self, period: Duration) -> Self {
        self.heartbeat = period;
        self
    }

    /// Sets how many streams may be open at a time. One more is answered with 503. A client that takes nothing
    /// for a minute loses its stream.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::ViewBuilder;
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// assert_eq!(ViewBuilder::new(monitor).streams(0).router().unwrap_err().field(), "streams");
    /// ```
    pub fn streams(mut self, most: usize) -> Self {
        self.streams = most;
        self
    }

    /// Makes the router. Each is a view of its own; it listens to the registry until it is dropped.
    ///
    /// # Errors
    ///
    /// [`ViewError`] names a choice that makes no sense: a token shorter than 16 characters or with others
    /// than visible ASCII, a host that is no name with or without a port, a heartbeat of less than a tenth
    /// of a second, no streams.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use peer_health_view::{ViewBuilder, axum};
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// let view = ViewBuilder::new(monitor).router()?;
    /// let app: axum::Router = axum::Router::new().nest("/peers", view);
    /// assert!(app.has_routes());
    /// # Ok::<(), peer_health_view::ViewError>(())
    /// ```
    pub fn router(self) -> Result<Router, ViewError> {
        self.check()?;
        Ok(self.routes())
    }

    fn check(&self) -> Result<(), ViewError> {
        let wrong = |field, problem: String| Err(ViewError { field, problem });
        // What a header carries as it is: spaces at its ends would be lost.
        let sent = |token: &String| {
            let visible = token.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            visible && token.trim() == token
        };
        if self.token.as_ref().is_some_and(|token| token.len() < SHORTEST || !sent(token)) {
            return wrong(
                "token",
                format!("must be {SHORTEST} characters or more of visible ASCII"),
            );
        }
        let host = |host: &&String| host.is_empty() || host.contains(['/', '@', ' ', '?', '#']);
        if let Some(host) = self.hosts.iter().find(host) {
            return wrong(
                "allow_host",
                format!("{host:?}: must be a name, with or without a port"),
            );
        }
        if self.heartbeat < Duration::from_millis(100) {
            return wrong("heartbeat", format!("{:?}: must be at least 100ms", self.heartbeat));
        }
        if self.streams == 0 {
            return wrong("streams", "0: must be at least 1".into());
        }
        Ok(())
    }

    /// Makes the router of choices that make sense.
    pub(crate) fn board(self) -> Arc<Board<K>> {
        let Self { monitor, names, driver, .. } = self;
        let (history, listening) = History::follow(monitor.registry());
        let registry = monitor.registry().clone();
        let source = Source { registry, driver, names: Arc::new(names) };
        let mut hosts = Hosts::loopback();
        hosts.0.extend(self.hosts);
        Arc::new(Board {
            title: self.title,
            links: self.links,
            monitor,
            source,
            coordinator: self.coordinator,
            token: self.token.map(Token),
            hosts,
            heartbeat: self.heartbeat,
            history,
            samples: Arc::new(Samples::default()),
            streams: Arc::new(Semaphore::new(self.streams.min(Semaphore::MAX_PERMITS))),
            epoch: rand::random(),
            _listening: listening,
        })
    }

    pub(crate) fn routes(self) -> Router {
        let board = self.board();
        Router::new()
            .route("/", get(page::page::<K>))
            .route("/api/summary", get(api::summary::<K>))
            .route("/api/peers", get(api::list::<K>))
            .route("/api/peers/{id}", get(api::peer::<K>))
            .route("/api/peers/{id}/{control}", post(control::peer::<K>))
            .route("/api/driver/{control}", post(control::driver::<K>))
            .route("/events", get(stream::events::<K>))
            .fallback(api::nothing)
            .layer(DefaultBodyLimit::max(LONGEST))
            .layer(from_fn_with_state(Arc::clone(&board), guard::<K>))
            .with_state(board)
    }
}

impl<K: PeerKey> fmt::Debug for ViewBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewBuilder")
            .field("title", &self.title)
            .field("controls", &self.token.is_some())
            .finish_non_exhaustive()
    }
}
