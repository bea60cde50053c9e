//! A thousand peers of which nine hundred are dead: what do the dead ones cost the others?
//!
//! ```text
//! cargo run --release --features iroh --example storm
//! ```
//!
//! One node asks its driver, four times a second, for a round with each of its peers. It does so
//! twice: with a hundred real iroh endpoints on loopback alone, and with nine hundred dead addresses
//! besides. Nothing fails fast here: a dial to a dead port ends at the attempt's deadline, and holds
//! one of the driver's concurrency slots until then. What keeps the slots free is the wait of each dead peer's
//! circuit, which doubles.
//!
//! Three criteria, measured and printed: with the dead ones present, the living ones make at least
//! four fifths of the rounds that they make without; dials to dead peers fall, the last third of the
//! time having less than a third of what the first third has; and in the second half of that time
//! the memory of the process grows by no more than a twentieth.

#[path = "../common/mod.rs"]
mod common;
mod node;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use iroh::endpoint::Incoming;
use iroh::{Endpoint, EndpointAddr, SecretKey};
use peer_health::Failure;

use crate::common::args::Args;
use crate::common::loopback::{self, dead_port, port};
use crate::common::{Error, frames};
use crate::node::{Measured, Run};

const USAGE: &str = "\
One node, living peers and dead ones: rounds, dials and memory, with the dead ones and without.

  --seconds N  how long each of the two runs takes, 9 to 3600 (60)
  --dead N     peers that are not there, 1 to 20000 (900)
  --living N   peers that are, 1 to 500 (100)

Exit code: 0 if all criteria are met, 1 if one is missed, 2 for a bad option.";

pub(crate) const ALPN: &[u8] = b"peer-health/storm/0";

struct Options {
    time: Duration,
    dead: usize,
    living: usize,
}

impl Options {
    fn parse(mut args: Args) -> Result<Option<Self>, String> {
        let mut options = Self { time: Duration::from_secs(60), dead: 900, living: 100 };
        while let Some(name) = args.next()? {
            match name.as_str() {
                "--seconds" => options.time = Duration::from_secs(args.number(9..=3600)?),
                "--dead" => options.dead = args.number(1..=20_000)?,
                "--living" => options.living = args.number(1..=500)?,
                "--help" | "-h" => return Ok(None),
                _ => return Err(args.unknown()),
            }
        }
        Ok(Some(options))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(Args::new()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "storm: {problem}");
            return ExitCode::from(2);
        }
    };
    match compare(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "storm: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Both runs; whether all criteria are met.
async fn compare(options: &Options) -> Result<bool, Error> {
    let mut living = Vec::new();
    for _ in 0..options.living {
        let endpoint = loopback::endpoint(&SecretKey::generate(), ALPN)?.bind().await?;
        living.push(EndpointAddr::new(endpoint.id()).with_ip_addr(port(&endpoint)?));
        tokio::spawn(answer(endpoint));
    }
    let mut dead = Vec::new();
    for _ in 0..options.dead {
        dead.push(EndpointAddr::new(SecretKey::generate().public()).with_ip_addr(dead_port()?));
    }
    say(format_args!("{} living peers, none dead:", living.len()));
    let without = Run::new(&living, &[]).await?.measure(options.time).await;
    say(format_args!("{} living peers, {} dead:", living.len(), dead.len()));
    let with = Run::new(&living, &dead).await?.measure(options.time).await;
    let criteria = [rounds(&with, &without), dials(&with), memory(&with)];
    for (met, what) in &criteria {
        say(format_args!("{} {what}", if *met { "met:   " } else { "MISSED:" }));
    }
    Ok(criteria.iter().all(|(met, _)| *met))
}

fn rounds(with: &Measured, without: &Measured) -> (bool, String) {
    let part = with.rounds as f64 / without.rounds.max(1) as f64;
    let (ours, theirs) = (with.rounds, without.rounds);
    (part >= 0.8, format!("rounds of the living: {ours} of {theirs}, {:.1} %", part * 100.0))
}

fn dials(with: &Measured) -> (bool, String) {
    let third = with.seconds.len() / 3;
    let dials = |seconds: std::ops::Range<usize>| -> u64 {
        with.seconds[seconds].iter().map(|second| second.dials).sum()
    };
    let (early, late) = (dials(0..third), dials(2 * third..3 * third));
    (late * 3 < early, format!("dials to the dead: {early} in the first third, {late} in the last"))
}

fn memory(with: &Measured) -> (bool, String) {
    let (half, end) = (with.seconds.get(with.seconds.len() / 2), with.seconds.last());
    let Some((half, end)) = half.and_then(|at| at.memory).zip(end.and_then(|at| at.memory)) else {
        return (true, "memory: not told by this system".into());
    };
    (end * 20 <= half * 21, format!("memory: {half} KiB at half-time, {end} KiB at the end"))
}

/// One of the living: sends back what it gets.
async fn answer(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move { echo(incoming).await.ok() });
    }
}

async fn echo(incoming: Incoming) -> Result<(), Failure> {
    let connection = incoming.await?;
    loop {
        let (mut out, mut back) = connection.accept_bi().await?;
        while let Some(body) = frames::receive(&mut back).await? {
            frames::send(&mut out, &body).await?;
        }
    }
}
