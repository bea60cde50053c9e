//! A peer fails until its circuit opens, is left alone, and is called again after the wait.
//!
//! ```text
//! cargo run --no-default-features --example hello
//! ```

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use peer_health::{HealthConfig, HealthRegistry, Status, SyncError};

fn main() -> Result<(), Box<dyn Error>> {
    let config = HealthConfig::default()
        .with_failure_threshold(3) // default 5
        .with_success_threshold(1) // probes that decide; default 2
        .with_open_timeout(Duration::from_secs(1)); // default 5 s
    let registry = HealthRegistry::<&str>::builder().config(config).build()?;
    for round in 1..=6 {
        let alice_is_up = round > 4;
        match registry.acquire(&"alice") {
            Ok(permit) if alice_is_up => println!("{round}: synced, {:?}", permit.success()),
            Ok(permit) => {
                let error = SyncError::Network("timed out".into());
                println!("{round}: {error}, {:?}", permit.failure(error.clone()));
            }
            Err(refused) => {
                println!("{round}: {refused}, ask again in {:?}", refused.retry_after);
                sleep(refused.retry_after.unwrap_or_default());
            }
        }
    }
    let totals = registry.totals().all;
    println!("{} succeeded, {} failed", totals.succeeded, totals.failed);
    assert_eq!(registry.status(&"alice"), Status::Closed);
    Ok(())
}
