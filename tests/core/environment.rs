//! The environment variables of `sync_errors`: read, and reported when they do not parse.
//!
//! Each case runs in a process of its own: this test program again, with the variables set.

use std::process::Command;

use peer_health::CircuitBreakerConfig;

const NAMES: [&str; 4] = [
    "CIRCUIT_FAILURE_THRESHOLD",
    "CIRCUIT_FAILURE_WINDOW_SECS",
    "CIRCUIT_OPEN_TIMEOUT_SECS",
    "CIRCUIT_SUCCESS_THRESHOLD",
];
const CHILD: &str = "PEER_HEALTH_TEST_PRINTS_ITS_CONFIG";

/// Not a test by itself: prints what it reads, when asked by the tests below.
#[test]
fn prints_the_configuration_when_asked() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let warnings = log::warnings(|| {
        let c = CircuitBreakerConfig::default();
        let (window, wait) = (c.failure_window.as_secs(), c.open_timeout.as_secs());
        println!("read: {} {window} {wait} {}", c.failure_threshold, c.success_threshold);
    });
    warnings.iter().for_each(|warning| println!("warned: {warning}"));
    match CircuitBreakerConfig::try_from_env() {
        Ok(_) => println!("checked: ok"),
        Err(error) => println!("checked: {error}"),
    }
}

fn read(values: [Option<&str>; 4]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::prints_the_configuration_when_asked");
    child.args(["--exact", &test, "--nocapture"]).env(CHILD, "1");
    for (name, value) in NAMES.into_iter().zip(values) {
        match value {
            Some(value) => child.env(name, value),
            None => child.env_remove(name),
        };
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let kept = ["read:", "warned:", "checked:"];
    printed
        .lines()
        .filter_map(|line| kept.iter().find_map(|k| line.find(k).map(|at| &line[at..])))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_defaults_hold_where_nothing_is_set() {
    assert_eq!(read([None; 4]), "read: 5 5 5 2\nchecked: ok");
}

#[test]
fn values_that_parse_are_taken() {
    let read = read([Some("3"), Some("0"), Some("18446744073709551615"), Some("4294967295")]);
    assert_eq!(read, "read: 3 0 18446744073709551615 4294967295\nchecked: ok");
}

#[test]
fn values_that_do_not_parse_are_reported_by_name_and_take_their_default() {
    let printed = read([Some("many"), Some("-1"), Some(""), Some("4294967296")]);
    let first = r#"CIRCUIT_FAILURE_THRESHOLD is "many": must be a whole number"#;
    let mut expected = String::from("read: 5 5 5 2\n");
    if cfg!(feature = "tracing") {
        let values = ["many", "-1", "", "4294967296"];
        for (name, value) in NAMES.into_iter().zip(values) {
            expected += &format!("warned: {name} is {value:?}: must be a whole number\n");
        }
    }
    assert_eq!(printed, expected + "checked: " + first);
}

/// What is logged as a warning, by the feature that logs.
mod log {
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn warnings(run: impl FnOnce()) -> Vec<String> {
        run();
        Vec::new()
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn warnings(run: impl FnOnce()) -> Vec<String> {
        use std::sync::{Arc, Mutex};
        let seen = Arc::new(Mutex::new(Vec::new()));
        let layer = Keep(Arc::clone(&seen));
        crate::support::log::logged_to(layer, run);
        std::mem::take(&mut *seen.lock().unwrap())
    }

    #[cfg(feature = "tracing")]
    struct Keep(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

    #[cfg(feature = "tracing")]
    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Keep {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            assert_eq!(event.metadata().target(), "peer_health");
            assert_eq!(*event.metadata().level(), tracing::Level::WARN);
            event.record(&mut Problem(&self.0));
        }
    }

    #[cfg(feature = "tracing")]
    struct Problem<'a>(&'a std::sync::Mutex<Vec<String>>);

    #[cfg(feature = "tracing")]
    impl tracing::field::Visit for Problem<'_> {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            if field.name() == "problem" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        }
    }
}
