//! The functions of `examples/config.rs`, driven as its `main` does: a real file in a folder that is really
//! watched. A test waits for what the node tells, for half a minute at most.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use peer_health::{HealthRegistry, Status};

#[path = "../../examples/config.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod example;

use example::{Node, Settings, environment, follow};

const LIMIT: Duration = Duration::from_secs(30);

/// A node that follows its file, and what it has told.
struct Running {
    folder: PathBuf,
    registry: HealthRegistry<String>,
    told: Receiver<Result<Vec<String>, String>>,
}

impl Running {
    fn start(name: &str, text: &str, variables: &[(&str, &str)]) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("node.toml");
        fs::write(&path, text).unwrap();
        let given = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let given: HashMap<_, _> = given.collect();
        let layer = move || environment(Some(given.clone()));
        let node = Node::start(Settings::read(&path, layer()).unwrap()).unwrap();
        let (registry, (tell, told)) = (node.registry().clone(), channel());
        thread::spawn(move || {
            let tells = |told| match tell.send(told) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            follow(&path, layer, node, tells).unwrap();
        });
        Self { folder, registry, told }
    }

    /// Puts a new file in the place of the old one, as editors do.
    fn write(&self, text: &str) {
        let new = self.folder.join("node.toml.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.join("node.toml")).unwrap();
    }

    fn told(&self) -> Result<Vec<String>, String> {
        self.told.recv_timeout(LIMIT).expect("the node has told nothing")
    }

    fn open_timeout(&self) -> Duration {
        self.registry.config().open_timeout
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The thread sees its file go, finds nobody to tell, and ends.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_change_is_taken_while_the_node_runs() {
    let running = Running::start("taken", "banned = ['eve']\nhealth.open_timeout = '2s'", &[]);
    assert_eq!(running.open_timeout(), Duration::from_secs(2));
    assert_eq!(running.registry.status(&"eve".into()), Status::ForcedOpen);
    running.write("banned = ['mallory']\nhealth.open_timeout = '9s'\ncoordinator.max_per_peer = 2");
    let changes = ["health", "eve is banned no more", "mallory is banned"];
    let told = running.told().unwrap();
    assert_eq!(told[..3], changes);
    assert_eq!(told[3..], ["coordinator, with the next start"]);
    assert_eq!(running.open_timeout(), Duration::from_secs(9));
    assert_eq!(running.registry.status(&"eve".into()), Status::Closed);
    assert_eq!(running.registry.status(&"mallory".into()), Status::ForcedOpen);
}

#[test]
fn a_broken_file_changes_nothing_and_the_reason_is_told() {
    let running = Running::start("broken", "health.open_timeout = '2s'", &[]);
    let broken = [
        (
            "[health]\nopen_timeout = '9s'\nwindow.sise = 5",
            "health.window.sise",
            "line 3, column 8",
        ),
        ("[health]\nopen_timeout = 9", "health.open_timeout", "line 2, column 16"),
        ("[health]\nopen_timeout = '9s", ".", "line 2, column 19"),
        ("[coordinator.budget]\nmax_tokens = 'x'", "coordinator.budget.max_tokens", "line 2"),
    ];
    for (text, field, line) in broken {
        running.write(text);
        let problem = running.told().unwrap_err();
        let (path, rest) = problem.split_once("node.toml: ").unwrap();
        assert!(path.ends_with("broken/") || path.ends_with("broken\\"), "{problem}");
        assert!(rest.starts_with(&format!("{field}: TOML parse error at {line}")), "{problem}");
        assert_eq!(running.open_timeout(), Duration::from_secs(2));
    }
    running.write("[health]\nopen_timeout = '9s'\nopen_jitter = 7");
    let senseless = "health.open_jitter is 7: must be from 0 to 1";
    assert_eq!(running.told().unwrap_err(), senseless);
    running.write("[health]\nopen_timeout = '9s'\n[coordinator]\nretry.jitter_factor = -1");
    let senseless = "coordinator.retry.jitter_factor is -1: must be finite and not negative";
    assert_eq!(running.told().unwrap_err(), senseless);
    fs::remove_file(running.folder.join("node.toml")).unwrap();
    running.told().unwrap_err();
    assert_eq!(running.open_timeout(), Duration::from_secs(2));
    running.write("[health]\nopen_timeout = '9s'");
    assert_eq!(running.told().unwrap(), ["health"]);
    assert_eq!(running.open_timeout(), Duration::from_secs(9));
}

#[test]
fn the_environment_wins_over_the_file() {
    let variables = [("NODE__HEALTH__OPEN_TIMEOUT", "3s"), ("NODE__BANNED", "eve,mallory")];
    let running = Running::start("environment", "health.open_timeout = '2s'", &variables);
    assert_eq!(running.open_timeout(), Duration::from_secs(3));
    assert_eq!(running.registry.status(&"mallory".into()), Status::ForcedOpen);
    running.write("health = { open_timeout = '9s', max_peers = 8 }");
    assert_eq!(running.told().unwrap(), ["health"]);
    let config = running.registry.config();
    assert_eq!((config.open_timeout, config.max_peers), (Duration::from_secs(3), 8));
}

#[test]
fn a_variable_that_means_nothing_is_refused_by_its_path() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join("variables.toml");
    fs::write(&path, "").unwrap();
    let read = |name: &str, value: &str| {
        let given = HashMap::from([(name.to_string(), value.to_string())]);
        Settings::read(&path, environment(Some(given))).unwrap_err()
    };
    let unknown = read("NODE__HEALTH__OPEN_MAXX", "1m");
    assert!(unknown.starts_with("the environment: health"), "{unknown}");
    assert!(unknown.contains("unknown field `open_maxx`"), "{unknown}");
    let unit = read("NODE__HEALTH__OPEN_MAX", "60");
    assert!(unit.starts_with("the environment: health.open_max: "), "{unit}");
    assert!(unit.contains("expected a duration with its unit, such as \"5s\""), "{unit}");
    println!("{unknown}\n{unit}");
}

/// What `--defaults` prints is a file that changes nothing.
#[test]
fn the_defaults_are_read_back() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("defaults.toml");
    fs::write(&path, toml::to_string(&Settings::default()).unwrap()).unwrap();
    let read = Settings::read(&path, environment(Some(HashMap::new()))).unwrap();
    assert_eq!(read, Settings::default());
}
