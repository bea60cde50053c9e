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
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use list::{List, Mutant};
use models::{Compiled, Copy, Fate};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
loom-tests/mutants/run [--third N] [--all] [NAME..]
loom-tests/mutants/run --check
loom-tests/mutants/run --apply NAME

  --third N   only every third mutant, beginning with the Nth (1 to 3)
  --all       names all models, not the first alone; each must have killed one at least
  --check     runs no model: does each mutant apply, and do the models compile with it?
  --apply     makes this one in the library itself, to be looked at
  NAME        only those whose names begin with these words: `P4`, `ordering-src/window.rs`

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
    for complaint in &complaints {
        println!("{complaint}");
    }
    if options.check {
        let (count, broken) = (mutants.len() + excused.len(), check(root, &mutants)?);
        println!("{count} mutants, {} complaints", complaints.len() + broken);
        return Ok(complaints.len() + broken);
    }

    if !options.names.is_empty() {
        mutants.extend(excused);
        mutants.retain(|mutant| options.name(&mutant.name));
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
    let mut killed = fs::File::create(copy.scratch.join("killers"))?;
    let (mut bad, mut killers) = (complaints.len(), BTreeSet::new());
    for bounded in [true, false] {
        if mutants.is_empty() {
            break;
        }
        let limit = copy.limit(bounded)?;
        let mut left = Vec::new();
        for mutant in mutants {
            let fate = copy.fate(&mutant, bounded, options.all, limit)?;
            if let Fate::Killed(models) = &fate {
                writeln!(killed, "{}: {}", mutant.name, models.join(" "))?;
                killers.extend(models.iter().cloned());
            }
            match fate {
                Fate::Alive(_) if bounded => left.push(mutant),
                fate => bad += usize::from(!tell(&mutant, &fate)),
            }
        }
        mutants = left;
    }

    // Nothing shows that a model can fail if it has failed on none of all.
    if options.all && options.names.is_empty() && options.third == 0 {
        for model in copy.models()?.difference(&killers) {
            println!("{model}: HAS KILLED NOTHING");
            bad += 1;
        }
    }
    println!("{count} mutants, {bad} complaints");
    Ok(bad)
}

/// How many of these do not compile, of those that were written down: one that the orderings gave does.
fn check(root: &Path, mutants: &[Mutant]) -> Result<usize> {
    let copy = Copy::new(root)?;
    broken(&copy, &[])?;
    broken(&copy, &mutants.iter().filter(|mutant| mutant.written()).collect::<Vec<_>>())
}

/// How many of these do not compile: all are made together, and halves of them where that fails.
fn broken(copy: &Copy, mutants: &[&Mutant]) -> Result<usize> {
    let Compiled { good, made, left } = copy.compile(mutants)?;
    let mut count = match made.as_slice() {
        _ if good => 0,
        [] => return Err("the models do not compile without any mutant".into()),
        [mutant] => usize::from(!tell(mutant, &Fate::Broken)),
        made => {
            let (some, others) = made.split_at(made.len() / 2);
            broken(copy, some)? + broken(copy, others)?
        }
    };
    if !left.is_empty() {
        count += broken(copy, &left)?;
    }
    Ok(count)
}

/// Prints what became of a mutant; whether it is what should.
fn tell(mutant: &Mutant, fate: &Fate) -> bool {
    let (good, what) = match fate {
        Fate::Killed(models) if mutant.excused => {
            (false, format!("KILLED, though it is said to change nothing: {}", models.join(" ")))
        }
        Fate::Killed(models) => (true, models.join(" ")),
        Fate::Alive(_) if mutant.excused => (true, "changes nothing, as argued".into()),
        Fate::Alive(missed) if missed.is_empty() => (false, "NOT KILLED".into()),
        Fate::Alive(missed) => {
            (false, format!("NOT KILLED, only explored less: {}", missed.join(" ")))
        }
        Fate::Broken => (false, "DOES NOT COMPILE".into()),
    };
    println!("{}: {what}", mutant.name);
    good
}

impl Options {
    /// Whether this was asked for: by its first words.
    fn name(&self, name: &str) -> bool {
        let begins = |first: &String| {
            name.strip_prefix(first).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        self.names.iter().any(begins)
    }
}

impl Mutant {
    /// Makes the bug in the file tree at `root`. Gives what the files were.
    fn apply(&self, root: &Path) -> Result<Vec<(PathBuf, String)>> {
        let mut before = Vec::new();
        for (path, text) in self.files(root)? {
            before.push((path.clone(), fs::read_to_string(&path)?));
            fs::write(path, text)?;
        }
        Ok(before)
    }
}
