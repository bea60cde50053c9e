//! Makes small bugs in a copy of the library, one at a time, and runs the models on it: each must
//! be killed by one model at least. Prints who killed what.
//!
//! The bugs are those of `mutants.toml`, and one for each ordering of an atomic access that could be
//! weaker. A model that only explores fewer executions than it did before has killed nothing: it has
//! not found anything wrong.

mod list;
mod models;
mod orderings;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use list::{List, Mutant};
use models::{Copy, Fate};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
loom-tests/mutants/run [--third N] [--all] [NAME..]
loom-tests/mutants/run --check
loom-tests/mutants/run --apply NAME

  --third N   only every third mutant, beginning with the Nth (1 to 3)
  --all       names all models, otherwise three; each must have killed one at least
  --check     builds nothing: does each mutant apply?
  --apply     makes this one in the library itself, to be looked at
  NAME        only those whose names begin so; `ordering` are those that weaken an ordering

The models explore little at first, and all that they can only where that has killed nothing.
An ordering that may be weaker (`[[ordering]]`) is tried only if it is named.";

#[derive(Default)]
struct Options {
    third: usize,
    all: bool,
    check: bool,
    apply: bool,
    names: Vec<String>,
}

fn options() -> Option<Options> {
    let mut options = Options::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--third" => {
                options.third =
                    words.next()?.parse().ok().filter(|third| (1..=3).contains(third))?;
            }
            "--all" => options.all = true,
            "--check" => options.check = true,
            "--apply" => options.apply = true,
            name if !name.starts_with('-') => options.names.push(name.to_owned()),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// How much is wrong.
fn run(options: &Options) -> Result<usize> {
    // Where `cargo run` was called for this package; its parent is the library.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no library")?;
    let List { mut mutants, excused, complaints } = list::read(root)?;
    let mut bad = complaints.len();
    for complaint in complaints {
        println!("{complaint}");
    }
    let known = mutants.len() + excused.len();
    if options.check {
        println!("{known} mutants, {bad} do not apply");
        return Ok(bad);
    }

    if !options.names.is_empty() {
        mutants.extend(excused);
        let named = |name: &str| options.names.iter().any(|start| name.starts_with(start.as_str()));
        mutants.retain(|mutant| named(&mutant.name));
    }
    if options.apply {
        let [mutant] = mutants.as_slice() else { return Err("name one mutant".into()) };
        mutant.apply(root)?;
        println!("{} is in the library now", mutant.name);
        return Ok(0);
    }
    if options.third > 0 {
        let mut place = 0..;
        mutants.retain(|_| place.next().is_some_and(|place: usize| place % 3 == options.third - 1));
    }
    if mutants.is_empty() {
        return Err("no mutant of this name".into());
    }

    let count = mutants.len();
    let copy = Copy::new(root)?;
    let mut killers = fs::File::create(copy.scratch.join("killers"))?;
    let mut killed_something = BTreeSet::new();
    for bounded in [true, false] {
        if mutants.is_empty() {
            break;
        }
        let limit = copy.limit(bounded)?;
        let mut left = Vec::new();
        for mutant in mutants {
            let name = mutant.name.clone();
            match copy.fate(&mutant, bounded, limit)? {
                Fate::Killed(models) => {
                    writeln!(killers, "{name}: {}", models.join(" "))?;
                    let shown = if options.all { models.len() } else { models.len().min(3) };
                    println!("{name}: {}", models[..shown].join(" "));
                    killed_something.extend(models);
                    if mutant.excused {
                        println!(
                            "{name}: KILLED, though mutants.toml says that it changes nothing"
                        );
                        bad += 1;
                    }
                }
                Fate::Broken(why) => {
                    println!("{name}: {why}");
                    bad += 1;
                }
                Fate::Alive(_) if bounded => left.push(mutant),
                Fate::Alive(_) if mutant.excused => println!("{name}: changes nothing, as argued"),
                Fate::Alive(missed) => {
                    let only = match missed.as_slice() {
                        [] => String::new(),
                        _ => format!(" (only explored less: {})", missed.join(" ")),
                    };
                    println!("{name}: NOT KILLED{only}");
                    bad += 1;
                }
            }
        }
        mutants = left;
    }

    // Nothing shows that a model can fail if it has failed on none of all.
    if options.all && options.names.is_empty() && options.third == 0 {
        for model in copy.models()?.difference(&killed_something) {
            println!("{model}: HAS KILLED NOTHING");
            bad += 1;
        }
    }
    println!("{count} mutants, {bad} complaints");
    Ok(bad)
}

impl Mutant {
    /// Makes the bug in the file tree at `root`; what the files were is what `undo` takes.
    fn apply(&self, root: &Path) -> Result<Vec<(std::path::PathBuf, String)>> {
        let mut before = Vec::new();
        for edit in &self.edits {
            let path = root.join(&edit.file);
            let text = fs::read_to_string(&path)?;
            fs::write(&path, edit.apply(&text)?)?;
            before.push((path, text));
        }
        Ok(before)
    }
}
