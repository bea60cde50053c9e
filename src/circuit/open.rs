//! How long an open circuit waits before it is probed (R16).

use super::StepContext;
use crate::config::rules::whole;

impl StepContext<'_> {
    /// Returns min(max(open_timeout * multiplier^n, what the peer asked), open_max), less jitter (R16).
    pub(super) fn wait(&self, failed_half_opens: u32, asked: Option<u64>, generation: u64) -> u64 {
        let rules = self.rules;
        let wait = rules.grown(failed_half_opens).max(asked.unwrap_or(0)).min(rules.open_max);
        let cut = wait as f64 * rules.jitter * unit(self.salt, generation);
        wait.saturating_sub(whole(cut))
    }
}

/// Returns a number in [0, 1) that depends on both arguments in every bit: the finalizer of SplitMix64
/// (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
fn unit(salt: u64, generation: u64) -> f64 {
    let mut x = salt.wrapping_add(generation.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    (x >> 11) as f64 / (1u64 << 53) as f64
}
