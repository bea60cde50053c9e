//! Whose fault an error of the system is, row by row (R19).

use std::io::{Error, ErrorKind as Kind};

use peer_health::{Failure, Fault, HealthRegistry, Recorded, SyncError};

/// What a row says: the name of the error's variant, and the fault.
fn judged(error: Error) -> (&'static str, Fault) {
    let (text, by_reference) = (error.to_string(), Failure::from(&error));
    let failure = Failure::from(error);
    assert_eq!(failure, by_reference);
    let (name, told) = match failure.error() {
        SyncError::Network(told) => ("network", told),
        SyncError::Protocol(told) => ("protocol", told),
        SyncError::State(told) => ("state", told),
        SyncError::ResourceExhaustion(told) => ("resources", told),
        other => panic!("no row says {other:?}"),
    };
    assert_eq!(told, &text);
    assert_eq!(failure.counts(), matches!(failure.fault(), Fault::Peer | Fault::Link));
    (name, failure.fault())
}

#[test]
fn r19_each_kind_has_its_row() {
    let rows = [
        (Kind::NetworkDown, "state", Fault::Local),
        (Kind::AddrNotAvailable, "state", Fault::Local),
        (Kind::AddrInUse, "state", Fault::Local),
        (Kind::PermissionDenied, "state", Fault::Local),
        (Kind::OutOfMemory, "resources", Fault::Local),
        (Kind::UnexpectedEof, "protocol", Fault::Peer),
        (Kind::InvalidData, "protocol", Fault::Peer),
        (Kind::ConnectionRefused, "network", Fault::Link),
        (Kind::ConnectionReset, "network", Fault::Link),
        (Kind::ConnectionAborted, "network", Fault::Link),
        (Kind::NotConnected, "network", Fault::Link),
        (Kind::BrokenPipe, "network", Fault::Link),
        (Kind::TimedOut, "network", Fault::Link),
        (Kind::HostUnreachable, "network", Fault::Link),
        (Kind::NetworkUnreachable, "network", Fault::Link),
        (Kind::Interrupted, "network", Fault::Link),
        (Kind::Other, "network", Fault::Link),
    ];
    for (kind, name, fault) in rows {
        assert_eq!(judged(Error::from(kind)), (name, fault), "{kind:?}");
        assert_eq!(judged(Error::new(kind, "with a text")), (name, fault), "{kind:?}");
    }
}

/// Numbers, name by name: as Linux has them, and as the BSDs and macOS do where they differ.
#[cfg(unix)]
#[test]
fn r19_each_number_has_its_row() {
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    let of = |linux_number: i32, bsd_number: i32| if linux { linux_number } else { bsd_number };
    let rows = [
        ("ENETDOWN", of(100, 50), "state", Fault::Local),
        ("EADDRNOTAVAIL", of(99, 49), "state", Fault::Local),
        ("EADDRINUSE", of(98, 48), "state", Fault::Local),
        ("EPERM", 1, "state", Fault::Local),
        ("EACCES", 13, "state", Fault::Local),
        ("EMFILE", 24, "resources", Fault::Local),
        ("ENFILE", 23, "resources", Fault::Local),
        ("ENOMEM", 12, "resources", Fault::Local),
        ("ENOBUFS", of(105, 55), "resources", Fault::Local),
        ("ECONNREFUSED", of(111, 61), "network", Fault::Link),
        ("ECONNRESET", of(104, 54), "network", Fault::Link),
        ("ECONNABORTED", of(103, 53), "network", Fault::Link),
        ("ETIMEDOUT", of(110, 60), "network", Fault::Link),
        ("ENETUNREACH", of(101, 51), "network", Fault::Link),
        ("EHOSTUNREACH", of(113, 65), "network", Fault::Link),
        ("EPIPE", 32, "network", Fault::Link),
        ("EIO", 5, "network", Fault::Link),
    ];
    for (name, number, row, fault) in rows {
        assert_eq!(judged(Error::from_raw_os_error(number)), (row, fault), "{name}");
    }
}

/// A real one: two sockets cannot have the same address.
#[test]
fn r19_an_address_that_is_taken_is_held_against_no_peer() {
    let first = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = std::net::UdpSocket::bind(first.local_addr().unwrap()).unwrap_err();
    let registry = HealthRegistry::<u32>::new();
    let recorded = registry.acquire(&7).unwrap().failure(taken);
    assert_eq!(recorded, Recorded::Neutral);
    // By `call`, which asks for a conversion of the reference.
    let answer = registry.call(&7, || Err::<(), _>(Error::from(Kind::ConnectionRefused)));
    assert!(answer.is_err());
    assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 1);
}
