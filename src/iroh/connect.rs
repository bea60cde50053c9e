//! A dial that ends in time, and whose failure says whose fault it was.

use std::time::Duration;

use crate::error::{Failure, Fault, SyncError};
use crate::runtime::timeout;
use ::iroh::endpoint::Connection;
use ::iroh::{Endpoint, EndpointAddr};

/// Connects to a peer before `deadline` has passed, or returns why it did not.
///
/// iroh waits 30 s for a dead port, and as long for a peer that ignores us or was restarted; this function
/// is for a caller that has less time. It makes one attempt, inside a permit: as the `op` of a coordinator,
/// or as the future of [`call_async`](crate::HealthRegistry::call_async). The table of the
/// [module](crate::iroh) says what each error means. The endpoint gives the transport configuration, and so
/// the idle time-out.
///
/// # Errors
///
/// Past the deadline: [`SyncError::Network`] with [`Fault::Link`], which counts: try again later. A
/// `deadline` of zero: [`SyncError::State`] with [`Fault::Local`]; nothing is sent and nothing counts: pass
/// a longer one. Otherwise the failure that iroh's error means.
///
/// # Cancel safety
///
/// A drop of the future ends the dial and leaves nothing behind; so does the deadline. If the peer had
/// accepted the connection by then, it sees that it was closed.
///
/// ```
/// use iroh::endpoint::presets::Minimal;
/// use iroh::{Endpoint, EndpointAddr, RelayMode, SecretKey};
/// use peer_health::iroh::connect;
/// use peer_health::{CallError, HealthRegistry, SyncError};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let endpoint = Endpoint::builder(Minimal)
///     .relay_mode(RelayMode::Disabled)
///     .clear_address_lookup()
///     .clear_ip_transports()
///     .bind_addr("127.0.0.1:0")?
///     .bind()
///     .await?;
/// let registry = HealthRegistry::new();
/// let nobody = SecretKey::generate().public();
/// let silent = std::net::UdpSocket::bind("127.0.0.1:0")?;
/// let address = EndpointAddr::new(nobody).with_ip_addr(silent.local_addr()?);
///
/// let dial = connect(&endpoint, address, b"my-sync/1", Duration::from_millis(50));
/// let Err(CallError::Failed(failure)) = registry.call_async(&nobody, dial).await else {
///     panic!("nobody answers there");
/// };
/// assert!(matches!(failure.error(), SyncError::Network(_)) && failure.counts());
/// assert_eq!(registry.snapshot(&nobody).unwrap().consecutive_failures, 1);
/// # endpoint.close().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn connect(
    endpoint: &Endpoint,
    peer: impl Into<EndpointAddr>,
    alpn: &[u8],
    deadline: Duration,
) -> Result<Connection, Failure> {
    if deadline.is_zero() {
        let refused = SyncError::State("deadline is 0s, must be more".into());
        return Err(Failure::from(refused).with_fault(Fault::Local));
    }
    match timeout(deadline, endpoint.connect(peer, alpn)).await {
        Ok(connected) => Ok(connected?),
        Err(_) => {
            let late = SyncError::Network(format!("not connected within {deadline:?}"));
            Err(Failure::from(late).with_fault(Fault::Link))
        }
    }
}
