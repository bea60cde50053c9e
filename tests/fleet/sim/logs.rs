//! Counts the lines that the library logs at INFO and above.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<AtomicU64>);

impl Lines {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, line: &Metadata<'_>, _: Context<'_, S>) -> bool {
        line.target().starts_with("peer_health") && *line.level() <= Level::INFO
    }

    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
