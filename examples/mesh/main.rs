//! A mesh of real iroh nodes on loopback. Each has an Automerge document that it keeps in sync with
//! a few neighbours, over QUIC, while some nodes send garbage, fall silent, go away and come back,
//! refuse, damage what they send, or were never there.
//!
//! ```text
//! cargo run --release --features iroh --example mesh
//! cargo run --release --features iroh --example mesh -- --gate sync-errors
//! cargo run --release --features iroh --example mesh -- --serve 127.0.0.1:8080 --hold
//! ```
//!
//! A node asks a driver for a sync with its neighbours, now and then (`calls.rs`): whom to call, and
//! when, is what the driver and its registry make of it. The mesh has converged when every healthy
//! node holds what every healthy node wrote, every circuit between them is closed, and every node
//! that stays bad is kept out by all of its neighbours. With `--gate sync-errors` the same nodes run
//! on the design that this library replaces, with a loop of their own, and do not get there. With
//! `--serve` each node has a live view in a browser (`serve.rs`).

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod judge;
mod layout;
mod mesh;
mod node;
mod options;
mod picture;
mod serve;
mod view;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::signal::ctrl_c;
use tokio::time::{MissedTickBehavior, interval};

use crate::common::Error;
use crate::common::args::Args;
use crate::layout::Layout;
use crate::mesh::Mesh;
use crate::options::Options;
use crate::picture::Picture;
use crate::view::{Screen, say};

/// How often the mesh is looked at, and how many times in a row it has to look right: half-open
/// circuits and documents change all the time, and one lucky look is no proof.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOKS: u32 = 5;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(Args::new()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            say(options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => return complain(2, &problem),
    };
    let mut rng = StdRng::seed_from_u64(options.seed);
    let layout = match Layout::new(options.nodes, options.degree, &options.faults, &mut rng) {
        Ok(layout) => layout,
        Err(problem) => return complain(2, &problem),
    };
    match run(&options, layout, &mut rng).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => complain(1, &error.to_string()),
    }
}

fn complain(code: u8, problem: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "mesh: {problem}");
    ExitCode::from(code)
}

/// Runs the mesh until it has converged, the limit is reached, or Ctrl-C; with `--hold` until Ctrl-C
/// whatever comes before. Returns whether it converged.
async fn run(options: &Options, layout: Layout, rng: &mut StdRng) -> Result<bool, Error> {
    let mut mesh = Mesh::start(options, layout, rng).await?;
    let served = match options.serve {
        Some(at) => Some(serve::serve(at, &mesh).await?),
        None => None,
    };
    let note = served.map(|url| format!("watch it at {url}")).unwrap_or_default();
    let mut screen = Screen::new(options.plain, note);
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupted = std::pin::pin!(ctrl_c());
    let (mut right, mut verdict) = (0, None);
    let (mut picture, verdict) = loop {
        let stop = tokio::select! {
            _ = ticks.tick() => false,
            _ = &mut interrupted => true,
        };
        if let Some(error) = mesh.trouble() {
            return Err(error);
        }
        let picture = Picture::of(&mut mesh);
        screen.show(&picture);
        right = if picture.missing.is_empty() { right + 1 } else { 0 };
        if picture.at >= options.limit {
            verdict = verdict.or(Some("not converged within the limit"));
        } else if right == LOOKS {
            verdict = verdict.or(Some("converged"));
        }
        if let Some(verdict) = verdict.filter(|_| stop || !options.hold) {
            break (picture, verdict);
        } else if stop {
            break (picture, "interrupted");
        }
    };
    mesh.stop().await;
    drop(screen); // back to the terminal's own page
    let converged = verdict == "converged";
    if !converged && picture.missing.is_empty() {
        picture.missing.push("it looks right, but has not for a whole second".into());
    }
    say(format_args!("\n{}\n", view::table(&picture).join("\n")));
    say(format_args!("{}: {verdict}", view::summary(&picture)));
    for missing in &picture.missing {
        say(format_args!("missing: {missing}"));
    }
    Ok(converged)
}
