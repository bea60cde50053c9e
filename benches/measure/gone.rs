//! Threads that have come and gone: some designs feel how many there ever were.

use std::sync::Barrier;
use std::thread;

use peer_health::HealthRegistry;

use super::{Trouble, joined};

/// All are alive at once, and each uses a registry of its own.
pub(crate) fn burst_of_threads(count: usize) -> Result<(), Trouble> {
    let ready = Barrier::new(count);
    thread::scope(|scope| {
        let one = || {
            let registry = HealthRegistry::<u32>::new();
            let opened = registry.force_open(&1);
            ready.wait();
            Ok::<_, Trouble>(opened?)
        };
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        for thread in threads {
            joined(thread.join())??;
        }
        Ok(())
    })
}
