//! The page: one document that the program holds, without a framework or a build step.
//!
//! Its policy lets nothing run but the script that is in it, which a number names that no one can guess:
//! what a peer says is text, and stays text even if the script had a mistake.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use peer_health::PeerKey;

use crate::board::Board;

const HTML: &str = include_str!("page/page.html");
const CSS: &str = include_str!("page/page.css");
/// One script in parts, in this order.
const SCRIPT: [&str; 4] = [
    include_str!("page/base.js"),
    include_str!("page/list.js"),
    include_str!("page/peer.js"),
    include_str!("page/live.js"),
];

const HTML_TYPE: (HeaderName, &str) = (CONTENT_TYPE, "text/html; charset=utf-8");

pub(crate) async fn page<K: PeerKey>(State(board): State<Arc<Board<K>>>) -> Response {
    // The page is about to ask for a list.
    let (samples, source) = (Arc::clone(&board.samples), board.source.clone());
    tokio::spawn(async move { drop(samples.get(&source).await) });

    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let html = HTML
        .replace("{{nonce}}", &nonce)
        .replace("{{css}}", CSS)
        .replace("{{script}}", &SCRIPT.concat());
    ([HTML_TYPE, (CONTENT_SECURITY_POLICY, policy.as_str())], html).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_writes_text_and_no_markup() {
        let script = SCRIPT.concat();
        let ways = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
        ];
        for way in ways {
            assert!(!script.contains(way), "{way}");
        }
        assert!(!HTML.contains("style=") && !HTML.contains("onclick"), "the policy forbids these");
        assert!(!script.contains("</script"), "this would end the script");
    }
}
