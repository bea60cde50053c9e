//! The settings of a coordinator, read and written as those of a registry are.

use peer_health::{BudgetConfig, CoordinatorConfig, RetryBudget, SyncCoordinator};

use super::*;

fn problem(text: &str) -> String {
    let config: CoordinatorConfig = toml::from_str(text).unwrap();
    let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new()).config(config);
    builder.build().unwrap_err().to_string()
}

#[test]
fn the_defaults_are_written_as_a_file_that_can_be_changed() {
    let expected = r#"attempt_deadline = "default"
stable_after = "10s"
max_concurrent = 64
max_per_peer = 1
budget_per_peer = "off"

[retry]
initial_delay = "100ms"
max_delay = "30s"
max_attempts = 5
backoff_multiplier = 2.0
jitter_factor = 0.1

[budget]
max_tokens = 1000
token_ratio = 0.1
per_second = 1.0
"#;
    assert_eq!(toml::to_string(&CoordinatorConfig::default()).unwrap(), expected);
}

#[test]
fn a_file_sets_what_the_builder_sets() {
    let config: CoordinatorConfig = toml::from_str(
        "attempt_deadline = '2s'
         stable_after = '0s'
         max_concurrent = '8'
         budget.max_tokens = 10
         budget_per_peer = { max_tokens = 5 }
         retry.max_attempts = 3",
    )
    .unwrap();
    let mut expected = CoordinatorConfig::default();
    expected.attempt_deadline = Some(Duration::from_secs(2));
    expected.stable_after = Duration::ZERO;
    expected.max_concurrent = 8;
    expected.budget.max_tokens = 10;
    let mut per_peer = BudgetConfig::default();
    per_peer.max_tokens = 5;
    expected.budget_per_peer = Some(per_peer);
    expected.retry.max_attempts = 3;
    assert_eq!(config, expected);
    let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
    assert_eq!(builder.config(config).build().unwrap().budget().milli_tokens(), 10_000);
}

#[test]
fn the_default_of_the_values_is_that_of_the_builder() {
    let registry = HealthRegistry::<u32>::new();
    let plain = SyncCoordinator::builder(registry.clone());
    let configured = SyncCoordinator::builder(registry).config(CoordinatorConfig::default());
    assert_eq!(format!("{plain:?}"), format!("{configured:?}"));
    let built = configured.build().unwrap();
    assert_eq!(format!("{:?}", built.budget()), format!("{:?}", RetryBudget::default()));
}

#[test]
fn what_makes_no_sense_is_named_with_its_table() {
    let table = [
        ("retry.initial_delay = '5m'", "retry.initial_delay is 300s: must not exceed max_delay"),
        (
            "retry.jitter_factor = inf",
            "retry.jitter_factor is inf: must be finite and not negative",
        ),
        ("budget.max_tokens = 0", "budget.max_tokens is 0: must be at least 1"),
        (
            "budget_per_peer.token_ratio = 0",
            "budget_per_peer.token_ratio is 0: must be from 0.001 to 1",
        ),
        (
            "budget_per_peer.per_second = -1",
            "budget_per_peer.per_second is -1: must be from 0 to 1000000",
        ),
        ("attempt_deadline = '0s'", "attempt_deadline is 0ns: must be above zero"),
    ];
    for (text, expected) in table {
        assert_eq!(problem(text), expected, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn settings_that_are_written_and_read_are_the_same(
        (deadline, stable) in (some_time(), any_time()),
        places in (1..=usize::MAX, 1..=usize::MAX),
        (tokens, ratio, refill) in (1..=u32::MAX, 0.001..=1.0f64, 0.0..=1e6f64),
        per_peer: bool,
    ) {
        let mut config = CoordinatorConfig::default();
        (config.attempt_deadline, config.stable_after) = (deadline, stable);
        (config.max_concurrent, config.max_per_peer) = places;
        let budget = &mut config.budget;
        (budget.max_tokens, budget.token_ratio, budget.per_second) = (tokens, ratio, refill);
        config.budget_per_peer = per_peer.then_some(config.budget);
        there_and_back(&config);
    }
}
