//! The one way in for errors: whatever can be read as a [`Failure`].

use std::any::Any;

use super::{Failure, SyncError};

/// An error that says whose fault it was: every type with `From<&It> for Failure`, which is what to
/// write for an error of your own. [`SyncError`](crate::SyncError), [`Failure`], `std::io::Error` and,
/// with the feature `iroh`, iroh's errors have it.
///
/// Every method that takes an error asks for this. The conversion reads a reference, so that an error can
/// be reported and then handed on. Where no impl can be written, since both the error and [`Failure`] are
/// of other crates, [`call_with`](crate::HealthRegistry::call_with) takes a function instead.
///
/// ```
/// use peer_health::{Failure, Fault, HealthRegistry, SyncError};
///
/// #[derive(Debug)]
/// enum Trouble {
///     DiskFull,
///     Silence,
/// }
///
/// impl From<&Trouble> for Failure {
///     fn from(trouble: &Trouble) -> Self {
///         match trouble {
///             Trouble::DiskFull => Failure::local("disk full"),
///             Trouble::Silence => SyncError::Network("no answer".into()).into(),
///         }
///     }
/// }
///
/// let registry = HealthRegistry::<u32>::new();
/// registry.call(&7, || Err::<(), _>(Trouble::DiskFull)).unwrap_err();
/// assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 0);
/// registry.acquire(&7).unwrap().failure(Trouble::Silence);
/// registry.acquire(&7).unwrap().failure(&Trouble::Silence);
/// assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 2);
/// ```
///
/// An error without the impl does not compile, and the compiler says what to write:
///
/// ```compile_fail,E0277
/// # use peer_health::HealthRegistry;
/// struct Trouble;
/// HealthRegistry::<u32>::new().acquire(&7).unwrap().failure(Trouble);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say whose fault it was",
    label = "no `Failure` can be read off a `{Self}`",
    note = "write `impl From<&E> for peer_health::Failure` for the error `E`",
    note = "for an error of another crate: `call_with` and `call_async_with` take a function, and a \
            permit takes `Failure::remote(error)`, `Failure::local(error)` or a `SyncError`"
)]
pub trait AsFailure {
    /// Returns the failure that this error stands for.
    ///
    /// ```
    /// use peer_health::{AsFailure, Fault};
    /// let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    /// assert_eq!(refused.as_failure().fault(), Fault::Link);
    /// ```
    fn as_failure(&self) -> Failure;
}

#[diagnostic::do_not_recommend] // or the compiler speaks of this where-clause instead
impl<E: ?Sized> AsFailure for E
where
    Failure: for<'e> From<&'e E>,
{
    fn as_failure(&self) -> Failure {
        self.into()
    }
}

/// What [`Permit::failure`](crate::Permit::failure) takes: an [`AsFailure`], by value or by reference.
///
/// `BY_REFERENCE` is `true` for a reference, and inferred. A parameter tells the two apart because an
/// impl of `From` for references to references would keep the compiler from inferring what
/// `Failure::from(&it)` converts. By value, an error borrows nothing (`'static`): a [`SyncError`] or a
/// [`Failure`] is then taken as it is, and its text not copied.
///
/// ```
/// use peer_health::{IntoFailure, SyncError};
/// let error = SyncError::Network("reset".into());
/// assert_eq!((&error).into_failure(), error.clone().into_failure());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say whose fault it was",
    label = "no `Failure` can be read off a `{Self}`",
    note = "write `impl From<&E> for peer_health::Failure` for the error `E`",
    note = "for an error of another crate, pass `Failure::remote(error)`, `Failure::local(error)` or a \
            `SyncError`; one that borrows something is passed by reference"
)]
pub trait IntoFailure<const BY_REFERENCE: bool> {
    /// Returns the failure that this error stands for.
    ///
    /// ```
    /// use peer_health::{Fault, IntoFailure};
    /// let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    /// assert_eq!(refused.into_failure().fault(), Fault::Link);
    /// ```
    fn into_failure(self) -> Failure;
}

#[diagnostic::do_not_recommend] // as above
impl<E: AsFailure + 'static> IntoFailure<false> for E {
    #[inline]
    fn into_failure(self) -> Failure {
        let mut error = Some(self);
        let any: &mut dyn Any = &mut error;
        if let Some(error) = any.downcast_mut::<Option<SyncError>>().and_then(Option::take) {
            return error.into();
        }
        if let Some(failure) = any.downcast_mut::<Option<Failure>>().and_then(Option::take) {
            return failure;
        }
        error.map_or_else(Failure::unknown, |error| error.as_failure())
    }
}

#[diagnostic::do_not_recommend] // as above
impl<E: AsFailure + ?Sized> IntoFailure<true> for &E {
    #[inline]
    fn into_failure(self) -> Failure {
        self.as_failure()
    }
}
