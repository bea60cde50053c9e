//! What the whole mesh looks like at one moment, and what is still missing.

use std::time::Duration;

use peer_health::Status;

use crate::gate::View;
use crate::mesh::Mesh;
use crate::node::Node;

pub(crate) struct Picture {
    pub(crate) at: Duration,
    pub(crate) rows: Vec<Row>,
    /// Circuits between healthy nodes: closed ones, all.
    pub(crate) circuits: (usize, usize),
    /// Keys of healthy nodes in the documents of healthy nodes: held, all.
    pub(crate) keys: (usize, usize),
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
    pub(crate) last_error: String,
    /// How many of the keys of healthy nodes it holds; `None` if it is not there at all.
    pub(crate) keys: Option<usize>,
}

impl Picture {
    pub(crate) fn of(mesh: &Mesh) -> Self {
        let mut picture = Self {
            at: mesh.began.elapsed(),
            rows: Vec::new(),
            circuits: (0, 0),
            keys: (0, 0),
            missing: Vec::new(),
        };
        if picture.at < mesh.settles {
            let settles = mesh.settles.as_secs();
            picture.missing.push(format!("the last fault is over, or begins, after {settles} s"));
        }
        for node in &mesh.nodes {
            picture.add(mesh, node);
        }
        picture
    }

    fn add(&mut self, mesh: &Mesh, node: &Node) {
        let healthy = node.counts_as_healthy();
        let watchers = node.neighbours.iter().map(|n| &mesh.nodes[*n]);
        let views: Vec<View> = watchers
            .filter(|watcher| watcher.counts_as_healthy())
            .map(|watcher| watcher.gate.view(&node.id))
            .collect();
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
            last_error: last_error(views),
            keys,
        });
    }
}

fn role(node: &Node) -> String {
    node.fault.map_or_else(|| "healthy".into(), |fault| fault.to_string())
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
