//! The mutants: those that are written down, and those that follow from the orderings.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Result, orderings};

/// `mutants.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    mutant: Vec<WrittenMutant>,
    #[serde(default)]
    ordering: Vec<Excuse>,
}

/// A mutant of one edit, or of several.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMutant {
    name: String,
    why: String,
    file: Option<String>,
    within: Option<String>,
    find: Option<String>,
    replace: Option<String>,
    #[serde(default)]
    edits: Vec<Edit>,
}

/// An ordering that may be weaker: the one within `find`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Excuse {
    pub(crate) file: String,
    pub(crate) find: String,
    pub(crate) to: Vec<String>,
    argument: String,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    pub(crate) file: String,
    /// Before the block in which `find` is, if it may be elsewhere as well.
    within: Option<String>,
    find: String,
    replace: String,
    /// Where `find` is, if that is known.
    #[serde(skip)]
    at: Option<usize>,
}

pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) edits: Vec<Edit>,
    /// Whether it is argued to change nothing.
    pub(crate) excused: bool,
}

pub(crate) struct List {
    pub(crate) mutants: Vec<Mutant>,
    /// Of those that are argued to change nothing.
    pub(crate) excused: Vec<Mutant>,
    /// What does not apply.
    pub(crate) complaints: Vec<String>,
}

impl Edit {
    pub(crate) fn at(file: &str, at: usize, find: &str, replace: &str) -> Self {
        let (file, find, replace) = (file.to_owned(), find.to_owned(), replace.to_owned());
        Self { file, within: None, find, replace, at: Some(at) }
    }

    /// The text with this edit.
    pub(crate) fn apply(&self, text: &str) -> Result<String> {
        let at = self.at.map_or_else(|| self.place(text), Ok)?;
        let (before, after) = (&text[..at], &text[at + self.find.len()..]);
        Ok(format!("{before}{}{after}", self.replace))
    }

    fn place(&self, text: &str) -> Result<usize> {
        let only = |text, find: &str| {
            only(text, find).map_err(|n| format!("{n} MATCHES in {} of: {find}", self.file))
        };
        let Some(within) = &self.within else { return Ok(only(text, &self.find)?) };
        let from = only(text, within)?;
        Ok(from + only(&text[from..from + block(&text[from..])], &self.find)?)
    }
}

/// Where the first block in braces of this text ends, or the item before any block.
pub(crate) fn block(text: &str) -> usize {
    let mut depth = 0;
    for (n, byte) in text.bytes().enumerate() {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        if depth == 0 && (byte == b'}' || byte == b';') {
            return n + 1;
        }
    }
    text.len()
}

/// Where this is, if it is there exactly once; otherwise how often.
pub(crate) fn only(text: &str, find: &str) -> std::result::Result<usize, usize> {
    match text.match_indices(find).collect::<Vec<_>>().as_slice() {
        [(at, _)] => Ok(*at),
        all => Err(all.len()),
    }
}

impl WrittenMutant {
    fn mutant(self) -> Result<Mutant> {
        let Self { name, why, file, within, find, replace, mut edits } = self;
        if why.is_empty() {
            return Err(format!("{name}: WITHOUT A REASON").into());
        }
        match (file, find, replace) {
            (Some(file), Some(find), Some(replace)) if edits.is_empty() => {
                edits.push(Edit { file, within, find, replace, at: None });
            }
            (None, None, None) if !edits.is_empty() => {}
            _ => return Err(format!("{name}: EITHER file, find, replace OR edits").into()),
        }
        Ok(Mutant { name, edits, excused: false })
    }
}

impl Mutant {
    /// Whether it was written down for a code that may have changed since.
    pub(crate) fn written(&self) -> bool {
        self.edits.iter().all(|edit| edit.at.is_none())
    }

    /// The files with this mutant, one edit after the other, in the file tree at `root`.
    pub(crate) fn files(&self, root: &Path) -> Result<Vec<(PathBuf, String)>> {
        let mut files: Vec<(PathBuf, String)> = Vec::new();
        for edit in &self.edits {
            let path = root.join(&edit.file);
            let place = match files.iter().position(|(other, _)| *other == path) {
                Some(place) => place,
                None => {
                    let text = fs::read_to_string(&path)?;
                    files.push((path, text));
                    files.len() - 1
                }
            };
            files[place].1 = edit.apply(&files[place].1)?;
        }
        Ok(files)
    }

    /// Whether it applies, and changes something.
    fn check(&self, root: &Path) -> Result<()> {
        for (path, text) in self.files(root)? {
            if fs::read_to_string(&path)? == text {
                return Err(format!("CHANGES NOTHING in {}", path.display()).into());
            }
        }
        Ok(())
    }
}

/// All that there are for the library at `root`.
pub(crate) fn read(root: &Path) -> Result<List> {
    let text = fs::read_to_string(root.join("loom-tests/mutants.toml"))?;
    let written: Written = toml::from_str(&text)?;
    let mut list = List { mutants: Vec::new(), excused: Vec::new(), complaints: Vec::new() };
    for mutant in written.mutant {
        let mutant = mutant.mutant()?;
        if list.mutants.iter().any(|other| other.name == mutant.name) {
            list.complaints.push(format!("{}: THERE TWICE", mutant.name));
        }
        match mutant.check(root) {
            Ok(()) => list.mutants.push(mutant),
            Err(error) => list.complaints.push(format!("{}: {error}", mutant.name)),
        }
    }
    orderings::add(root, &written.ordering, &mut list)?;
    Ok(list)
}

impl Excuse {
    /// Whether it says something, and of which place.
    pub(crate) fn place(&self, text: &str) -> Result<(usize, usize)> {
        let Self { file, find, to, argument } = self;
        let name = format!("[[ordering]] to {} in {file}: {find}", to.join(", "));
        if argument.is_empty() {
            return Err(format!("{name}: WITHOUT AN ARGUMENT").into());
        }
        let at = only(text, find).map_err(|n| format!("{name}: {n} MATCHES"))?;
        Ok((at, at + find.len()))
    }
}
