//! A [`Window`] as a file spells it: a table with a size, or with a length and buckets. The names are those
//! of a [`ConfigError`](super::ConfigError) that finds fault with them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Window;
use crate::serde::given;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowForm {
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    size: Option<u32>,
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    length: Option<Duration>,
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    buckets: Option<u32>,
}

impl From<Window> for WindowForm {
    fn from(window: Window) -> Self {
        match window {
            Window::Count { size } => Self { size: Some(size), length: None, buckets: None },
            Window::Time { length, buckets } => {
                Self { size: None, length: Some(length), buckets: Some(buckets) }
            }
        }
    }
}

impl TryFrom<WindowForm> for Window {
    type Error = &'static str;

    fn try_from(form: WindowForm) -> Result<Self, Self::Error> {
        match (form.size, form.length, form.buckets) {
            (Some(size), None, None) => Ok(Self::Count { size }),
            (None, Some(length), Some(buckets)) => Ok(Self::Time { length, buckets }),
            _ => Err("a window has a `size`, or a `length` and `buckets`"),
        }
    }
}
