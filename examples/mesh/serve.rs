//! A live view of each node, in a browser.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use iroh::EndpointId;
use peer_health_view::ViewBuilder;
use peer_health_view::axum::response::Redirect;
use peer_health_view::axum::routing::get;
use peer_health_view::axum::{self, Router};
use tokio::net::TcpListener;

use crate::common::Error;
use crate::judge::Judge;
use crate::mesh::Mesh;

/// Serves the views until the program ends; `/` leads to the first healthy one. Returns the address for a browser.
pub(crate) async fn serve(at: SocketAddr, mesh: &Mesh) -> Result<String, Error> {
    let names: Arc<HashMap<EndpointId, String>> = Arc::new(
        mesh.nodes
            .iter()
            .map(|node| {
                let fault = node.fault.map(|fault| format!(" ({fault})")).unwrap_or_default();
                (node.id, format!("{}{fault}", node.name))
            })
            .collect(),
    );
    let mut router = Router::new();
    let mut first: Option<(bool, String)> = None;
    for (n, (coordinator, driver)) in &mesh.drivers {
        let node = &mesh.nodes[*n];
        let Judge::Ours(monitor) = &node.judge else { continue };
        let names = Arc::clone(&names);
        let mut view = ViewBuilder::new(monitor.clone())
            .title(&node.name)
            .by_display()
            .label(move |id| names.get(id).cloned())
            .coordinator(coordinator.clone())
            .driver(driver.clone());
        for other in mesh.drivers.keys() {
            let name = &mesh.nodes[*other].name;
            view = view.link(name, format!("/{name}"));
        }
        router = router.nest(&format!("/{}", node.name), view.router()?);
        let candidate = (node.counts_as_healthy(), format!("/{}", node.name));
        if first.as_ref().is_none_or(|(healthy, _)| candidate.0 && !healthy) {
            first = Some(candidate);
        }
    }
    if let Some((_, first)) = first {
        router = router.route("/", get(async move || Redirect::temporary(&first)));
    }
    let listener = TcpListener::bind(at).await.map_err(|error| format!("--serve {at}: {error}"))?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}
