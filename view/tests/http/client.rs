//! A client that sends what it is told to, names of hosts included.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    /// The sentence that says what is wrong.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// Sends a request of these lines and this body, and reads the answer to its end.
pub(crate) async fn send(at: SocketAddr, lines: &[&str], body: &str) -> Answer {
    let mut stream = connect(at, lines, body).await;
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("an answer").unwrap();
    let (headers, body) = text.split_once("\r\n\r\n").expect("headers and a body");
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers: headers.to_lowercase(), body: body.to_owned() }
}

async fn connect(at: SocketAddr, lines: &[&str], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let length = format!("Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(format!("{}\r\n{length}", lines.join("\r\n")).as_bytes()).await.unwrap();
    stream
}

pub(crate) async fn get(at: SocketAddr, path: &str) -> Answer {
    send(at, &[&format!("GET {path} HTTP/1.1"), &format!("Host: {at}")], "").await
}

pub(crate) async fn post(at: SocketAddr, path: &str, token: &str, body: &str) -> Answer {
    let token = format!("Authorization: Bearer {token}");
    send(at, &[&format!("POST {path} HTTP/1.1"), &format!("Host: {at}"), &token], body).await
}

/// A stream of events.
pub(crate) struct Stream {
    lines: BufReader<TcpStream>,
    pub(crate) last: String,
}

impl Stream {
    pub(crate) async fn open(at: SocketAddr, after: Option<&str>) -> Self {
        let host = format!("Host: {at}");
        let mut request = vec!["GET /events HTTP/1.1", &host];
        let last = after.map(|id| format!("Last-Event-ID: {id}"));
        request.extend(last.as_deref());
        Self { lines: BufReader::new(connect(at, &request, "").await), last: String::new() }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.lines.read_line(&mut line)).await;
        assert!(read.expect("a line comes in time").unwrap() > 0, "the stream has ended");
        line.trim_end().to_owned()
    }

    /// Returns the next event that has this name, and passes over others.
    pub(crate) async fn next(&mut self, name: &str) -> Value {
        let wanted = async {
            loop {
                let (found, data) = self.any().await;
                if found == name {
                    break data;
                }
            }
        };
        // Heartbeats go on for ever.
        timeout(PATIENCE, wanted).await.unwrap_or_else(|_| panic!("no {name} comes"))
    }

    /// Returns the name and the data of the next event.
    pub(crate) async fn any(&mut self) -> (String, Value) {
        let (mut name, mut data) = (String::new(), Value::Null);
        loop {
            let line = self.line().await;
            match line.split_once(": ") {
                Some(("event", text)) => name = text.to_owned(),
                Some(("id", text)) => self.last = text.to_owned(),
                Some(("data", text)) => data = serde_json::from_str(text).unwrap(),
                None if line.is_empty() && !name.is_empty() => return (name, data),
                _ => {}
            }
        }
    }
}
