//! A node with made-up peers, to look at the page: most answer, some fail now and then, some are dead.
//!
//! ```text
//! cargo run -p peer-health-view --example demo
//! ```
//!
//! `--address 127.0.0.1:9000` serves elsewhere, `--peers 65000` makes up more of them, and `--token SECRET`
//! switches controls on.

mod node;

use std::error::Error;
use std::net::SocketAddr;

use node::Node;
use peer_health_view::axum;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut address: SocketAddr = "127.0.0.1:8080".parse()?;
    let (mut peers, mut token) = (60, None);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name}: value missing"))?;
        match name.as_str() {
            "--address" => address = value.parse()?,
            "--peers" => peers = value.parse()?,
            "--token" => token = Some(value),
            _ => return Err(format!("{name}: no such option").into()),
        }
    }
    if !address.ip().is_loopback() {
        return Err(format!("--address {address}: must be on loopback").into());
    }
    let node = Node::start(peers)?;
    let mut view = node.view();
    if let Some(token) = token {
        view = view.token(token);
    }
    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, view.router()?) => served?,
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    Ok(())
}
