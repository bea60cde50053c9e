//! How long a page takes with 65,000 peers, and how long calls take beside it.
//!
//! `cargo bench -p peer-health-view`. It ends with an error if the first page takes 50 ms of processor time
//! or more, if one in a hundred of the others takes 50 ms, or if more than one call in ten thousand takes a millisecond longer than it does while nobody looks.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
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
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = key.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
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
    // The first list of a view that nobody has asked before, the best of five: other programs run, too.
    let (mut first, mut cpu) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        let at = serve(&registry).await?;
        let begun = ProcessTime::now();
        first = first.min(asked(at, "/api/peers").await?.0);
        cpu = cpu.min(begun.elapsed());
    }
    println!("{first:9.2?}  the first list of {PEERS} peers, {cpu:.2?} of processor time");
    let at = serve(&registry).await?;
    asked(at, "/api/summary").await?;
    let nobody = tokio::time::sleep(Duration::from_secs(3));
    let (quiet, ()) = calls(registry.clone(), nobody).await?;
    let (busy, mut pages) = calls(registry, pages(at)).await?;
    pages.sort();
    let [median, most] = [50, 99].map(|percent| pages[pages.len() * percent / 100]);
    println!("{median:9.2?}  the median of {} others", pages.len());
    println!("{most:9.2?}  99 in 100 take less");
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
    if cpu.max(most) >= PAGE_TAKES {
        return Err(format!("the goal of a page is {PAGE_TAKES:?}").into());
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

/// Serves a new view of the registry.
async fn serve(registry: &HealthRegistry<Key>) -> Result<SocketAddr, Box<dyn Error>> {
    let view = ViewBuilder::new(HealthMonitor::new(registry.clone())).write_peers(hex).router()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, view).await });
    Ok(at)
}

/// Asks for many pages, for some seconds; how long each took.
async fn pages(at: SocketAddr) -> Vec<Duration> {
    let (mut took, mut after) = (Vec::new(), String::new());
    for round in 0..400 {
        let path = match round % 4 {
            0 => format!("/api/peers?limit=500{after}"),
            1 => "/api/peers?state=open".into(),
            2 => format!("/api/peers?q={:02x}{:02x}", round / 256, round % 256),
            _ => format!("/api/peers/{}", hex(&key(round * 100 + 1))),
        };
        let Ok((time, body)) = asked(at, &path).await else { continue };
        took.push(time);
        if round % 4 == 0 {
            let next = body.split_once("\"next\":\"").and_then(|(_, rest)| rest.split_once('"'));
            after = next.map(|(next, _)| format!("&after={next}")).unwrap_or_default();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    took
}

/// Asks, and says how long the answer took.
async fn asked(at: SocketAddr, path: &str) -> Result<(Duration, String), Box<dyn Error>> {
    #[allow(clippy::disallowed_methods, reason = "a measurement")]
    let begun = Instant::now();
    let body = get(at, path).await?;
    Ok((begun.elapsed(), body))
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
