//! The stream of events.

use std::time::Duration;

use serde_json::json;

use crate::client::{Stream, get};
use crate::support::Server;
use crate::{fail, registry, succeed, view};

#[tokio::test]
async fn a_stream_tells_each_transition_and_what_the_peer_is_now() {
    let registry = registry();
    let server = Server::start(view(&registry).router().unwrap()).await;
    let mut stream = Stream::open(server.address, None).await;
    let summary = stream.next("summary").await;
    assert_eq!(summary["known"], 0);
    fail(&registry, "ada");
    let opened = stream.next("transition").await;
    assert_eq!((&opened["peer"], &opened["kind"]), (&json!("ada"), &json!("opened")));
    assert_eq!(opened["error"]["error"], "network failure: connection refused");
    assert_eq!(opened["now"]["status"], "open");
    assert_eq!(stream.next("summary").await["open"], 1);
    registry.remove(&"ada".into());
    let removed = stream.next("transition").await;
    assert_eq!((&removed["kind"], &removed["now"]), (&json!("removed"), &json!(null)));
}

#[tokio::test]
async fn a_stream_is_never_silent_for_longer_than_a_heartbeat() {
    let registry = registry();
    succeed(&registry, "ada");
    let view = view(&registry).heartbeat(Duration::from_millis(100)).router().unwrap();
    let server = Server::start(view).await;
    let mut stream = Stream::open(server.address, None).await;
    for _ in 0..5 {
        let (name, summary) = stream.any().await;
        assert_eq!((&*name, &summary["heartbeat"]), ("summary", &json!(0.1)));
    }
}

#[tokio::test]
async fn a_stream_that_comes_back_goes_on_where_it_was() {
    let registry = registry();
    let server = Server::start(view(&registry).router().unwrap()).await;
    let mut stream = Stream::open(server.address, None).await;
    stream.next("summary").await;
    registry.force_open(&"ada".into()).unwrap();
    stream.next("transition").await;
    let last = stream.last.clone();
    drop(stream);
    registry.force_open(&"bob".into()).unwrap();
    registry.force_open(&"cleo".into()).unwrap();
    let mut stream = Stream::open(server.address, Some(&last)).await;
    assert_eq!(stream.next("transition").await["peer"], "bob");
    assert_eq!(stream.next("transition").await["peer"], "cleo");
    // After a restart the numbers are others': it begins anew.
    let server = Server::start(view(&registry).router().unwrap()).await;
    let mut stream = Stream::open(server.address, Some(&last)).await;
    stream.next("summary").await;
    registry.reset(&"ada".into());
    assert_eq!(stream.next("transition").await["peer"], "ada");
}

#[tokio::test]
async fn who_was_away_for_too_long_learns_how_many_were_missed() {
    let registry = registry();
    let server = Server::start(view(&registry).router().unwrap()).await;
    let mut stream = Stream::open(server.address, None).await;
    stream.next("summary").await;
    registry.force_open(&"first".into()).unwrap();
    stream.next("transition").await;
    let last = stream.last.clone();
    (0..5000).for_each(|_| registry.force_open(&"ada".into()).unwrap());
    let mut stream = Stream::open(server.address, Some(&last)).await;
    let (name, missed) = stream.any().await;
    assert_eq!((&*name, &missed["missed"]), ("missed", &json!(5000 - 4096)));
    assert_eq!(stream.any().await.0, "transition");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody() {
    let registry = registry();
    let server = Server::start(view(&registry).router().unwrap()).await;
    let mut slow = Stream::open(server.address, None).await;
    slow.next("summary").await;
    let mut quick = Stream::open(server.address, None).await;
    quick.next("summary").await;
    // Far more than the buffers of a connection hold.
    for round in 0..20 {
        (0..1000).for_each(|peer| registry.force_open(&format!("{round}-{peer}")).unwrap());
        quick.next("transition").await;
    }
    assert_eq!(get(server.address, "/api/summary").await.json()["overridden"], 20_000);
    // It reads what it was sent, and then learns how many it missed.
    assert!(slow.next("missed").await["missed"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn one_stream_more_than_allowed_is_told_to_wait() {
    let registry = registry();
    let server = Server::start(view(&registry).streams(1).router().unwrap()).await;
    let mut first = Stream::open(server.address, None).await;
    first.next("summary").await;
    let second = get(server.address, "/events").await;
    assert_eq!((second.status, second.error().starts_with("too many streams")), (503, true));
    assert_eq!(get(server.address, "/api/summary").await.status, 200);
    drop(first);
    // The server notices with its next word to the first.
    let mut tries = 0;
    while get_status(&server, "/events").await == 503 {
        tries += 1;
        assert!(tries < 200, "the place was never free again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The status of a stream that is not read further.
async fn get_status(server: &Server, path: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}
