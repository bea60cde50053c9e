//! Draws doc/fleet.svg.

use crate::Trouble;
use crate::options::Options;

pub(crate) fn all(_: &Options) -> Result<(), Trouble> {
    Ok(())
}
