//! The copy of the library in which the bugs are made, and the models that run there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Result;
use crate::list::Mutant;

/// What `explore` of the models says of one that explored less than it should and found nothing.
const FLOOR: &str = " missed its floor";

pub(crate) struct Copy {
    pub(crate) scratch: PathBuf,
    tree: PathBuf,
    /// Locked while this exists: two runs in one copy would test each other's bugs.
    _lock: fs::File,
}

/// What the models say to a mutant.
pub(crate) enum Fate {
    /// By these models, or by words that say how it ended.
    Killed(Vec<String>),
    /// These models explored less than they should.
    Alive(Vec<String>),
    /// It does not compile, and says nothing about the models.
    Broken,
}

/// Whether the models compile with the bugs that could be made together.
pub(crate) struct Compiled<'m> {
    pub(crate) good: bool,
    pub(crate) made: Vec<&'m Mutant>,
    pub(crate) left: Vec<&'m Mutant>,
}

/// How a run of the models ended.
enum End {
    Passed,
    Failed { wrong: Vec<String>, missed: Vec<String> },
    Aborted,
    Endless,
    NotBuilt,
}

impl Copy {
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let scratch = std::env::var_os("MUTANTS_DIR")
            .map_or_else(|| std::env::temp_dir().join("peer-health-mutants"), PathBuf::from);
        let tree = scratch.join("copy");
        fs::create_dir_all(&tree)?;
        let lock = fs::File::create(scratch.join("lock"))?;
        lock.try_lock().map_err(|_| format!("another run works in {}", scratch.display()))?;
        mirror(root, &tree)?;
        Ok(Self { scratch, tree, _lock: lock })
    }

    /// How long the models may take: whether a mutant does not end is told by how long they take
    /// here without any.
    #[allow(clippy::disallowed_methods, reason = "says how long the models took")]
    pub(crate) fn limit(&self, bounded: bool) -> Result<Duration> {
        let (long, began) = (Duration::from_secs(1800), Instant::now());
        match self.run(bounded, false, long)? {
            End::Passed => {}
            End::Failed { wrong, missed } => {
                let failed = [wrong, missed].concat().join(" ");
                return Err(format!("the models fail without any mutant: {failed}").into());
            }
            End::Aborted | End::Endless | End::NotBuilt => {
                return Err("the models do not end well without any mutant".into());
            }
        }
        let given = std::env::var("MUTANT_SECONDS").ok().and_then(|text| text.parse().ok());
        let measured = Duration::from_secs(60) + 4 * began.elapsed();
        Ok(given.map_or(measured, Duration::from_secs))
    }

    /// Makes the bug, runs the models, all of them or until one has failed, and takes it back.
    pub(crate) fn fate(
        &self,
        mutant: &Mutant,
        bounded: bool,
        all: bool,
        limit: Duration,
    ) -> Result<Fate> {
        let before = mutant.apply(&self.tree)?;
        let end = self.run(bounded, !all, limit);
        restore(before)?;
        Ok(match end? {
            End::Passed => Fate::Alive(Vec::new()),
            End::Failed { wrong, missed } if wrong.is_empty() => Fate::Alive(missed),
            End::Failed { wrong, .. } => Fate::Killed(wrong),
            End::Aborted => Fate::Killed(vec!["an abort".into()]),
            End::Endless => Fate::Killed(vec!["a model that does not end".into()]),
            End::NotBuilt => Fate::Broken,
        })
    }

    /// Makes these bugs, as far as they leave each other's text alone, compiles the models, and takes
    /// the bugs back.
    pub(crate) fn compile<'m>(&self, mutants: &[&'m Mutant]) -> Result<Compiled<'m>> {
        let mut cargo = self.cargo("check", Duration::from_secs(600));
        cargo.stderr(fs::File::create(self.scratch.join("log"))?);
        let mut before = Vec::new();
        let apply =
            |mutant: &&Mutant| mutant.apply(&self.tree).map(|files| before.extend(files)).is_ok();
        let (made, left): (Vec<_>, Vec<_>) = mutants.iter().copied().partition(apply);
        let status = cargo.status();
        restore(before)?;
        if made.is_empty() && !left.is_empty() {
            return Err("no mutant applies to the copy".into());
        }
        Ok(Compiled { good: status?.success(), made, left })
    }

    /// The names of all models.
    pub(crate) fn models(&self) -> Result<BTreeSet<String>> {
        let output = self.tests(true, Duration::from_secs(1800)).arg("--list").output()?;
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(short).collect())
    }

    fn cargo(&self, subcommand: &str, limit: Duration) -> Command {
        // `timeout` ends what cargo has started, too.
        let mut cargo = Command::new("timeout");
        cargo
            .arg(limit.as_secs().to_string())
            .args(["cargo", subcommand, "--quiet", "--release", "--offline"])
            .args(["--config", r#"profile.release.package."*".opt-level = 1"#])
            .args(["-p", "loom-tests", "--test", "models"])
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", self.scratch.join("target"))
            .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true");
        cargo
    }

    fn tests(&self, bounded: bool, limit: Duration) -> Command {
        let mut cargo = self.cargo("test", limit);
        cargo
            // The tests in the library's own files are no models.
            .args(["--", "--skip", "production::"])
            .env("RUST_BACKTRACE", "0")
            // Most of the time would go into building. Only dependencies are worth it always.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", if bounded { "0" } else { "1" });
        cargo
    }

    /// Runs the models; if `bounded`, with few preemptions; if `first`, until one has failed.
    fn run(&self, bounded: bool, first: bool, limit: Duration) -> Result<End> {
        let (output, end) = std::io::pipe()?;
        let mut cargo = self.tests(bounded, limit);
        cargo.args(["--format", "pretty"]).stdout(end.try_clone()?).stderr(end);
        if bounded {
            cargo.env("MODELS_BOUNDED", "1");
        }
        let mut child = cargo.spawn()?;
        // It has the other end of the pipe.
        drop(cargo);
        let mut log = fs::File::create(self.scratch.join("log"))?;
        let (mut built, mut ended) = (false, false);
        let (mut wrong, mut missed) = (Vec::new(), Vec::new());
        for line in BufReader::new(output).lines() {
            let line = line?;
            writeln!(log, "{line}")?;
            let result = line.strip_prefix("test ").and_then(|test| test.split_once(" ... "));
            built |= line.starts_with("running ");
            ended |= line.starts_with("test result: ");
            match (line.strip_suffix(FLOOR), result) {
                (Some(model), _) => missed.push(short(model)),
                (_, Some((model, "FAILED"))) if !missed.contains(&short(model)) => {
                    wrong.push(short(model));
                    if first {
                        // `timeout` ends all that it has started.
                        Command::new("sh")
                            .args(["-c", &format!("kill {}", child.id())])
                            .status()?;
                        break;
                    }
                }
                _ => {}
            }
        }
        let code = child.wait()?.code();
        Ok(match code {
            _ if !built => End::NotBuilt,
            Some(0) => End::Passed,
            _ if ended || !wrong.is_empty() => End::Failed { wrong, missed },
            Some(124) => End::Endless,
            _ => End::Aborted,
        })
    }
}

fn short(model: &str) -> String {
    model.rsplit("::").next().unwrap_or_default().to_owned()
}

/// Takes bugs back: gives files the texts that they had before.
fn restore(before: Vec<(PathBuf, String)>) -> Result<()> {
    for (path, text) in before.into_iter().rev() {
        fs::write(path, text)?;
    }
    Ok(())
}

/// Makes one file tree like another, but for builds and the history. Files that are alike stay as
/// they are, so that what was built of them need not be built again.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    let skipped = |name: &str| ["target", ".git"].contains(&name);
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let gone = !from.join(entry.file_name()).exists();
        match entry.file_type()?.is_dir() {
            true if gone => fs::remove_dir_all(entry.path())?,
            false if gone => fs::remove_file(entry.path())?,
            _ => {}
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if skipped(&entry.file_name().to_string_lossy()) {
            continue;
        }
        if kind.is_dir() {
            mirror(&source, &target)?;
        } else if kind.is_file() {
            let text = fs::read(&source)?;
            if fs::read(&target).ok().as_ref() != Some(&text) {
                fs::write(&target, text)?;
            }
        }
    }
    Ok(())
}
