//! A driver, the hooks of its endpoint, and a peer that goes and comes back with the same key.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use iroh::{EndpointId, SecretKey};
use peer_health::iroh::{HealthHooks, connect};
use peer_health::{EventKind, Failure, HealthRegistry, NextAdmission, SyncCoordinator, SyncDriver};
use tokio::sync::mpsc;

use crate::endpoints::{ALPN, DEADLINE, Mortal, address_of, bound, in_time, node, take_everything};
use crate::support::{HOUR, touchy};

#[tokio::test]
async fn a_driver_calls_a_peer_that_comes_back_whatever_its_wait_was() {
    let config = touchy(HOUR).with_open_max(HOUR);
    let registry = HealthRegistry::builder().config(config).build().unwrap();
    let (tell, mut turns) = mpsc::unbounded_channel();
    let _listening = registry.listen(move |event| {
        let _ = tell.send(event.kind);
    });

    let driver = Arc::new(OnceLock::<SyncDriver<EndpointId>>::new());
    let told = Arc::clone(&driver);
    let hooks = HealthHooks::new(registry.clone()).on_inbound(move |peer| {
        if let Some(driver) = told.get() {
            driver.note_reachable(&peer);
        }
    });
    let us = bound(node().hooks(hooks)).await;
    tokio::spawn(take_everything(us.clone()));
    let key = SecretKey::generate();
    let id = key.public();
    let peer = Mortal::new(node().secret_key(key.clone())).await;

    let (synced, mut syncs) = mpsc::unbounded_channel();
    let address = Arc::new(Mutex::new(peer.address.clone()));
    let (endpoint, known) = (us.clone(), Arc::clone(&address));
    let coordinator = SyncCoordinator::builder(registry.clone())
        .attempt_deadline(Duration::from_secs(5))
        .build()
        .unwrap();
    let op = move |peer: EndpointId| {
        let (endpoint, synced) = (endpoint.clone(), synced.clone());
        let address = known.lock().unwrap().clone();
        async move {
            connect(&endpoint, address, ALPN, DEADLINE).await?;
            let _ = synced.send(peer);
            Ok::<_, Failure>(())
        }
    };
    let driver = driver.get_or_init(|| coordinator.drive(op).unwrap());
    driver.request(&id);
    assert_eq!(in_time(syncs.recv()).await, Some(id));

    peer.kill();
    driver.request(&id);
    let opened = in_time(turns.recv()).await.unwrap();
    assert!(matches!(opened, EventKind::Opened { retry_after, .. } if retry_after == HOUR));
    let NextAdmission::After(wait) = registry.next_admission(&id) else { panic!("it is open") };
    assert!(wait > HOUR / 2);

    // It comes back on another port and calls us.
    let peer = bound(node().secret_key(key)).await;
    tokio::spawn(take_everything(peer.clone()));
    *address.lock().unwrap() = address_of(&peer);
    let _theirs = in_time(peer.connect(address_of(&us), ALPN)).await.unwrap();
    assert_eq!(in_time(syncs.recv()).await, Some(id));
    assert_eq!(in_time(turns.recv()).await, Some(EventKind::HalfOpened));
    assert_eq!(in_time(turns.recv()).await, Some(EventKind::Closed));
}
