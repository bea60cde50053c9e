//! A lock that loom sees.

use std::ops::Deref;
use std::sync::PoisonError;

use super::{MODELLING, unwinding};

/// A lock that loom sees.
pub(crate) enum Mutex<T> {
    Model(loom::sync::Mutex<T>),
    Std(std::sync::Mutex<T>),
}

pub(crate) enum Locked<'a, T> {
    Model(loom::sync::MutexGuard<'a, T>),
    Std(std::sync::MutexGuard<'a, T>),
}

impl<T> Mutex<T> {
    #[track_caller]
    pub(crate) fn new(value: T) -> Self {
        if MODELLING.get() && !unwinding() {
            Self::Model(loom::sync::Mutex::new(value))
        } else {
            Self::Std(std::sync::Mutex::new(value))
        }
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> Locked<'_, T> {
        match self {
            Self::Model(it) => Locked::Model(it.lock().unwrap()),
            Self::Std(it) => Locked::Std(it.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    #[track_caller]
    pub(crate) fn try_lock(&self) -> Option<Locked<'_, T>> {
        match self {
            Self::Model(it) => it.try_lock().ok().map(Locked::Model),
            Self::Std(it) => it.try_lock().ok().map(Locked::Std),
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Model(it) => it,
            Self::Std(it) => it,
        }
    }
}

impl<T> std::ops::DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Model(it) => it,
            Self::Std(it) => it,
        }
    }
}
