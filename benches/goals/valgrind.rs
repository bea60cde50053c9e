//! What valgrind counts: exact, whatever else the machine does.
//!
//! This program runs itself under valgrind, and is told by its first argument what to do there.

use std::process::{Child, Command, Stdio};
use std::{env, fs};

use crate::baseline::{AddFloor, ByHandle, ById, Contender, MapFloor, Setup};
use crate::measure::{Driver, Mix, Route, Trouble, Work};
use crate::million::{Bytes, failed, filled, ours, theirs};
use peer_health::{Clock, HealthRegistry};

/// The word by which this program knows that it is such a child; what to do and how often follow.
pub(crate) const CHILD: &str = "--child";

/// Told by a child that keeps peers, in KiB.
pub(crate) const RESIDENT: &str = "resident:";

/// A child that was started.
pub(crate) struct Run(Child);

impl Run {
    /// Starts a child; several may run at the same time, as nothing is timed.
    fn start(command: &mut Command, what: &str, count: u64) -> std::io::Result<Self> {
        let command = command.args([CHILD, what, &count.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map(Self)
    }

    fn counted(tool: &[&str], what: &str, count: u64) -> Result<Self, Trouble> {
        let program = env::current_exe()?;
        let run = Self::start(Command::new("valgrind").args(tool).arg(program), what, count);
        run.map_err(|error| {
            format!("valgrind does not start: {error}; on Debian: apt-get install valgrind").into()
        })
    }

    /// Counts instructions.
    pub(crate) fn instructions(what: &str, count: u64) -> Result<Self, Trouble> {
        Self::counted(&["--tool=callgrind", "--callgrind-out-file=/dev/null"], what, count)
    }

    /// Counts bytes that are allocated at the end, as they were asked for.
    pub(crate) fn memory(what: &str, count: u64) -> Result<Self, Trouble> {
        let tool = ["--tool=memcheck", "--leak-check=no", "--undef-value-errors=no"];
        Self::counted(&tool, what, count)
    }

    /// Without valgrind: what the process takes.
    pub(crate) fn bare(what: &str, count: u64) -> Result<Self, Trouble> {
        Ok(Self::start(&mut Command::new(env::current_exe()?), what, count)?)
    }

    /// The number that is told after these words.
    pub(crate) fn number(self, words: &str) -> Result<f64, Trouble> {
        let output = self.0.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let told = said.lines().find_map(|line| line.split_once(words));
        match told.and_then(|(_, rest)| rest.split_whitespace().next()) {
            Some(number) if output.status.success() => Ok(number.replace(',', "").parse()?),
            _ => Err(format!("nothing was told of \"{words}\": {said}").into()),
        }
    }
}

/// In the child.
pub(crate) fn child(what: &str, count: &str) -> Result<(), Trouble> {
    let count = count.parse()?;
    match what {
        "handle" => calls::<ByHandle>(count),
        "id" => calls::<ById>(count),
        "map-floor" => calls::<MapFloor>(count),
        "add-floor" => calls::<AddFloor>(count),
        "million-ours" => keep(filled(ours(Clock::monotonic())?, count)),
        "million-failed" => keep(failed(ours(Clock::monotonic())?, count)),
        "empty" => keep((0..count).map(|_| HealthRegistry::<Bytes>::new()).collect::<Vec<_>>()),
        "million-theirs" => keep(filled(theirs(), count)),
        _ => Err(format!("nobody is called {what}").into()),
    }
}

fn calls<C: Contender>(stretches: u64) -> Result<(), Trouble> {
    let work = Work::guard(Mix::healthy(), Route::hot()?);
    let setup = Setup::of(work.route.peers());
    let mut driver = Driver::new(C::new(&setup).caller(&setup.peers[0]), &work, 0);
    for _ in 0..stretches {
        driver.stretch();
    }
    Ok(())
}

/// Leaves it allocated to the end; tells what the process takes.
fn keep<T>(filled: T) -> Result<(), Trouble> {
    let status = fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    eprintln!("{RESIDENT}{}", resident.unwrap_or_default());
    std::mem::forget(filled);
    Ok(())
}
