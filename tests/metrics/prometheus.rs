//! A real Prometheus scrapes a node of a running mesh, as OpenMetrics and as text: it knows every series of
//! the table with its value, answers each expression of the dashboard, and evaluates each alert.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::mesh::Mesh;
use crate::{SERIES, Scraped};

/// Between two scrapes; there is one a second.
const NEVER: Duration = Duration::from_secs(60);
/// No value is awaited for longer than so many scrapes by two jobs.
const MANY: usize = 60;
/// The jobs, and the types of what they are given. Both have the same text.
const JOBS: [(&str, &str); 2] = [
    ("openmetrics", "application/openmetrics-text; version=1.0.0"),
    ("text", "text/plain; version=0.0.4"),
];

/// Serves the metrics, each job at its path, and tells of each scrape.
fn serve(scraped: Scraped) -> (u16, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 4096]);
            let length = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let (_, kind) =
                JOBS.iter().find(|(job, _)| request.contains(&format!("/{job} "))).unwrap();
            let body = scraped.text();
            let head = format!("HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n");
            let _ = stream.write_all((head + &body).as_bytes());
            if tell.send(()).is_err() {
                break;
            }
        }
    });
    (port, told)
}

/// A Prometheus of its own, on a port of its own, that ends with this.
struct Prometheus {
    process: Child,
    folder: PathBuf,
    port: u16,
    scrapes: Receiver<()>,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Prometheus {
    fn start(scraped: Scraped) -> Self {
        let (target, scrapes) = serve(scraped);
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("prometheus-{target}"));
        fs::create_dir_all(&folder).unwrap();
        let jobs = JOBS.map(|(job, _)| {
            format!(
                "  - {{ job_name: {job}, metrics_path: /{job}, static_configs: \
                 [{{ targets: ['127.0.0.1:{target}'] }}] }}\n"
            )
        });
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/alerts.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\nscrape_configs:\n{}",
            rules.display(),
            jobs.concat()
        );
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=warn")
            .spawn()
            .expect("Debian's package `prometheus` has it");
        Self { process, folder, port, scrapes }
    }

    /// Waits for the next scrape.
    fn scrape(&self) {
        self.scrapes.recv_timeout(NEVER).expect("Prometheus scrapes");
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert_eq!(body["status"], "success", "{path}: {body}");
        body["data"].clone()
    }

    /// The results of an expression, each with its labels.
    fn query(&self, expression: &str) -> Vec<(BTreeMap<String, String>, f64)> {
        let coded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.get(&format!("/api/v1/query?query={coded}"));
        let results = data["result"].as_array().unwrap().iter();
        let read = |result: &Value| {
            let labels = serde_json::from_value(result["metric"].clone()).unwrap();
            (labels, result["value"][1].as_str().unwrap().parse().unwrap())
        };
        results.map(read).collect()
    }

    /// Whether each alert could be evaluated, and its state.
    fn alerts(&self) -> BTreeMap<String, (String, String)> {
        let groups = self.get("/api/v1/rules");
        let rules = groups["groups"][0]["rules"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let read =
            |rule: &Value| (text(&rule["name"]), (text(&rule["health"]), text(&rule["state"])));
        rules.map(read).collect()
    }

    /// All series of the group that a job has, as [`Scraped::series`] names them.
    fn series(&self, job: &str) -> BTreeMap<String, f64> {
        let found = self.query(&format!("{{__name__=~\"peer_health_.*\", job=\"{job}\"}}"));
        let named = found.into_iter().map(|(labels, value)| {
            let name = labels["__name__"].strip_prefix("peer_health_").unwrap();
            let mut own = labels
                .iter()
                .filter(|(name, _)| !["__name__", "instance", "job"].contains(&name.as_str()));
            let label = own.next().map(|(name, value)| format!("{{{name}=\"{value}\"}}"));
            (name.to_string() + &label.unwrap_or_default(), value)
        });
        named.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Debian's package `prometheus`; `.ci/run metrics` has it"]
async fn a_prometheus_reads_every_series_of_a_running_mesh() {
    let (registry, transitions) = Mesh::registry();
    let prometheus = Prometheus::start(Scraped::new(&registry));
    // Both jobs see the mesh before it does anything, and while it does.
    (0..4).for_each(|_| prometheus.scrape());
    let mesh = Mesh::new(registry, transitions).await;
    let expected = mesh.expected();
    let names: Vec<_> = expected.keys().map(String::as_str).collect();
    assert_eq!(names, SERIES, "of each series the mesh knows what it should be");
    assert!(expected.values().all(|value| *value > 0), "nothing is left at zero: {expected:?}");
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(name, value)| (name, value as f64)).collect();

    let checked = tokio::task::spawn_blocking(move || {
        for (job, _) in JOBS {
            let mut scrapes = 0;
            while prometheus.series(job) != expected {
                scrapes += 1;
                assert!(
                    scrapes < MANY,
                    "{job}: {:#?}\nand not {expected:#?}",
                    prometheus.series(job)
                );
                prometheus.scrape();
            }
        }
        let rows = prometheus.get("/api/v1/targets/metadata?metric=peer_health_calls");
        assert_eq!(rows[0]["type"], "counter", "{rows}");

        let board: Value = serde_json::from_str(include_str!("../../doc/grafana.json")).unwrap();
        let mut asked = 0;
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                let filled =
                    expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
                let answer = prometheus.query(&filled);
                let has_data = answer.iter().any(|(_, value)| value.is_finite());
                assert!(has_data, "{}: {expression}: {answer:?}", panel["title"]);
                asked += 1;
            }
        }
        assert!(asked > 10, "{asked}");

        // Prometheus evaluates the alerts once a second, and so a moment later.
        let mut alerts = prometheus.alerts();
        for _ in 0..MANY {
            if alerts["PeerHealthLocalTrouble"].1 == "pending" {
                break;
            }
            prometheus.scrape();
            alerts = prometheus.alerts();
        }
        assert!(alerts.values().all(|(health, _)| health == "ok"), "{alerts:?}");
        let state = |name: &str| alerts[name].1.as_str();
        assert_eq!(state("PeerHealthNodeOffline"), "pending", "{alerts:?}");
        assert_eq!(state("PeerHealthLocalTrouble"), "pending", "{alerts:?}");
        assert_eq!(state("PeerHealthNothingSucceeds"), "inactive", "{alerts:?}");
    });
    checked.await.unwrap();
}
