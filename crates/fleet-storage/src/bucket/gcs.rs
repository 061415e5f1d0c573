//! Google Cloud Storage, opened by the application default credentials.
//!
//! Invariant: a machine gets a token limited to its folder, or single signed URLs; never our own token. An
//! emulator on loopback gets no credential of ours.

mod account;
mod admin;
mod boundary;

use super::grant::Key;
use super::http::Http;
use super::open::{Asking, objects_retry};
use super::refused::{Refused, of_store};
use super::scope::Scope;
use super::v4::{Signer, Signing};
use crate::clock::now;
use account::ServiceAccount;
use fleet_agent_api::{StoreCall, StoreKey, StorePlace};
use fleet_types::{ProviderId, StoreKind, is_loopback_url};
use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::{ObjectStore, StaticCredentialProvider};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

const ENDPOINT: &str = "https://storage.googleapis.com";
const STS: &str = "https://sts.googleapis.com";
/// What an emulator is told: it asks nobody.
const ANYBODY: &str = "anonymous";

/// A bucket of Google's.
pub(super) struct Gcs {
    bucket: String,
    base: String,
    /// Exchanges tokens for narrower ones.
    sts: String,
    /// Project in which a bucket would be made.
    project: Option<String>,
    location: String,
    store: GoogleCloudStorage,
    signs: Own,
    http: Http,
}

/// What we open the bucket with.
enum Own {
    /// A service account's own key, which signs.
    Account(Box<ServiceAccount>),
    /// A token of a person or a machine, which does not.
    Token,
    /// None: an emulator.
    Nobody,
}

/// What a file of credentials says.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    project_id: Option<String>,
    quota_project_id: Option<String>,
}

impl Gcs {
    /// Finds endpoint and credentials.
    pub(super) fn open(asking: &Asking<'_>) -> Result<Self, Refused> {
        let uri = asking.uri;
        let services = asking.realm.endpoint(ProviderId::Gcp).services;
        let named = uri.endpoint.as_ref().or(services.get("storage"));
        let base = named.map_or(ENDPOINT, String::as_str).trim_end_matches('/').to_owned();
        asking.check(&base, "FLEET_GCP_STORAGE_ENDPOINT")?;
        let inside = is_loopback_url(&base);
        let sts = services.get("sts").map_or(STS, String::as_str).trim_end_matches('/').to_owned();
        let http = Http::new(inside)?;
        let builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(&uri.bucket)
            .with_base_url(&base)
            .with_retry(objects_retry())
            .with_http_connector(http.clone());
        let found = credentials(asking)?;
        let file = found.as_ref().map(|(path, text)| kind_of(path, text)).transpose()?;
        let project = [asking.var("GOOGLE_CLOUD_PROJECT"), asking.var("CLOUDSDK_CORE_PROJECT")];
        let project = project.into_iter().flatten().map(|p| p.trim().to_owned()).next();
        let project = project.or(file.as_ref().and_then(|f| f.project_id.clone()));
        let project = project.or(file.as_ref().and_then(|f| f.quota_project_id.clone()));
        let found = found.zip(file).map(|((path, text), file)| (path, text, file.kind));
        let oauth = services.get("oauth2");
        // An emulator gets credentials only if their tokens are made on loopback too.
        let found = found.filter(|_| !inside || oauth.is_some());
        let (builder, signs) = sign_in(builder, found, oauth, inside)?;
        let store = builder.build().map_err(|e| Refused::Setting(format!("Google Cloud: {e}")))?;
        let location = uri.region.clone().unwrap_or_else(|| "US".to_owned());
        Ok(Self { bucket: uri.bucket.clone(), base, sts, project, location, store, signs, http })
    }

    pub(super) fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.store.clone())
    }

    pub(super) fn place(&self, prefix: String) -> StorePlace {
        StorePlace {
            kind: StoreKind::Gcs,
            endpoint: self.base.clone(),
            path_style: true,
            region: String::new(),
            bucket: self.bucket.clone(),
            prefix,
        }
    }

    /// A key for a machine that is trusted: a token that opens its folder alone.
    pub(super) async fn grant(&self, scope: &Scope) -> Result<Key, Refused> {
        let (token, expires_at) = match &self.signs {
            Own::Nobody => (ANYBODY.to_owned(), None),
            Own::Account(_) | Own::Token => {
                let (token, end) = self.narrowed(scope).await?;
                (token, Some(end))
            }
        };
        Ok(Key { key: StoreKey::Bearer { token }, expires_at, note: None })
    }

    /// Whether single requests can be signed at all.
    pub(super) fn can_sign(&self) -> Result<(), Refused> {
        match &self.signs {
            Own::Account(_) | Own::Nobody => Ok(()),
            Own::Token => Err(Refused::NoGrant {
                bucket: self.bucket.clone(),
                why: "a machine that is not trusted gets signed URLs only, and only a service account's key \
                      signs them; point GOOGLE_APPLICATION_CREDENTIALS at one"
                    .to_owned(),
            }),
        }
    }

    /// A signed URL. `key` is whole.
    pub(super) fn sign(
        &self,
        call: &StoreCall,
        key: &str,
        life: Duration,
    ) -> Result<(String, Duration), Refused> {
        let path = match key {
            "" => format!("/{}", self.bucket),
            key => format!("/{}/{key}", self.bucket),
        };
        let signing = Signing {
            method: &call.method,
            base: &self.base,
            path: &path,
            query: &call.query,
            at: now(),
            life,
        };
        let url = match &self.signs {
            Own::Account(account) => {
                let key = |text: &[u8]| account.sign(text);
                Signer::Google { email: &account.email, key: &key }.url(&signing)
            }
            // An emulator looks at no signature.
            Own::Nobody => Signer::Google { email: ANYBODY, key: &|_| Ok(vec![0]) }.url(&signing),
            Own::Token => {
                return Err(self.can_sign().err().unwrap_or(Refused::Call("no key".into())));
            }
        };
        Ok((url.map_err(Refused::Call)?, life))
    }

    /// A token of ours, as Google's own interfaces take it.
    async fn token(&self) -> Result<String, Refused> {
        let own = self.store.credentials().get_credential().await;
        match own {
            Ok(own) => Ok(own.bearer.clone()),
            Err(e) => match of_store(&self.bucket, "", "signing in", &e) {
                crate::Error::Bucket(refused) => Err(refused),
                other => Err(Refused::Setting(other.to_string())),
            },
        }
    }
}

/// Gives the builder what opens the bucket.
fn sign_in(
    builder: GoogleCloudStorageBuilder,
    found: Option<(String, String, String)>,
    oauth: Option<&String>,
    inside: bool,
) -> Result<(GoogleCloudStorageBuilder, Own), Refused> {
    match found {
        Some((path, text, kind)) => {
            let signs = match kind.as_str() {
                "service_account" => Own::Account(Box::new(ServiceAccount::read(&text, oauth)?)),
                _ => Own::Token,
            };
            Ok((builder.with_application_credentials(path), signs))
        }
        None if inside => {
            let anybody = GcpCredential { bearer: ANYBODY.to_owned() };
            let anybody = Arc::new(StaticCredentialProvider::new(anybody));
            Ok((builder.with_credentials(anybody), Own::Nobody))
        }
        // A machine of Google's has credentials without a file.
        None => Ok((builder, Own::Token)),
    }
}

/// The file of credentials that Google's own tools would take.
fn credentials(asking: &Asking<'_>) -> Result<Option<(String, String)>, Refused> {
    if let Some(path) = asking.var("GOOGLE_APPLICATION_CREDENTIALS") {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Refused::Setting(format!("GOOGLE_APPLICATION_CREDENTIALS: cannot read `{path}`: {e}"))
        })?;
        return Ok(Some((path.to_owned(), text)));
    }
    let folder = match asking.var("CLOUDSDK_CONFIG") {
        Some(folder) => folder.to_owned(),
        None => match asking.var("HOME") {
            Some(home) => format!("{home}/.config/gcloud"),
            None => return Ok(None),
        },
    };
    let path = format!("{folder}/application_default_credentials.json");
    Ok(std::fs::read_to_string(&path).ok().map(|text| (path, text)))
}

fn kind_of(path: &str, text: &str) -> Result<File, Refused> {
    let file: File = serde_json::from_str(text)
        .map_err(|e| Refused::Setting(format!("`{path}` holds no credentials of Google: {e}")))?;
    match file.kind.as_str() {
        "service_account" | "authorized_user" => Ok(file),
        other => Err(Refused::Setting(format!(
            "`{path}` holds credentials of the kind `{other}`, which open no bucket here; use a service \
             account's key, or run `gcloud auth application-default login`"
        ))),
    }
}
