//! The orderings of the files that the models compile: each that is not Relaxed could be weaker.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::list::{Edit, Excuse, List, Mutant, block};

/// What each ordering may be weakened to.
const WEAKER: [(&str, &[&str]); 4] = [
    ("Acquire", &["Relaxed"]),
    ("Release", &["Relaxed"]),
    ("AcqRel", &["Acquire", "Release", "Relaxed"]),
    ("SeqCst", &["AcqRel"]),
];

/// Adds a mutant for each of them.
pub(crate) fn add(root: &Path, excuses: &[Excuse], list: &mut List) -> Result<()> {
    let mut used = vec![false; excuses.len()];
    for path in files(root)? {
        let file = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&path)?;
        let mut excused = Vec::new();
        for (n, excuse) in excuses.iter().enumerate().filter(|(_, excuse)| excuse.file == file) {
            match excuse.place(&text) {
                Ok((from, to)) => excused.push((n, from..to, &excuse.to)),
                Err(error) => {
                    used[n] = true;
                    list.complaints.push(error.to_string());
                }
            }
        }
        for (at, edit, from, to) in weakened(&file, &text) {
            let line = text[..at].lines().count();
            let column = at - text[..at].rfind('\n').map_or(0, |end| end + 1);
            let name = format!("ordering-{file}:{line}:{column}-{from}-to-{to}");
            let mut mutant = Mutant { name, edits: vec![edit], excused: false };
            for (n, range, excused_to) in &excused {
                if range.contains(&at) && excused_to.iter().any(|excused| excused == to) {
                    used[*n] = true;
                    mutant.excused = true;
                }
            }
            if mutant.excused { &mut list.excused } else { &mut list.mutants }.push(mutant);
        }
    }
    for (excuse, _) in excuses.iter().zip(used).filter(|(_, used)| !used) {
        let Excuse { file, find, to, .. } = excuse;
        let complaint =
            format!("[[ordering]] to {} in {file}: NO SUCH ORDERING in: {find}", to.join(", "));
        list.complaints.push(complaint);
    }
    Ok(())
}

/// Each way in which one ordering of this file may be weakened: where it is, the edit, from, to.
fn weakened(file: &str, text: &str) -> Vec<(usize, Edit, &'static str, &'static str)> {
    let code = code(text);
    let mut all = Vec::new();
    for (at, path) in code.match_indices("Ordering::") {
        let rest = &code[at + path.len()..];
        let word = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        for (from, weaker) in WEAKER.iter().filter(|(from, _)| *from == word) {
            // There is no relaxed fence: it is left out.
            let fence = code[..at].ends_with("fence(");
            for to in *weaker {
                let edit = if fence && *to == "Relaxed" {
                    let begin = at - "fence(".len();
                    let end = at + path.len() + word.len() + ")".len();
                    Edit::at(file, begin, &text[begin..end], "let _ = fence")
                } else {
                    Edit::at(file, at + path.len(), word, to)
                };
                all.push((at, edit, *from, *to));
            }
        }
    }
    all
}

/// The files of the library that the models compile, as `models/main.rs` names them.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let main = fs::read_to_string(root.join("loom-tests/tests/models/main.rs"))?;
    let (_, named) = main.split_once("mod production {").ok_or("no `mod production`")?;
    let (named, _) = named.split_once("\n}").ok_or("no end of `mod production`")?;
    let mut files = Vec::new();
    for line in named.lines() {
        if let Some((_, name)) = line.trim_end_matches(';').rsplit_once("mod ") {
            collect(&root.join("src").join(format!("{name}.rs")), &mut files)?;
            collect(&root.join("src").join(name), &mut files)?;
        }
    }
    files.sort();
    Ok(files)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_owned());
    } else if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    }
    Ok(())
}

/// The text with spaces in place of its comments and of what is compiled for tests only.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let comment = line.find("//").unwrap_or(line.len());
        code.push_str(&line[..comment]);
        code.extend(line[comment..].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
    }
    while let Some(at) = code.find("#[cfg(test)]") {
        let end = at + block(&code[at..]);
        code.replace_range(at..end, &" ".repeat(end - at));
    }
    code
}
