//! The wide table: every workload over every design, by processor time and by the tail.
//!
//! `cargo bench --features endpoint-id --bench contention` measures and writes `contention.json` into
//! cargo's target folder, after minutes; with `-- --quick`, in less care and time. `-- --draw`
//! measures nothing: it takes that file to `doc/contention.json`, and draws `doc/contention.svg` and
//! `doc/tail.svg` from it.

#[allow(dead_code, unused_imports, reason = "shared with another program: each uses its part")]
#[path = "../baseline/mod.rs"]
mod baseline;
mod cell;
mod draw;
#[allow(dead_code, unused_imports, reason = "shared with another program: each uses its part")]
#[path = "../measure/mod.rs"]
mod measure;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use measure::Trouble;
use table::Effort;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let has = |wanted: &str| args.iter().any(|arg| arg == wanted);
    let done = if has("--draw") { draw() } else { measure(has("--quick")) };
    done.map_or_else(
        |trouble| {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn data() -> Result<PathBuf, Trouble> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target folder")?;
    Ok(folder.join("contention.json"))
}

fn measure(quick: bool) -> Result<(), Trouble> {
    let effort = if quick {
        Effort { rounds: 1, time: Duration::from_millis(20), calls: 5 }
    } else {
        Effort { rounds: 5, time: Duration::from_millis(80), calls: 50 }
    };
    let table = table::measure(effort)?;
    fs::write(data()?, serde_json::to_string_pretty(&table)?)?;
    Ok(())
}

fn draw() -> Result<(), Trouble> {
    let doc = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc");
    let text = fs::read_to_string(data()?)
        .map_err(|error| format!("no data: {error}; measure first, without --draw"))?;
    let table = serde_json::from_str(&text)?;
    draw::costs(&table, &doc.join("contention.svg"))?;
    draw::tails(&table, &doc.join("tail.svg"))?;
    fs::write(doc.join("contention.json"), text)?;
    Ok(())
}
