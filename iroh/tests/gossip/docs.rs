//! iroh-docs and the downloader of iroh-blobs, unchanged: the registry hears of the dead and of the living.

use blobs_of_docs::store::mem::MemStore as BlobsOfDocs;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, EndpointId, SecretKey};
use iroh_blobs::BlobsProtocol;
use iroh_blobs::api::downloader::Downloader;
use iroh_blobs::store::mem::MemStore;
use iroh_docs::api::protocol::{AddrInfoOptions, ShareMode};
use iroh_docs::engine::LiveEvent;
use iroh_docs::protocol::Docs;
use iroh_gossip::net::{GOSSIP_ALPN, Gossip};
use n0_future::StreamExt;
use peer_health::iroh::{Codes, Ending, HealthHooks};
use peer_health::{EventKind, Fault, HealthRegistry, Status, SyncError};
use tokio::sync::mpsc;

use crate::node::{Dead, Watched, bound, builder, in_time, until};

struct DocsNode {
    docs: Docs,
    blobs: BlobsOfDocs,
    router: Router,
}

async fn docs(endpoint: &Endpoint) -> DocsNode {
    let blobs = BlobsOfDocs::default();
    let gossip = Gossip::builder().spawn(endpoint.clone());
    let docs = Docs::memory();
    let docs = docs.spawn(endpoint.clone(), (*blobs).clone(), gossip.clone()).await.unwrap();
    let router = Router::builder(endpoint.clone())
        .accept(blobs_of_docs::ALPN, blobs_of_docs::BlobsProtocol::new(&blobs, None))
        .accept(GOSSIP_ALPN, gossip)
        .accept(iroh_docs::ALPN, docs.clone())
        .spawn();
    DocsNode { docs, blobs, router }
}

fn assert_failed_by_the_link(registry: &HealthRegistry<EndpointId>, dead: &EndpointId) {
    let seen = registry.snapshot(dead).unwrap();
    assert_eq!((seen.status, seen.totals.succeeded), (Status::Open, 0));
    let last = seen.last_error.unwrap();
    assert_eq!(last.fault(), Fault::Link);
    assert!(matches!(last.error(), SyncError::Network(_)), "{last:?}");
}

#[tokio::test]
async fn a_document_comes_from_the_living_and_the_registry_hears_of_the_dead() {
    let known = MemoryLookup::new();
    let dead = Dead::new(&known).await;
    let (tell, mut ends) = mpsc::unbounded_channel();
    let hooks = HealthHooks::new(HealthRegistry::new()).with_alpns([iroh_docs::ALPN]).on_closed(
        Codes::docs(),
        move |_, ending| {
            let _ = tell.send(ending);
        },
    );
    let peer = bound(builder(SecretKey::generate(), &known).hooks(hooks), &known).await;
    let theirs = docs(&peer).await;
    let author = theirs.docs.author_create().await.unwrap();
    let doc = theirs.docs.create().await.unwrap();
    let hash = doc.set_bytes(author, "key", "value").await.unwrap();
    let mut ticket = doc.share(ShareMode::Read, AddrInfoOptions::Id).await.unwrap();

    let mut us = Watched::new(1, &known).await;
    let ours = docs(&us.endpoint).await;
    ticket.nodes = vec![EndpointAddr::new(dead.id()), EndpointAddr::new(peer.id())];
    let (_doc, mut events) = ours.docs.import_and_subscribe(ticket).await.unwrap();
    in_time(async {
        while !matches!(events.next().await, Some(Ok(LiveEvent::ContentReady { hash: h })) if h == hash)
        {}
    })
    .await;
    assert_eq!(&*ours.blobs.get_bytes(hash).await.unwrap(), b"value");

    let (who, turn) = us.turn().await;
    assert!(who == dead.id() && matches!(turn, EventKind::Opened { .. }), "{turn:?}");
    assert_failed_by_the_link(&us.registry, &dead.id());
    let living = us.registry.snapshot(&peer.id()).unwrap();
    assert!(living.totals.succeeded >= 1, "{living:?}");
    assert_eq!((living.status, living.totals.failed), (Status::Closed, 0));
    // The sync is over: iroh-docs has dropped the connection.
    assert_eq!(in_time(ends.recv()).await, Some(Ending::Planned));
    let _ = in_time(async { tokio::join!(ours.router.shutdown(), theirs.router.shutdown()) }).await;
}

#[tokio::test]
async fn blobs_come_from_the_living_and_the_dead_are_not_dialled_for_the_next_one() {
    let known = MemoryLookup::new();
    let dead = Dead::new(&known).await;
    let peer = bound(builder(SecretKey::generate(), &known), &known).await;
    let store = MemStore::new();
    let router = Router::builder(peer.clone())
        .accept(iroh_blobs::ALPN, BlobsProtocol::new(&store, None))
        .spawn();

    let us = Watched::new(1, &known).await;
    let blobs = MemStore::new();
    let downloader = Downloader::new(&blobs, &us.endpoint);
    let providers = vec![dead.id(), peer.id()];
    let first = store.add_slice(b"the first blob").await.unwrap().hash;
    in_time(downloader.download(first, providers.clone()).into_future()).await.unwrap();
    until(|| us.registry.status(&dead.id()) == Status::Open).await;
    assert_failed_by_the_link(&us.registry, &dead.id());
    let left = us.left.of(&dead.id());

    for n in 0..3_u8 {
        let next = store.add_slice([n; 64]).await.unwrap().hash;
        in_time(downloader.download(next, providers.clone()).into_future()).await.unwrap();
        assert!(blobs.has(next).await.unwrap());
    }
    assert!(us.asked.of(&dead.id()) > left, "the downloader forgets");
    assert_eq!(us.left.of(&dead.id()), left, "no dial leaves while the circuit is open");
    let living = us.registry.snapshot(&peer.id()).unwrap();
    assert!(living.totals.succeeded >= 1 && living.totals.failed == 0, "{living:?}");
    in_time(router.shutdown()).await.unwrap();
}
