//! What the tests of several binaries share: registries on a clock that is set by hand, errors,
//! panics that are meant, and numbers that look random.
#![allow(dead_code, reason = "each binary uses a part")]

#[cfg(feature = "tracing")]
pub(crate) mod log;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use peer_health::{Clock, HealthConfig, HealthRegistry, ManualClock, PeerKey, SyncError};
use tokio::task::JoinSet;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A registry whose time stands still until it is moved by the clock's hand.
pub(crate) fn registry<K: PeerKey>(config: HealthConfig) -> (HealthRegistry<K>, ManualClock) {
    let (clock, hand) = Clock::manual();
    (HealthRegistry::builder().config(config).clock(clock).build().unwrap(), hand)
}

/// One failure opens a circuit, each time for as long as it says here, and one success closes it.
pub(crate) fn touchy(open_timeout: Duration) -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(1)
        .with_open_timeout(open_timeout)
        .with_open_multiplier(1.0)
        .with_open_jitter(0.0)
        .with_success_threshold(1)
}

/// An error that counts against the peer.
pub(crate) fn network() -> SyncError {
    SyncError::Network("reset".into())
}

/// A panic that is meant: the hook is not told of it, and prints nothing.
///
/// Tests that panic in great number use it, as the hook belongs to the whole process and to all
/// tests in it.
pub(crate) fn panics(what: &'static str) -> ! {
    resume_unwind(Box::new(what))
}

/// Runs it; `None` if it panics. What the panic leaves is never dropped.
pub(crate) fn ends<R>(act: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(act)).map_err(std::mem::forget).ok()
}

/// Runs it on tokio's time, which stands still until nothing else is left to do.
pub(crate) fn on_paused_time<R>(run: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(run)
}

/// A number from a thread's own sequence (Marsaglia's xorshift).
pub(crate) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A number that looks random and belongs to `n` (the finalizer of SplitMix64).
pub(crate) fn scramble(n: u64) -> u64 {
    let x = (n.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// How many of these tasks came to their end, were cancelled, and panicked.
pub(crate) async fn how_they_ended(mut tasks: JoinSet<()>) -> [u64; 3] {
    let mut ended = [0; 3];
    while let Some(end) = tasks.join_next().await {
        ended[match end {
            Ok(()) => 0,
            Err(error) if error.is_cancelled() => 1,
            Err(_) => 2,
        }] += 1;
    }
    ended
}
