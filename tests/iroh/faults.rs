//! What real endpoints do when something breaks, and what that does to a circuit: the hooks, dials
//! with a deadline, the codes of an application, and our own shutdown.
//!
//! Where each fault is provoked (here, or in `errors`, whose assertions also pass each
//! failure through a permit):
//!
//! | injected | test |
//! |---|---|
//! | wrong ALPN | `errors::dials::a_wrong_alpn_is_a_protocol_error_of_the_peer` |
//! | refused | `errors::dials::a_peer_that_refuses_is_out_of_resources_and_left_alone_for_longer` |
//! | ignored, dead, silent port | `errors::dials::a_dead_port_a_silent_one_and_a_peer_that_ignores_us_time_out`, `dials::a_dial_that_nobody_answers_ends_by_its_deadline` |
//! | killed in the middle of a read | `errors::connections::a_peer_that_vanishes_in_the_middle_of_a_read_times_out`, `hooks::a_peer_that_is_killed_and_comes_back_is_probed_as_soon_as_it_calls` |
//! | another key at that address | `errors::dials::another_key_at_the_address_means_that_the_peer_was_not_found` |
//! | no address | `errors::dials::a_peer_without_an_address_is_not_found` |
//! | own hook refuses | `hooks::a_dial_that_our_hook_refuses_is_neutral_and_no_packet_leaves` |
//! | the peer's hook refuses | `errors::hooks::a_refusal_by_the_hook_of_the_peer_counts_though_the_dial_went_well` |
//! | peer closes or drops the connection | `errors::connections::a_peer_that_closes_with_a_code_counts_and_is_quoted`, `errors::connections::a_peer_that_drops_the_connection_counts`, `hooks::it_is_told_how_a_connection_ended` |
//! | peer bans us | `bans::a_banned_peer_is_refused_inbound_and_told_so_and_is_no_news`, `bans::a_banned_node_blames_what_bans_it_though_its_handshakes_succeed`, `bans::a_connection_that_is_older_than_a_ban_does_not_lift_it` |
//! | peer needs the connection no longer | `bans::a_reason_of_irohs_crates_decides_where_the_code_is_that_of_a_drop`, and by gossip itself in `iroh/tests` |
//! | dial of a protocol that reports nothing | `inferred`, and by gossip, docs and blobs in `iroh/tests` |
//! | stream reset or stopped | `errors::streams::a_stream_that_the_peer_resets_is_a_protocol_error_of_the_peer`, `errors::streams::a_stream_that_the_peer_stops_is_a_protocol_error_of_the_peer`, `codes::a_code_means_what_the_protocol_says` |
//! | own endpoint closed | `errors::connections::closing_our_own_endpoint_under_a_connection_does_not_blame_the_peer`, `our_own_shutdown_with_many_calls_in_flight_opens_no_circuit` |
//! | garbage, too long, truncated | `errors::messages::garbage_instead_of_a_message_is_a_protocol_error_of_the_peer`, `errors::streams::a_body_that_exceeds_the_limit_is_a_protocol_error_of_the_peer`, `errors::streams::a_body_that_ends_early_is_a_protocol_error_of_the_peer` |
//! | corrupt automerge message | `errors::messages::a_message_with_a_broken_change_is_a_protocol_error_of_the_peer` |

mod bans;
mod codes;
mod dials;
mod hooks;
mod inferred;

use std::time::Duration;

use iroh::EndpointId;
use iroh::endpoint::VarInt;
use peer_health::Fault::Local;
use peer_health::SyncError::{Network, ResourceExhaustion, State};
use peer_health::iroh::{Codes, Ending, HealthHooks, connect};
use peer_health::{CallError, Failure, HealthRegistry, Recorded, Status};
use tokio::sync::mpsc;

use crate::endpoints::{
    ALPN, DEADLINE, Stream, address, address_of, assert_neutral, bound, in_time, node, somebody,
    strict_registry, take_everything,
};

const OTHER: &[u8] = b"peer-health/other";

const BYE: VarInt = VarInt::from_u32(1);
const BUSY: VarInt = VarInt::from_u32(17);
const UNKNOWN: VarInt = VarInt::from_u32(99);

fn busy() -> Failure {
    let error = ResourceExhaustion("busy".into());
    Failure::from(error).with_retry_after(Duration::from_secs(60))
}

fn codes() -> Codes {
    Codes::new(|code| match code {
        BYE => Some(Ending::Planned),
        BUSY => Some(Ending::Failed(busy())),
        _ => None,
    })
}

fn open(registry: &HealthRegistry<EndpointId>, peer: &EndpointId) {
    let recorded = registry.acquire(peer).unwrap().failure(Network("lost".into()));
    assert!(matches!(recorded, Recorded::Opened { .. }));
}

/// Hooks that send what they are told.
type Endings = mpsc::UnboundedReceiver<(EndpointId, Ending)>;

fn telling_endings(registry: HealthRegistry<EndpointId>) -> (HealthHooks, Endings) {
    let (tell, told) = mpsc::unbounded_channel();
    let hooks = HealthHooks::new(registry).on_closed(codes(), move |peer, ending| {
        let _ = tell.send((peer, ending));
    });
    (hooks, told)
}

#[tokio::test]
async fn our_own_shutdown_with_many_calls_in_flight_opens_no_circuit() {
    const READS: u64 = 24;
    const DIALS: u64 = 8;
    let registry = strict_registry();
    let (hooks, mut endings) = telling_endings(registry.clone());
    let (us, peer) = (bound(node().hooks(hooks)).await, bound(node()).await);
    tokio::spawn(take_everything(peer.clone()));
    let (arrived, mut arriving) = mpsc::unbounded_channel();

    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..READS {
        let (us, registry, arrived) = (us.clone(), registry.clone(), arrived.clone());
        let (id, to) = (peer.id(), address_of(&peer));
        calls.spawn(async move {
            let read = registry.call_async(&id, async {
                let connection = connect(&us, to, ALPN, DEADLINE).await?;
                let mut stream = Stream::of(connection.open_bi().await?);
                stream.send.write_all(b"?").await?;
                arrived.send(()).unwrap();
                stream.recv.read(&mut [0; 8]).await?;
                Ok::<_, Failure>(())
            });
            read.await.expect_err("it was shut down")
        });
    }
    for _ in 0..DIALS {
        let (us, registry, arrived) = (us.clone(), registry.clone(), arrived.clone());
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let id = somebody();
        let to = address(id, silent.local_addr().unwrap());
        calls.spawn(async move {
            let dial = async {
                let dial = registry.call_async(&id, connect(&us, to, ALPN, DEADLINE));
                dial.await.expect_err("it was shut down")
            };
            let packet = async {
                silent.readable().await.unwrap();
                arrived.send(()).unwrap();
            };
            tokio::join!(dial, packet).0
        });
    }
    for _ in 0..READS + DIALS {
        in_time(arriving.recv()).await.unwrap();
    }
    in_time(us.close()).await;

    while let Some(call) = in_time(calls.join_next()).await {
        let CallError::Failed(failure) = call.unwrap() else { panic!("no circuit opened") };
        assert_neutral(State, Local, failure);
    }
    let permits = registry.totals().all;
    assert_eq!((permits.neutral, permits.failed), (READS + DIALS, 0));
    registry.for_each(|peer, snapshot| assert_eq!(snapshot.status, Status::Closed, "{peer}"));
    for _ in 0..READS {
        assert_eq!(in_time(endings.recv()).await, Some((peer.id(), Ending::Planned)));
    }
}
