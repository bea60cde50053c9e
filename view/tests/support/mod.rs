//! A server on loopback that can be ended, whatever is connected to it.

use std::net::SocketAddr;
use std::time::Duration;

use peer_health::{HealthConfig, HealthRegistry};
use peer_health_view::axum::{self, Router};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) const TOKEN: &str = "a secret of the operator";

/// A registry in which two failures open a circuit, for 250 s.
pub(crate) fn registry() -> HealthRegistry<String> {
    let config = HealthConfig::default()
        .with_failure_threshold(2)
        .with_open_timeout(Duration::from_secs(250))
        .with_open_jitter(0.0);
    HealthRegistry::builder().config(config).build().unwrap()
}

/// A server in a runtime of its own. The end of the runtime ends its connections too, as the end of a
/// program would.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

#[allow(dead_code, reason = "not every test ends its server")]
impl Server {
    pub(crate) async fn start(view: Router) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), view).await
    }

    pub(crate) async fn start_at(address: SocketAddr, view: Router) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let bound = runtime.spawn(async move { TcpListener::bind(address).await });
        let listener = bound.await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, view).await });
        Self { address, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Ends the server and all its connections.
    pub(crate) fn stop(mut self) -> SocketAddr {
        self.end();
        self.address
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
