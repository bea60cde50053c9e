//! What the whole mesh looks like at one moment, and what is still missing.

use std::time::Duration;

use peer_health::{EventKind, Status};

use crate::judge::View;
use crate::mesh::{Mesh, News};
use crate::node::Node;

pub(crate) struct Picture {
    pub(crate) at: Duration,
    pub(crate) rows: Vec<Row>,
    /// Circuits between healthy nodes: closed ones, all.
    pub(crate) circuits: (usize, usize),
    /// Keys of healthy nodes in the documents of healthy nodes: held, all.
    pub(crate) keys: (usize, usize),
    /// What has happened since the last picture: when, and the rest.
    pub(crate) events: Vec<(Duration, String)>,
    /// Why the mesh has not converged.
    pub(crate) missing: Vec<String>,
}

/// A node as its healthy neighbours see it.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) healthy: bool,
    /// Whether its circuit is as it should be everywhere.
    pub(crate) right: bool,
    pub(crate) circuit: String,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) trips: u64,
    /// For how long nobody calls it, as far as that is known.
    pub(crate) wait: Option<Duration>,
    /// Its places among the neighbours of each of its neighbours, the best first.
    pub(crate) ranks: String,
    pub(crate) last_error: String,
    /// How many of the keys of healthy nodes it holds; `None` if it is not there at all.
    pub(crate) keys: Option<usize>,
}

impl Picture {
    pub(crate) fn of(mesh: &mut Mesh) -> Self {
        let mut picture = Self {
            at: mesh.began.elapsed(),
            rows: Vec::new(),
            circuits: (0, 0),
            keys: (0, 0),
            events: Vec::new(),
            missing: Vec::new(),
        };
        if picture.at < mesh.settles {
            let settles = mesh.settles.as_secs();
            picture.missing.push(format!("the last fault is over, or begins, after {settles} s"));
        }
        while let Ok(news) = mesh.news.try_recv() {
            picture.events.extend(event(mesh, news));
        }
        for node in &mesh.nodes {
            picture.add(mesh, node);
        }
        picture
    }

    fn add(&mut self, mesh: &Mesh, node: &Node) {
        let healthy = node.counts_as_healthy();
        let watchers = node.neighbours.iter().map(|n| &mesh.nodes[*n]);
        let watchers: Vec<_> = watchers.filter(|watcher| watcher.counts_as_healthy()).collect();
        let ranks = watchers.iter().filter_map(|watcher| {
            let all: Vec<_> = watcher.neighbours.iter().map(|n| mesh.nodes[*n].id).collect();
            watcher.judge.rank(&node.id, &all).map(|place| (place + 1).to_string())
        });
        let ranks = ranks.collect::<Vec<_>>().join(" ");
        let views: Vec<View> =
            watchers.iter().map(|watcher| watcher.judge.view(&node.id)).collect();
        let closed = views.iter().filter(|view| view.status == Status::Closed).count();
        let right = closed == if healthy { views.len() } else { 0 };
        let circuit = circuit(&views);
        if !right {
            let wanted = if healthy { "Closed" } else { "anything but Closed" };
            self.missing.push(format!(
                "{} ({}) is {circuit}, should be {wanted}",
                node.name,
                role(node)
            ));
        }
        let keys = node.endpoint().map(|_| node.document.holds(&mesh.keys));
        if healthy {
            let held = keys.unwrap_or_default();
            if held < mesh.keys.len() {
                self.missing.push(format!(
                    "{} holds {held} of {} keys",
                    node.name,
                    mesh.keys.len()
                ));
            }
            self.circuits = (self.circuits.0 + closed, self.circuits.1 + views.len());
            self.keys = (self.keys.0 + held, self.keys.1 + mesh.keys.len());
        }
        self.rows.push(Row {
            name: node.name.clone(),
            role: role(node),
            healthy,
            right,
            circuit,
            succeeded: views.iter().map(|view| view.succeeded).sum(),
            failed: views.iter().map(|view| view.failed).sum(),
            trips: views.iter().map(|view| view.trips).sum(),
            wait: views.iter().map(|view| view.wait).min().flatten(),
            ranks,
            last_error: last_error(views),
            keys,
        });
    }
}

fn role(node: &Node) -> String {
    node.fault.map_or_else(|| "healthy".into(), |fault| fault.to_string())
}

/// `None` for what nobody wants to know.
fn event(mesh: &Mesh, (at, by, event): News) -> Option<(Duration, String)> {
    let by = &mesh.nodes[by];
    let of = mesh.nodes.iter().find(|node| node.id == event.peer)?;
    let what = match event.kind {
        EventKind::Opened { retry_after, .. } => {
            let error = by.judge.view(&of.id).last_error.map(|(_, error)| error);
            format!("open for {retry_after:.1?}: {}", error.unwrap_or_default())
        }
        EventKind::HalfOpened => "half-open".into(),
        EventKind::Closed => "closed".into(),
        _ => return None,
    };
    Some((at, format!("{} ({}) at {}: {what}", of.name, role(of), by.name)))
}

/// "closed 3/3", or "closed 2/3, open 1/3".
fn circuit(views: &[View]) -> String {
    let named =
        [(Status::Closed, "closed"), (Status::HalfOpen, "half-open"), (Status::Open, "open")];
    let parts: Vec<String> = named
        .into_iter()
        .map(|(status, name)| (views.iter().filter(|view| view.status == status).count(), name))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{name} {count}/{}", views.len()))
        .collect();
    parts.join(", ")
}

/// The latest of what its neighbours met.
fn last_error(views: Vec<View>) -> String {
    let errors = views.into_iter().filter_map(|view| view.last_error);
    errors.max_by_key(|(at, _)| *at).map(|(_, error)| error).unwrap_or_default()
}
