//! One line of the log per period that says how all peers are (feature `tracing`), on request.
//!
//! The future that writes it holds the monitor only while it looks, so a node that is dropped gets no further
//! line. It reads the totals a few peers at a time, and gives other tasks their turn in between.

use std::time::Duration;

use tokio::task::yield_now;

use super::summary::Worst;
use super::{HealthMonitor, MonitorShared, Summary};
use crate::config::ConfigError;
use crate::foreign::quietly;
use crate::registry::PeerKey;
use crate::runtime::sleep;
use crate::sync::{Arc, Weak};
use crate::wakers::shielded;

/// After this many pieces of the totals, each of a few microseconds, other tasks have their turn.
const AT_ONCE: usize = 16;

/// The counts whose growth a line tells.
#[derive(Debug, Clone, Copy)]
struct Grown {
    refused: u64,
    retries: u64,
}

impl<K: PeerKey> HealthMonitor<K> {
    /// Returns a future that logs a summary of all peers after each period: one line of level INFO and target
    /// `peer_health`, with the number of peers by state, the three peers that opened most often, and how many
    /// calls were refused and how many retries coordinators made in the period.
    ///
    /// Spawn it: nothing is logged otherwise, and tokio's timers tell its time. It ends, without a further
    /// line, when the monitor's last handle, stream and watch is gone. A monitor that names
    /// [fewer](crate::MonitorBuilder::worst) than three peers names no more here. To each line, its work is
    /// proportional to the table; the task gives way every few hundred peers.
    ///
    /// ```text
    /// INFO peer_health: summary known=1000 closed=98 open=891 half_open=10 overridden=1
    ///     worst=1f4b8ac9e2 (open, opened 31 times) refused=5210 retries=87 period=60s
    /// ```
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] names `period` if it is zero.
    ///
    /// # Panics
    ///
    /// The call never does. As every timer of tokio, the future does when it is polled in no runtime, or in
    /// one without timers.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the lines, and leaves nothing behind.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    /// #     .block_on(async {
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// assert_eq!(monitor.log_summary(Duration::ZERO).err().unwrap().field(), "period");
    /// let lines = tokio::spawn(monitor.log_summary(Duration::from_secs(60))?);
    /// drop(monitor); // the node is gone
    /// assert!(lines.await.is_ok(), "and its lines have ended");
    /// # Ok::<(), peer_health::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn log_summary(
        &self,
        period: Duration,
    ) -> Result<impl Future<Output = ()> + Send + use<K>, ConfigError> {
        if period.is_zero() {
            return Err(ConfigError::time("period", period, "must be above zero"));
        }
        Ok(shielded(log_each(Arc::downgrade(&self.shared), period)))
    }
}

async fn log_each<K: PeerKey>(shared: Weak<MonitorShared<K>>, period: Duration) {
    let Some(mut before) = count(&shared).await else { return };
    loop {
        sleep(period).await;
        let Some(now) = count(&shared).await else { return };
        let Some(shared) = shared.upgrade() else { return };
        let summary = HealthMonitor { shared }.summary();
        let grown = Grown {
            refused: now.refused.saturating_sub(before.refused),
            retries: now.retries.saturating_sub(before.retries),
        };
        // What left during the count counts nowhere in it, and is no growth when the next finds it again.
        before = Grown { refused: now.refused.max(before.refused), ..now };
        // A log subscriber is foreign, and so is the destructor of each key that the summary names: a second
        // one that panics while the first unwinds would end the process.
        quietly(|| write(&summary, grown, period));
        summary.worst.into_iter().for_each(|worst| quietly(move || drop(worst)));
    }
}

/// Reads the counts; `None` if the monitor is gone.
async fn count<K: PeerKey>(shared: &Weak<MonitorShared<K>>) -> Option<Grown> {
    let (mut totals, pieces) = shared.upgrade()?.registry.totals_in_pieces();
    for (n, piece) in pieces.enumerate() {
        totals.all.add(piece);
        if n % AT_ONCE == AT_ONCE - 1 {
            yield_now().await;
        }
    }
    let refused = totals.all.refused;
    let refused = refused.open.saturating_add(refused.probes_in_flight);
    let refused = refused.saturating_add(totals.all.refused.forced_open);
    Some(Grown { refused, retries: totals.retries })
}

fn write<K: PeerKey>(summary: &Summary<K>, grown: Grown, period: Duration) {
    let Summary { known, closed, open, half_open, overridden, worst } = summary;
    let Grown { refused, retries } = grown;
    let worst = (!worst.is_empty()).then(|| tracing::field::display(Worst(worst)));
    tracing::info!(
        target: "peer_health",
        known, closed, open, half_open, overridden, worst, refused, retries, ?period, "summary"
    );
}
