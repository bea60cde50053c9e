//! Who gets an answer: no page of another site, whatever name its address goes by, and no control without
//! the token.
//!
//! A page that listens on loopback is within reach of every site that the same browser shows. A site whose
//! name suddenly means 127.0.0.1 (DNS rebinding) sends its own name as `Host`, so only names that the program
//! allowed are answered to. Nothing here sends a CORS header, so no other site reads an answer.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use peer_health::PeerKey;
use subtle::ConstantTimeEq;

use crate::board::Board;
use crate::problem::{JSON, Problem};

/// The names that the page answers to.
pub(crate) struct Hosts(pub(crate) Vec<String>);

impl Hosts {
    pub(crate) fn loopback() -> Self {
        let [v4, v6] = [Ipv4Addr::LOCALHOST.to_string(), format!("[{}]", Ipv6Addr::LOCALHOST)];
        Self(vec!["localhost".into(), v4, v6])
    }

    /// Whether a host, with or without a port, is one of them. A name without a port stands for all ports.
    fn allow(&self, host: &str) -> bool {
        let name = without_port(host);
        self.0.iter().any(|own| own.eq_ignore_ascii_case(host) || own.eq_ignore_ascii_case(name))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The secret of the controls.
pub(crate) struct Token(pub(crate) String);

impl Token {
    /// Whether a request has the token. The time that this takes tells nothing but its length.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
            let (scheme, token) = value.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
        });
        bearer.is_some_and(|given| bool::from(given.ct_eq(self.0.as_bytes())))
    }
}

/// Refuses whoever has no token to show, and everybody where there is none.
pub(crate) fn check_token(token: Option<&Token>, headers: &HeaderMap) -> Result<(), Problem> {
    match token {
        None => Err(Problem::new(StatusCode::FORBIDDEN, "controls are off: no token is set")),
        Some(token) if token.is_in(headers) => Ok(()),
        Some(_) => Err(Problem::new(StatusCode::UNAUTHORIZED, "the token is missing, or wrong")),
    }
}

/// The middleware around all routes.
pub(crate) async fn guard<K: PeerKey>(
    State(board): State<Arc<Board<K>>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match check(&board.hosts, &request) {
        Ok(()) => explained(next.run(request).await).await,
        Err(problem) => problem.into_response(),
    };
    let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    // The page has a policy of its own; nothing else is to be shown as a page.
    set(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(REFERRER_POLICY, "no-referrer");
    set(CACHE_CONTROL, "no-store");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if unauthorized {
        set(WWW_AUTHENTICATE, "Bearer");
    }
    response
}

/// The longest text of axum's that is passed on.
const LONGEST: usize = 1024;

/// Makes a problem like all others of what axum refused by itself, such as a body that is too long.
async fn explained(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == JSON);
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (head, body) = response.into_parts();
    let said = to_bytes(body, LONGEST).await.unwrap_or_default();
    let text = match said.is_empty() {
        true => status.canonical_reason().unwrap_or("refused").to_lowercase(),
        false => String::from_utf8_lossy(&said).into_owned(),
    };
    let mut response = Problem::new(status, text).into_response();
    if let Some(methods) = head.headers.get(ALLOW) {
        response.headers_mut().insert(ALLOW, methods.clone());
    }
    response
}

fn check(hosts: &Hosts, request: &Request) -> Result<(), Problem> {
    let refused = |text: String| Problem::new(StatusCode::FORBIDDEN, text);
    // What is there and no text is nobody's own.
    let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    if request.headers().get_all(HOST).iter().count() > 1 {
        // A proxy may have looked at the other one.
        return Err(refused("the request names two hosts".into()));
    }
    // HTTP/2 has the host in the address.
    let host = request.uri().authority().map(|host| host.as_str()).or_else(|| header(HOST));
    let Some(host) = host else { return Err(refused("the request names no host".into())) };
    if !hosts.allow(host) {
        return Err(refused(format!("host {host}: this view does not answer to that name")));
    }
    // A browser says where a request comes from. Following a link to the page is fine.
    let site = header(HeaderName::from_static("sec-fetch-site"));
    let mode = header(HeaderName::from_static("sec-fetch-mode"));
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let own_site = matches!(site, None | Some("same-origin" | "none"));
    let follows_a_link = reads && mode == Some("navigate");
    if !(own_site || follows_a_link) {
        return Err(refused("the request comes from another site".into()));
    }
    let origin = header(ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |o| o.1));
    if origin.is_some_and(|origin| !origin.eq_ignore_ascii_case(host)) {
        return Err(refused("the request comes from another origin".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_were_allowed_are_answered_to() {
        let mut hosts = Hosts::loopback();
        hosts.0.push("node.example:8080".into());
        for own in
            ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]", "[::1]:9", "node.example:8080"]
        {
            assert!(hosts.allow(own), "{own}");
        }
        let foreign = [
            "",
            "evil.example",
            "node.example",
            "node.example:81",
            "localhost.evil.example",
            "127.0.0.2",
        ];
        for foreign in foreign {
            assert!(!hosts.allow(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_token_is_one_text_and_no_part_of_it() {
        let token = Token("correct horse battery".into());
        let has = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            token.is_in(&headers)
        };
        assert!(has("Bearer correct horse battery") && has("bearer correct horse battery"));
        for wrong in ["", "Bearer", "Bearer ", "Bearer correct", "correct horse battery"] {
            assert!(!has(wrong), "{wrong}");
        }
        assert!(!has("Bearer correct horse batterx") && !has("Basic correct horse battery"));
        assert!(!token.is_in(&HeaderMap::new()));
    }
}
