//! What others took of a thread's core.

use std::fs;
use std::time::Duration;

use super::Trouble;

/// What the system says about this thread and its core.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    /// How often the core was taken from it.
    pub(crate) switches: u64,
    /// How long it was ready to run and did not.
    pub(crate) waited: Duration,
}

impl Taken {
    pub(crate) fn so_far() -> Result<Self, Trouble> {
        let read = |file| {
            fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))
        };
        let status = read("/proc/thread-self/status")?;
        let switches = status.lines().find_map(|l| l.strip_prefix("nonvoluntary_ctxt_switches:"));
        let stat = read("/proc/thread-self/schedstat")?;
        let waited = stat.split_whitespace().nth(1);
        let (Some(switches), Some(waited)) = (switches, waited) else {
            return Err("the system does not say who had the core".into());
        };
        let waited = Duration::from_nanos(waited.parse()?);
        Ok(Self { switches: switches.trim().parse()?, waited })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        let waited = self.waited.saturating_sub(before.waited);
        Self { switches: self.switches - before.switches, waited }
    }
}
