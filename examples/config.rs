//! A node whose settings come from a file, with the environment on top, and change while it runs.
//!
//! ```text
//! cargo run --features serde,tokio --example config -- --defaults > node.toml
//! NODE__HEALTH__OPEN_MAX=1m cargo run --features serde,tokio --example config -- node.toml
//! ```
//!
//! The second command prints the settings and then whatever an edit of `node.toml` leads to. A file that
//! is broken, or whose values make no sense, changes nothing: the node keeps what it has, and the program
//! prints the field and the reason, and the line where the file does not parse. A variable of the environment wins over the file: its name
//! is `NODE`, the table and the field, with two underscores between them.
//!
//! Of these settings a running node takes `health` and `banned`. A coordinator is built once, so changes
//! of `coordinator` are checked, and wait for the next start.

use std::collections::{BTreeSet, HashMap};
use std::env;
use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, absolute};
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::thread::sleep;
use std::time::Duration;

use config::{Config, Environment, File, FileFormat};
use notify::{RecursiveMode, Watcher};
use peer_health::{CoordinatorConfig, HealthConfig, HealthRegistry, SyncCoordinator};
use serde::{Deserialize, Serialize};

/// An editor writes a file in several steps, which take less than this.
const SETTLED: Duration = Duration::from_millis(100);

/// All that the file may hold. What it leaves out keeps its default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The peers that are never called, until the file names them no more.
    pub(crate) banned: BTreeSet<String>,
    pub(crate) health: HealthConfig,
    pub(crate) coordinator: CoordinatorConfig,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("config: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(argument) = env::args().nth(1) else {
        return Err("usage: config FILE, or config --defaults, which prints such a file".into());
    };
    if argument == "--defaults" {
        print!("{}", toml::to_string(&Settings::default())?);
        return Ok(());
    }
    let path = Path::new(&argument);
    let environment = || environment(None);
    let node = Node::start(Settings::read(path, environment())?)?;
    println!("{argument}, and what the environment sets:\n\n{}", toml::to_string(&node.settings)?);
    follow(path, environment, node, |told| {
        match told {
            Ok(taken) => println!("taken: {}", taken.join(", ")),
            Err(problem) => println!("the old settings stay in place: {problem}"),
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

/// The layer above the file: the variables of the process, or others in their place.
pub(crate) fn environment(instead: Option<HashMap<String, String>>) -> Environment {
    let layer = Environment::with_prefix("NODE").separator("__").source(instead);
    layer.try_parsing(true).list_separator(",").with_list_parse_key("banned")
}

impl Settings {
    /// Reads the file and then the layers. The layers alone would do, but their errors name no line.
    pub(crate) fn read(path: &Path, environment: Environment) -> Result<Self, String> {
        let problem =
            |field: String, error: String| format!("{}: {field}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let file =
            toml::Deserializer::parse(&text).map_err(|e| problem(".".into(), e.to_string()))?;
        serde_path_to_error::deserialize::<_, Self>(file)
            .map_err(|e| problem(e.path().to_string(), e.inner().to_string()))?;
        let layers = Config::builder()
            .add_source(File::from_str(&text, FileFormat::Toml))
            .add_source(environment)
            .build()
            .map_err(|e| format!("the environment: {e}"))?;
        serde_path_to_error::deserialize(layers)
            .map_err(|e| format!("the environment: {}: {}", e.path(), e.inner()))
    }

    /// Builds what the settings describe, and says what makes no sense before anything changes.
    fn build(&self) -> Result<SyncCoordinator<String>, String> {
        let registry = HealthRegistry::builder().config(self.health.clone()).build();
        let registry = registry.map_err(|error| format!("health.{error}"))?;
        let coordinator = SyncCoordinator::builder(registry).config(self.coordinator.clone());
        coordinator.build().map_err(|error| format!("coordinator.{error}"))
    }
}

/// What runs with the settings. A real node has a driver, and calls its peers.
pub(crate) struct Node {
    coordinator: SyncCoordinator<String>,
    settings: Settings,
}

impl Node {
    pub(crate) fn start(settings: Settings) -> Result<Self, String> {
        let mut node = Self { coordinator: settings.build()?, settings: Settings::default() };
        node.take(settings)?;
        Ok(node)
    }

    pub(crate) fn registry(&self) -> &HealthRegistry<String> {
        self.coordinator.registry()
    }

    /// Takes all of the settings, or none, and says what has changed.
    fn take(&mut self, new: Settings) -> Result<Vec<String>, String> {
        new.build()?;
        let registry = self.registry();
        let mut changed = Vec::new();
        if new.health != self.settings.health {
            registry.set_config(new.health.clone()).map_err(|error| format!("health.{error}"))?;
            changed.push("health".into());
        }
        for peer in self.settings.banned.difference(&new.banned) {
            registry.reset(peer);
            changed.push(format!("{peer} is banned no more"));
        }
        for peer in new.banned.difference(&self.settings.banned) {
            changed.push(match registry.force_open(peer) {
                Ok(()) => format!("{peer} is banned"),
                Err(full) => format!("{peer} is not banned: {full}"),
            });
        }
        if new.coordinator != self.settings.coordinator {
            changed.push("coordinator, with the next start".into());
        }
        self.settings = new;
        Ok(changed)
    }
}

/// Takes the settings anew whenever the file has changed, and tells what was taken, or why nothing was.
///
/// The folder is watched: editors and deployments put a new file in the place of the old one, and a watch
/// of the old one would go with it. What else happens there leads to a look that finds nothing new.
pub(crate) fn follow(
    path: &Path,
    environment: impl Fn() -> Environment,
    mut node: Node,
    mut tell: impl FnMut(Result<Vec<String>, String>) -> ControlFlow<()>,
) -> Result<(), Box<dyn Error>> {
    let (wake, woken) = sync_channel(1);
    // Whatever has changed between the first look and the watch is found by a look of its own.
    wake.try_send(())?;
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // A look is an access too. An error says that events were lost: one more reason to look.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            let _ = wake.try_send(()); // one that waits already serves for both
        }
    })?;
    let folder = absolute(path)?;
    watcher.watch(folder.parent().unwrap_or(&folder), RecursiveMode::NonRecursive)?;
    let mut seen = Ok(node.settings.clone());
    while woken.recv().is_ok() {
        sleep(SETTLED);
        let found = Settings::read(path, environment());
        if found == seen {
            continue;
        }
        seen = found.clone();
        if tell(found.and_then(|settings| node.take(settings))).is_break() {
            break;
        }
    }
    Ok(())
}
