//! The smallest real program on iroh: one listens, another calls it, and says what becomes of each line while the
//! first is killed and comes back. Two terminals, on loopback:
//!
//! ```text
//! $ cargo run --example chat --features iroh -- listen alice.key
//! call me: chat call a4729ea31238c1966614c33bf4d729477ea0b5e4cc54fde42aa4fe576029034f 7777
//! hello
//!
//! $ cargo run --example chat --features iroh -- call a4729e..034f 7777
//! hello
//! peer is here
//! peer away (its last attempt failed), next try in 1 s   <- kill -9 of the other
//! peer away (its circuit is open), next try in 2 s
//! peer away (its circuit is open), next try in 1 s
//! peer is here                                           <- it was started again
//! ```

#[path = "common/mod.rs"]
mod common;

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::{Error, loopback};
use iroh::{Endpoint, EndpointAddr, EndpointId, SecretKey};
use peer_health::iroh::RelayWatch;
use peer_health::{Failure, HealthConfig, HealthRegistry, SyncCoordinator};
use tokio::io::{AsyncBufReadExt, BufReader};

const ALPN: &[u8] = b"peer-health/chat";
const USAGE: &str = "usage: chat listen KEYFILE [PORT] | chat call ID [PORT]";
/// The most bytes that one call carries, and that a listener takes from one.
const MOST: usize = 64 * 1024;

/// What was typed and the peer has not confirmed yet.
type Outbox = Arc<Mutex<Vec<u8>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let port = args.get(2).map_or(Ok(7777), |port| port.parse())?;
    match args[..] {
        ["listen", file, ..] => listen(&key(Path::new(file))?, port).await,
        ["call", id, ..] => call(id.parse()?, port).await,
        _ => Err(USAGE.into()),
    }
}

/// The key in this file, which is made if it is not there: who comes back is the same peer.
fn key(file: &Path) -> Result<SecretKey, Error> {
    if !file.exists() {
        let mut options = OpenOptions::new();
        #[cfg(unix)] // whoever can read the key can be this peer
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .write(true)
            .create_new(true)
            .open(file)?
            .write_all(&SecretKey::generate().to_bytes())?;
    }
    let bytes: [u8; 32] = std::fs::read(file)?.try_into().map_err(|_| "not a key of 32 bytes")?;
    Ok(SecretKey::from_bytes(&bytes))
}

async fn listen(key: &SecretKey, port: u16) -> Result<(), Error> {
    let endpoint = loopback::endpoint(key, ALPN)?.clear_ip_transports();
    let endpoint = endpoint.bind_addr((Ipv4Addr::LOCALHOST, port))?.bind().await?;
    println!("call me: chat call {} {port}", endpoint.id());
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            if let Err(error) = hear(incoming).await {
                println!("lost: {error}");
            }
        });
    }
    Ok(())
}

/// Prints what comes, and confirms it.
async fn hear(incoming: iroh::endpoint::Incoming) -> Result<(), Error> {
    let connection = incoming.await?;
    let (mut send, mut recv) = connection.accept_bi().await?;
    let said = recv.read_to_end(MOST).await?; // it may end within a character, and the next call goes on
    std::io::stdout().write_all(&said).and_then(|()| std::io::stdout().flush())?;
    send.write_all(b"ok").await?;
    send.finish()?;
    connection.closed().await;
    Ok(())
}

async fn call(peer: EndpointId, port: u16) -> Result<(), Error> {
    let endpoint = loopback::endpoint(&SecretKey::generate(), ALPN)?.bind().await?;
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let to = EndpointAddr::new(peer).with_ip_addr(address);

    // Three failures in a row, and the peer is left alone for 2 s, 4 s, 8 s, and no longer.
    let config = HealthConfig::default()
        .with_failure_threshold(3)
        .with_success_threshold(1)
        .with_open_timeout(Duration::from_secs(2))
        .with_open_max(Duration::from_secs(8));
    let registry = HealthRegistry::builder().config(config).build()?;
    tokio::spawn(RelayWatch::new(registry.clone()).follow(&endpoint)); // with a relay, no peer is blamed for it
    let coordinator = SyncCoordinator::builder(registry);
    let coordinator = coordinator.attempt_deadline(Duration::from_secs(1)).build()?;

    let outbox = Outbox::default();
    let unsent = Arc::clone(&outbox);
    let driver = coordinator.drive(move |_| {
        let (endpoint, to, outbox) = (endpoint.clone(), to.clone(), Arc::clone(&unsent));
        async move { deliver(&endpoint, to, &outbox).await }
    })?;

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let (mut is_here, mut succeeded) = (false, 0);
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => lock(&outbox).extend((line + "\n").bytes()),
                None => break,
            },
            _ = second.tick() => {}
        }
        if let Some(wait) = driver.waiting().first().filter(|wait| !wait.until.is_zero()) {
            let seconds = wait.until.as_secs_f64().ceil();
            println!("peer away ({}), next try in {seconds} s", wait.reason);
            // A peer that is being called does not wait: only a later success tells that it is back.
            (is_here, succeeded) = (false, driver.stats().succeeded);
        } else if driver.request(&peer) && driver.stats().succeeded > succeeded && !is_here {
            is_here = true;
            println!("peer is here");
        }
    }
    driver.shutdown().await;
    Ok(())
}

/// One call: of what is unsent the first part goes out, and is gone from the outbox once it is confirmed.
async fn deliver(endpoint: &Endpoint, to: EndpointAddr, outbox: &Outbox) -> Result<(), Failure> {
    let part: Vec<u8> = lock(outbox).iter().take(MOST).copied().collect();
    let connection = endpoint.connect(to, ALPN).await?;
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(&part).await?;
    send.finish()?;
    recv.read_to_end(2).await?;
    connection.close(0_u32.into(), b"done");
    lock(outbox).drain(..part.len());
    Ok(())
}

fn lock(outbox: &Outbox) -> std::sync::MutexGuard<'_, Vec<u8>> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}
