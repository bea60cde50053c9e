//! doc/running.md says what the simulation says.

use crate::sim::{page, running};

#[test]
fn the_page_shows_each_of_its_cells_once_and_no_other() {
    let page = page::text();
    let shown =
        page.lines().filter(|line| line.ends_with(" kept |") || line.ends_with(" broken |"));
    let shown: Vec<_> = shown.map(|line| line.split(" | ").next().unwrap()).collect();
    let cells = running::cells().into_iter().map(|cell| format!("| {}", cell.name()));
    assert_eq!(shown, cells.collect::<Vec<_>>());
}

#[test]
fn the_page_says_of_each_alert_what_to_do() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/alerts.yml");
    // The feature `metrics` brings it.
    let Ok(alerts) = std::fs::read_to_string(file) else { return };
    let page = page::text();
    let alerts = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let unknown: Vec<_> =
        alerts.filter(|alert| !page.contains(&format!("| `{alert}` |"))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The settings of a section are the first TOML below its heading.
#[cfg(feature = "serde")]
#[test]
fn the_settings_of_the_page_are_those_of_its_cells() {
    use peer_health::{CoordinatorConfig, HealthConfig};

    #[derive(Debug, PartialEq, Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        health: HealthConfig,
        coordinator: CoordinatorConfig,
    }

    let page = page::text();
    assert_eq!(page.matches("\n```toml\n").count(), running::recommended().len());
    for settings in running::recommended() {
        let (health, coordinator) = (settings.health, settings.coordinator);
        let mut name = settings.name.to_string();
        name[..1].make_ascii_uppercase();
        let heading = format!("\n### {name}\n");
        let section = page.split_once(&heading).unwrap_or_else(|| panic!("no section {name}")).1;
        let toml = section.split_once("\n```toml\n").unwrap().1;
        let toml = toml.split_once("```").unwrap().0;
        assert_eq!(toml::from_str(toml), Ok(Settings { health, coordinator }), "{name}");
    }
}
