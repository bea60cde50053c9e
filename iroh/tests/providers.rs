//! Downloads of real blobs from real providers: whom the downloader tries, and what the registry learns.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod loopback;

use std::time::Duration;

use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::Connection;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointId, SecretKey};
use iroh_blobs::api::Store;
use iroh_blobs::api::downloader::{
    DownloadProgressItem, Downloader, SplitStrategy, SupportedRequest,
};
use iroh_blobs::protocol::{ChunkRangesExt, GetRequest};
use iroh_blobs::store::mem::MemStore;
use iroh_blobs::{ALPN, BlobsProtocol, Hash};
use iroh_util::connection_pool::Options;
use loopback::{Process, address, bound, counts, dead, finding, in_time, lenient, strict};
use n0_future::StreamExt;
use peer_health::{HealthRegistry, Status};
use peer_health_iroh::{HealthPool, HealthyProviders, get_failure};

/// A provider of iroh-blobs, with a store of its own.
struct Provider {
    router: Router,
    store: MemStore,
}

impl Provider {
    async fn new(list: &MemoryLookup) -> Self {
        let (endpoint, store) = (bound(ALPN).await, MemStore::new());
        list.set_endpoint_info(address(&endpoint));
        let blobs = BlobsProtocol::new(&store, None);
        Self { router: Router::builder(endpoint).accept(ALPN, blobs).spawn(), store }
    }

    async fn with(list: &MemoryLookup, blob: &[u8]) -> Self {
        let provider = Self::new(list).await;
        provider.store.add_slice(blob).await.unwrap();
        provider
    }

    fn id(&self) -> EndpointId {
        self.router.endpoint().id()
    }
}

/// The node that downloads.
struct Node {
    us: Endpoint,
    list: MemoryLookup,
    store: Store,
}

impl Node {
    async fn new() -> Self {
        let (us, list) = finding(ALPN).await;
        Self { us, list, store: MemStore::new().into() }
    }

    fn health(
        &self,
        registry: &HealthRegistry<EndpointId>,
        ids: impl IntoIterator<Item = EndpointId>,
    ) -> (HealthyProviders, Downloader) {
        let providers = HealthyProviders::new(registry.clone(), ids);
        let downloader = providers.downloader(&self.store, &self.us);
        (providers, downloader)
    }
}

/// Downloads; returns whom it tried, and whether it succeeded.
async fn fetch(
    (providers, downloader): &(HealthyProviders, Downloader),
    request: impl SupportedRequest,
    strategy: SplitStrategy,
) -> (Vec<EndpointId>, bool) {
    let items = providers.progress(downloader, request, strategy).await.unwrap();
    let (mut tried, mut good) = (Vec::new(), true);
    let items: Vec<_> = in_time(items.collect()).await;
    for item in items {
        match item {
            DownloadProgressItem::TryProvider { id, .. } => tried.push(id),
            DownloadProgressItem::Error(_) | DownloadProgressItem::DownloadError => good = false,
            _ => {}
        }
    }
    (tried, good)
}

/// Says of each blob that it is of this size, and sends what is none.
async fn garbage(connection: Connection) {
    while let Ok((mut send, _receive)) = connection.accept_bi().await {
        let _ = send.write_all(&1000_u64.to_le_bytes()).await;
        let _ = send.write_all(&[7; 1000]).await;
        let _ = send.finish();
    }
}

async fn close(connection: Connection) {
    if connection.accept_bi().await.is_ok() {
        connection.close(0_u32.into(), b"");
    }
}

#[tokio::test]
async fn the_second_blob_is_not_asked_of_dead_providers() {
    let node = Node::new().await;
    let ((one, _silence), (two, _still)) = (dead(&node.list), dead(&node.list));
    let good = Provider::with(&node.list, b"first").await;
    good.store.add_slice(b"second").await.unwrap();
    let registry = lenient();
    let health = node.health(&registry, [one, two, good.id()]);
    let first = fetch(&health, Hash::new(b"first"), SplitStrategy::None).await;
    assert_eq!(first, (vec![one, two, good.id()], true), "the given order");
    let second = fetch(&health, Hash::new(b"second"), SplitStrategy::None).await;
    assert_eq!(second, (vec![good.id()], true));
    assert_eq!(counts(&registry, one), [0, 1, 0, 0]);
    assert_eq!(counts(&registry, good.id()), [2, 0, 0, 0]);
    assert!(registry.snapshot(&good.id()).unwrap().latency.is_some());
}

#[tokio::test]
async fn parts_side_by_side_blame_a_dead_provider_once() {
    let node = Node::new().await;
    let (nobody, _silence) = dead(&node.list);
    let good = Provider::new(&node.list).await;
    let mut hashes = Vec::new();
    for n in 0..8_u8 {
        hashes.push(good.store.add_slice([n; 100]).await.unwrap().hash);
    }
    let registry = lenient();
    let health = node.health(&registry, [nobody, good.id()]);
    let (tried, good_end) = fetch(&health, hashes, SplitStrategy::Split).await;
    assert!(good_end && tried.contains(&nobody));
    let [_, failed, neutral, _] = counts(&registry, nobody);
    assert_eq!((failed, failed + neutral), (1, 8));
    assert_eq!(counts(&registry, good.id()), [8, 0, 0, 0]);
}

#[tokio::test]
async fn a_provider_that_lacks_a_blob_is_well() {
    let node = Node::new().await;
    let without = Provider::new(&node.list).await;
    let partial = Provider::new(&node.list).await;
    let blob = vec![5; 200_000];
    let good = Provider::with(&node.list, &blob).await;
    let hash = Hash::new(&blob);
    let start = iroh_blobs::protocol::ChunkRanges::chunks(..64);
    let bao = good.store.export_bao(hash, start.clone()).bao_to_vec().await.unwrap();
    partial.store.import_bao_bytes(hash, start, bao).await.unwrap();

    let registry = strict();
    let health = node.health(&registry, [without.id(), partial.id(), good.id()]);
    let fetched = fetch(&health, hash, SplitStrategy::None).await;
    assert_eq!(fetched, (vec![without.id(), partial.id(), good.id()], true));
    assert_eq!(counts(&registry, without.id()), [0, 0, 1, 0]);
    assert_eq!(counts(&registry, partial.id()), [0, 0, 1, 0]);
    assert_eq!(counts(&registry, good.id()), [1, 0, 0, 0]);
    let none = fetch(&health, Hash::new(b"nobody has it"), SplitStrategy::None).await;
    assert_eq!((none.0.len(), none.1), (3, false));
    assert_eq!(counts(&registry, good.id()), [1, 0, 1, 0]);
}

#[tokio::test]
async fn wrong_data_is_the_fault_of_the_peer_once_another_has_delivered_the_same() {
    let node = Node::new().await;
    let liar = Process::start(SecretKey::generate(), ALPN, garbage);
    node.list.set_endpoint_info(liar.address.clone());
    let good = Provider::with(&node.list, b"first").await;
    let registry = strict();
    let health = node.health(&registry, [liar.address.id, good.id()]);
    let lied = fetch(&health, Hash::new(b"nobody has it"), SplitStrategy::None).await;
    assert!(!lied.1);
    assert_eq!(counts(&registry, liar.address.id), [0, 0, 0, 1], "perhaps our store is broken");
    let first = fetch(&health, Hash::new(b"first"), SplitStrategy::None).await;
    assert_eq!(first, (vec![liar.address.id, good.id()], true));
    assert_eq!(counts(&registry, liar.address.id), [0, 1, 0, 1]);
    assert_eq!(registry.status(&liar.address.id), Status::Open);
}

#[tokio::test]
async fn a_provider_that_drops_the_connection_has_failed() {
    let node = Node::new().await;
    let rude = Process::start(SecretKey::generate(), ALPN, close);
    node.list.set_endpoint_info(rude.address.clone());
    let registry = lenient();
    let health = node.health(&registry, [rude.address.id]);
    assert!(!fetch(&health, Hash::new(b"first"), SplitStrategy::None).await.1);
    assert_eq!(counts(&registry, rude.address.id), [0, 1, 0, 0]);
    let shown = registry.snapshot(&rude.address.id).unwrap().last_error.unwrap();
    assert!(shown.to_string().contains("closed"), "{shown}");
}

#[tokio::test]
async fn open_providers_come_last_and_banned_ones_never() {
    let node = Node::new().await;
    let back = Provider::with(&node.list, b"first").await;
    let good = Provider::with(&node.list, b"second").await;
    let banned = Provider::with(&node.list, b"first").await;
    let registry = strict();
    let lost = || peer_health::SyncError::Network("lost".into());
    registry.acquire(&back.id()).unwrap().failure(lost());
    registry.force_open(&banned.id()).unwrap();
    let health = node.health(&registry, [banned.id(), back.id(), good.id()]);
    let second = fetch(&health, Hash::new(b"second"), SplitStrategy::None).await;
    assert_eq!(second, (vec![good.id()], true));
    let first = fetch(&health, Hash::new(b"first"), SplitStrategy::None).await;
    assert_eq!(first, (vec![good.id(), back.id()], true));
    assert_eq!(counts(&registry, back.id()), [0, 1, 0, 0], "it had no permit");
    let probe = registry.acquire(&back.id()).expect("good news has ended its wait");
    assert!(probe.is_probe());
    drop(probe);
    let none = fetch(&health, Hash::new(b"nobody has it"), SplitStrategy::None).await;
    assert!(!none.1 && none.0.contains(&back.id()) && !none.0.contains(&banned.id()));
}

#[tokio::test]
async fn the_faster_provider_comes_first() {
    let node = Node::new().await;
    let (slow, fast) =
        (Provider::with(&node.list, b"first").await, Provider::with(&node.list, b"first").await);
    let registry = lenient();
    let health = node.health(&registry, [slow.id(), fast.id()]);
    for (provider, seconds) in [(&slow, 9), (&fast, 1)] {
        let latency = Duration::from_secs(seconds);
        registry.acquire(&provider.id()).unwrap().with_latency(latency).success();
    }
    let first = fetch(&health, Hash::new(b"first"), SplitStrategy::None).await;
    assert_eq!(first, (vec![fast.id()], true));
}

/// One part in eight asks either of them with the same chance: sixteen such choices that all fall on the first
/// provider come once in 65,536 runs.
#[tokio::test]
async fn a_provider_that_delivers_is_not_the_only_one_that_is_asked_for_ever() {
    const BLOBS: u32 = 8 * 16;
    let node = Node::new().await;
    let (first, other) = (Provider::new(&node.list).await, Provider::new(&node.list).await);
    let registry = lenient();
    let health = node.health(&registry, [first.id(), other.id()]);
    let mut served = [0, 0];
    for n in 0..BLOBS {
        let blob = n.to_le_bytes();
        first.store.add_slice(blob).await.unwrap();
        other.store.add_slice(blob).await.unwrap();
        let (tried, good) = fetch(&health, Hash::new(blob), SplitStrategy::None).await;
        assert!(good && tried.len() == 1);
        served[usize::from(tried[0] == other.id())] += 1;
        if n < 7 {
            assert_eq!(served[1], 0, "nobody is tried before the eighth part");
        }
    }
    assert!(served[1] > 0);
}

#[tokio::test]
async fn a_download_that_nobody_follows_reports_failures_and_abandons_successes() {
    let node = Node::new().await;
    let (nobody, _silence) = dead(&node.list);
    let good = Provider::with(&node.list, b"first").await;
    let registry = lenient();
    let (providers, downloader) = node.health(&registry, [nobody, good.id()]);
    in_time(downloader.download(Hash::new(b"first"), providers).into_future()).await.unwrap();
    assert_eq!(counts(&registry, nobody), [0, 1, 0, 0]);
    in_time(downloader.wait_idle()).await.unwrap();
    assert_eq!(counts(&registry, good.id()), [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_download_that_is_dropped_abandons_its_attempt() {
    let node = Node::new().await;
    let (nobody, _silence) = dead(&node.list);
    let registry = lenient();
    let (providers, downloader) = node.health(&registry, [nobody, nobody]);
    let hash = Hash::new(b"first");
    let mut items = providers.progress(&downloader, hash, SplitStrategy::None).await.unwrap();
    let tried = in_time(items.next()).await;
    assert!(matches!(tried, Some(DownloadProgressItem::TryProvider { .. })));
    drop(items);
    in_time(downloader.wait_idle()).await.unwrap();
    assert_eq!(counts(&registry, nobody), [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_provider_is_not_credited_with_a_blob_that_was_here_already() {
    let node = Node::new().await;
    let (nobody, silence) = dead(&node.list);
    node.store.add_slice(b"first").await.unwrap();
    let registry = lenient();
    let health = node.health(&registry, [nobody]);
    let first = fetch(&health, Hash::new(b"first"), SplitStrategy::None).await;
    assert_eq!(first, (vec![nobody], true));
    assert_eq!(counts(&registry, nobody), [0, 0, 0, 1]);
    drop(silence);
}

#[tokio::test]
async fn the_errors_of_get_requests_reach_their_rows() {
    let node = Node::new().await;
    let liar = Process::start(SecretKey::generate(), ALPN, garbage);
    node.list.set_endpoint_info(liar.address.clone());
    let good = Provider::with(&node.list, b"first").await;
    let pool = HealthPool::new(lenient(), node.us.clone(), ALPN, Options::default());
    let get = |text: &'static [u8]| {
        let store = node.store.clone();
        move |connection: Connection| async move {
            store.remote().execute_get(connection, GetRequest::blob(Hash::new(text))).await
        }
    };
    in_time(pool.call_with(&good.id(), get(b"first"), get_failure)).await.unwrap();
    in_time(pool.call_with(&good.id(), get(b"second"), get_failure)).await.unwrap_err();
    assert_eq!(counts(pool.registry(), good.id()), [1, 0, 1, 0]);
    in_time(pool.call_with(&liar.address.id, get(b"second"), get_failure)).await.unwrap_err();
    assert_eq!(counts(pool.registry(), liar.address.id), [0, 1, 0, 0]);
}
