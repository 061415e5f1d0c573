//! S3, Cloudflare R2 and servers that speak like them.
//!
//! Invariant: our own key signs, and never leaves; a machine gets a key limited to its folder where the
//! account can make one, else its requests are signed one by one.

mod admin;
mod own;
mod region;

use super::grant::Key;
use super::http::Http;
use super::open::{Asking, objects_retry};
use super::refused::Refused;
use super::scope::Scope;
use super::v4::{Signer, Signing};
use crate::clock::now;
use fleet_agent_api::{StoreCall, StoreKey, StorePlace};
use fleet_provider::{KeyScope, StorageKeys};
use fleet_types::{ProviderId, StoreKind, is_loopback_url};
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use own::OwnKey;
pub(super) use region::Regions;
use std::sync::Arc;
use std::time::Duration;

/// How S3 is pointed at loopback, for people.
const SETTING: &str = "AWS_ENDPOINT_URL_S3";

/// A bucket that speaks S3.
pub(super) struct S3 {
    kind: StoreKind,
    bucket: String,
    /// Base URL without the bucket.
    endpoint: String,
    path_style: bool,
    region: String,
    own: Arc<OwnKey>,
    /// Who makes narrow keys; `None`: nobody can.
    narrow: Option<Arc<dyn StorageKeys>>,
    http: Http,
}

impl S3 {
    /// Finds endpoint, region and key.
    pub(super) async fn open(asking: &Asking<'_>, regions: &Regions) -> Result<Self, Refused> {
        let uri = asking.uri;
        let overrides = asking.realm.endpoint(ProviderId::Aws);
        let (named, own) = reach(asking)?;
        let http = Http::new(named.as_deref().is_some_and(is_loopback_url))?;
        let region = regions.of(asking, named.as_deref(), &http).await?;
        // Keys of Amazon's key service open Amazon's buckets, or those of a server that has both.
        let serves_keys = overrides.services.contains_key("sts") || overrides.api.is_some();
        let is_foreign = uri.endpoint.is_some() || (named.is_some() && !serves_keys);
        let narrow = asking.keys.clone().filter(|_| uri.kind == StoreKind::S3 && !is_foreign);
        let bucket = uri.bucket.clone();
        let endpoint = named.clone().unwrap_or_else(|| amazon(&region));
        Ok(Self {
            kind: uri.kind,
            // Amazon's certificate covers one label only.
            path_style: named.is_some() || bucket.contains('.'),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            bucket,
            region,
            own: Arc::new(own),
            narrow,
            http,
        })
    }

    /// The bucket's objects.
    pub(super) fn objects(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        let store = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_endpoint(self.host_base())
            .with_virtual_hosted_style_request(!self.path_style)
            .with_credentials(self.own.clone())
            .with_allow_http(true)
            .with_retry(objects_retry())
            .with_http_connector(self.http.clone())
            .build()?;
        Ok(Arc::new(store))
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) fn place(&self, prefix: String) -> StorePlace {
        StorePlace {
            kind: self.kind,
            endpoint: self.endpoint.clone(),
            path_style: self.path_style,
            region: self.region.clone(),
            bucket: self.bucket.clone(),
            prefix,
        }
    }

    /// Base URL with the bucket in its host, where it belongs there.
    fn host_base(&self) -> String {
        match self.endpoint.split_once("://") {
            Some((scheme, rest)) if !self.path_style => {
                format!("{scheme}://{}.{rest}", self.bucket)
            }
            _ => self.endpoint.clone(),
        }
    }

    /// A key for a machine that is trusted.
    pub(super) async fn grant(
        &self,
        scope: &Scope,
        name: &str,
        life: Duration,
    ) -> Result<Key, Refused> {
        let Some(keys) = &self.narrow else { return Ok(asked(self.why_asked())) };
        let wanted = KeyScope {
            bucket: self.bucket.clone(),
            read: scope.readable(),
            write: scope.writable().unwrap_or_default(),
            name: name.to_owned(),
        };
        let found = keys.narrow(&wanted, life).await;
        let Some(key) = found.map_err(|e| own::refused(&self.bucket, "S3", &e))? else {
            return Ok(asked(
                "the credentials are a session's, which can make no narrower key; name a role in FLEET_S3_ROLE",
            ));
        };
        Ok(Key {
            key: StoreKey::Aws {
                access_key_id: key.access_key_id,
                secret_access_key: own::plain(&key.secret_access_key),
                session_token: key.session_token.as_ref().map(own::plain),
            },
            expires_at: key.expires_at,
            note: None,
        })
    }

    fn why_asked(&self) -> &'static str {
        match self.kind {
            StoreKind::R2 => "R2 makes no narrower key",
            _ => "this server makes no narrower key",
        }
    }

    /// A signed URL, and how long it is good for. `key` is whole.
    pub(super) async fn sign(
        &self,
        call: &StoreCall,
        key: &str,
        life: Duration,
    ) -> Result<(String, Duration), Refused> {
        let own = self.own.key().await?;
        // A URL ends with the key that signed it.
        let life = own.expires_at.map_or(life, |end| end.since(now()).min(life));
        if life.is_zero() {
            let code = "it ended".to_owned();
            return Err(Refused::Expired { bucket: self.bucket.clone(), code });
        }
        let path = match (key.is_empty(), self.path_style) {
            (true, true) => format!("/{}", self.bucket),
            (false, true) => format!("/{}/{key}", self.bucket),
            (_, false) => format!("/{key}"),
        };
        let signer = Signer::Amazon {
            access_key_id: &own.key.key_id,
            secret: &own.key.secret_key,
            session_token: own.key.token.as_deref(),
            region: &self.region,
        };
        let url = signer.url(&Signing {
            method: &call.method,
            base: &self.host_base(),
            path: &path,
            query: &call.query,
            at: now(),
            life,
        });
        Ok((url.map_err(Refused::Call)?, life))
    }
}

/// The server that was named, if one was, and our key for it.
fn reach(asking: &Asking<'_>) -> Result<(Option<String>, OwnKey), Refused> {
    let uri = asking.uri;
    if uri.kind == StoreKind::R2 {
        let endpoint = uri.endpoint.clone().map_or_else(|| own::r2_endpoint(asking), Ok)?;
        asking.check(&endpoint, "`?endpoint=`")?;
        return Ok((Some(endpoint), own::r2(asking)?));
    }
    let overrides = asking.realm.endpoint(ProviderId::Aws);
    let service = overrides.services.get("s3").or(overrides.api.as_ref());
    let named = uri.endpoint.as_ref().or(service).cloned();
    asking.check(named.as_deref().unwrap_or("https://s3.amazonaws.com"), SETTING)?;
    let own = own::s3(asking, named.as_deref())?;
    Ok((named, own))
}

/// Requests are signed one by one.
pub(super) fn asked(why: &str) -> Key {
    let note = format!(
        "the machine gets no key for its bucket and has requests signed one by one, an hour ahead at most: {why}"
    );
    Key { key: StoreKey::Asked, expires_at: None, note: Some(note) }
}

/// Amazon's endpoint of a region.
fn amazon(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{suffix}")
}
