//! Errors of the system as failures: the one impl, whatever features there are.

use std::io;

use crate::error::{Failure, of_io};

/// What says that nothing left this machine (its network is down, its address not its own or taken, not
/// permitted, out of descriptors, memory or buffers) is [`Fault::Local`](crate::Fault::Local); what came
/// and ends too early or makes no sense is [`Fault::Peer`](crate::Fault::Peer); anything else is
/// [`Fault::Link`](crate::Fault::Link). With the feature `iroh`, an error that was made from one of
/// QUIC's is judged by that.
///
/// ```
/// use peer_health::{Failure, Fault};
/// use std::io::{Error, ErrorKind};
///
/// let refused = Error::from(ErrorKind::ConnectionRefused);
/// assert_eq!(Failure::from(&refused).fault(), Fault::Link);
/// let ours = Error::from(ErrorKind::AddrInUse);
/// assert!(!Failure::from(&ours).counts());
/// ```
impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        #[cfg(feature = "iroh")]
        if let Some(failure) = crate::iroh::made_from_quic(error) {
            return failure;
        }
        of_io(error)
    }
}

/// As for a reference, so that `?` and `map_err(Failure::from)` work.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}
