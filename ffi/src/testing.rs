//! What the tests of the bindings need and no program does: time that is set by hand, reports without a permit,
//! and a panic.

use std::sync::Arc;
use std::time::Duration;

use peer_health::{
    Clock, ErrorHandler, HealthRegistry as Core, ManualClock as CoreManual, SyncError,
};

use crate::config::HealthConfig;
use crate::error::HealthError;
use crate::failure::{ErrorKind, failure};
use crate::peer::PeerId;
use crate::registry::HealthRegistry;

/// The clock of a registry that `on_manual_clock` made.
#[derive(Debug, uniffi::Object)]
pub struct ManualClock {
    clock: Clock,
    hand: CoreManual,
}

#[uniffi::export]
impl ManualClock {
    /// Makes a clock that stands at zero.
    #[uniffi::constructor]
    pub fn new() -> Arc<Self> {
        let (clock, hand) = Clock::manual();
        Arc::new(Self { clock, hand })
    }

    /// Sets the time since the beginning.
    pub fn set(&self, elapsed: Duration) {
        self.hand.set(elapsed);
    }

    /// Moves the clock ahead.
    pub fn advance(&self, by: Duration) {
        self.hand.advance(by);
    }
}

#[uniffi::export]
impl HealthRegistry {
    /// Makes a registry on a clock that the test moves.
    ///
    /// # Errors
    ///
    /// As `new`.
    #[uniffi::constructor]
    pub fn on_manual_clock(
        config: HealthConfig,
        clock: Arc<ManualClock>,
    ) -> Result<Arc<Self>, HealthError> {
        let builder = Core::builder().config(config.into_core()).clock(clock.clock.clone());
        Ok(Self::of(builder.build()?))
    }

    /// Reports an outcome without a permit, a success if there is no kind; returns `open`, `now` or `other` for a
    /// failure.
    pub fn report(
        &self,
        peer: Vec<u8>,
        kind: Option<ErrorKind>,
    ) -> Result<Option<String>, HealthError> {
        let (peer, handler) = (PeerId::new(peer)?, ErrorHandler::with_registry(self.core.clone()));
        let Some(kind) = kind else {
            handler.record_success(&peer);
            return Ok(None);
        };
        let error = failure(kind, "reported".into(), None, None).error().clone();
        let reply = match handler.handle_error(&peer, error) {
            Err(SyncError::CircuitBreakerOpen) => "open",
            Ok(Some(Duration::ZERO)) => "now",
            _ => "other",
        };
        Ok(Some(reply.into()))
    }

    /// Panics.
    #[allow(clippy::panic, reason = "the tests look at what becomes of it")]
    pub fn panic_inside(&self) {
        panic!("a panic that a test asked for");
    }
}
