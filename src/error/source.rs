//! What lay beneath a failure: the sources of its error, as texts.
//!
//! An error is lent to its conversion, which cannot keep it; what its sources say can be kept, and has a
//! bound: [`MOST`](super::kept::MOST) bytes for the whole chain, [`DEEPEST`] links.

use std::error::Error;
use std::fmt;

use super::kept::MOST;

/// A chain is followed this far, so that one without an end does no harm.
const DEEPEST: usize = 8;

/// One link of a chain, with what lies beneath it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    text: Box<str>,
    beneath: Option<Box<Self>>,
}

impl Source {
    /// The sources of an error, the nearest first; `None` if it has none.
    pub(super) fn beneath(error: &dyn Error) -> Option<Box<Self>> {
        let (mut texts, mut left, mut next) = (Vec::new(), MOST, error.source());
        while let Some(source) = next.filter(|_| left > 0 && texts.len() < DEEPEST) {
            let text = source.to_string();
            let text = start(&text, left);
            left -= text.len();
            texts.push(text.into());
            next = source.source();
        }
        let link = |beneath, text| Some(Box::new(Self { text, beneath }));
        texts.into_iter().rev().fold(None, link)
    }

    /// The chain as far as its texts fit into so many bytes.
    pub(super) fn within(mut self: Box<Self>, most: usize) -> Option<Box<Self>> {
        if self.text.len() > most {
            self.text = start(&self.text, most).into();
        }
        let left = most - self.text.len();
        self.beneath = self.beneath.and_then(|beneath| beneath.within(left));
        (most > 0).then_some(self)
    }
}

/// The beginning of a text: whole characters, at most so many bytes.
pub(super) fn start(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Source {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.beneath.as_deref().map(|beneath| beneath as _)
    }
}
