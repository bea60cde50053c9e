//! Every row of the classification in `peer_health::iroh`, against real errors of real endpoints
//! wherever one can be provoked on loopback, and against errors built by hand elsewhere.
//!
//! Each assertion also passes the failure through a permit: what counts opens a circuit that opens
//! on the first failure, what is neutral does not.

mod connections;
mod dials;
mod hooks;
mod messages;
mod streams;

use std::io;

use iroh::endpoint::{ApplicationClose, BindError, ConnectionError, VarInt};
use peer_health::Fault::{Link, Local, Peer};
use peer_health::SyncError::{Network, Protocol, ResourceExhaustion, State};

use crate::endpoints::{assert_counts, assert_neutral, bound, in_time, node};

const NOT_NOW: VarInt = VarInt::from_u32(17);

#[cfg(target_os = "linux")]
#[test]
fn running_out_of_descriptors_memory_or_buffers_is_our_own_lack() {
    let (emfile, enfile, enomem, enobufs) = (24, 23, 12, 105);
    for code in [emfile, enfile, enomem, enobufs] {
        assert_neutral(ResourceExhaustion, Local, io::Error::from_raw_os_error(code));
        let source = io::Error::from_raw_os_error(code);
        let bind = BindError::Sockets { source, meta: Default::default() };
        assert_neutral(ResourceExhaustion, Local, bind);
    }
    assert_neutral(ResourceExhaustion, Local, io::Error::from(io::ErrorKind::OutOfMemory));
}

#[test]
fn other_io_errors_are_of_the_link_and_broken_data_is_of_the_peer() {
    use io::ErrorKind as Kind;
    for kind in [Kind::TimedOut, Kind::ConnectionRefused, Kind::NetworkUnreachable, Kind::Other] {
        assert_counts(Network, Link, io::Error::from(kind));
    }
    assert_counts(Network, Link, io::Error::other("not a QUIC error"));
    assert_counts(Protocol, Peer, io::Error::from(Kind::InvalidData));
}

#[tokio::test]
async fn an_endpoint_that_does_not_bind_blames_no_peer() {
    let taken = bound(node()).await;
    let again = node().clear_ip_transports().bind_addr(taken.bound_sockets()[0]).unwrap();
    let error = in_time(again.bind()).await.expect_err("the port is taken");
    assert!(matches!(&error, BindError::Sockets { .. }), "{error:?}");
    assert_neutral(State, Local, error);
    let error = BindError::InvalidTransportConfig { meta: Default::default() };
    assert_neutral(State, Local, error);
}

fn closed_by_peer() -> ConnectionError {
    let close = ApplicationClose { error_code: NOT_NOW, reason: b"".as_slice().into() };
    ConnectionError::ApplicationClosed(close)
}

/// iroh's own enums may grow in any release, and what is new falls to `Network`, `Link`. Whoever
/// moves the lock file reads their definitions again, extends the table, and then these versions.
/// (noq's enums are exhaustive: there the compiler notices.)
#[test]
fn the_variants_were_judged_for_these_versions() {
    let lock = include_str!("../../Cargo.lock");
    for (name, version) in
        [("iroh", "1.4.1"), ("noq", "1.4.0"), ("noq-proto", "1.4.0"), ("automerge", "0.12.0")]
    {
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&entry), "{name} is no longer {version}: see the classification");
    }
}
