//! Pictures of the page, for people: of a node with made-up peers, after it has run for a while.

#[path = "../../examples/demo/node.rs"]
mod node;

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use node::Node;

use crate::chrome::Chrome;
use crate::support::Server;

#[tokio::test]
#[ignore = "needs chromium"]
async fn it_poses_for_pictures() {
    let node = Node::start(60).unwrap();
    let server = Server::start(node.view().token(crate::TOKEN).router().unwrap()).await;
    let mut chrome = Chrome::start().await;
    chrome.shape(1120, 700, false).await;
    chrome.open(&server.url()).await;
    let some = "document.querySelectorAll('#rows a[data-status=open]').length > 6 && document.querySelectorAll('#events li').length > 12";
    chrome.until(some).await;
    take(&mut chrome, "list").await;
    // A peer that stays open, and a list that has just been put in order.
    let ada =
        "[...document.querySelectorAll('#rows a')].find((row) => row.innerText.includes('ada'))";
    chrome.until(&format!("{ada}.dataset.status === 'open'")).await;
    chrome.eval(&format!("{ada}.click()")).await;
    chrome.until("document.querySelectorAll('#story li').length > 4").await;
    let ordered = "[...document.querySelectorAll('#rows a')].slice(0, 9).every((row) => row.dataset.status === 'open')";
    let open = "document.getElementById('peer-mark').dataset.status === 'open'";
    chrome.until(&format!("{ordered} && {open}")).await;
    take(&mut chrome, "view").await;
    chrome.shape(1120, 700, true).await;
    take(&mut chrome, "dark").await;
    chrome.shape(390, 844, true).await;
    take(&mut chrome, "phone-peer").await;
    chrome.press("Escape").await;
    take(&mut chrome, "phone").await;
    assert_eq!(chrome.complaints, [""; 0]);
}

async fn take(chrome: &mut Chrome, name: &str) {
    let picture = BASE64_STANDARD.decode(chrome.picture().await).unwrap();
    assert!(picture.starts_with(b"\x89PNG"), "{name}");
    if let Some(folder) = std::env::var_os("VIEW_PICTURES") {
        std::fs::write(PathBuf::from(folder).join(name).with_extension("png"), picture).unwrap();
    }
}
