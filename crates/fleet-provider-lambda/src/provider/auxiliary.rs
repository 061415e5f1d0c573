//! The one thing that the driver makes besides machines: an SSH key that opens nothing.
//!
//! Lambda wants exactly one key of the account named in a launch. Invariants: only a key of exactly our name is
//! touched; it is not removed while a machine names it; the account's firewall is never changed.

use super::LambdaProvider;
use crate::client::checked;
use crate::fault::call;
use async_trait::async_trait;
use fleet_provider::{Auxiliary, Leftover, OwnerTag, ProviderError, Result};
use fleet_provider_kit::{Effect, mark, wire};
use fleet_types::{Fault, Place, ProviderId, Scope};
use serde_json::Value;

const KIND: &str = "ssh-key";
/// Its 32 bytes read "fleet: this key opens nothing. _": a point of the curve whose private half nobody has.
const INERT: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZsZWV0OiB0aGlzIGtleSBvcGVucyBub3RoaW5nLiBf fleet";

/// Name of a fleet's key.
fn key_name(owner: &OwnerTag) -> String {
    format!("fleet-{}", owner.fleet)
}

impl LambdaProvider {
    /// Makes sure that the fleet's key is registered; answers its name.
    pub(super) async fn ensure_key(&self, owner: &OwnerTag) -> Result<String> {
        let name = key_name(owner);
        if self.key_id(&name).await?.is_some() {
            return Ok(name);
        }
        match self.client.add_ssh_key(&name, INERT).await {
            Ok(()) => Ok(name),
            // Another create of ours was quicker.
            Err(e) if e.fault == Fault::Conflict => Ok(name),
            Err(mut e) => {
                // Whatever became of the key: no machine was made.
                e.maybe_applied = false;
                Err(e)
            }
        }
    }

    /// Id of the key of that name, if there is one.
    async fn key_id(&self, name: &str) -> Result<Option<String>> {
        let Value::Array(keys) = self.client.ssh_keys().await? else {
            return Err(Effect::Read.unreadable(call::KEYS, "`data` is no list"));
        };
        let same = keys.iter().find(|k| wire::text(k, "name").as_deref() == Some(name));
        let id = same.map(|k| wire::needed_text(k, "id")).transpose();
        id.map_err(|odd| odd.into_error(call::KEYS, Effect::Read))
    }
}

#[async_trait]
impl Auxiliary for LambdaProvider {
    async fn leftovers(&self, owner: &OwnerTag) -> Result<Vec<Leftover>> {
        let name = key_name(owner);
        let found = self.key_id(&name).await?;
        let everywhere = String::new();
        let place =
            Place { provider: ProviderId::Lambda, region: everywhere.clone(), zone: everywhere };
        let leftover =
            |_| Leftover { kind: KIND.to_owned(), id: name, place, price_usd_per_hour: None };
        Ok(found.map(leftover).into_iter().collect())
    }

    async fn remove(&self, leftover: &Leftover) -> Result<()> {
        let name = &leftover.id;
        let refuse = |code: &str, why: String| {
            let error = ProviderError::new(Fault::Rejected, Scope::Request, call::DELETE_KEY, code);
            Err(error.message(why))
        };
        if leftover.kind != KIND || name.strip_prefix("fleet-").and_then(mark::fleet_id).is_none() {
            return refuse(
                "not-ours",
                format!("{} `{name}` is no thing of a fleet", leftover.kind),
            );
        }
        let (rows, gaps) = self.rows().await?;
        if !gaps.is_empty() {
            return Err(Effect::Read.unreadable(call::LIST, gaps.join("; ")));
        }
        let gone = |status: &Option<String>| status.as_deref() == Some("terminated");
        if rows.iter().any(|row| row.keys.contains(name) && !gone(&row.status)) {
            return refuse("in-use", "a machine still names it".into());
        }
        // What is not there is removed.
        let Some(id) = self.key_id(name).await? else { return Ok(()) };
        match self.client.delete_ssh_key(checked(&id, call::DELETE_KEY)?).await {
            Err(e) if e.fault == Fault::NotFound => Ok(()),
            other => other,
        }
    }

    /// Port 22 is open on every machine of the account by default, and its rules are not ours to replace.
    async fn admit(&self, _owner: &OwnerTag, _cidr: &str) -> Result<()> {
        Ok(())
    }
}
