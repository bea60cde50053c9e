//! How peers are called: the text that stands for a peer in addresses, and a name for people.

use std::fmt::Display;
use std::str::FromStr;

use peer_health::PeerKey;

use crate::foreign::guarded;

type Write<K> = Box<dyn Fn(&K) -> String + Send + Sync>;
type Read<K> = Box<dyn Fn(&str) -> Option<K> + Send + Sync>;
type Label<K> = Box<dyn Fn(&K) -> Option<String> + Send + Sync>;

/// The functions that the program gave. Each is its own code, and may panic: a peer whose text cannot be
/// had is shown as unprintable, and costs no other peer its line.
pub(crate) struct Names<K> {
    pub(crate) write: Write<K>,
    pub(crate) read: Option<Read<K>>,
    pub(crate) label: Option<Label<K>>,
}

/// What a peer is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) label: Option<String>,
}

impl<K: PeerKey> Names<K> {
    /// Keys are written as `Debug` prints them, and not read.
    pub(crate) fn by_debug() -> Self {
        Self { write: Box::new(|peer| format!("{peer:?}")), read: None, label: None }
    }

    pub(crate) fn set_display(&mut self)
    where
        K: Display + FromStr,
    {
        self.write = Box::new(ToString::to_string);
        self.read = Some(Box::new(|text| text.parse().ok()));
    }

    pub(crate) fn of(&self, peer: &K) -> Named {
        let id = guarded(|| (self.write)(peer)).unwrap_or_else(|| "(unprintable)".into());
        let label = self.label.as_ref().and_then(|label| guarded(|| label(peer)).flatten());
        let label = label.filter(|label| *label != id);
        Named { id, label }
    }

    /// Returns the key that this text stands for, known or not, if texts can be read.
    pub(crate) fn read(&self, text: &str) -> Option<K> {
        let read = self.read.as_ref()?;
        guarded(|| read(text)).flatten()
    }
}

impl Named {
    /// Returns what a search looks at, in lower case.
    pub(crate) fn searched(&self) -> String {
        match &self.label {
            Some(label) => format!("{}\n{}", label.to_lowercase(), self.id.to_lowercase()),
            None => self.id.to_lowercase(),
        }
    }
}
