//! Tokens that open one folder of a bucket: credential access boundaries.
//!
//! Source: "Create a downscoped token", "Credential Access Boundaries". Invariant: text of ours becomes part
//! of a condition only as an escaped literal. It counts for buckets with uniform access alone, as we make them.

use super::{Gcs, Own};
use crate::bucket::Scope;
use crate::bucket::refused::Refused;
use crate::clock::now;
use fleet_types::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// Where the answer does not say it: as long as any token of Google's lives.
const USUAL_LIFE: Duration = Duration::from_secs(3600);

impl Gcs {
    /// A token limited to the scope, and its end.
    pub(super) async fn narrowed(&self, scope: &Scope) -> Result<(String, Timestamp), Refused> {
        let own = match &self.signs {
            // What it signs for storage alone is no access token.
            Own::Account(account) => account.token(self).await?,
            Own::Token | Own::Nobody => self.token().await?,
        };
        let options = boundary(&self.bucket, scope).to_string();
        let url = format!("{}/v1/token", self.sts);
        let form = [
            ("grant_type", EXCHANGE),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token_type", ACCESS_TOKEN),
            ("subject_token", &own),
            ("options", &options),
        ];
        let asked_at = now();
        let token = self.exchange(&url, &form).await?;
        let life = token.expires_in.map_or(USUAL_LIFE, Duration::from_secs).min(USUAL_LIFE);
        Ok((token.access_token, asked_at.plus(life)))
    }
}

fn boundary(bucket: &str, scope: &Scope) -> Value {
    let rule = |role: &str, below: &str, listed: bool| -> Value {
        let objects = literal(&format!("projects/_/buckets/{bucket}/objects/{below}"));
        let mut condition = format!("resource.name.startsWith({objects})");
        if listed {
            let prefix = "api.getAttribute('storage.googleapis.com/objectListPrefix', '')";
            condition += &format!(" || {prefix}.startsWith({})", literal(below));
        }
        json!({
            "availableResource": format!("//storage.googleapis.com/projects/_/buckets/{bucket}"),
            "availablePermissions": [format!("inRole:roles/storage.{role}")],
            "availabilityCondition": { "expression": condition },
        })
    };
    let mut rules = vec![rule("objectViewer", &scope.readable(), true)];
    rules.extend(scope.writable().map(|below: String| rule("objectAdmin", &below, false)));
    json!({ "accessBoundary": { "accessBoundaryRules": rules } })
}

/// A string of the condition's language.
fn literal(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "'"
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{Epoch, JobId};

    #[test]
    fn a_boundary_reads_the_job_and_writes_the_epoch() {
        let scope = Scope::job("it's", &JobId::new("j-1"), Epoch(3));
        let text = boundary("b", &scope).to_string();
        for part in [
            "startsWith('projects/_/buckets/b/objects/it\\\\'s/j-1/')",
            "objectListPrefix', '').startsWith('it\\\\'s/j-1/')",
            "inRole:roles/storage.objectAdmin",
            "startsWith('projects/_/buckets/b/objects/it\\\\'s/j-1/000003/')",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let reading = boundary("b", &Scope::folder("data", None, false));
        assert!(!reading.to_string().contains("objectAdmin"), "{reading}");
    }
}
