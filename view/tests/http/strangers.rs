//! Who gets no answer.

use crate::client::{get, send};
use crate::support::Server;
use crate::{TOKEN, registry, succeed, view};

#[tokio::test]
async fn a_foreign_host_gets_nothing() {
    let registry = registry();
    succeed(&registry, "ada");
    let view = view(&registry).allow_host("node.example").router().unwrap();
    let server = Server::start(view).await;
    let at = server.address;
    for path in ["/", "/api/summary", "/api/peers", "/api/peers/ada", "/events", "/nothing"] {
        let line = format!("GET {path} HTTP/1.1");
        for foreign in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", ""]
        {
            let answer = send(at, &[&line, &format!("Host: {foreign}")], "").await;
            assert_eq!(answer.status, 403, "{path} of {foreign}");
            assert!(!answer.body.contains("ada"));
        }
    }
    // Whoever stands between may have looked at the other one, or at none.
    for second in ["Host: evil.example", "Host: localhost"] {
        let answer = send(at, &["GET /api/peers HTTP/1.1", "Host: localhost", second], "").await;
        assert!(answer.status == 403 || answer.status == 400, "{second}: {}", answer.status);
    }
    for strange in ["127.0.0.1:8080@evil.example", "[::1", "::1", "localhost:80:80", "localhost."] {
        let lines = ["GET /api/peers HTTP/1.1", &format!("Host: {strange}")];
        assert!(matches!(send(at, &lines, "").await.status, 400 | 403), "{strange}");
    }
    for own in ["localhost", "LOCALHOST:99", "127.0.0.1:8080", "[::1]:1", "node.example:8080"] {
        let answer = send(at, &["GET /api/peers HTTP/1.1", &format!("Host: {own}")], "").await;
        assert_eq!(answer.status, 200, "{own}");
    }
}

#[tokio::test]
async fn another_site_gets_nothing_and_no_leave_to_read() {
    let registry = registry();
    succeed(&registry, "ada");
    let server = Server::start(view(&registry).token(TOKEN).router().unwrap()).await;
    let at = server.address;
    let host = format!("Host: {at}");
    let token = format!("Authorization: Bearer {TOKEN}");
    for line in [
        "GET /api/peers HTTP/1.1",
        "GET /events HTTP/1.1",
        "POST /api/peers/ada/force_open HTTP/1.1",
    ] {
        for foreign in [
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
            "Origin: http://evil.example",
            "Origin: http://127.0.0.1:1",
            "Origin: null",
            "Origin: http://évil.example",
            "Sec-Fetch-Site: évil",
        ] {
            let answer = send(at, &[line, &host, &token, foreign], "").await;
            assert_eq!(answer.status, 403, "{line} {foreign}");
        }
    }
    assert_eq!(registry.status(&"ada".into()).to_string(), "closed");
    // A link on another site may lead to the page.
    let link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"];
    assert_eq!(send(at, &["GET / HTTP/1.1", &host, link[0], link[1]], "").await.status, 200);
    let own = format!("Origin: http://{at}");
    let lines = ["POST /api/peers/ada/force_open HTTP/1.1", &host, &token, &own];
    assert_eq!(send(at, &lines, "").await.status, 200);
    let preflight = ["OPTIONS /api/peers/ada/reset HTTP/1.1", &host, "Origin: http://evil.example"];
    assert_eq!(send(at, &preflight, "").await.status, 403);
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let server = Server::start(view(&registry()).router().unwrap()).await;
    let mut policies = Vec::new();
    for path in ["/", "/", "/api/summary", "/api/peers/nobody"] {
        let headers = get(server.address, path).await.headers;
        assert!(!headers.contains("access-control-"), "{headers}");
        for own in ["nosniff", "no-referrer", "no-store", "frame-ancestors 'none'", "same-origin"] {
            assert!(headers.contains(own), "{path}: {own} is not in {headers}");
        }
        let policy = headers.lines().find(|line| line.starts_with("content-security-policy"));
        policies.push(policy.unwrap().to_owned());
    }
    assert!(policies[0].contains("script-src 'nonce-") && !policies[0].contains("unsafe"));
    assert_ne!(policies[0], policies[1], "no one can guess the next number");
    assert!(policies[2].contains("default-src 'none'"));
    let page = get(server.address, "/").await.body;
    assert!(!page.contains("{{") && !page.contains("src=\"http"), "the page needs nothing else");
}
