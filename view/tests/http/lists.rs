//! The summary, the list, one peer.

use std::fmt::{self, Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use peer_health::{HealthMonitor, HealthRegistry, Status, SyncCoordinator, SyncError};
use peer_health_view::{ViewBuilder, axum};
use serde_json::{Value, json};

use crate::client::{Stream, get, post};
use crate::support::Server;
use crate::{fail, registry, succeed, view};

fn ids(page: &Value) -> Vec<&str> {
    page["peers"].as_array().unwrap().iter().map(|peer| peer["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_list_has_the_worst_first_and_its_pages_have_each_peer_once() {
    let registry = registry();
    for peer in 0..1000 {
        succeed(&registry, &format!("peer-{peer:04}"));
    }
    fail(&registry, "peer-0500");
    registry.acquire(&"peer-0400".into()).unwrap().failure(SyncError::Network("reset".into()));
    registry.force_open(&"peer-0300".into()).unwrap();
    let server = Server::start(view(&registry).router().unwrap()).await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(server.address, &format!("/api/peers?limit=300{after}")).await.json();
        assert_eq!(page["matching"], 1000);
        seen.extend(ids(&page).into_iter().map(String::from));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen[..4], ["peer-0500", "peer-0400", "peer-0300", "peer-0000"]);
    assert_eq!((seen.len(), &*seen[999]), (1000, "peer-0999"));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1000);
}

#[tokio::test]
async fn a_list_shows_who_is_asked_for() {
    let registry = registry();
    let server = Server::start(
        view(&registry).label(|peer| (peer == "ada").then(|| "The First".into())).router().unwrap(),
    );
    for peer in ["ada", "bob", "bonny"] {
        succeed(&registry, peer);
    }
    fail(&registry, "cleo");
    registry.acquire(&"bob".into()).unwrap().failure(SyncError::Network("reset".into()));
    registry.disable(&"dora".into()).unwrap();
    let server = server.await;
    for (query, expected) in [
        ("state=all", vec!["cleo", "bob", "dora", "bonny", "ada"]),
        ("state=open", vec!["cleo"]),
        ("state=trouble", vec!["cleo", "bob"]),
        ("state=closed", vec!["bob", "bonny", "ada"]),
        ("state=disabled", vec!["dora"]),
        ("state=forced_open", vec![]),
        ("q=BO", vec!["bob", "bonny"]),
        ("q=the+first", vec!["ada"]),
        ("q=b&state=closed&limit=1", vec!["bob"]),
    ] {
        let page = get(server.address, &format!("/api/peers?{query}")).await.json();
        assert_eq!(ids(&page), expected, "{query}");
        assert_eq!((&page["counts"]["trouble"], &page["counts"]["all"]), (&json!(2), &json!(5)));
    }
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_answered_with_what_is_wrong() {
    let server = Server::start(view(&registry()).router().unwrap()).await;
    for (query, wrong) in [
        ("state=ope", "state ope: must be one of all, trouble, open"),
        ("limit=0", "limit 0: must be from 1 to 500"),
        ("limit=501", "limit 501: must be from 1 to 500"),
        ("limit=many", "limit many: must be"),
        ("after=x", "after x: must be the next of an earlier page"),
        ("sort=name", "unknown field `sort`"),
    ] {
        let answer = get(server.address, &format!("/api/peers?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.error().contains(wrong), "{query}: {}", answer.error());
    }
    for path in ["/api/peers/nobody", "/api", "/nothing"] {
        assert_eq!(get(server.address, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn what_axum_refuses_is_a_sentence_too() {
    let registry = registry();
    succeed(&registry, "ada");
    let server = Server::start(view(&registry).token(crate::TOKEN).router().unwrap()).await;
    for (path, status, wrong) in [
        ("/events?after=1&after=2", 400, "duplicate field `after`"),
        ("/api/peers/%ff", 400, "UTF-8"),
        ("/api/peers/ada/reset", 405, "method not allowed"),
    ] {
        let answer = get(server.address, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.error().contains(wrong), "{path}: {}", answer.error());
    }
    let allowed = get(server.address, "/api/peers/ada/reset").await.headers;
    assert!(allowed.contains("allow: post"), "{allowed}");
    let long = "x".repeat(2000);
    let answer = post(server.address, "/api/peers/ada/force_open", crate::TOKEN, &long).await;
    assert_eq!((answer.status, answer.error().is_empty()), (413, false));
    let all = get(server.address, "/api/peers?state=&q=&after=&limit=").await;
    assert_eq!(ids(&all.json()), ["ada"], "a form that nobody filled in");
}

#[tokio::test]
async fn peers_that_are_written_alike_are_not_taken_for_one_another() {
    let registry = HealthRegistry::<u32>::new();
    (1..=3).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
    let write = |peer: &u32| if *peer == 3 { "three" } else { "few" }.to_owned();
    let monitor = HealthMonitor::new(registry.clone());
    let view = ViewBuilder::new(monitor).write_peers(write).token(crate::TOKEN).router().unwrap();
    let server = Server::start(view).await;
    let answer = get(server.address, "/api/peers/few").await;
    assert_eq!((answer.status, answer.error().contains("several peers")), (409, true));
    for (peer, status) in [("few", 409), ("three", 200)] {
        let path = format!("/api/peers/{peer}/force_open");
        assert_eq!(post(server.address, &path, crate::TOKEN, "").await.status, status, "{peer}");
    }
    let banned = [1, 2, 3].map(|peer| registry.status(&peer) == Status::ForcedOpen);
    assert_eq!(banned, [false, false, true]);
}

/// A key whose destructor panics while it is told to. Two of them in one list would end the process.
#[derive(Clone)]
struct Brittle(u32, Arc<AtomicBool>);

impl PartialEq for Brittle {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Brittle {}

impl Hash for Brittle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Debug for Brittle {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        if self.1.load(Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("Drop of a key"));
        }
    }
}

#[tokio::test]
async fn keys_that_panic_when_they_are_dropped_end_nothing() {
    let (registry, trap) = (HealthRegistry::new(), Arc::new(AtomicBool::new(false)));
    for peer in 0..5 {
        let key = Brittle(peer, Arc::clone(&trap));
        (0..5).for_each(|_| {
            _ = registry.acquire(&key).unwrap().failure(SyncError::Network("reset".into()));
        });
    }
    let view = ViewBuilder::new(HealthMonitor::new(registry.clone()));
    let server = Server::start(view.router().unwrap()).await;
    let at = server.address;
    let mut stream = Stream::open(at, None).await;
    stream.next("summary").await;
    trap.store(true, Ordering::Relaxed);
    for path in ["/api/peers", "/api/summary", "/api/peers/3"] {
        assert_eq!(get(at, path).await.status, 200, "{path}");
    }
    registry.for_each(|peer, _| _ = registry.reset(peer));
    stream.next("transition").await;
    trap.store(false, Ordering::Relaxed);
}

#[tokio::test]
async fn a_peer_has_its_state_and_its_story() {
    let registry = registry();
    let server = Server::start(view(&registry).router().unwrap()).await;
    let peer = "a/b ü?";
    fail(&registry, peer);
    registry.force_open(&peer.into()).unwrap();
    registry.reset(&peer.into());
    registry.acquire(&peer.into()).unwrap().failure(SyncError::Network("reset".into()));
    let shown = get(server.address, "/api/peers/a%2Fb%20%C3%BC%3F").await.json();
    assert_eq!((&shown["id"], &shown["status"]), (&json!(peer), &json!("closed")));
    assert_eq!(shown["totals"]["failed"], 3);
    assert_eq!(shown["last_error"]["error"], "network failure: reset");
    let story = shown["story"].as_array().unwrap();
    let told: Vec<_> = story.iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(told, ["reset", "overridden: forced open", "opened for 250 s"]);
    assert_eq!(story[2]["error"]["error"], "network failure: connection refused");
    assert!(story[0]["at"].as_str().unwrap().starts_with("20"));
}

#[tokio::test]
async fn a_summary_counts_peers_and_shows_the_driver() {
    let registry = registry();
    let coordinator = SyncCoordinator::new(registry.clone());
    let driver = coordinator.drive(async |_| Ok::<_, SyncError>(())).unwrap();
    driver.pause();
    for peer in ["ada", "bob"] {
        driver.request(&peer.into());
    }
    fail(&registry, "cleo");
    let view = view(&registry).title("node 7").driver(driver).coordinator(coordinator);
    let server = Server::start(view.link("node 8", "/8").router().unwrap()).await;
    let shown = get(server.address, "/api/summary").await.json();
    assert_eq!((&shown["title"], &shown["links"][0]["href"]), (&json!("node 7"), &json!("/8")));
    assert_eq!((&shown["known"], &shown["open"]), (&json!(1), &json!(1)));
    assert_eq!(shown["worst"][0]["id"], "cleo");
    assert_eq!(
        (&shown["driver"]["waiting"], &shown["driver"]["paused"]),
        (&json!(2), &json!(true))
    );
    assert_eq!(shown["driver"]["reasons"], json!({ "slot": 2 }));
    assert_eq!(
        (&shown["budget"]["allows_retry"], &shown["totals"]["all"]["failed"]),
        (&json!(true), &json!(2))
    );
    assert_eq!((&shown["local_outage"], &shown["controls"]), (&json!(false), &json!(false)));
}

#[tokio::test]
async fn a_view_works_wherever_it_is_mounted_and_keys_need_no_text_of_their_own() {
    let registry = HealthRegistry::<u32>::new();
    registry.acquire(&7).unwrap().success();
    let view = peer_health_view::router(HealthMonitor::new(registry));
    let server = Server::start(axum::Router::new().nest("/node-7", view)).await;
    let page = get(server.address, "/node-7").await;
    assert!(page.status == 200 && page.body.contains("<title>"));
    let shown = get(server.address, "/node-7/api/peers/7").await.json();
    assert_eq!(shown["totals"]["succeeded"], 1);
}

#[tokio::test]
async fn a_text_that_panics_costs_its_peer_alone() {
    let registry = HealthRegistry::<u32>::new();
    (1..=3).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
    let write = |peer: &u32| match peer {
        2 => panic!("no text for 2"),
        peer => peer.to_string(),
    };
    let monitor = HealthMonitor::new(registry);
    let server =
        Server::start(ViewBuilder::new(monitor).write_peers(write).router().unwrap()).await;
    let page = get(server.address, "/api/peers").await.json();
    assert_eq!(ids(&page), ["(unprintable)", "1", "3"]);
}
