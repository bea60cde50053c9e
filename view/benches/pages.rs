//! How long a page takes with 65,000 peers, and how long calls take beside it.
//!
//! `cargo bench -p peer-health-view`. It ends with an error if a page takes 50 ms or more, or if more than
//! one call in ten thousand takes a millisecond longer than it does while nobody looks.

use std::error::Error;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use peer_health::{HealthConfig, HealthMonitor, HealthRegistry, SyncError};
use peer_health_view::ViewBuilder;
use peer_health_view::axum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Key = [u8; 32];

const PEERS: u64 = 65_000;
const PAGE_TAKES: Duration = Duration::from_millis(50);
const CALL_TAKES: Duration = Duration::from_millis(1);

fn key(number: u64) -> Key {
    let mut key = [0; 32];
    for (part, bytes) in key.chunks_mut(8).enumerate() {
        let mixed = (number * 4 + part as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bytes.copy_from_slice(&(mixed ^ (mixed >> 29)).to_be_bytes());
    }
    key
}

fn hex(key: &Key) -> String {
    key.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = HealthConfig::default().with_failure_threshold(1).with_max_peers(70_000);
    let registry = HealthRegistry::<Key>::builder().config(config).build()?;
    for number in 0..PEERS {
        let permit = registry.acquire(&key(number)).map_err(|refused| refused.to_string())?;
        match number % 20 {
            0 => permit.failure(SyncError::Network("connection refused".into())),
            _ => permit.success(),
        };
    }
    let view = ViewBuilder::new(HealthMonitor::new(registry.clone())).write_peers(hex).router()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, view).await });

    let quiet = calls(registry.clone(), async { tokio::time::sleep(Duration::from_secs(3)).await });
    let (quiet, ()) = quiet.await?;
    let (busy, pages) = calls(registry, pages(at)).await?;
    let (mut worst, first) = (Duration::ZERO, pages[0].1);
    for (path, took) in &pages {
        if *took > worst {
            println!("{took:9.2?}  {path}");
            worst = *took;
        }
    }
    let mut sorted: Vec<_> = pages.iter().map(|(_, took)| *took).collect();
    sorted.sort();
    println!(
        "{} pages of {PEERS} peers: first {first:.2?}, median {:.2?}, worst {worst:.2?}",
        pages.len(),
        sorted[sorted.len() / 2]
    );
    for (name, calls) in [("while nobody looks", &quiet), ("beside the pages", &busy)] {
        let late = calls.iter().filter(|took| **took >= CALL_TAKES).count();
        println!(
            "{} calls {name}: {late} of 1 ms or more, worst {:.2?}",
            calls.len(),
            calls.iter().max().copied().unwrap_or_default()
        );
    }
    let share = |calls: &[Duration]| {
        calls.iter().filter(|took| **took >= CALL_TAKES).count() as f64 / calls.len().max(1) as f64
    };
    if worst >= PAGE_TAKES {
        return Err(format!("a page took {worst:.2?}: the goal is {PAGE_TAKES:?}").into());
    }
    if share(&busy) > share(&quiet) + 1e-4 {
        return Err("calls are held up by the pages".into());
    }
    Ok(())
}

/// Makes calls, and now and then a new peer, while something else is done; how long each took.
async fn calls<T>(
    registry: HealthRegistry<Key>,
    beside: impl Future<Output = T>,
) -> Result<(Vec<Duration>, T), Box<dyn Error>> {
    let over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&over);
    let caller = std::thread::spawn(move || {
        let mut took = Vec::new();
        for number in 0.. {
            if ends.load(Ordering::Relaxed) {
                break;
            }
            // One in a hundred is new to the table, and leaves again.
            let new = number % 100 == 0;
            let peer = key(if new { PEERS + number } else { number.wrapping_mul(7919) % PEERS });
            #[allow(clippy::disallowed_methods, reason = "a measurement")]
            let begun = Instant::now();
            if let Ok(permit) = registry.acquire(&peer) {
                permit.success();
            }
            if new {
                registry.remove(&peer);
            }
            took.push(begun.elapsed());
            if number % 1000 == 0 {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        took
    });
    let done = beside.await;
    over.store(true, Ordering::Relaxed);
    let took = caller.join().map_err(|_| "the caller panicked")?;
    Ok((took, done))
}

/// Asks for many pages, for some seconds; how long each took.
async fn pages(at: SocketAddr) -> Vec<(String, Duration)> {
    let mut took = Vec::new();
    let (mut after, mut round) = (String::new(), 0);
    while round < 400 {
        let path = match round % 4 {
            0 => format!("/api/peers?limit=500{after}"),
            1 => "/api/peers?state=open".into(),
            2 => format!("/api/peers?q={:02x}{:02x}", round / 256, round % 256),
            _ => format!("/api/peers/{}", hex(&key(round * 100 + 1))),
        };
        #[allow(clippy::disallowed_methods, reason = "a measurement")]
        let begun = Instant::now();
        let body = get(at, &path).await.unwrap_or_default();
        took.push((path, begun.elapsed()));
        if round % 4 == 0 {
            let next = body.split_once("\"next\":\"").and_then(|(_, rest)| rest.split_once('"'));
            after = next.map(|(next, _)| format!("&after={next}")).unwrap_or_default();
        }
        round += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    took
}

async fn get(at: SocketAddr, path: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.starts_with("HTTP/1.1 200") {
        true => Ok(answer),
        false => Err(answer.into()),
    }
}
