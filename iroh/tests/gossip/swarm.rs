//! iroh-gossip, unchanged, with a peer that is dead and comes back.

use std::time::Duration;

use iroh::EndpointId;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::protocol::Router;
use iroh_gossip::api::{Event, GossipReceiver, GossipTopic};
use iroh_gossip::net::{GOSSIP_ALPN, Gossip};
use iroh_gossip::proto::TopicId;
use n0_future::StreamExt;
use peer_health::{EventKind, Status};
use tokio::time::interval;

use crate::node::{Dead, WAIT, Watched, bound, builder, in_time, until};

const TOPIC: TopicId = TopicId::from_bytes([7; 32]);

fn gossip(endpoint: &iroh::Endpoint) -> (Gossip, Router) {
    let gossip = Gossip::builder().spawn(endpoint.clone());
    let router = Router::builder(endpoint.clone()).accept(GOSSIP_ALPN, gossip.clone()).spawn();
    (gossip, router)
}

/// Waits until gossip tells this.
#[track_caller]
fn told(receiver: &mut GossipReceiver, event: Event) -> impl Future<Output = ()> {
    in_time(async move { while receiver.next().await.unwrap().unwrap() != event {} })
}

/// A gossip that begins anew, with this peer to join by. iroh-gossip 0.101 dials a peer once: what waits for a
/// dial that failed keeps it from the next. A node that starts anew dials again.
async fn anew(us: &Watched, peer: EndpointId) -> (Gossip, GossipTopic) {
    let gossip = Gossip::builder().spawn(us.endpoint.clone());
    let topic = gossip.subscribe(TOPIC, vec![peer]).await.unwrap();
    (gossip, topic)
}

/// A node whose gossip has found out that the peer is dead, and whose dials do not leave any more.
async fn given_up(known: &MemoryLookup, dead: EndpointId) -> Watched {
    let mut us = Watched::new(2, known).await;
    for failed in 1..=2 {
        let _topic = anew(&us, dead).await;
        until(|| us.registry.totals().all.failed == failed).await;
    }
    let (who, turn) = us.turn().await;
    assert!(who == dead && matches!(turn, EventKind::Opened { .. }), "{turn:?}");
    assert_eq!((us.asked.of(&dead), us.left.of(&dead)), (2, 2));
    for asked in 3..6 {
        let _topic = anew(&us, dead).await;
        until(|| us.asked.of(&dead) == asked).await;
    }
    assert_eq!(us.left.of(&dead), 2, "no dial leaves while the circuit is open");
    us
}

#[tokio::test]
async fn dials_to_a_dead_peer_stop_and_it_is_found_again_when_its_wait_is_over() {
    let known = MemoryLookup::new();
    let dead = Dead::new(&known).await;
    let id = dead.id();
    let mut us = given_up(&known, id).await;

    // It is back, at another port, and calls nobody.
    let peer = bound(builder(dead.key.clone(), &known), &known).await;
    let (theirs, router) = gossip(&peer);
    let _theirs = theirs.subscribe(TOPIC, vec![]).await.unwrap();
    us.hand.advance(WAIT);
    let (_gossip, mut topic) = anew(&us, id).await;
    in_time(topic.joined()).await.unwrap();
    assert_eq!(us.turn().await, (id, EventKind::HalfOpened));
    assert_eq!(us.turn().await, (id, EventKind::Closed));
    in_time(router.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_dead_peer_that_comes_back_and_calls_us_is_a_neighbour_and_called_again() {
    let known = MemoryLookup::new();
    let dead = Dead::new(&known).await;
    let id = dead.id();
    let us = given_up(&known, id).await;
    let (ours, router) = gossip(&us.endpoint);
    let (sender, mut receiver) = ours.subscribe(TOPIC, vec![id]).await.unwrap().split();
    until(|| us.asked.of(&id) == 6).await;
    assert!(us.registry.is_circuit_open(&id));

    let peer = bound(builder(dead.key.clone(), &known), &known).await;
    let (theirs, their_router) = gossip(&peer);
    let mut theirs = theirs.subscribe(TOPIC, vec![us.endpoint.id()]).await.unwrap();
    told(&mut receiver, Event::NeighborUp(id)).await;
    in_time(theirs.joined()).await.unwrap();
    assert!(!us.registry.is_circuit_open(&id), "its call has ended the wait");
    assert_eq!(us.left.of(&id), 2);

    // It leaves the topic, so gossip dials it when it is asked to: the dial leaves at once.
    drop(theirs);
    told(&mut receiver, Event::NeighborDown(id)).await;
    let mut again = interval(Duration::from_millis(100));
    in_time(async {
        while us.registry.status(&id) != Status::Closed {
            sender.join_peers(vec![id]).await.unwrap();
            again.tick().await;
        }
    })
    .await;
    let _ = in_time(async { tokio::join!(router.shutdown(), their_router.shutdown()) }).await;
}
