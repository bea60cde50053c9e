//! What an acquire and a success cost from C, beside the same by key in Rust, in one run. It prints, MISSED
//! where the median is too large, and asserts nothing about time. Both sides have the profile `c-library`.
//! `CAPI_COST` names the program in C: `capi/test.sh cost` builds it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on has failed")]

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use peer_health::HealthRegistry;

const PEERS: usize = 64;
const CALLS: usize = 1_000_000;
/// How many times as long as in Rust a call from C may take.
const LIMIT: f64 = 3.0;

/// The best of seven rounds, in nanoseconds.
fn in_rust() -> f64 {
    let registry = HealthRegistry::<[u8; 32]>::new();
    let mut peers = [[0; 32]; PEERS];
    peers.iter_mut().zip(0u8..).for_each(|(peer, n)| peer[0] = n);
    let round = || {
        #[allow(clippy::disallowed_methods, reason = "a bench measures")]
        let begin = Instant::now();
        for n in 0..CALLS {
            black_box(registry.acquire(black_box(&peers[n % PEERS])).unwrap().success());
        }
        begin.elapsed().as_nanos() as f64 / CALLS as f64
    };
    (0..7).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn main() {
    let Some(program) = std::env::var_os("CAPI_COST") else {
        return println!("CAPI_COST names no program: run capi/test.sh cost");
    };
    let mut ratios = Vec::new();
    // In turns, so that what else the machine does falls on both.
    for _ in 0..5 {
        let rust = in_rust();
        let output = Command::new(&program).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let c: f64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        println!(
            "acquire and success by key: {rust:.1} ns in Rust, {c:.1} ns from C: {:.2}",
            c / rust
        );
        ratios.push(c / rust);
    }
    ratios.sort_by(f64::total_cmp);
    let missed = if ratios[2] > LIMIT { ": MISSED" } else { "" };
    println!("the median of the ratios is {:.2}, at most {LIMIT:.1}{}", ratios[2], missed);
}
