//! Our own key for a bucket that speaks S3: from the cloud's driver, the variables, or R2's file.
//!
//! Invariant: a key that means nothing outside a sandbox never signs for a real endpoint, and a key is asked
//! for again before it ends.

use super::super::open::Asking;
use super::super::refused::Refused;
use crate::clock::now;
use async_trait::async_trait;
use fleet_provider::{ProviderError, StorageKey, StorageKeys};
use fleet_types::realm::is_sandbox_credential;
use fleet_types::{Fault, Timestamp, is_loopback_url};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// A key is used until so long before its end.
const MARGIN: Duration = Duration::from_secs(300);
/// One without an end is asked for again after this: somebody may have put in another.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Our own key.
pub(in crate::bucket) struct OwnKey {
    bucket: String,
    store: &'static str,
    source: Source,
    /// Only loopback is reached with it.
    inside: bool,
    held: Mutex<Option<Held>>,
}

enum Source {
    Driver(Arc<dyn StorageKeys>),
    Fixed(StorageKey),
}

/// A key, as the signer wants it.
#[derive(Clone)]
pub(in crate::bucket) struct Held {
    pub(in crate::bucket) key: Arc<AwsCredential>,
    pub(in crate::bucket) expires_at: Option<Timestamp>,
    good_until: Timestamp,
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnKey").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl OwnKey {
    /// The key as it is now.
    pub(in crate::bucket) async fn key(&self) -> Result<Held, Refused> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|h| h.good_until > now()) {
            return Ok(held.clone());
        }
        let key = match &self.source {
            Source::Fixed(key) => key.clone(),
            Source::Driver(keys) => {
                keys.own_key().await.map_err(|e| refused(&self.bucket, self.store, &e))?
            }
        };
        if !self.inside && is_sandbox_credential(&key.access_key_id) {
            return Err(Refused::Setting(format!(
                "the key for {0} is one of the sandbox, but the endpoint is the real {0}; open a new \
                 shell, or run `eval \"$(fleet sandbox env)\"` again",
                self.store
            )));
        }
        let ends = key.expires_at.map(|end| end.minus(MARGIN));
        let fresh = Held {
            key: Arc::new(AwsCredential {
                key_id: key.access_key_id,
                secret_key: plain(&key.secret_access_key),
                token: key.session_token.as_ref().map(plain),
            }),
            expires_at: key.expires_at,
            good_until: ends.unwrap_or_else(|| now().plus(LOOK_AGAIN)),
        };
        *held = Some(fresh.clone());
        Ok(fresh)
    }
}

#[async_trait]
impl CredentialProvider for OwnKey {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        match self.key().await {
            Ok(held) => Ok(held.key),
            Err(e) => Err(object_store::Error::Generic { store: "S3", source: Box::new(e) }),
        }
    }
}

/// The text of a secret, for one who signs with it or sends it to the machine that it was made for.
pub(in crate::bucket) fn plain(secret: &SecretString) -> String {
    secret.expose_secret().to_owned()
}

/// What a driver's failure means for a bucket.
pub(in crate::bucket) fn refused(
    bucket: &str,
    store: &'static str,
    error: &ProviderError,
) -> Refused {
    let words = if error.text().is_empty() { error.to_string() } else { error.text().to_owned() };
    match error.fault {
        Fault::Auth => Refused::NoKey { store, how: words },
        _ => Refused::Unreachable { bucket: bucket.to_owned(), cause: words },
    }
}

/// The key for S3: the driver's, else the variables'.
pub(super) fn s3(asking: &Asking<'_>, endpoint: Option<&str>) -> Result<OwnKey, Refused> {
    let source = match &asking.keys {
        Some(keys) => Source::Driver(keys.clone()),
        None => {
            let key = asking.var("AWS_ACCESS_KEY_ID").zip(asking.var("AWS_SECRET_ACCESS_KEY"));
            let (id, secret) = key.ok_or_else(|| Refused::NoKey {
                store: "S3",
                how: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
                    .into(),
            })?;
            Source::Fixed(fixed(id, secret, asking.var("AWS_SESSION_TOKEN")))
        }
    };
    Ok(own(asking, "S3", source, endpoint))
}

/// The key for R2, from the file in which SkyPilot keeps it.
pub(super) fn r2(asking: &Asking<'_>) -> Result<OwnKey, Refused> {
    const FILE: &str = ".cloudflare/r2.credentials";
    let missing = || Refused::NoKey {
        store: "R2",
        how: format!(
            "make an R2 token at dash.cloudflare.com and write it into ~/{FILE} as profile [r2] with \
             aws_access_key_id and aws_secret_access_key"
        ),
    };
    let text = asking.home_file(FILE).ok_or_else(missing)?;
    let find = |name| of_profile(&text, "r2", name);
    let key = find("aws_access_key_id").zip(find("aws_secret_access_key"));
    let (id, secret) = key.ok_or_else(missing)?;
    let endpoint = asking.uri.endpoint.as_deref();
    Ok(own(asking, "R2", Source::Fixed(fixed(id, secret, None)), endpoint))
}

/// The account's endpoint.
pub(super) fn r2_endpoint(asking: &Asking<'_>) -> Result<String, Refused> {
    let file = asking.home_file(".cloudflare/accountid");
    let account = asking.var("R2_ACCOUNT_ID").or(file.as_deref()).map(str::trim);
    let is_plain = |a: &&str| !a.is_empty() && a.bytes().all(|b| b.is_ascii_alphanumeric());
    let account = account.filter(is_plain).ok_or_else(|| {
        let what = "which Cloudflare account the bucket is in is not known; set R2_ACCOUNT_ID, or write \
                    it into ~/.cloudflare/accountid";
        Refused::Setting(what.to_owned())
    })?;
    Ok(format!("https://{account}.r2.cloudflarestorage.com"))
}

fn own(asking: &Asking<'_>, store: &'static str, source: Source, endpoint: Option<&str>) -> OwnKey {
    let inside = endpoint.is_some_and(is_loopback_url);
    let bucket = asking.uri.bucket.clone();
    OwnKey { bucket, store, source, inside, held: Mutex::default() }
}

fn fixed(id: &str, secret: &str, token: Option<&str>) -> StorageKey {
    StorageKey {
        access_key_id: id.to_owned(),
        secret_access_key: SecretString::from(secret),
        session_token: token.map(SecretString::from),
        expires_at: None,
    }
}

/// One setting of one profile of a credentials file.
fn of_profile<'a>(text: &'a str, profile: &str, name: &str) -> Option<&'a str> {
    let mut here = false;
    for line in text.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            here = title.trim() == profile;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| here)
            && key.trim() == name
        {
            return Some(value.trim()).filter(|v| !v.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_and_no_other() {
        let text = "[default]\naws_access_key_id = other\n\n[r2]\n# note\n aws_access_key_id=id\n\
                    aws_secret_access_key = a=b \n[x]\nregion = y\n";
        assert_eq!(of_profile(text, "r2", "aws_access_key_id"), Some("id"));
        assert_eq!(of_profile(text, "r2", "aws_secret_access_key"), Some("a=b"));
        assert_eq!(of_profile(text, "r2", "region"), None);
    }
}
