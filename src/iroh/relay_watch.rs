//! This node's relay, as its link: see [`RelayWatch`].

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use ::iroh::endpoint::RelayStatus;
use ::iroh::{Endpoint, EndpointAddr, Watcher};
use tokio::time::{Instant, sleep_until};

use crate::registry::{HealthRegistry, PeerKey};

/// Drivers are woken no more often than this, if nothing else is set.
const WAKE_EVERY: Duration = Duration::from_secs(120);
/// What is longer than this would overflow tokio's time.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Tells a registry when an endpoint has lost its relay, so that no peer is blamed for that, and wakes the
/// drivers when the relay is back or the network has changed ([R33](crate::_rules#r33)).
///
/// Most peers are reached by the home relay, or by an address that it helped to find. While it is away they all
/// fail, and without this their circuits open, one after the other, for a fault that is none of theirs. The
/// program spawns one task for each endpoint:
///
/// ```
/// use iroh::{Endpoint, RelayMode, endpoint::presets::Minimal};
/// use peer_health::{HealthRegistry, iroh::RelayWatch};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let registry = HealthRegistry::new();
/// let endpoint = Endpoint::builder(Minimal)
///     .relay_mode(RelayMode::Disabled) // a node has one here
/// #   .clear_address_lookup()
/// #   .clear_ip_transports()
/// #   .bind_addr("127.0.0.1:0")?
///     .bind()
///     .await?;
/// let watch = tokio::spawn(RelayWatch::new(registry.clone()).follow(&endpoint));
/// # let _: &HealthRegistry<iroh::EndpointId> = &registry;
/// assert!(registry.is_link_up(), "an endpoint without a relay is left alone");
/// endpoint.close().await;
/// watch.await?; // it ends with the endpoint
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it follows
///
/// [`Endpoint::home_relay_status`]: the link is down from the moment at which no home relay is connected after one
/// was, or one has reported an error, and up again as soon as one is connected. A relay that is dialled for the
/// first time changes nothing until the dial ends, and one that denies this node says nothing of the link.
/// [`Endpoint::watch_addr`]: an IP address that the endpoint did not have before is a change of network, unless
/// it had none. Both are what iroh 1.4.1 tells without an unstable
/// feature; where iroh cannot see the network by itself, as on Android, the program calls
/// [`Endpoint::network_change`].
///
/// # Limits
///
/// iroh learns of a relay that falls silent by a ping, up to 20 s later; failures of that time count. An
/// endpoint that never found a home relay tells of none, so one that starts without a network is not covered:
/// there the program calls [`set_link_up`](HealthRegistry::set_link_up) itself. Of several endpoints on one
/// registry, each with its watch, the last that changed decides.
#[derive(Clone)]
#[must_use = "a watch does nothing before it follows an endpoint"]
pub struct RelayWatch<K> {
    registry: HealthRegistry<K>,
    wake_every: Duration,
}

impl<K: PeerKey> RelayWatch<K> {
    /// Returns a watch that tells this registry.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, iroh::RelayWatch};
    /// let watch = RelayWatch::new(HealthRegistry::<iroh::EndpointId>::new());
    /// assert!(format!("{watch:?}").contains("wake_every: 120s"));
    /// ```
    pub fn new(registry: HealthRegistry<K>) -> Self {
        Self { registry, wake_every: WAKE_EVERY }
    }

    /// Sets how much time passes at least between two times at which drivers are woken, as by `kick_all`. A
    /// relay that comes back sooner after another return is believed at once, and its drivers are woken when the
    /// time is over; peers that failed for want of it are called within half a minute anyway. A return waits for
    /// no wake that a new address was the reason of. Default: two minutes; zero is no
    /// limit.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, iroh::RelayWatch};
    /// use std::time::Duration;
    /// let watch = RelayWatch::new(HealthRegistry::<iroh::EndpointId>::new());
    /// let watch = watch.with_wake_every(Duration::from_secs(10));
    /// assert!(format!("{watch:?}").contains("wake_every: 10s"));
    /// ```
    pub fn with_wake_every(self, wake_every: Duration) -> Self {
        Self { wake_every, ..self }
    }

    /// Returns a future that follows this endpoint, for a task of its own. It ends when the endpoint is closed,
    /// or its last clone dropped, which it does not prevent; abort the task to end it sooner. Polled outside a
    /// tokio runtime it panics, as all of iroh does.
    ///
    /// # Cancel safety
    ///
    /// A future that ends or is dropped while the link is down brings it up again: nobody would do so later.
    pub fn follow(self, endpoint: &Endpoint) -> impl Future<Output = ()> + Send + use<K> {
        let (home, addr) = (endpoint.home_relay_status().map(Home::of), endpoint.watch_addr());
        let closed = endpoint.closed();
        async move {
            closed.run_until(self.run(home, addr)).await;
        }
    }

    async fn run(
        self,
        mut home: impl Watcher<Value = Home>,
        mut addr: impl Watcher<Value = EndpointAddr>,
    ) {
        let mut link = Link { registry: &self.registry, was_connected: false, is_down: false };
        let mut known = ips(&addr.get());
        // What drivers are to be woken for. A new address waits for the limit after any wake, the return of the
        // link after that of another return only: its calls are the ones that failed.
        let (mut returned, mut changed) = (link.take(home.get()), false);
        let (mut after_return, mut after_any) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                told = home.updated() => match told {
                    Ok(home) => returned |= link.take(home),
                    Err(_) => return,
                },
                told = addr.updated() => match told {
                    Ok(addr) => {
                        let now = ips(&addr);
                        // An endpoint that had none has found out where it is.
                        changed |= !known.is_empty() && !now.is_subset(&known);
                        known = now;
                    }
                    Err(_) => return,
                },
                () = sleep_until(if returned { after_return } else { after_any }),
                    if (returned || changed) && !link.is_down =>
                {
                    after_any = Instant::now() + self.wake_every.min(LONGEST);
                    if returned {
                        after_return = after_any;
                        self.registry.tell_of_link();
                    } else {
                        self.registry.tell_of_network();
                    }
                    (returned, changed) = (false, false);
                }
            }
        }
    }
}

impl<K: PeerKey> fmt::Debug for RelayWatch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayWatch").field("wake_every", &self.wake_every).finish_non_exhaustive()
    }
}

fn ips(addr: &EndpointAddr) -> HashSet<IpAddr> {
    addr.ip_addrs().map(|socket| socket.ip()).collect()
}

/// What the home relays of an endpoint report, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    /// There is none.
    Missing,
    /// Each is being dialled, and none has failed.
    Dialled,
    /// One has failed, and none is connected.
    Failed,
    /// One is connected.
    Connected,
}

impl Home {
    fn of(relays: Vec<RelayStatus>) -> Self {
        match &relays[..] {
            [] => Self::Missing,
            relays if relays.iter().any(RelayStatus::is_connected) => Self::Connected,
            relays if relays.iter().any(has_failed) => Self::Failed,
            _ => Self::Dialled,
        }
    }
}

/// A relay that denies us is away for good, and says nothing of our link.
fn has_failed(relay: &RelayStatus) -> bool {
    relay.last_error().is_some() && relay.auth_denied_reason().is_none()
}

/// What this watch has told the registry; a drop takes it back.
struct Link<'a, K: PeerKey> {
    registry: &'a HealthRegistry<K>,
    was_connected: bool,
    is_down: bool,
}

impl<K: PeerKey> Link<'_, K> {
    /// Takes what the relays report. Returns whether the link is back.
    fn take(&mut self, home: Home) -> bool {
        match home {
            // iroh dials a relay that it has lost at once, and tells of the loss by that only.
            Home::Dialled if !self.was_connected && !self.is_down => false,
            Home::Failed | Home::Dialled => {
                self.is_down = true;
                // Told again while it lasts: the program may have said otherwise meanwhile.
                self.registry.set_link_up(false);
                false
            }
            // Without a relay of its own the endpoint is left alone.
            Home::Connected | Home::Missing => {
                self.was_connected = home == Home::Connected;
                std::mem::take(&mut self.is_down) && self.registry.bring_link_up()
            }
        }
    }
}

impl<K: PeerKey> Drop for Link<'_, K> {
    fn drop(&mut self) {
        if self.is_down {
            self.registry.bring_link_up();
        }
    }
}

#[cfg(test)]
mod tests;
