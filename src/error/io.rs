//! Whose fault an [`io::Error`] was (R19), by its kind and by the system's number for it.
//!
//! | what it says | [`SyncError`] | [`Fault`] |
//! |---|---|---|
//! | this machine's network is down; its address is not its own, or taken; it does not let us: ENETDOWN, EADDRNOTAVAIL, EADDRINUSE, EPERM, EACCES | `State` | `Local` |
//! | it has run out of descriptors, memory or buffers: EMFILE, ENFILE, ENOMEM, ENOBUFS | `ResourceExhaustion` | `Local` |
//! | what came ends too early, or is no such data: the kinds `UnexpectedEof`, `InvalidData` | `Protocol` | `Peer` |
//! | anything else: refused, reset, aborted, timed out, unreachable, and what a newer system adds | `Network` | `Link` |
//!
//! With the first two nothing has left this machine. Windows says WSAENETDOWN and so on, and has
//! numbers of its own for files; on a system that is none of these, kinds alone decide.

use std::io::{self, ErrorKind as Kind};

use super::Failure;
use super::Fault::{self, Link, Local, Peer};
use super::SyncError::{self, Network, Protocol, ResourceExhaustion, State};

/// The failure that an error of the system stands for.
pub(crate) fn of_io(error: &io::Error) -> Failure {
    let (sync_error, fault) = row(error);
    Failure::from(sync_error(error.to_string())).with_fault(fault).with_sources_of(error)
}

fn row(error: &io::Error) -> (fn(String) -> SyncError, Fault) {
    let says = |numbers: &[i32]| error.raw_os_error().is_some_and(|code| numbers.contains(&code));
    match error.kind() {
        Kind::OutOfMemory => (ResourceExhaustion, Local),
        _ if says(&EXHAUSTED) => (ResourceExhaustion, Local),
        Kind::NetworkDown | Kind::AddrNotAvailable | Kind::AddrInUse | Kind::PermissionDenied => {
            (State, Local)
        }
        _ if says(&NOT_SENT) => (State, Local),
        Kind::UnexpectedEof | Kind::InvalidData => (Protocol, Peer),
        _ => (Network, Link),
    }
}

/// EMFILE, ENFILE, ENOMEM, ENOBUFS.
#[cfg(any(target_os = "linux", target_os = "android"))]
const EXHAUSTED: [i32; 4] = [24, 23, 12, 105];
/// EMFILE, ENFILE, ENOMEM, ENOBUFS, as the BSDs and macOS number them.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const EXHAUSTED: [i32; 4] = [24, 23, 12, 55];
/// WSAEMFILE, `ERROR_TOO_MANY_OPEN_FILES`, `WSA_NOT_ENOUGH_MEMORY`, WSAENOBUFS.
#[cfg(windows)]
const EXHAUSTED: [i32; 4] = [10024, 4, 8, 10055];
#[cfg(not(any(unix, windows)))]
const EXHAUSTED: [i32; 0] = [];

/// ENETDOWN, EADDRNOTAVAIL, EADDRINUSE, EPERM, EACCES.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOT_SENT: [i32; 5] = [100, 99, 98, 1, 13];
/// The same, as the BSDs and macOS number them.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const NOT_SENT: [i32; 5] = [50, 49, 48, 1, 13];
/// WSAENETDOWN, WSAEADDRNOTAVAIL, WSAEADDRINUSE, `ERROR_ACCESS_DENIED`, WSAEACCES.
#[cfg(windows)]
const NOT_SENT: [i32; 5] = [10050, 10049, 10048, 5, 10013];
#[cfg(not(any(unix, windows)))]
const NOT_SENT: [i32; 0] = [];
