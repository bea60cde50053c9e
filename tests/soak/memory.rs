//! What is allocated, and what the process takes: bounded by `max_peers`, and flat.

use std::alloc::System;
use std::time::{Duration, Instant};

use cap::Cap;

use super::{MAX_PEERS, WARM_UP};

/// Counts bytes as they are asked for, and limits nothing.
#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

/// What a peer may take: 430 bytes of one that has failed once, 40 of its error's text, 90 of the map
/// and the ring, whose capacity is a power of two, and twice 200 of entries that were evicted but are
/// remembered (`Weak`) by a `for_each` that goes on: two threads may be in one. Measured were 520 to 730.
const PER_PEER: usize = 430 + 40 + 90 + 2 * 200;
/// What has nothing to do with the number of peers: notes of what listeners heard (0.65 MB),
/// histograms (0.2 MB), a set of those that were shown (0.15 MB), and a tokio runtime with a driver for
/// a hundred peers (0.7 MB).
const BESIDES: usize = 2 << 20;
/// RSS may grow by so much after it has warmed up.
const FLAT: f64 = 1.05;
const LOOK: Duration = Duration::from_millis(10);

pub(crate) struct Memory {
    base: usize,
    most: usize,
    /// The most pages while it warms up, and after that.
    warming: u64,
    warm: u64,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { base: ALLOCATED.allocated(), most: 0, warming: 0, warm: 0 }
    }

    /// Looks now and then, for so long and while `is_on`.
    #[allow(clippy::disallowed_methods, reason = "no clock of a registry")]
    pub(crate) fn watch(&mut self, length: Duration, is_on: impl Fn() -> bool) {
        let began = Instant::now();
        while began.elapsed() < length && is_on() {
            std::thread::sleep(LOOK);
            self.most = self.most.max(ALLOCATED.allocated());
            let pages = if began.elapsed() < WARM_UP.min(length / 6) {
                &mut self.warming
            } else {
                &mut self.warm
            };
            *pages = resident().unwrap_or_default().max(*pages);
        }
    }

    pub(crate) fn check(&self, length: Duration) {
        let (used, bound) = (self.most - self.base, BESIDES + MAX_PEERS * PER_PEER);
        #[allow(clippy::cast_precision_loss, reason = "a quotient of pages")]
        let grown = self.warm as f64 / self.warming as f64;
        println!("allocated: {used} bytes at most, {bound} allowed");
        println!("resident: {} pages, then {}: {grown:.3} times", self.warming, self.warm);
        assert!(used <= bound, "{used} bytes are allocated, {bound} allowed");
        assert!(length < 2 * WARM_UP || self.warming == 0 || grown <= FLAT, "RSS grows");
    }
}

/// The pages that the process has in memory, where the system tells.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse().ok()
}
