//! Who disturbs: strangers, churn, looks, changed configurations, clock steps, panics.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use peer_health::ErrorHandler;

use super::key::{self, What, panics};
use super::seen::{Seen, network};
use super::{CHURN, HONEST, Key, MAX_PEERS, PANICS, STRANGERS, World, config, random};
use crate::support::ends;

/// So many peers come and go, and as many are called by who panics.
const SOME: u64 = 64;
/// So many permits a stranger leaves open.
const OPEN: usize = 64;
/// So many calls of the churn are going on, and may be late by the time that they end.
const LATER: usize = 16;
/// The act by which who panics bans a peer.
const BAN: u64 = 1;
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) type Run = fn(&World) -> Seen;

pub(crate) const ALL: [Run; 7] = [strangers, strangers, churn, looks, configs, clock, panicking];

/// Leaves the processor to others for a moment. Nothing is waited for.
pub(crate) fn pace() {
    std::thread::sleep(Duration::from_millis(1));
}

/// Two strangers have one key, and so come at about the same time, perhaps to a table that knows
/// neither.
fn stranger(world: &World) -> Key {
    Key(STRANGERS + world.strangers.count() / 2)
}

/// Keys that come once: they fail, are left open, or are only reported about.
fn strangers(world: &World) -> Seen {
    let (mut seen, mut open) = (Seen::by("strangers"), VecDeque::with_capacity(OPEN + 1));
    let handler = ErrorHandler::with_registry(world.registry.clone());
    let mut draws = world.strangers.count() * 2 + 1;
    while !world.is_over() {
        for _ in 0..64 {
            let (peer, draw) = (stranger(world), random(&mut draws));
            match draw % 8 {
                0..3 => {
                    seen.reported_errors += 1;
                    let _ = handler.handle_error(&peer, network());
                }
                3 => {
                    seen.reported_successes += 1;
                    handler.record_success(&peer);
                }
                way => match world.registry.acquire(&peer) {
                    Err(_) => seen.refused += 1,
                    Ok(permit) if way < 6 => seen.failure(permit, network()),
                    Ok(permit) => {
                        open.push_back(permit);
                        if open.len() > OPEN {
                            open.pop_front().into_iter().for_each(|permit| seen.abandon(permit));
                        }
                    }
                },
            }
        }
    }
    open.into_iter().for_each(|permit| seen.abandon(permit));
    seen
}

/// Peers that are removed, reset, banned and freed while they are called.
fn churn(world: &World) -> Seen {
    let (registry, mut seen, mut draws) = (&world.registry, Seen::by("churn"), 3);
    let mut open = VecDeque::with_capacity(LATER + 1);
    while !world.is_over() {
        for _ in 0..32 {
            let draw = random(&mut draws);
            let peer = Key(CHURN + (draw >> 32) % SOME);
            match draw % 32 {
                0 => _ = registry.remove(&peer),
                1 => _ = registry.force_open(&peer),
                2 => _ = registry.disable(&peer),
                3 => _ = registry.metrics_only(&peer),
                4..8 => _ = registry.reset(&peer),
                8 => _ = registry.end_wait(&peer),
                9 => _ = registry.note_reachable(&peer),
                10 => {
                    let _listening = registry.listen(|_| panics());
                    registry.reset(&peer);
                }
                11 => {
                    let mut handle = registry.peer(&peer);
                    registry.remove(&peer);
                    match handle.acquire() {
                        Ok(permit) => seen.settle(permit, draw >> 8),
                        Err(_) => seen.refused += 1,
                    }
                }
                _ => match registry.acquire(&peer) {
                    Ok(permit) => open.push_back(permit),
                    Err(_) => seen.refused += 1,
                },
            }
            if open.len() > LATER {
                open.pop_front().into_iter().for_each(|permit| seen.settle(permit, draw >> 8));
            }
        }
        pace();
    }
    open.into_iter().for_each(|permit| seen.settle(permit, 0));
    (CHURN..CHURN + SOME).for_each(|peer| _ = registry.reset(&Key(peer)));
    seen
}

/// Who asks about one and about all.
fn looks(world: &World) -> Seen {
    let registry = &world.registry;
    let (mut shown, mut draws) = (HashSet::with_capacity(2 * MAX_PEERS), 5);
    while !world.is_over() {
        shown.clear();
        registry.for_each(|peer, _| assert!(shown.insert(peer.0), "two trackers for {peer:?}"));
        assert!(registry.len() <= MAX_PEERS);
        for _ in 0..16 {
            let draw = random(&mut draws);
            let peer = Key((draw >> 32) % HONEST);
            let _ = (registry.snapshot(&peer), registry.next_admission(&peer));
            let _ = (registry.status(&peer), registry.local_outage(), registry.totals());
            if draw.is_multiple_of(64) {
                registry.sweep();
            }
        }
        pace();
    }
    Seen::by("looks")
}

/// Rules that change all the time: `max_peers` goes up and down, the guard on and off.
fn configs(world: &World) -> Seen {
    let mut draws = 7;
    while !world.is_over() {
        let draw = random(&mut draws);
        let upto = |n: u64, bits: u64| u32::try_from(1 + bits % n).unwrap();
        let max_peers = MAX_PEERS >> (draw % 8).saturating_sub(5);
        let changed = config()
            .with_max_peers(max_peers)
            .with_failure_threshold(1 + upto(4, draw >> 8))
            .with_success_threshold(upto(3, draw >> 16))
            .with_outage_guard(draw >> 24 & 1 == 1)
            .with_outage_max_open_percent(10 * upto(9, draw >> 32));
        world.registry.set_config(changed).unwrap();
        pace();
    }
    Seen::by("configs")
}

/// Time goes by in small steps, jumps ahead, and sometimes goes back.
fn clock(world: &World) -> Seen {
    let mut draws = 9;
    while !world.is_over() {
        let draw = random(&mut draws);
        let minutes = MINUTE * u32::try_from(draw >> 32 & 15).unwrap();
        match draw % 256 {
            0..3 => world.hand.ahead(minutes),
            3 => world.hand.back(minutes),
            _ => world.hand.ahead(Duration::from_micros(draw >> 32 & 0xFFFF)),
        }
        pace();
    }
    Seen::by("clock")
}

/// Keys that panic in whatever is done to them, and a closure that does; all is logged meanwhile.
fn panicking(world: &World) -> Seen {
    use tracing_subscriber::layer::SubscriberExt as _;
    let subscriber = tracing_subscriber::registry().with(crate::support::log::Printing);
    tracing::subscriber::with_default(subscriber, || {
        let (mut seen, mut draws) = (Seen::by("panicking"), 11);
        while !world.is_over() {
            for _ in 0..32 {
                panic_once(world, &mut seen, random(&mut draws));
            }
            pace();
        }
        (PANICS..PANICS + SOME).for_each(|peer| _ = world.registry.reset(&Key(peer)));
        seen
    })
}

fn panic_once(world: &World, seen: &mut Seen, draw: u64) {
    let registry = &world.registry;
    let act = draw % 16;
    // A ban lasts until it is lifted: those of strangers would fill the table.
    let known = act == BAN || draw >> 32 & 1 == 0;
    let peer = if known { Key(PANICS + (draw >> 40) % SOME) } else { stranger(world) };
    let what = key::ALL[usize::try_from(draw >> 8 & 0xFFFF).unwrap() % key::ALL.len()];
    key::arm(what, 1 + (draw >> 24) % 4);
    match act {
        0 => _ = ends(|| registry.remove(&peer)),
        BAN => _ = ends(|| registry.force_open(&peer)),
        2 => _ = ends(|| registry.reset(&peer)),
        3 => _ = ends(|| (registry.snapshot(&peer), registry.end_wait(&peer))),
        4 => _ = ends(|| registry.sweep()).unwrap(),
        5 if draw >> 48 & 63 == 0 => _ = ends(|| registry.for_each(|_, _| panics())),
        // A call that unwinds was given no permit.
        _ => match ends(|| registry.acquire(&peer)) {
            None => {}
            Some(Err(_)) => seen.refused += 1,
            Some(Ok(permit)) => ends(|| seen.settle(permit, draw >> 16)).unwrap(),
        },
    }
    if key::disarm() {
        world.sprung.count();
        world.uncloned.add(u64::from(what == What::Clone));
    }
}
