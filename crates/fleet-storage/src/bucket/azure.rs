//! Azure Blob Storage: containers, opened by the account's key, a signature, a principal or the `az` program.
//!
//! Invariant: a machine gets a signature that we made and that ends by itself, never the account's key, a
//! token of ours, or a signature that the user was given.

mod admin;
mod sas;

use super::grant::Key;
use super::http::Http;
use super::open::{Asking, objects_retry};
use super::refused::{Refused, of_store};
use super::scope::Scope;
use super::v4::escape;
use crate::clock::now;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleet_agent_api::{StoreCall, StoreKey, StorePlace};
use fleet_types::{ProviderId, StoreKind, is_loopback_url};
use object_store::ObjectStore;
use object_store::azure::{AzureCredentialProvider, MicrosoftAzure, MicrosoftAzureBuilder};
use sas::{Delegation, Sas, Signs};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Clouds let no signature of a delegated key live longer; we let none.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// Azurite's account and its key, printed in its documentation: nothing outside loopback takes them.
const EMULATOR: (&str, &str) = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
);

/// A container.
pub(super) struct Azure {
    account: String,
    container: String,
    /// Base URL of the account.
    base: String,
    store: MicrosoftAzure,
    signs: Own,
    http: Http,
    delegated: Mutex<Option<Delegation>>,
}

/// What we open the container with.
enum Own {
    /// The account's key.
    Key(Vec<u8>),
    /// A signature that the user was given: it makes no other.
    Given,
    /// A token, for which Azure lends a key to sign with.
    Token,
}

/// What the environment says about an account.
#[derive(Default)]
struct Found {
    account: Option<String>,
    key: Option<String>,
    sas: Option<String>,
    endpoint: Option<String>,
}

impl Azure {
    /// Finds account, endpoint and key.
    pub(super) fn open(asking: &Asking<'_>) -> Result<Self, Refused> {
        let uri = asking.uri;
        let mut found = Found::of(asking);
        let service = asking.realm.endpoint(ProviderId::Azure).services.get("blob").cloned();
        let named = uri.endpoint.clone().or(service).or(found.endpoint.take());
        let inside = named.as_deref().is_some_and(is_loopback_url);
        if uri.account.is_some() && uri.account != found.account {
            // Its key opens another account.
            found = Found { account: uri.account.clone(), ..Found::default() };
        }
        if inside {
            let account = found.account.get_or_insert_with(|| EMULATOR.0.to_owned());
            if account == EMULATOR.0 && found.sas.is_none() {
                found.key.get_or_insert_with(|| EMULATOR.1.to_owned());
            }
        }
        let account = found.account.clone().ok_or_else(|| {
            let what = "which storage account the container is in is not known; set AZURE_STORAGE_ACCOUNT, or \
                        write https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX";
            Refused::Setting(what.to_owned())
        })?;
        let base = base_of(&account, named.as_deref());
        asking.check(&base, "`?endpoint=`")?;
        let http = Http::new(inside)?;
        let builder = MicrosoftAzureBuilder::new()
            .with_account(&account)
            .with_container_name(&uri.bucket)
            .with_endpoint(base.clone())
            .with_allow_http(true)
            .with_retry(objects_retry())
            .with_http_connector(http.clone());
        let (builder, signs) = sign_in(asking, builder, &found, inside)?;
        let store = builder.build().map_err(|e| Refused::Setting(format!("Azure: {e}")))?;
        let (container, delegated) = (uri.bucket.clone(), Mutex::default());
        Ok(Self { account, container, base, store, signs, http, delegated })
    }

    pub(super) fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.store.clone())
    }

    pub(super) fn place(&self, prefix: String) -> StorePlace {
        StorePlace {
            kind: StoreKind::Azure,
            endpoint: self.base.clone(),
            path_style: true,
            region: String::new(),
            bucket: self.container.clone(),
            prefix,
        }
    }

    /// A key for a machine that is trusted: a signature of the whole container.
    pub(super) async fn grant(&self, scope: &Scope, life: Duration) -> Result<Key, Refused> {
        let rights = match scope.writable() {
            None => "rl",
            Some(_) if scope.is_job() => "rcwl",
            Some(_) => "rcwdl",
        };
        let life = life.min(LONGEST);
        let query = self.signature(None, rights, life).await?;
        let note = "the machine's key opens the whole container, not its folder alone: Azure knows no narrower one";
        Ok(Key {
            key: StoreKey::Sas { query },
            expires_at: Some(now().plus(life)),
            note: Some(note.to_owned()),
        })
    }

    /// Whether single requests can be signed at all.
    pub(super) fn can_sign(&self) -> Result<(), Refused> {
        match &self.signs {
            Own::Key(_) | Own::Token => Ok(()),
            Own::Given => Err(self.no_grant(
                "the container is opened with a signature (AZURE_STORAGE_SAS_TOKEN), which makes no other; \
                 set AZURE_STORAGE_KEY, or sign in with `az login`",
            )),
        }
    }

    /// A signed URL. `key` is whole. What is done with a blob in parts is not in its signature.
    pub(super) async fn sign(
        &self,
        call: &StoreCall,
        key: &str,
        life: Duration,
    ) -> Result<(String, Duration), Refused> {
        let rights = match call.method.as_str() {
            "GET" if !key.is_empty() => "r",
            "PUT" => "cw",
            "DELETE" => "d",
            _ => {
                let what = "Azure has no signature for listing a part of a container";
                return Err(Refused::Call(what.to_owned()));
            }
        };
        let signature = self.signature(Some(key), rights, life).await?;
        let path = format!("{}/{}", self.container, escape(key, true));
        let own =
            call.query.iter().map(|(n, v)| format!("{}={}&", escape(n, false), escape(v, false)));
        let query: String = own.collect();
        Ok((format!("{}/{path}?{query}{signature}", self.base), life))
    }

    async fn signature(
        &self,
        blob: Option<&str>,
        rights: &str,
        life: Duration,
    ) -> Result<String, Refused> {
        let sas = Sas {
            account: &self.account,
            container: &self.container,
            blob,
            rights,
            end: now().plus(life),
        };
        match &self.signs {
            Own::Key(key) => Ok(sas.query(&Signs::Account(key))),
            Own::Token => {
                let delegation = self.delegation(sas.end).await?;
                Ok(sas.query(&Signs::Delegated(&delegation)))
            }
            Own::Given => {
                self.can_sign()?;
                Err(self.no_grant("it has no key"))
            }
        }
    }

    fn credentials(&self) -> &AzureCredentialProvider {
        self.store.credentials()
    }

    fn no_grant(&self, why: &str) -> Refused {
        Refused::NoGrant { bucket: self.container.clone(), why: why.to_owned() }
    }

    fn failed(&self, what: &str, error: &object_store::Error) -> Refused {
        match of_store(&self.container, "", what, error) {
            crate::Error::Bucket(refused) => refused,
            other => Refused::Setting(other.to_string()),
        }
    }
}

impl Found {
    fn of(asking: &Asking<'_>) -> Self {
        let text = |name: &str| asking.var(name).map(|v| v.trim().to_owned());
        let mut found = Self {
            account: text("AZURE_STORAGE_ACCOUNT"),
            key: text("AZURE_STORAGE_KEY"),
            sas: text("AZURE_STORAGE_SAS_TOKEN"),
            endpoint: None,
        };
        let Some(all) = text("AZURE_STORAGE_CONNECTION_STRING").filter(|_| found.account.is_none())
        else {
            return found;
        };
        for (name, value) in all.split(';').filter_map(|part| part.split_once('=')) {
            let slot = match name.trim() {
                "AccountName" => &mut found.account,
                "AccountKey" => &mut found.key,
                "SharedAccessSignature" => &mut found.sas,
                "BlobEndpoint" => &mut found.endpoint,
                _ => continue,
            };
            *slot = Some(value.trim().to_owned());
        }
        found
    }
}

/// The account's base URL. A server for many accounts has them in its paths.
fn base_of(account: &str, named: Option<&str>) -> String {
    let Some(named) = named else { return format!("https://{account}.blob.core.windows.net") };
    let named = named.trim_end_matches('/');
    let rest = named.split_once("://").map_or(named, |(_, rest)| rest);
    let is_its_own = rest.starts_with(&format!("{account}.")) || rest.contains('/');
    if is_its_own { named.to_owned() } else { format!("{named}/{account}") }
}

/// Gives the builder what opens the account.
fn sign_in(
    asking: &Asking<'_>,
    builder: MicrosoftAzureBuilder,
    found: &Found,
    inside: bool,
) -> Result<(MicrosoftAzureBuilder, Own), Refused> {
    if let Some(key) = &found.key {
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| {
            Refused::Setting("the account key of Azure (AZURE_STORAGE_KEY) is no base64".to_owned())
        })?;
        return Ok((builder.with_access_key(key), Own::Key(bytes)));
    }
    if let Some(sas) = &found.sas {
        let pairs = object_store::azure::split_sas(sas.trim_start_matches('?'))
            .map_err(|e| Refused::Setting(format!("AZURE_STORAGE_SAS_TOKEN: {e}")))?;
        return Ok((builder.with_sas_authorization(pairs), Own::Given));
    }
    if let Some(token) = asking.var("AZURE_STORAGE_TOKEN") {
        return Ok((builder.with_bearer_token_authorization(token), Own::Token));
    }
    if inside {
        let how = "set AZURE_STORAGE_KEY, or name the emulator's own account".to_owned();
        return Err(Refused::NoKey { store: "Azure Blob", how });
    }
    let principal =
        ["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"].map(|n| asking.var(n));
    Ok(match principal {
        [Some(id), Some(secret), Some(tenant)] => {
            (builder.with_client_secret_authorization(id, secret, tenant), Own::Token)
        }
        _ => (builder.with_use_azure_cli(true), Own::Token),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_in_the_host_or_in_the_path() {
        assert_eq!(base_of("a", None), "https://a.blob.core.windows.net");
        assert_eq!(base_of("a", Some("http://127.0.0.1:10000/")), "http://127.0.0.1:10000/a");
        assert_eq!(base_of("a", Some("http://127.0.0.1:1/a")), "http://127.0.0.1:1/a");
        assert_eq!(base_of("a", Some("https://a.blob.example")), "https://a.blob.example");
    }
}
