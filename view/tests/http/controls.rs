//! Controls, and who has none.

use peer_health::{Status, SyncCoordinator, SyncError};
use serde_json::json;

use crate::client::{post, send};
use crate::support::Server;
use crate::{TOKEN, fail, registry, succeed, view};

#[tokio::test]
async fn without_a_token_there_are_no_controls() {
    let registry = registry();
    succeed(&registry, "ada");
    let server = Server::start(view(&registry).router().unwrap()).await;
    for token in ["", TOKEN] {
        let answer = post(server.address, "/api/peers/ada/force_open", token, "").await;
        assert_eq!((answer.status, &*answer.error()), (403, "controls are off: no token is set"));
    }
    assert_eq!(post(server.address, "/api/driver/pause", "", "").await.status, 403);
    assert_eq!(registry.status(&"ada".into()), Status::Closed);
}

#[tokio::test]
async fn whoever_has_no_token_to_show_changes_nothing() {
    let registry = registry();
    fail(&registry, "ada");
    let coordinator = SyncCoordinator::new(registry.clone());
    let driver = coordinator.drive(async |_| Ok::<_, SyncError>(())).unwrap();
    let view = view(&registry).token(TOKEN).driver(driver.clone());
    let server = Server::start(view.router().unwrap()).await;
    let before = registry.snapshot(&"ada".into()).unwrap().generation;
    for control in ["reset", "force_open", "disable", "metrics_only", "end_wait", "remove", "kick"]
    {
        for token in ["", "a secret", "a secret of the operatoR", "a secret of the operator."] {
            let path = format!("/api/peers/ada/{control}");
            let answer = post(server.address, &path, token, "").await;
            assert_eq!(answer.status, 401, "{control} with {token:?}");
            assert!(answer.headers.contains("www-authenticate: bearer"));
        }
    }
    assert_eq!(post(server.address, "/api/driver/pause", "", "").await.status, 401);
    let line = "POST /api/peers/ada/reset HTTP/1.1";
    let host = format!("Host: {}", server.address);
    assert_eq!(send(server.address, &[line, &host], "").await.status, 401, "no header at all");
    assert_eq!(registry.snapshot(&"ada".into()).unwrap().generation, before);
    assert!(!driver.stats().paused);
}

#[tokio::test]
async fn each_control_does_what_its_method_does() {
    let registry = registry();
    fail(&registry, "ada");
    let server = Server::start(view(&registry).token(TOKEN).router().unwrap()).await;
    for (control, body, done, status) in [
        ("end_wait", "", true, "open"),
        ("reset", "", true, "closed"),
        ("end_wait", "", false, "closed"),
        ("force_open", "", true, "forced_open"),
        ("force_open", r#"{"seconds": 600}"#, true, "forced_open"),
        ("disable", "", true, "disabled"),
        ("metrics_only", "{}", true, "metrics_only"),
        ("kick", "", false, "metrics_only"),
    ] {
        let path = format!("/api/peers/ada/{control}");
        let answer = post(server.address, &path, TOKEN, body).await;
        assert_eq!(answer.status, 200, "{control}: {}", answer.body);
        let answer = answer.json();
        assert_eq!(
            (&answer["done"], &answer["peer"]["status"]),
            (&json!(done), &json!(status)),
            "{control}"
        );
        if !body.is_empty() && control == "force_open" {
            let after = answer["peer"]["next_admission"]["after"].as_f64().unwrap();
            assert!(after > 500.0 && after <= 600.0, "the ban has an end");
        }
    }
    let removed = post(server.address, "/api/peers/ada/remove", TOKEN, "").await.json();
    assert_eq!(removed, json!({ "done": true, "peer": null }));
    // A peer that is not known yet can be banned, since its text can be read.
    let banned = post(server.address, "/api/peers/stranger/force_open", TOKEN, "").await.json();
    assert_eq!(banned["peer"]["status"], "forced_open");
}

#[tokio::test]
async fn a_control_that_makes_no_sense_says_so_and_changes_nothing() {
    let registry = registry();
    succeed(&registry, "ada");
    let server = Server::start(view(&registry).token(TOKEN).router().unwrap()).await;
    for (control, body, status, wrong) in [
        ("force_open", r#"{"seconds": 0}"#, 400, "seconds 0: must be more than 0"),
        ("force_open", r#"{"seconds": -1}"#, 400, "seconds -1: must be more than 0"),
        ("force_open", r#"{"seconds": 1e40}"#, 400, "and less than 2 to the power of 64"),
        ("force_open", r#"{"seconds": null}"#, 400, "body: invalid type: null"),
        ("force_open", r#"{"minutes": 5}"#, 400, "unknown field `minutes`"),
        ("force_open", "5", 400, "body: "),
        ("reset", r#"{"seconds": 5}"#, 400, "seconds 5: reset has no end"),
        ("explode", "", 404, "control explode: there is none of that name"),
    ] {
        let path = format!("/api/peers/ada/{control}");
        let answer = post(server.address, &path, TOKEN, body).await;
        assert_eq!(answer.status, status, "{control} {body}");
        assert!(answer.error().contains(wrong), "{control} {body}: {}", answer.error());
    }
    let long = format!(r#"{{"seconds": {}}}"#, "1".repeat(2000));
    assert_eq!(post(server.address, "/api/peers/ada/force_open", TOKEN, &long).await.status, 413);
    let driver = post(server.address, "/api/driver/pause", TOKEN, "").await;
    assert_eq!((driver.status, &*driver.error()), (404, "this view has no driver"));
    assert_eq!(registry.status(&"ada".into()), Status::Closed);
}

#[tokio::test]
async fn a_driver_is_paused_and_resumed() {
    let registry = registry();
    let coordinator = SyncCoordinator::new(registry.clone());
    let driver = coordinator.drive(async |_| Ok::<_, SyncError>(())).unwrap();
    let view = view(&registry).token(TOKEN).driver(driver.clone());
    let server = Server::start(view.router().unwrap()).await;
    assert_eq!(post(server.address, "/api/driver/pause", TOKEN, "").await.status, 200);
    assert!(driver.stats().paused);
    let requested = post(server.address, "/api/peers/ada/request", TOKEN, "").await.json();
    assert_eq!((&requested["done"], driver.stats().waiting), (&json!(true), 1));
    assert_eq!(post(server.address, "/api/driver/resume", TOKEN, "").await.status, 200);
    assert!(!driver.stats().paused);
    assert_eq!(post(server.address, "/api/driver/kick_all", TOKEN, "").await.status, 200);
    assert_eq!(post(server.address, "/api/driver/stop", TOKEN, "").await.status, 404);
}
