//! The machine and the moment, for those who read the figures.

use std::process::Command;
use std::time::SystemTime;

/// "AMD EPYC, 2 cores".
pub(crate) fn name() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("unknown processor", |p| p.1);
    format!("{model}, {cores} cores")
}

/// "2026-11-23".
#[allow(clippy::disallowed_methods, reason = "for display only")]
pub(crate) fn today() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string().chars().take(10).collect()
}

/// The commit that is checked out, if there is one.
pub(crate) fn commit() -> Option<String> {
    let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(git.stdout).ok()?.trim().to_string();
    git.status.success().then_some(commit)
}
