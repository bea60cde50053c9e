//! The one way in for errors: whatever can be read as a [`Failure`].

use super::Failure;

/// An error that says whose fault it was: every type with `From<&It> for Failure`, which is what to
/// write for an error of your own. [`SyncError`](crate::SyncError), [`Failure`], `std::io::Error` and,
/// with the feature `iroh`, iroh's errors have it; so has a reference to any of these.
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
pub trait AsFailure<const BY_REFERENCE: bool = false> {
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

#[diagnostic::do_not_recommend] // as above
impl<E: AsFailure + ?Sized> AsFailure<true> for &E {
    fn as_failure(&self) -> Failure {
        (**self).as_failure()
    }
}
