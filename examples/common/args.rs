//! The command line: `--name value` or `--name=value`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

pub(crate) struct Args {
    args: std::iter::Skip<std::env::Args>,
    name: String,
    /// What stands behind the `=`, until it is taken.
    inline: Option<String>,
}

impl Args {
    pub(crate) fn new() -> Self {
        Self { args: std::env::args().skip(1), name: String::new(), inline: None }
    }

    /// The name of the next option; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<String>, String> {
        if let Some(value) = self.inline.take() {
            return Err(format!("{} {value}: takes no value", self.name));
        }
        let Some(arg) = self.args.next() else { return Ok(None) };
        (self.name, self.inline) = match arg.split_once('=') {
            Some((name, value)) => (name.into(), Some(value.into())),
            None => (arg, None),
        };
        Ok(Some(self.name.clone()))
    }

    /// The value of this option.
    pub(crate) fn value(&mut self) -> Result<String, String> {
        let value = self.inline.take().or_else(|| self.args.next());
        value.ok_or_else(|| format!("{}: value missing", self.name))
    }

    /// The value of this option, a whole number.
    pub(crate) fn number<N>(&mut self, range: RangeInclusive<N>) -> Result<N, String>
    where
        N: FromStr + PartialOrd + Display,
    {
        let text = self.value()?;
        text.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("{} {text}: must be a whole number from {least} to {most}", self.name)
        })
    }

    pub(crate) fn unknown(&self) -> String {
        format!("{}: no such option (--help lists them)", self.name)
    }
}
