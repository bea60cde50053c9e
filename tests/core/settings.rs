//! Configuration read and written: the words of a file, what is refused and why, and that nothing is lost
//! on the way there and back.

use std::collections::HashMap;
use std::time::Duration;

use peer_health::{HalfOpenMode, HealthConfig, HealthRegistry, RetryPolicy, Window};
use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[cfg(feature = "tokio")]
mod coordinators;

/// What a program has in its file, around the library's settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    health: HealthConfig,
}

fn read(text: &str) -> HealthConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What is wrong with a line, without the picture of it.
fn refused(text: &str) -> String {
    toml::from_str::<HealthConfig>(text).unwrap_err().message().to_string()
}

#[test]
fn a_file_has_words_for_times_and_for_what_is_off() {
    let text = r#"
        failure_threshold = "off"
        streak_gap = "1m 30s"
        window = { length = "1h", buckets = 12 }
        min_calls = 20
        failure_rate = 0.5
        slow_call = "250ms"
        slow_rate = 1
        timing = true
        open_timeout = "2s"
        half_open_mode = "rate"
        probe_lease = "off"
        max_peers = 1024
    "#;
    let expected = HealthConfig::default()
        .with_failure_threshold(None)
        .with_streak_gap(Duration::from_secs(90))
        .with_window(Window::time(Duration::from_secs(3600), 12))
        .with_min_calls(20)
        .with_failure_rate(0.5)
        .with_slow_call(Duration::from_millis(250))
        .with_slow_rate(1.0)
        .with_timing(true)
        .with_open_timeout(Duration::from_secs(2))
        .with_half_open_mode(HalfOpenMode::Rate)
        .with_probe_lease(None)
        .with_max_peers(1024);
    assert_eq!(read(text), expected);
}

#[test]
fn the_terms_of_a_time_are_added_up() {
    for (text, nanos) in [
        ("1m30s", 90_000_000_000),
        ("1s 5s", 6_000_000_000),
        ("1.5s 2 ms3us", 1_502_003_000),
        (" 1000000000ns 7ns ", 1_000_000_007),
        ("1h\u{a0}1µs", 3_600_000_001_000),
    ] {
        let read = read(&format!("open_timeout = '{text}'")).open_timeout;
        assert_eq!(read, Duration::from_nanos(nanos), "{text}");
    }
    let longest = "18446744073709551615s 999999999ns";
    assert_eq!(read(&format!("open_max = '{longest}'")).open_max, Duration::MAX);
}

#[test]
fn what_a_file_leaves_out_keeps_its_default() {
    assert_eq!(read(""), HealthConfig::default());
    let one = HealthConfig::default().with_window(Window::count(100));
    assert_eq!(read("window = { size = 100 }"), one);
    assert_eq!(read("window = 'off'\nmin_calls = 'default'"), HealthConfig::default());
}

/// The file that a program writes for a person to change: each field is there, in its words.
#[test]
fn the_defaults_are_written_as_a_file_that_can_be_changed() {
    let expected = r#"failure_threshold = 5
streak_gap = "off"
window = "off"
min_calls = "default"
failure_rate = "off"
slow_call = "off"
slow_rate = "off"
timing = false
open_timeout = "5s"
open_multiplier = 2.0
open_max = "5m"
open_jitter = 0.1
success_threshold = 2
half_open_mode = "all"
half_open_max = "off"
probe_lease = "1m"
max_peers = 65536
idle_timeout = "10m"
forget_after = "1h"
outage_guard = false
outage_max_open_percent = 50
outage_min_peers = 3
"#;
    assert_eq!(toml::to_string(&HealthConfig::default()).unwrap(), expected);
}

#[test]
fn numbers_and_flags_are_read_from_texts_too() {
    let text = r#"
        failure_threshold = "3"
        failure_rate = "0.5"
        timing = "true"
        open_multiplier = "2"
        max_peers = " 9 "
        window = { size = "100" }
    "#;
    let expected = HealthConfig::default()
        .with_failure_threshold(3)
        .with_failure_rate(0.5)
        .with_timing(true)
        .with_max_peers(9)
        .with_window(Window::count(100));
    assert_eq!(read(text), expected);
}

#[test]
fn what_has_no_meaning_is_refused_with_what_would_have() {
    let time = r#"expected a duration with its unit, such as "5s" or "1m 30s""#;
    let table = [
        ("open_timeout = 5", format!("invalid value: integer `5`, {time}")),
        ("open_timeout = 0", format!("invalid value: integer `0`, {time}")),
        (
            "open_timeout = '18446744073709551615s 1000ms'",
            format!("invalid value: string \"18446744073709551615s 1000ms\", {time}"),
        ),
        ("open_timeout = '5s 5'", format!("invalid value: string \"5s 5\", {time}")),
        ("open_timeout = '5s -3s'", format!("invalid value: string \"5s -3s\", {time}")),
        ("open_timeout = 1.5", format!("invalid value: floating point `1.5`, {time}")),
        ("open_timeout = '0'", format!("invalid value: string \"0\", {time}")),
        ("open_timeout = '5'", format!("invalid value: string \"5\", {time}")),
        ("open_timeout = '5 parsecs'", format!("invalid value: string \"5 parsecs\", {time}")),
        ("open_timeout = '-5s'", format!("invalid value: string \"-5s\", {time}")),
        ("open_timeout = 'off'", format!("invalid value: string \"off\", {time}")),
        ("open_timeout = ''", format!("invalid value: string \"\", {time}")),
        ("open_timeout = { secs = 5 }", format!("invalid type: map, {time}")),
        ("streak_gap = 0", format!("invalid value: integer `0`, {time}, or \"off\"")),
        ("streak_gap = 'Off'", format!("invalid value: string \"Off\", {time}, or \"off\"")),
        (
            "failure_threshold = -1",
            "invalid value: integer `-1`, expected a whole number up to 4294967295, or \"off\"".into(),
        ),
        (
            "failure_threshold = false",
            "invalid value: boolean `false`, expected a whole number up to 4294967295, or \"off\""
                .into(),
        ),
        (
            "min_calls = 'off'",
            "invalid value: string \"off\", expected a whole number up to 4294967295, or \"default\""
                .into(),
        ),
        (
            "success_threshold = 2.5",
            "invalid value: floating point `2.5`, expected a whole number up to 4294967295".into(),
        ),
        ("timing = 1", "invalid value: integer `1`, expected true or false".into()),
        ("open_jitter = 'much'", "invalid value: string \"much\", expected a number".into()),
        ("window = 100", "invalid type: integer `100`, expected a table, or \"off\"".into()),
        ("window = 'on'", "invalid value: string \"on\", expected a table, or \"off\"".into()),
        ("window = {}", "a window has a `size`, or a `length` and `buckets`".into()),
        (
            "window = { size = 5, length = '1s' }",
            "a window has a `size`, or a `length` and `buckets`".into(),
        ),
        ("half_open_mode = 'any'", "unknown variant `any`, expected `all` or `rate`".into()),
    ];
    for (text, expected) in table {
        assert_eq!(refused(text), expected, "{text}");
    }
    let null = serde_json::from_str::<HealthConfig>(r#"{"probe_lease": null}"#).unwrap_err();
    let expected = format!("invalid type: null, {time}, or \"off\" at line 1 column 20");
    assert_eq!(null.to_string(), expected);
}

#[test]
fn an_unknown_field_is_refused_where_it_stands() {
    let text = "[health]\nfailure_threshold = 3\nwindow.sise = 100\n";
    let error =
        serde_path_to_error::deserialize::<_, File>(toml::Deserializer::parse(text).unwrap())
            .unwrap_err();
    assert_eq!(error.path().to_string(), "health.window.sise");
    let inner = error.inner().to_string();
    assert!(inner.starts_with("TOML parse error at line 3, column 8"), "{inner}");
    assert!(inner.contains("unknown field `sise`, expected one of `size`, `length`, `buckets`"));

    let error = refused("failure_treshold = 3");
    assert!(error.starts_with("unknown field `failure_treshold`, expected one of `failure_thr"));
}

/// Reading checks what a text means; whether the value makes sense is said by `build` and `set_config`,
/// which name the field as the file does.
#[test]
fn a_value_that_makes_no_sense_is_read_and_named_as_in_the_file() {
    let text = "window = { length = '1s', buckets = 99 }\nfailure_rate = 0.5";
    let error = HealthRegistry::<u32>::new().set_config(read(text)).unwrap_err();
    assert_eq!(error.to_string(), "window.buckets is 99: must be from 1 to 64");
    let error = HealthRegistry::<u32>::new().set_config(read("open_jitter = nan")).unwrap_err();
    assert_eq!(error.to_string(), "open_jitter is NaN: must be from 0 to 1");
}

/// An environment has texts only, whether or not its reader makes numbers of them first.
#[test]
fn an_environment_stands_above_a_file() {
    let environment = [
        ("NODE__HEALTH__FAILURE_THRESHOLD", "off"),
        ("NODE__HEALTH__WINDOW__SIZE", "50"),
        ("NODE__HEALTH__FAILURE_RATE", "0.5"),
        ("NODE__HEALTH__OUTAGE_GUARD", "true"),
        ("NODE__HEALTH__OPEN_MAX", "1m"),
    ];
    let expected = HealthConfig::default()
        .with_failure_threshold(None)
        .with_window(Window::count(50))
        .with_failure_rate(0.5)
        .with_outage_guard(true)
        .with_open_max(Duration::from_secs(60))
        .with_open_timeout(Duration::from_secs(2));
    for parsing in [false, true] {
        let given = environment.map(|(name, value)| (name.to_string(), value.to_string()));
        let read: File = config::Config::builder()
            .add_source(config::File::from_str(
                "[health]\nopen_timeout = '2s'\nopen_max = '3m'",
                config::FileFormat::Toml,
            ))
            .add_source(
                config::Environment::with_prefix("NODE")
                    .separator("__")
                    .try_parsing(parsing)
                    .source(Some(HashMap::from(given))),
            )
            .build()
            .unwrap()
            .try_deserialize()
            .unwrap();
        assert_eq!(read.health, expected, "try_parsing({parsing})");
    }
}

fn there_and_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = toml::to_string(value).unwrap();
    assert_eq!(&toml::from_str::<T>(&text).unwrap(), value, "{text}");
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value, "{text}");
}

fn any_time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..100_000u64).prop_map(Duration::from_millis),
        (any::<u64>(), 0..1_000_000_000u32).prop_map(|(s, n)| Duration::new(s, n)),
        Just(Duration::ZERO),
        Just(Duration::MAX),
    ]
}

fn some_time() -> impl Strategy<Value = Option<Duration>> {
    proptest::option::of(any_time().prop_filter("above zero", |time| !time.is_zero()))
}

fn any_rate() -> impl Strategy<Value = Option<f64>> {
    proptest::option::of((0.0..=1.0f64).prop_filter("above zero", |rate| *rate > 0.0))
}

fn any_window() -> impl Strategy<Value = Option<Window>> {
    proptest::option::of(prop_oneof![
        (1..=1_048_576u32).prop_map(Window::count),
        (any_time(), 1..=64u32).prop_map(|(length, buckets)| Window::time(length, buckets)),
    ])
}

/// Any configuration that `build` takes.
fn any_config() -> impl Strategy<Value = HealthConfig> {
    let trips = (
        proptest::option::of(1..=u32::MAX),
        some_time(),
        any_window(),
        proptest::option::of(1..=u32::MAX),
        any_rate(),
        some_time(),
        any_rate(),
        any::<bool>(),
    );
    let waits = (any_time(), 1.0..1e300f64, any_time(), 0.0..=1.0f64, 1..=64u32, any::<bool>());
    let rest = (some_time(), some_time(), 1..=usize::MAX, any_time(), any_time(), any::<bool>());
    let outage = (1..=100u32, 1..=u32::MAX);
    (trips, waits, rest, outage).prop_filter_map("not sound", |(trips, waits, rest, outage)| {
        let mode = if waits.5 { HalfOpenMode::Rate } else { HalfOpenMode::All };
        let config = HealthConfig::default()
            .with_failure_threshold(trips.0)
            .with_streak_gap(trips.1)
            .with_window(trips.2)
            .with_min_calls(trips.3)
            .with_failure_rate(trips.4)
            .with_slow_call(trips.5)
            .with_slow_rate(trips.6)
            .with_timing(trips.7)
            .with_open_timeout(waits.0)
            .with_open_multiplier(waits.1)
            .with_open_max(waits.2)
            .with_open_jitter(waits.3)
            .with_success_threshold(waits.4)
            .with_half_open_mode(mode)
            .with_half_open_max(rest.0)
            .with_probe_lease(rest.1)
            .with_max_peers(rest.2)
            .with_idle_timeout(rest.3)
            .with_forget_after(rest.4)
            .with_outage_guard(rest.5)
            .with_outage_max_open_percent(outage.0)
            .with_outage_min_peers(outage.1);
        HealthRegistry::<u32>::new().set_config(config.clone()).is_ok().then_some(config)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_configuration_that_is_written_and_read_is_the_same(config in any_config()) {
        there_and_back(&config);
        there_and_back(&File { health: config });
    }

    #[test]
    fn so_is_a_policy(
        times in (any_time(), any_time()),
        attempts: u32,
        (multiplier, jitter) in (1.0..1e300f64, 0.0..1e300f64),
    ) {
        let (initial_delay, max_delay) = (times.0.min(times.1), times.0.max(times.1));
        let policy =
            RetryPolicy::try_new(initial_delay, max_delay, attempts, multiplier, jitter).unwrap();
        there_and_back(&policy);
    }

    /// Whatever a file holds in place of a setting: an error or a value, and no panic.
    #[test]
    fn any_text_is_read_or_refused(text: String) {
        let quoted = toml::Value::String(text.clone()).to_string();
        for field in ["open_timeout", "streak_gap", "min_calls", "window", "half_open_mode"] {
            let _ = toml::from_str::<HealthConfig>(&format!("{field} = {quoted}"));
        }
        let _ = toml::from_str::<HealthConfig>(&text);
    }
}
