//! Log subscribers for tests that share a process with tests that have none.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, Once};

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

/// Runs it while what this thread logs goes to a subscriber of its own.
///
/// tracing remembers for each line in the code, for the whole process, whether any subscriber wants
/// it. While it knows of only one subscriber it asks the one of the thread that meets the line first:
/// a test without a subscriber would switch the line off for the test that waits for it. Therefore the
/// process has a subscriber too, which wants every line and writes none.
pub(crate) fn subscribed<R>(
    subscriber: impl Subscriber + Send + Sync + 'static,
    run: impl FnOnce() -> R,
) -> R {
    static WANTS_ALL: Once = Once::new();
    WANTS_ALL.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    });
    tracing::subscriber::with_default(subscriber, run)
}

/// Runs it while what this thread logs goes to this layer.
pub(crate) fn logged_to<R>(
    layer: impl Layer<Registry> + Send + Sync,
    run: impl FnOnce() -> R,
) -> R {
    subscribed(tracing_subscriber::registry().with(layer), run)
}

/// Prints each line, of whatever level, and keeps nothing: keys are printed.
pub(crate) struct Printing;

impl Layer<Registry> for Printing {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, Registry>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{value:?}");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        assert!(!text.0.is_empty());
    }
}

/// Keeps what is logged: the level, then message and fields as they come.
#[derive(Clone, Default)]
pub(crate) struct Lines(pub(crate) Arc<Mutex<Vec<(&'static str, String)>>>);

struct Text(String);

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        assert_eq!(event.metadata().target(), "peer_health");
        self.0.lock().unwrap().push((event.metadata().level().as_str(), text.0));
    }
}

impl Lines {
    /// Returns the lines since the last call.
    pub(crate) fn take(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(crate) fn levels(&self) -> Vec<&'static str> {
        self.take().into_iter().map(|(level, _)| level).collect()
    }
}
