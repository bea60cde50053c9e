//! A browser without a window, driven by its DevTools protocol.

use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Chrome {
    _process: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Value,
    number: u64,
    /// What the page's script has thrown, and what the browser has complained of.
    pub(crate) complaints: Vec<String>,
    folder: std::path::PathBuf,
}

impl Drop for Chrome {
    fn drop(&mut self) {
        let _ = self._process.start_kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Chrome {
    /// Starts a browser with an empty page, in a folder of its own.
    pub(crate) async fn start() -> Self {
        let name = format!("peer-health-view-{}-{:x}", std::process::id(), rand::random::<u32>());
        let folder = std::env::temp_dir().join(name);
        let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".into());
        let mut process = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--no-first-run",
            ])
            .args(["--disable-dev-shm-usage", "--disable-extensions", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium is installed, or CHROMIUM names it");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = timeout(PATIENCE, async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the browser has ended");
                if let Some((_, address)) = line.split_once("DevTools listening on ") {
                    break address.trim().to_owned();
                }
            }
        });
        let address = address.await.expect("the browser says where it listens");
        // Its complaints are read on, so that it does not wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (socket, _) =
            ClientBuilder::new().uri(&address).unwrap().connect().await.expect("DevTools answer");
        let complaints = Vec::new();
        let mut chrome =
            Self { _process: process, socket, session: Value::Null, number: 0, complaints, folder };
        let target = chrome.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        chrome.session = chrome.call("Target.attachToTarget", attach).await["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log"] {
            chrome.call(&format!("{domain}.enable"), json!({})).await;
        }
        chrome
    }

    /// Calls a method and waits for its answer.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut request = json!({ "id": self.number, "method": method, "params": params });
        if !self.session.is_null() {
            request["sessionId"] = self.session.clone();
        }
        self.socket.send(Message::text(request.to_string())).await.unwrap();
        let answer = timeout(PATIENCE, async {
            loop {
                let message = self.socket.next().await.expect("the browser has ended").unwrap();
                let Some(text) = message.as_text() else { continue };
                let answer: Value = serde_json::from_str(text).unwrap();
                if answer["id"] == self.number {
                    break answer;
                }
                self.note(&answer);
            }
        });
        let answer = answer.await.unwrap_or_else(|_| panic!("{method} has no answer"));
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    fn note(&mut self, event: &Value) {
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                let thrown = &event["params"]["exceptionDetails"];
                self.complaints.push(format!("{} {}", thrown["text"], thrown["exception"]));
            }
            // A node that is gone is what some tests are about.
            Some("Log.entryAdded") if event["params"]["entry"]["source"] != "network" => {
                self.complaints.push(event["params"]["entry"]["text"].to_string());
            }
            _ => {}
        }
    }

    pub(crate) async fn open(&mut self, url: &str) {
        // Only the part after # may differ, which alone would load nothing.
        self.call("Page.navigate", json!({ "url": "about:blank" })).await;
        self.call("Page.navigate", json!({ "url": url })).await;
    }

    /// Sets the size, in CSS pixels, and whether the page is to be dark.
    pub(crate) async fn shape(&mut self, width: u32, height: u32, dark: bool) {
        let mobile = width < 600;
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// Evaluates an expression in the page, and awaits it if it is a promise.
    pub(crate) async fn eval(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", params).await;
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        // A page that is being loaded has no elements yet.
        let guarded =
            format!("(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()");
        while self.eval(&guarded).await != true {
            if begun.elapsed() > PATIENCE {
                let text = self.eval("document.body.innerText").await;
                panic!("never true: {expression}\n{:?}\n{text}", self.complaints);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`, `ArrowDown`, or a character.
    pub(crate) async fn press(&mut self, key: &str) {
        let codes = [("Tab", 9), ("Enter", 13), ("Escape", 27), ("ArrowUp", 38), ("ArrowDown", 40)];
        let code = codes.iter().find(|(name, _)| *name == key).map_or(0, |(_, code)| *code);
        let text = match key {
            "Enter" => "\r",
            _ if code == 0 => key,
            _ => "",
        };
        let mut event =
            json!({ "type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", event.clone()).await;
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event).await;
    }

    pub(crate) async fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    /// Returns a picture of what is shown, as base64.
    pub(crate) async fn picture(&mut self) -> String {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        shot["data"].as_str().unwrap().to_owned()
    }
}
