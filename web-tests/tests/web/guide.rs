//! What the guide shows of a browser; `main.rs` checks that it does.

// [guide]
use js_sys::Promise;
use peer_health::{DriveError, HealthRegistry, SyncCoordinator, SyncDriver, SyncError};
use send_wrapper::SendWrapper;
use wasm_bindgen_futures::JsFuture;

/// Starts a driver whose calls are promises, such as those of `fetch`.
pub fn drive(
    registry: &HealthRegistry<u32>,
    call: impl Fn(u32) -> Promise + Send + Sync + 'static,
) -> Result<SyncDriver<u32>, DriveError> {
    SyncCoordinator::new(registry.clone()).drive(move |peer| {
        let answer = SendWrapper::new(JsFuture::from(call(peer)));
        async move {
            match answer.await {
                Ok(_) => Ok(()),
                Err(_) => Err(SyncError::Network("rejected".into())),
            }
        }
    })
}
// [guide]
