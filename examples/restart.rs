//! A node that keeps what it knows of its peers: across a restart, and across being killed.
//!
//! ```text
//! cargo run --features serde --example restart -- peers.json
//! ```
//!
//! Nine of its ten peers are dead. End it by Ctrl-C or kill it while it writes, and start it again: whom it
//! left alone it leaves alone for the rest of the wait, and nobody else. `tests/restart` does so.

#![allow(dead_code, reason = "the test uses a part")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use peer_health::{CallError, HealthConfig, HealthRegistry, Saved, Status, SyncError};
use tokio::time::{MissedTickBehavior, interval};

/// What anything here may fail with.
pub(crate) type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Reads what an earlier process saved, and how long ago; `None` if the system's clock went back since.
/// Nothing, if there is no file.
pub(crate) fn load(path: &Path) -> Result<(Vec<Saved<String>>, Option<Duration>), Trouble> {
    let file = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), None)),
        read => read?,
    };
    let (at, saved): (SystemTime, Vec<Saved<String>>) = serde_json::from_slice(&file)?;
    Ok((saved, at.elapsed().ok()))
}

/// Writes what is known of all peers. Whoever reads the file finds all of the old one or all of the new one,
/// whenever this process, or the machine, ends.
#[allow(clippy::disallowed_methods, reason = "a downtime is told by the system's date")]
pub(crate) fn save(registry: &HealthRegistry<String>, path: &Path) -> Result<(), Trouble> {
    let saved = serde_json::to_vec(&(SystemTime::now(), registry.export()))?;
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(&saved)?;
    file.sync_all()?; // the content is on the disk before the name is
    fs::rename(&temporary, path)?;
    #[cfg(unix)] // and the name, too, when this returns
    File::open(
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    )?
    .sync_all()?;
    Ok(())
}

/// Calls the peers again and again until `end`; saves what is known of them each time `every` has passed, and
/// at the end.
pub(crate) async fn run(
    path: &Path,
    config: HealthConfig,
    every: Duration,
    peers: &[String],
    call: impl Fn(&str) -> Result<(), SyncError>,
    end: impl Future<Output = ()>,
) -> Result<(), Trouble> {
    let (saved, downtime) = load(path).unwrap_or_else(|error| {
        eprintln!("{} cannot be read, and is not heeded: {error}", path.display());
        Default::default()
    });
    println!("{} peers are known, down for {downtime:?}", saved.len());
    let registry = HealthRegistry::builder().config(config).restore(saved, downtime).build()?;
    let mut rounds = interval(Duration::from_secs(1).min(every));
    let mut saves = interval(every);
    saves.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = saves.tick() => {
                let (registry, to) = (registry.clone(), path.to_path_buf());
                let saved = tokio::task::spawn_blocking(move || save(&registry, &to)).await?;
                // A full disk is no reason to end a node: the next save may find room.
                saved.unwrap_or_else(|error| eprintln!("{} is not written: {error}", path.display()));
            }
            _ = rounds.tick() => {
                let mut ended = BTreeMap::new();
                for peer in peers {
                    let how = match registry.call(peer, || call(peer)) {
                        Ok(()) => "answered",
                        Err(CallError::Refused(_)) => "left alone",
                        Err(_) => "failed",
                    };
                    *ended.entry(how).or_insert(0) += 1;
                }
                let is_open = |peer: &&String| registry.status(peer) != Status::Closed;
                println!("{ended:?}, {} open", peers.iter().filter(is_open).count());
            }
        }
    }
    save(&registry, path)
}

#[tokio::main]
async fn main() -> Result<(), Trouble> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "peers.json".into());
    let peers: Vec<_> = (0..100).map(|n| format!("peer-{n}")).collect();
    let call = |peer: &str| match peer.ends_with('7') {
        true => Ok(()),
        false => Err(SyncError::Network("no answer".into())),
    };
    let end = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    let (config, every) = (HealthConfig::default(), Duration::from_secs(10));
    run(Path::new(&path), config, every, &peers, call, end).await
}
