//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::args::Args;
use crate::faults::{self, Fault};

pub(crate) const USAGE: &str = "\
Real iroh nodes on loopback keep an Automerge document in sync while some of them fail.

  --nodes N      nodes in the mesh, 3 to 200 (12)
  --degree N     neighbours of each node: a ring, and chords (3)
  --seconds N    the limit, 1 to 3600 (45)
  --seed N       decides keys, chords, who fails, and when calls are made (1)
  --faults LIST  who fails, one node each, separated by commas, or none
                 (garbage,silent,down,refuse,corrupt,dead)
  --plain        lines instead of a live table, as in a pipe
  --gate NAME    ours: this library (the default)
                 sync-errors: the design it replaces, as its caller uses it
  --serve ADDR   a live view of each node in a browser, on loopback (127.0.0.1:8080)
  --hold         go on after the end, until Ctrl-C

Exit code: 0 if the mesh converged within the limit, 1 if not, 2 for a bad option.";

/// Which design decides who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Design {
    Ours,
    SyncErrors,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) nodes: usize,
    pub(crate) degree: usize,
    pub(crate) limit: Duration,
    pub(crate) seed: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) plain: bool,
    pub(crate) gate: Design,
    pub(crate) serve: Option<SocketAddr>,
    pub(crate) hold: bool,
}

impl Options {
    /// `None` if help was asked for; else the options, or what is wrong with which of them.
    pub(crate) fn parse(mut args: Args) -> Result<Option<Self>, String> {
        let mut options = Self {
            nodes: 12,
            degree: 3,
            limit: Duration::from_secs(45),
            seed: 1,
            faults: Fault::ALL.to_vec(),
            plain: false,
            gate: Design::Ours,
            serve: None,
            hold: false,
        };
        while let Some(name) = args.next()? {
            match name.as_str() {
                "--nodes" => options.nodes = args.number(3..=200)?,
                "--degree" => options.degree = args.number(2..=199)?,
                "--seconds" => options.limit = Duration::from_secs(args.number(1..=3600)?),
                "--seed" => options.seed = args.number(0..=u64::MAX)?,
                "--faults" => options.faults = faults::parse(&name, &args.value()?)?,
                "--gate" => options.gate = design(&name, &args.value()?)?,
                "--serve" => options.serve = Some(loopback(&name, &args.value()?)?),
                "--hold" => options.hold = true,
                "--plain" => options.plain = true,
                "--help" | "-h" => return Ok(None),
                _ => return Err(args.unknown()),
            }
        }
        if options.degree >= options.nodes {
            let Self { degree, nodes, .. } = options;
            return Err(format!(
                "--degree {degree}: must be less than the {nodes} nodes of --nodes"
            ));
        }
        if options.serve.is_some() && options.gate != Design::Ours {
            return Err("--serve: there is a view of --gate ours alone".into());
        }
        Ok(Some(options))
    }
}

fn loopback(name: &str, text: &str) -> Result<SocketAddr, String> {
    let at = text.parse().ok().filter(|at: &SocketAddr| at.ip().is_loopback());
    at.ok_or_else(|| format!("{name} {text}: must be an address of loopback with a port"))
}

fn design(name: &str, text: &str) -> Result<Design, String> {
    match text {
        "ours" => Ok(Design::Ours),
        "sync-errors" => Ok(Design::SyncErrors),
        _ => Err(format!("{name} {text}: must be ours or sync-errors")),
    }
}
