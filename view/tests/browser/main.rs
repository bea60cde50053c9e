//! The page in a real browser: Debian's chromium without a window. `.ci/run view` runs these.
//!
//! `CHROMIUM` names another program than `chromium`. `VIEW_PICTURES=FOLDER` makes the last test leave pictures
//! of the page there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod chrome;
mod pictures;

use std::time::Duration;

use chrome::Chrome;
use peer_health::{HealthMonitor, HealthRegistry, Status, SyncError};
use peer_health_view::ViewBuilder;
use support::{Server, TOKEN, registry};

const MARKUP: &str = "<img src=x onerror=\"document.title='taken'\">";

fn view(registry: &HealthRegistry<String>) -> ViewBuilder<String> {
    let monitor = HealthMonitor::new(registry.clone());
    ViewBuilder::new(monitor).title("node 7").by_display().heartbeat(Duration::from_millis(500))
}

fn fail(registry: &HealthRegistry<String>, peer: &str, error: &str) {
    for _ in 0..2 {
        let error = SyncError::Network(error.into());
        registry.acquire(&peer.into()).unwrap().failure(error);
    }
}

fn succeed(registry: &HealthRegistry<String>, peers: &[&str]) {
    for peer in peers {
        registry.acquire(&peer.to_string()).unwrap().success();
    }
}

/// What is at these elements, one text for each.
fn texts(selector: &str) -> String {
    format!("JSON.stringify([...document.querySelectorAll('{selector}')].map((e) => e.innerText))")
}

const WHO: &str = "#rows .who > span";
const TOUCHED: &str = "document.getElementById('touch').dataset.state";

#[tokio::test]
#[ignore = "needs chromium"]
async fn it_shows_the_worst_first_and_follows_each_transition() {
    let registry = registry();
    succeed(&registry, &["ada", "bob", "cleo"]);
    let server = Server::start(view(&registry).router().unwrap()).await;
    let mut chrome = Chrome::start().await;
    chrome.open(&server.url()).await;
    chrome.until("document.querySelectorAll('#rows li').length === 3").await;
    chrome.until(&format!("{TOUCHED} === 'live'")).await;
    fail(&registry, "cleo", "connection refused");
    chrome
        .until(
            "document.querySelector('#rows a[data-status=open] .who').innerText.includes('cleo')",
        )
        .await;
    chrome.until("document.title === '(1) node 7'").await;
    chrome
        .until("document.querySelector('#events li').innerText.includes('cleo opened for 250 s')")
        .await;
    // The worst first, once the list is read anew; the wait counts down.
    chrome.until(&format!("JSON.parse({})[0] === 'cleo'", texts(WHO))).await;
    chrome.until("/in 4 min/.test(document.querySelector('#rows .wait').innerText)").await;
    registry.reset(&"cleo".into());
    chrome.until("document.querySelectorAll('#rows a[data-status=closed]').length === 3").await;
    chrome.until("document.title === 'node 7'").await;
    assert_eq!(chrome.complaints, [""; 0]);
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn what_a_peer_says_is_text() {
    let registry = registry();
    fail(&registry, "mallory", MARKUP);
    succeed(&registry, &[MARKUP]);
    let named = |peer: &String| (peer == "mallory").then(|| MARKUP.to_string());
    let server = Server::start(view(&registry).label(named).title(MARKUP).router().unwrap()).await;
    let mut chrome = Chrome::start().await;
    chrome.open(&server.url()).await;
    chrome.until("document.querySelectorAll('#rows li').length === 2").await;
    chrome.eval("document.querySelector('#rows a').click()").await;
    chrome.until("document.querySelector('#story li')").await;
    chrome.until("document.querySelector('#peer-name').innerText.startsWith('<img')").await;
    assert_eq!(chrome.eval("document.querySelectorAll('img').length").await, 0);
    let error = format!("network failure: {MARKUP}");
    assert_eq!(chrome.eval("document.querySelector('#peer-error q').innerText").await, error);
    assert_eq!(chrome.eval(&texts(WHO)).await.as_str().unwrap().matches("<img").count(), 2);
    // Had markup come in all the same, the policy would not have let it run.
    chrome
        .eval(
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran=1\">')",
        )
        .await;
    chrome.eval("new Promise((done) => setTimeout(done, 300))").await;
    assert!(chrome.eval("window.ran").await.is_null());
    assert!(chrome.complaints.iter().any(|text| text.contains("Content Security Policy")));
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn it_filters_and_searches_and_needs_no_mouse() {
    let registry = registry();
    succeed(&registry, &["ada", "bob", "bonny"]);
    let server = Server::start(view(&registry).router().unwrap()).await;
    fail(&registry, "boris", "connection refused");
    registry.force_open(&"eve".into()).unwrap();
    let mut chrome = Chrome::start().await;
    chrome.open(&server.url()).await;
    chrome.until("document.querySelectorAll('#rows li').length === 5").await;
    // A filter by Tab and Enter.
    chrome
        .until("document.querySelector('#filters [data-status=forced_open] b').innerText === '1'")
        .await;
    for _ in 0..40 {
        chrome.press("Tab").await;
        if chrome.eval("document.activeElement.dataset.status").await == "forced_open" {
            break;
        }
    }
    chrome.press("Enter").await;
    chrome.until(&format!("{} === '[\"eve\"]'", texts(WHO))).await;
    assert_eq!(chrome.eval("location.hash").await, "#state=forced_open");
    chrome.eval("document.querySelector('#filters [data-status=all]').click()").await;
    // The search by its key, then the arrows, Enter, Escape.
    chrome.press("/").await;
    chrome.write("BO").await;
    chrome.until("document.querySelectorAll('#rows li').length === 3").await;
    chrome.eval("document.querySelector('#rows a').focus()").await;
    chrome.press("ArrowDown").await;
    assert_eq!(chrome.eval("document.activeElement.querySelector('.who').innerText").await, "bob");
    chrome.press("ArrowUp").await;
    chrome.press("Enter").await;
    chrome.until("document.querySelector('#peer-name').innerText === 'boris'").await;
    chrome.until("document.activeElement.id === 'peer'").await;
    chrome.until("document.querySelector('#story').innerText.includes('connection refused')").await;
    chrome.press("Escape").await;
    chrome.until("document.getElementById('peer').hidden").await;
    chrome.until("document.activeElement.innerText.includes('boris')").await;
    // The address says what is shown.
    chrome.open(&format!("{}#state=trouble&peer=boris", server.url())).await;
    chrome.until("document.querySelectorAll('#rows li').length === 1").await;
    chrome.until("document.querySelector('#peer-status').innerText.startsWith('Open')").await;
    assert_eq!(chrome.complaints, [""; 0]);
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn it_says_that_the_node_is_gone_and_goes_on_with_the_next() {
    let first = registry();
    succeed(&first, &["ada"]);
    let server = Server::start(view(&first).router().unwrap()).await;
    let mut chrome = Chrome::start().await;
    chrome.open(&server.url()).await;
    chrome.until(&format!("{TOUCHED} === 'live'")).await;
    let address = server.stop();
    chrome.until(&format!("{TOUCHED} === 'lost'")).await;
    chrome
        .until("document.getElementById('banners').innerText.includes('No word from the node')")
        .await;
    let second = registry();
    succeed(&second, &["ada", "bob"]);
    let _server = Server::start_at(address, view(&second).router().unwrap()).await;
    chrome.until(&format!("{TOUCHED} === 'live'")).await;
    chrome.until("document.querySelectorAll('#rows li').length === 2").await;
    chrome.until("document.getElementById('banners').innerText === ''").await;
    second.force_open(&"bob".into()).unwrap();
    chrome.until("document.querySelector('#rows a[data-status=forced_open]')").await;
    assert_eq!(chrome.complaints, [""; 0]);
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn controls_need_the_token() {
    let registry = registry();
    succeed(&registry, &["ada"]);
    let server = Server::start(view(&registry).token(TOKEN).router().unwrap()).await;
    let mut chrome = Chrome::start().await;
    chrome.open(&format!("{}#peer=ada", server.url())).await;
    chrome.until("document.querySelector('#story li')").await;
    assert_eq!(chrome.eval("document.getElementById('peer-controls').hidden").await, true);
    let unlock = "document.getElementById('unlock').click()";
    let ban = "[...document.querySelectorAll('#peer-controls button')].find((b) => b.innerText === 'Ban').click()";
    chrome.until("!document.getElementById('unlock').hidden").await;
    chrome.eval(unlock).await;
    chrome.write("a guess of a stranger").await;
    chrome.press("Enter").await;
    chrome.until("!document.getElementById('peer-controls').hidden").await;
    chrome.eval(ban).await;
    chrome.until("document.getElementById('peer-controls').hidden").await;
    assert_eq!(registry.status(&"ada".into()), Status::Closed);
    chrome.eval(unlock).await;
    chrome.write(TOKEN).await;
    chrome.press("Enter").await;
    chrome.until("!document.getElementById('peer-controls').hidden").await;
    chrome.eval(ban).await;
    chrome.until("document.querySelector('#peer-status').innerText.startsWith('Banned')").await;
    assert_eq!(registry.status(&"ada".into()), Status::ForcedOpen);
    let lift = "[...document.querySelectorAll('#peer-controls button')].find((b) => b.innerText === 'Lift and reset').click()";
    chrome
        .until("document.querySelector('#peer-controls').innerText.includes('Lift and reset')")
        .await;
    chrome.eval(lift).await;
    chrome.until("document.querySelector('#peer-status').innerText.startsWith('Closed')").await;
    assert_eq!(registry.status(&"ada".into()), Status::Closed);
    assert_eq!(chrome.complaints, [""; 0]);
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn it_fits_a_phone_and_is_dark_where_the_system_is() {
    let registry = registry();
    fail(&registry, &"long".repeat(40), &"no end of words ".repeat(20));
    let server = Server::start(view(&registry).router().unwrap()).await;
    let mut chrome = Chrome::start().await;
    let back = "getComputedStyle(document.body).backgroundColor";
    let mut backs = Vec::new();
    for dark in [false, true] {
        chrome.shape(360, 740, dark).await;
        chrome.open(&server.url()).await;
        chrome.until("document.querySelectorAll('#rows li').length === 1").await;
        backs.push(chrome.eval(back).await);
        let widest = "document.scrollingElement.scrollWidth";
        assert_eq!(chrome.eval(widest).await, 360, "nothing is wider than the screen");
        chrome.eval("document.querySelector('#rows a').click()").await;
        chrome.until("document.querySelector('#story li')").await;
        assert_eq!(chrome.eval(widest).await, 360, "nor is a peer's page");
        let covers = "document.elementFromPoint(180, 700).closest('#peer') !== null";
        assert_eq!(chrome.eval(covers).await, true, "a peer takes the whole screen");
    }
    assert_eq!(backs, ["rgb(246, 246, 243)", "rgb(20, 23, 27)"]);
    assert_eq!(chrome.complaints, [""; 0]);
}
