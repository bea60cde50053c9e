//! A log subscriber that prints all that it is told.

/// Writes each line, of whatever level: keys are printed.
pub(crate) struct Printing;

impl tracing_subscriber::Layer<tracing_subscriber::Registry> for Printing {
    fn on_event(
        &self,
        event: &tracing::Event<'_>,
        _: tracing_subscriber::layer::Context<'_, tracing_subscriber::Registry>,
    ) {
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
