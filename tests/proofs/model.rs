//! Random lives of one peer, in the library and in a reference that says the rules as plainly as
//! it can (`model/reference.rs`): after every operation both must have answered the same and look
//! the same.
//!
//! `PROPTEST_CASES=100000 cargo test --test proofs model` looks further.

mod answers;
mod jitter;
mod operations;
mod pair;
mod reference;

use operations::{a_config, an_op};
use pair::Pair;
use proptest::collection::vec;
use proptest::prelude::*;

const PEER: u32 = 7;

fn cases(usually: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { usually };
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..default }
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn a_peer_lives_as_the_rules_say(config in a_config(), ops in vec(an_op(), 1..60)) {
        let mut pair = Pair::new(config);
        for (number, op) in ops.into_iter().enumerate() {
            let shown = format!("{op:?}");
            pair.step(op).map_err(|e| TestCaseError::fail(format!("step {number}, {shown}: {e}")))?;
        }
    }
}
