//! Words that loom sees, and those beside a circuit that it sees where a model asks for it.

use std::ops::Deref;
use std::sync::atomic::{self, Ordering};

use loom::sync::atomic as model;

use super::{LOADS_ARE_RMW, MODELLING, TOTALS_COUNT, note_race, unwinding};

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        #[derive(Debug)]
        pub(crate) enum $name {
            Model(model::$name),
            Std(atomic::$name),
        }

        #[allow(dead_code, reason = "the same for each type")]
        impl $name {
            #[track_caller]
            pub(crate) fn new(value: $int) -> Self {
                if MODELLING.get() && !unwinding() {
                    Self::Model(model::$name::new(value))
                } else {
                    Self::Std(atomic::$name::new(value))
                }
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $int {
                match self {
                    Self::Model(it) if LOADS_ARE_RMW.get() && !unwinding() => {
                        it.fetch_or(0, order)
                    }
                    _ => self.plain_load(order),
                }
            }

            #[track_caller]
            pub(super) fn plain_load(&self, order: Ordering) -> $int {
                match self {
                    Self::Std(it) => it.load(order),
                    Self::Model(_) if unwinding() => 0,
                    Self::Model(it) => it.load(order),
                }
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $int, order: Ordering) {
                match self {
                    Self::Std(it) => it.store(value, order),
                    Self::Model(_) if unwinding() => {}
                    // Otherwise loom lets a read-modify-write find what another has overwritten.
                    Self::Model(it) if LOADS_ARE_RMW.get() => drop(it.swap(value, order)),
                    Self::Model(it) => it.store(value, order),
                }
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                seen: $int,
                next: $int,
                won: Ordering,
                lost: Ordering,
            ) -> Result<$int, $int> {
                match self {
                    Self::Std(it) => it.compare_exchange(seen, next, won, lost),
                    Self::Model(_) if unwinding() => Ok(seen),
                    Self::Model(it) => {
                        let swapped = it.compare_exchange(seen, next, won, lost);
                        note_race(swapped.is_ok());
                        swapped
                    }
                }
            }

            #[track_caller]
            pub(crate) fn fetch_update(
                &self,
                won: Ordering,
                lost: Ordering,
                mut next: impl FnMut($int) -> Option<$int>,
            ) -> Result<$int, $int> {
                let mut seen = self.load(lost);
                while let Some(next) = next(seen) {
                    match self.compare_exchange(seen, next, won, lost) {
                        Ok(seen) => return Ok(seen),
                        Err(found) => seen = found,
                    }
                }
                Err(seen)
            }

            atomic!(rmw $int: swap fetch_add fetch_sub fetch_max fetch_or);
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }
    };
    (rmw $int:ty: $($op:ident)+) => {
        $(#[track_caller]
        pub(crate) fn $op(&self, value: $int, order: Ordering) -> $int {
            match self {
                Self::Std(it) => it.$op(value, order),
                Self::Model(_) if unwinding() => 0,
                Self::Model(it) => it.$op(value, order),
            }
        })+
    };
}

atomic!(AtomicU8, u8);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);

pub(crate) type TimeWord = AtomicU64;

/// A number beside a circuit: a step of a model that says so ([`totals_count`]), of no other.
#[derive(Debug)]
pub(crate) struct Total(AtomicU64);

impl Total {
    #[track_caller]
    pub(crate) fn new(value: u64) -> Self {
        Self(match TOTALS_COUNT.get() {
            true => AtomicU64::new(value),
            false => AtomicU64::Std(atomic::AtomicU64::new(value)),
        })
    }
}

impl Default for Total {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Deref for Total {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        &self.0
    }
}

/// Makes new totals steps of the model.
pub(crate) fn totals_count(yes: bool) {
    TOTALS_COUNT.set(yes);
}
