//! How iroh's crates close, reset and stop, as seen from the other end: the list of `Codes`.

use std::time::Duration;

use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{Connection, ConnectionError, QuicTransportConfig, ReadError};
use iroh::protocol::{AcceptError, ProtocolHandler, Router};
use iroh::{Endpoint, SecretKey};
use iroh_blobs::BlobsProtocol;
use iroh_blobs::get::request::get_blob;
use iroh_blobs::protocol::{ERR_INTERNAL, ERR_LIMIT, ERR_PERMISSION};
use iroh_blobs::store::mem::MemStore;
use iroh_gossip::net::{GOSSIP_ALPN, Gossip};
use iroh_gossip::proto::TopicId;
use iroh_util::access_limit::AccessLimit;
use iroh_util::connection_pool::{ConnectionPool, Options};
use peer_health::iroh::{BANNED_RETRY_AFTER, Codes, Ending, REFUSED_RETRY_AFTER};
use peer_health::{Failure, Fault};
use tokio::sync::mpsc;

use crate::node::{bound, builder, in_time};

const ALPN: &[u8] = b"peer-health/closes";

/// Sends how each connection to it ended.
#[derive(Debug, Clone)]
struct Ends(mpsc::UnboundedSender<ConnectionError>);

impl ProtocolHandler for Ends {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let _ = self.0.send(connection.closed().await);
        Ok(())
    }
}

async fn two() -> (Endpoint, Endpoint) {
    let known = MemoryLookup::new();
    let us = bound(builder(SecretKey::generate(), &known), &known).await;
    let peer = bound(builder(SecretKey::generate(), &known), &known).await;
    (us, peer)
}

#[track_caller]
fn assert_close(end: &ConnectionError, code: u32, reason: &str) {
    let ConnectionError::ApplicationClosed(close) = end else { panic!("{end:?}") };
    assert_eq!(close.error_code, code.into());
    assert_eq!(std::str::from_utf8(&close.reason), Ok(reason));
}

#[tokio::test]
async fn a_pool_that_needs_a_connection_no_longer_blames_nobody() {
    let (us, peer) = two().await;
    let (tell, mut ends) = mpsc::unbounded_channel();
    let router = Router::builder(us.clone()).accept(ALPN, Ends(tell)).spawn();
    let options = |idle| {
        let mut options = Options::default();
        options.idle_timeout = idle;
        options
    };
    let short = ConnectionPool::new(peer.clone(), ALPN, options(Duration::from_millis(50)));
    let long = ConnectionPool::new(peer.clone(), ALPN, options(Duration::from_secs(600)));

    drop(in_time(short.get_or_connect(us.id())).await.unwrap());
    let unused = in_time(ends.recv()).await.unwrap();
    assert_close(&unused, 0, "unused");
    let used = in_time(long.get_or_connect(us.id())).await.unwrap();
    in_time(long.close(us.id())).await.unwrap();
    let dropped = in_time(ends.recv()).await.unwrap();
    assert_close(&dropped, 0, "drop");
    for end in [&unused, &dropped] {
        assert_eq!(Failure::from(end).fault(), Fault::Nobody);
        assert_eq!(Codes::default().ending(end), Ending::Planned);
    }
    drop(used);
    in_time(router.shutdown()).await.unwrap();
}

#[tokio::test]
async fn gossip_that_is_done_with_a_connection_blames_nobody() {
    let known = MemoryLookup::new();
    // Gossip is done when it can neither write nor read. Four bytes are less than it writes first, so it waits
    // here for more room until it is told to stop.
    let narrow = QuicTransportConfig::builder().stream_receive_window(4_u32.into()).build();
    let us = builder(SecretKey::generate(), &known).transport_config(narrow);
    let us = bound(us.alpns(vec![GOSSIP_ALPN.to_vec()]), &known).await;
    let peer = bound(builder(SecretKey::generate(), &known), &known).await;
    let gossip = Gossip::builder().spawn(peer.clone());
    let topic = TopicId::from_bytes([1; 32]);
    let _topic = in_time(gossip.subscribe(topic, vec![us.id()])).await.unwrap();

    let incoming = in_time(us.accept()).await.unwrap();
    let connection = in_time(incoming.into_future()).await.unwrap();
    in_time(connection.accept_uni()).await.unwrap().stop(0_u32.into()).unwrap();
    let mut stream = in_time(connection.open_uni()).await.unwrap();
    let longer_than_a_message = [u8::MAX; 4];
    in_time(stream.write_all(&longer_than_a_message)).await.unwrap();
    let end = in_time(connection.closed()).await;
    assert_close(&end, 0, "close from disconnect");
    assert_eq!(Failure::from(&end).fault(), Fault::Nobody);
    assert_eq!(Codes::default().ending(&end), Ending::Planned);
}

#[tokio::test]
async fn an_access_limit_that_refuses_us_is_a_ban() {
    let (us, peer) = two().await;
    let (tell, _ends) = mpsc::unbounded_channel();
    let limit = AccessLimit::new(Ends(tell), |_| false);
    let router = Router::builder(peer.clone()).accept(ALPN, limit).spawn();
    let connection = in_time(us.connect(peer.id(), ALPN)).await.unwrap();
    let end = in_time(connection.closed()).await;
    assert_close(&end, 0, "not allowed");
    let failure = Failure::from(&end);
    assert_eq!((failure.fault(), failure.retry_after()), (Fault::Peer, Some(BANNED_RETRY_AFTER)));
    in_time(router.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_router_that_shuts_down_looks_like_a_drop() {
    let (us, peer) = two().await;
    let (tell, _ends) = mpsc::unbounded_channel();
    let router = Router::builder(peer.clone()).accept(ALPN, Ends(tell)).spawn();
    let connection = in_time(us.connect(peer.id(), ALPN)).await.unwrap();
    in_time(router.shutdown()).await.unwrap();
    let end = in_time(connection.closed()).await;
    assert_close(&end, 0, "");
    assert!(Failure::from(&end).counts());
}

#[tokio::test]
async fn a_provider_without_the_blob_is_not_blamed() {
    let (us, peer) = two().await;
    let store = MemStore::new();
    let router = Router::builder(peer.clone())
        .accept(iroh_blobs::ALPN, BlobsProtocol::new(&store, None))
        .spawn();
    let connection = in_time(us.connect(peer.id(), iroh_blobs::ALPN)).await.unwrap();
    let error = in_time(get_blob(connection, iroh_blobs::Hash::new(b"not there")).bytes()).await;
    let code = error.expect_err("not there").iroh_error_code();
    assert_eq!(code, Some(ERR_INTERNAL));

    let judged = |code| Codes::blobs().judge(&ReadError::Reset(code));
    assert_eq!(judged(ERR_INTERNAL).fault(), Fault::Document);
    assert_eq!(judged(ERR_PERMISSION).retry_after(), Some(BANNED_RETRY_AFTER));
    assert_eq!(judged(ERR_LIMIT).retry_after(), Some(REFUSED_RETRY_AFTER));
    in_time(router.shutdown()).await.unwrap();
}
