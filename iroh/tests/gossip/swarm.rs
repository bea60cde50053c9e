//! iroh-gossip, unchanged, with a peer that is dead and comes back.

use std::time::Duration;

use iroh::EndpointId;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::protocol::Router;
use iroh_gossip::api::{Event, GossipReceiver, GossipSender};
use iroh_gossip::net::{GOSSIP_ALPN, Gossip};
use iroh_gossip::proto::TopicId;
use n0_future::StreamExt;
use peer_health::{EventKind, Status};
use tokio::time::interval;

use crate::node::{Dead, WAIT, Watched, bound, builder, in_time};

const TOPIC: TopicId = TopicId::from_bytes([7; 32]);

fn gossip(endpoint: &iroh::Endpoint) -> (Gossip, Router) {
    let gossip = Gossip::builder().spawn(endpoint.clone());
    let router = Router::builder(endpoint.clone()).accept(GOSSIP_ALPN, gossip.clone()).spawn();
    (gossip, router)
}

/// Waits until the peer is a neighbour.
async fn neighbour(receiver: &mut GossipReceiver, peer: EndpointId) {
    in_time(async { while receiver.next().await.unwrap().unwrap() != Event::NeighborUp(peer) {} })
        .await;
}

/// Asks gossip for the peer again and again, until `so`.
async fn join_until(sender: &GossipSender, peer: EndpointId, mut so: impl FnMut() -> bool) {
    let mut again = interval(Duration::from_millis(100));
    in_time(async {
        while !so() {
            sender.join_peers(vec![peer]).await.unwrap();
            again.tick().await;
        }
    })
    .await;
}

/// A node whose gossip has found out that the peer is dead, and whose dials do not leave any more.
async fn given_up(
    known: &MemoryLookup,
    dead: EndpointId,
) -> (Watched, Router, GossipSender, GossipReceiver) {
    let mut us = Watched::new(2, known).await;
    let (gossip, router) = gossip(&us.endpoint);
    let (sender, receiver) = gossip.subscribe(TOPIC, vec![dead]).await.unwrap().split();
    join_until(&sender, dead, || us.registry.status(&dead) == Status::Open).await;
    let (who, turn) = us.turn().await;
    assert!(who == dead && matches!(turn, EventKind::Opened { .. }), "{turn:?}");

    let (asked, left) = (us.asked.of(&dead), us.left.of(&dead));
    join_until(&sender, dead, || us.asked.of(&dead) >= asked + 5).await;
    assert_eq!(us.left.of(&dead), left, "no dial leaves while the circuit is open");
    assert_eq!(us.registry.snapshot(&dead).unwrap().totals.failed, 2);
    (us, router, sender, receiver)
}

#[tokio::test]
async fn dials_to_a_dead_peer_stop_and_it_is_found_again_when_its_wait_is_over() {
    let known = MemoryLookup::new();
    let dead = Dead::new(&known).await;
    let id = dead.id();
    let (mut us, router, sender, mut receiver) = given_up(&known, id).await;

    // It is back, at another port, and calls nobody.
    let peer = bound(builder(dead.key.clone(), &known), &known).await;
    let (theirs, their_router) = gossip(&peer);
    let _theirs = theirs.subscribe(TOPIC, vec![]).await.unwrap();
    us.hand.advance(WAIT);
    join_until(&sender, id, || us.registry.status(&id) == Status::Closed).await;
    neighbour(&mut receiver, id).await;
    assert_eq!(us.turn().await, (id, EventKind::HalfOpened));
    assert_eq!(us.turn().await, (id, EventKind::Closed));
    let _ = in_time(async { tokio::join!(router.shutdown(), their_router.shutdown()) }).await;
}

#[tokio::test]
async fn a_dead_peer_that_comes_back_and_calls_us_is_a_neighbour_and_called_again() {
    let known = MemoryLookup::new();
    let dead = Dead::new(&known).await;
    let id = dead.id();
    let (us, router, sender, mut receiver) = given_up(&known, id).await;

    let peer = bound(builder(dead.key.clone(), &known), &known).await;
    let (theirs, their_router) = gossip(&peer);
    let theirs = theirs.subscribe(TOPIC, vec![us.endpoint.id()]).await.unwrap();
    neighbour(&mut receiver, id).await;
    assert!(!us.registry.is_circuit_open(&id), "its call has ended the wait");

    // It leaves, so gossip dials it when it is asked to: the call goes through at once.
    drop(theirs);
    in_time(async { while receiver.next().await.unwrap().unwrap() != Event::NeighborDown(id) {} })
        .await;
    join_until(&sender, id, || us.registry.status(&id) == Status::Closed).await;
    let _ = in_time(async { tokio::join!(router.shutdown(), their_router.shutdown()) }).await;
}
