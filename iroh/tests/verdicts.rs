//! What a provider of blobs that misbehaves is blamed for, whoever asks it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod loopback;

use std::time::Duration;

use iroh::SecretKey;
use iroh::endpoint::Connection;
use iroh::protocol::Router;
use iroh_blobs::api::Store;
use iroh_blobs::protocol::GetRequest;
use iroh_blobs::store::mem::MemStore;
use iroh_blobs::{ALPN, BlobsProtocol, Hash};
use iroh_util::connection_pool::Options;
use loopback::{Process, address, bound, counts, finding, in_time, lenient, strict};
use peer_health::iroh::{Codes, REFUSED_RETRY_AFTER};
use peer_health::{Failure, Fault, HealthConfig};
use peer_health_iroh::{HealthPool, HealthyProviders, get_failure};

/// Closes each connection with the code, as soon as it is asked for something.
async fn close(connection: Connection, code: u32) {
    if connection.accept_bi().await.is_ok() {
        connection.close(code.into(), b"");
    }
}

fn closing<F: Future<Output = ()> + Send + 'static>(serve: fn(Connection) -> F) -> Process {
    Process::start(SecretKey::generate(), ALPN, serve)
}

/// Asks the provider for a blob in three ways; returns the wait and the failure that each leads to.
async fn each_way(provider: Process) -> [(Option<Duration>, Failure); 3] {
    let (us, list) = finding(ALPN).await;
    list.set_endpoint_info(provider.address.clone());
    let (id, store) = (provider.address.id, Store::from(MemStore::new()));
    let (hash, registries) = (Hash::new(b"first"), [strict(), strict(), strict()]);

    let providers = HealthyProviders::new(registries[0].clone(), [id]);
    let downloader = providers.downloader(&store, &us);
    in_time(providers.download(&downloader, hash)).await.unwrap_err();

    let connection = in_time(us.connect(id, ALPN)).await.unwrap();
    let get = store.remote().execute_get(connection, GetRequest::blob(hash)).complete();
    let failure = get_failure(&in_time(get).await.unwrap_err());
    registries[1].acquire(&id).unwrap().failure(failure);

    let pool = HealthPool::new(registries[2].clone(), us, ALPN, Options::default());
    let pool = pool.with_codes(Codes::blobs());
    let get =
        |connection| store.remote().execute_get(connection, GetRequest::blob(hash)).complete();
    in_time(pool.call_with(&id, get, get_failure)).await.unwrap_err();

    registries.map(|registry| {
        let wait = registry.acquire(&id).err().and_then(|refused| refused.retry_after);
        (wait, (*registry.snapshot(&id).unwrap().last_error.unwrap()).clone())
    })
}

#[tokio::test]
async fn a_code_of_blobs_means_the_same_whoever_asks() {
    let [providers, own, pool] = each_way(closing(|c| close(c, 1))).await;
    assert_eq!((&providers, &pool), (&own, &own));
    assert_eq!(
        own.0,
        Some(HealthConfig::default().open_max),
        "it permits us not, and will not soon"
    );
    assert_eq!(own.1.fault(), Fault::Peer);

    let [providers, own, pool] = each_way(closing(|c| close(c, 2))).await;
    assert_eq!((&providers, &pool), (&own, &own));
    assert_eq!(own.0, Some(REFUSED_RETRY_AFTER), "it limits us");

    let [providers, own, pool] = each_way(closing(|c| close(c, 3))).await;
    assert_eq!((&providers, &pool), (&own, &own));
    assert_eq!((own.0, own.1.fault()), (None, Fault::Document), "it lacks the blob");
}

/// Gives the first blob, and then accepts what comes and says nothing.
async fn half(connection: Connection) {
    let Ok((mut send, _request)) = connection.accept_bi().await else { return };
    let _ = send.write_all(&5_u64.to_le_bytes()).await;
    let _ = send.write_all(b"first").await;
    let _ = send.finish();
    let _held = connection.accept_bi().await;
    connection.closed().await;
}

#[tokio::test]
async fn a_provider_that_falls_silent_has_failed_and_the_next_one_delivers() {
    let (us, list) = finding(ALPN).await;
    let silent = Process::start(SecretKey::generate(), ALPN, half);
    list.set_endpoint_info(silent.address.clone());
    let (there, theirs) = (bound(ALPN).await, MemStore::new());
    list.set_endpoint_info(address(&there));
    let blobs = BlobsProtocol::new(&theirs, None);
    let router = Router::builder(there.clone()).accept(ALPN, blobs).spawn();
    for blob in [b"other", b"third"] {
        theirs.add_slice(blob).await.unwrap();
    }

    let (registry, store) = (lenient(), Store::from(MemStore::new()));
    let providers = HealthyProviders::new(registry.clone(), [silent.address.id, there.id()])
        .with_stall(Duration::from_millis(300))
        .unwrap();
    let downloader = providers.downloader(&store, &us);
    in_time(providers.download(&downloader, Hash::new(b"first"))).await.unwrap();
    assert_eq!(counts(&registry, silent.address.id), [1, 0, 0, 0]);
    in_time(providers.download(&downloader, Hash::new(b"other"))).await.unwrap();
    assert_eq!(counts(&registry, silent.address.id), [1, 1, 0, 0]);
    assert_eq!(counts(&registry, there.id()), [1, 0, 0, 0]);
    let failure = registry.snapshot(&silent.address.id).unwrap().last_error.unwrap();
    assert_eq!(failure.fault(), Fault::Link);

    in_time(providers.download(&downloader, Hash::new(b"third"))).await.unwrap();
    assert_eq!(
        counts(&registry, silent.address.id),
        [1, 1, 0, 0],
        "it is not asked first any more"
    );
    router.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_download_that_only_a_silent_provider_has_ends_with_an_error() {
    let (us, list) = finding(ALPN).await;
    let silent = Process::start(SecretKey::generate(), ALPN, half);
    list.set_endpoint_info(silent.address.clone());
    let (registry, store) = (lenient(), Store::from(MemStore::new()));
    let providers = HealthyProviders::new(registry.clone(), [silent.address.id])
        .with_stall(Duration::from_millis(300))
        .unwrap();
    let downloader = providers.downloader(&store, &us);
    in_time(providers.download(&downloader, Hash::new(b"first"))).await.unwrap();
    in_time(providers.download(&downloader, Hash::new(b"other"))).await.unwrap_err();
    assert_eq!(counts(&registry, silent.address.id), [1, 1, 0, 0]);
}
