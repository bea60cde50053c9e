//! One thread alone: processor time.

use std::time::Duration;

use cpu_time::ThreadTime;

use super::rounds::Side;
use super::{Driver, Work, each};
use crate::baseline::Contender;

/// A side that calls from this thread for about so long, and gives nanoseconds of processor time
/// for each call.
pub(crate) fn alone<C: Contender>(contender: &C, work: &Work, time: Duration) -> Side<'static> {
    let peer = work.route.peers().first().copied();
    let mut driver = peer.map(|peer| Driver::new(contender.caller(&peer), work, 0));
    let mut stretches = 16;
    Box::new(move || {
        let driver = driver.as_mut().ok_or("no peer")?;
        loop {
            let began = ThreadTime::now();
            let calls = (0..stretches).map(|_| driver.stretch()).sum();
            let ran = began.elapsed();
            if ran > time / 2 {
                return Ok(each(ran, calls));
            }
            stretches *= 2;
        }
    })
}
