//! In which region a bucket is.
//!
//! Amazon says it to anybody who asks for the bucket's head, whoever may read it. Invariant: what was learned
//! is kept for the process's life, because a bucket never moves; what was not learned is asked again.

use super::super::http::{Http, request};
use super::super::open::Asking;
use super::super::refused::Refused;
use fleet_types::StoreKind;
use reqwest::Method;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Where neither the URI nor the environment names one.
const DEFAULT: &str = "us-east-1";

/// Regions by the bucket's URL.
#[derive(Debug, Default)]
pub(in crate::bucket) struct Regions {
    known: Mutex<HashMap<String, String>>,
}

impl Regions {
    /// The region of a bucket, or the one in which it would be made.
    pub(super) async fn of(
        &self,
        asking: &Asking<'_>,
        endpoint: Option<&str>,
        http: &Http,
    ) -> Result<String, Refused> {
        let uri = asking.uri;
        if let Some(region) = &uri.region {
            return Ok(region.clone());
        }
        if uri.kind == StoreKind::R2 {
            return Ok("auto".to_owned());
        }
        let usual = asking.var("AWS_REGION").or(asking.var("AWS_DEFAULT_REGION"));
        let usual = usual.unwrap_or(DEFAULT).trim().to_owned();
        let base = endpoint.map_or_else(|| super::amazon(&usual), str::to_owned);
        let url = format!("{}/{}", base.trim_end_matches('/'), uri.bucket);
        if let Some(region) = self.lock().get(&url) {
            return Ok(region.clone());
        }
        let head = request(Method::HEAD, &url, &[], Vec::new())?;
        let reply = http.send(&uri.bucket, head).await?;
        let Some(region) = reply.header("x-amz-bucket-region") else { return Ok(usual) };
        let is_plain = |r: &&str| r.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let region = Some(region).filter(is_plain).map_or(usual, str::to_owned);
        if reply.status != reqwest::StatusCode::NOT_FOUND {
            self.lock().insert(url, region.clone());
        }
        Ok(region)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
