//! What fleet tells its sandbox: that a task runs, and that a one-shot job is over.
//!
//! Only realms with a control endpoint have one to tell; everything else about a sandbox job is as in life.

use crate::scene::Scene;
use fleet_types::{InstanceId, Realm, is_loopback_url};
use std::time::Duration;

/// The task runs on this machine: scenarios count from here.
pub(crate) async fn running(scene: &Scene, instance: &InstanceId) {
    let Ok(account) = scene.inner.account(&scene.doc.facts.realm).await else { return };
    post(&account.realm, "running", &serde_json::json!({ "instance": instance.as_str() })).await;
}

/// Takes a one-shot sandbox down; its end is proof of death for every row of its realm.
pub(crate) async fn finished(realm: &Realm) -> bool {
    realm.one_shot && post(realm, "down", &serde_json::json!({})).await
}

async fn post(realm: &Realm, path: &str, body: &serde_json::Value) -> bool {
    let Some(control) = realm.sandbox_control.as_deref().filter(|u| is_loopback_url(u)) else {
        return false;
    };
    fleet_provider_kit::http::install_crypto();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build();
    let Ok(client) = client else { return false };
    let url = format!("{}/{path}", control.trim_end_matches('/'));
    match client.post(url).json(body).send().await {
        Ok(answer) => answer.status().is_success(),
        Err(e) => {
            tracing::debug!("the sandbox does not answer: {e}");
            false
        }
    }
}
