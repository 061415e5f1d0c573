//! Shared access signatures: a right to one container or blob, for a time.
//!
//! Source: "Create a service SAS" and "Create a user delegation SAS", version 2020-12-06 and later.
//! Invariant: every field that is in the query is in what was signed.

use super::Azure;
use crate::bucket::http::request;
use crate::bucket::refused::{Refused, element, of_reply};
use crate::bucket::v4::{escape, hmac256};
use crate::clock::{now, seconds};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleet_types::Timestamp;
use object_store::azure::AzureAuthorizer;
use reqwest::Method;
use std::time::Duration;

const VERSION: &str = "2023-11-03";
/// A key is lent for so much longer than it is wanted, so that it serves the next one too.
const SPARE: Duration = Duration::from_secs(600);
/// The store's clock may be behind ours by so much.
const SKEW: Duration = Duration::from_secs(300);

/// What is opened, and how far.
pub(super) struct Sas<'a> {
    pub(super) account: &'a str,
    pub(super) container: &'a str,
    /// `None`: the whole container.
    pub(super) blob: Option<&'a str>,
    /// In Azure's order: `racwdl`.
    pub(super) rights: &'a str,
    pub(super) end: Timestamp,
}

/// Who signs.
pub(super) enum Signs<'a> {
    Account(&'a [u8]),
    Delegated(&'a Delegation),
}

/// A key that Azure lent to whoever holds a token.
#[derive(Clone)]
pub(super) struct Delegation {
    /// `skoid`, `sktid`, `skt`, `ske`, `sks`, `skv`.
    fields: [String; 6],
    key: Vec<u8>,
    ends: Timestamp,
}

/// The elements of a lent key, in the order in which they are signed.
const ELEMENTS: [&str; 6] =
    ["SignedOid", "SignedTid", "SignedStart", "SignedExpiry", "SignedService", "SignedVersion"];
const NAMES: [&str; 6] = ["skoid", "sktid", "skt", "ske", "sks", "skv"];

impl Sas<'_> {
    /// The query that opens it.
    pub(super) fn query(&self, signs: &Signs<'_>) -> String {
        let end = seconds(self.end);
        let (kind, below) = match self.blob {
            None => ("c", String::new()),
            Some(blob) => ("b", format!("/{blob}")),
        };
        let resource = format!("/blob/{}/{}{below}", self.account, self.container);
        let mut fields = vec![self.rights, "", &end, &resource];
        let (key, lent): (&[u8], &[String]) = match signs {
            Signs::Account(key) => {
                // No stored policy.
                fields.push("");
                (key, &[])
            }
            Signs::Delegated(lent) => {
                fields.extend(lent.fields.iter().map(String::as_str));
                // Neither on behalf of somebody else, nor correlated.
                fields.extend(["", "", ""]);
                (&lent.key, &lent.fields)
            }
        };
        // Any address and protocol; no snapshot, no encryption scope, no headers of the answer.
        fields.extend(["", "", VERSION, kind, "", "", "", "", "", "", ""]);
        let signature = BASE64_STANDARD.encode(hmac256(key, fields.join("\n").as_bytes()));
        let own = [("sv", VERSION), ("sr", kind), ("sp", self.rights), ("se", end.as_str())];
        let lent = NAMES.iter().zip(lent).map(|(name, value)| (*name, value.as_str()));
        let pairs = own.into_iter().chain(lent).chain([("sig", signature.as_str())]);
        let pairs = pairs.map(|(name, value)| format!("{name}={}", escape(value, false)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

impl Azure {
    /// A lent key that lives until `end` at least.
    pub(super) async fn delegation(&self, end: Timestamp) -> Result<Delegation, Refused> {
        let mut held = self.delegated.lock().await;
        if let Some(lent) = held.as_ref().filter(|l| l.ends >= end) {
            return Ok(lent.clone());
        }
        let fresh = self.lend(end.plus(SPARE).min(now().plus(super::LONGEST))).await?;
        *held = Some(fresh.clone());
        Ok(fresh)
    }

    async fn lend(&self, end: Timestamp) -> Result<Delegation, Refused> {
        let what = "making a key for machines";
        let url = format!("{}/?restype=service&comp=userdelegationkey", self.base);
        let (start, expiry) = (seconds(now().minus(SKEW)), seconds(end));
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>{start}</Start>\
             <Expiry>{expiry}</Expiry></KeyInfo>"
        );
        let mut request =
            request(Method::POST, &url, &[("content-type", "application/xml")], body)?;
        let own = self.credentials().get_credential().await.map_err(|e| self.failed(what, &e))?;
        AzureAuthorizer::new(&own, &self.account)
            .try_authorize(&mut request)
            .map_err(|e| self.failed(what, &e))?;
        let reply = self.http.send(&self.container, request).await?;
        let text = reply.text();
        let field = |name: &str| element(&text, name).map(str::to_owned);
        let fields: Option<Vec<String>> = ELEMENTS.iter().map(|name| field(name)).collect();
        let key = field("Value").and_then(|v| BASE64_STANDARD.decode(v).ok());
        match (reply.status.is_success(), fields.and_then(|f| f.try_into().ok()), key) {
            (true, Some(fields), Some(key)) => Ok(Delegation { fields, key, ends: end }),
            _ => Err(of_reply(&self.container, "", what, reply.status.as_u16(), &reply.body)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sas(blob: Option<&'static str>) -> Sas<'static> {
        let end = Timestamp::parse("2030-01-02T03:04:05Z").unwrap();
        Sas { account: "acc", container: "con", blob, rights: "rcwl", end }
    }

    #[test]
    fn what_is_signed_is_what_the_query_says() {
        let query = sas(None).query(&Signs::Account(b"key"));
        let text = "rcwl\n\n2030-01-02T03:04:05Z\n/blob/acc/con\n\n\n\n2023-11-03\nc\n\n\n\n\n\n\n";
        let signature = escape(&BASE64_STANDARD.encode(hmac256(b"key", text.as_bytes())), false);
        assert_eq!(
            query,
            format!("sv=2023-11-03&sr=c&sp=rcwl&se=2030-01-02T03%3A04%3A05Z&sig={signature}")
        );
        assert_ne!(sas(Some("a b")).query(&Signs::Account(b"key")), query);
    }

    #[test]
    fn a_lent_key_says_whose_it_is() {
        let fields = ["o", "t", "s", "e", "b", "v"].map(str::to_owned);
        let ends = Timestamp::default();
        let lent = Delegation { fields, key: b"key".to_vec(), ends };
        let query = sas(Some("a/b c")).query(&Signs::Delegated(&lent));
        let text = "rcwl\n\n2030-01-02T03:04:05Z\n/blob/acc/con/a/b c\no\nt\ns\ne\nb\nv\n\n\n\n\n\n\
                    2023-11-03\nb\n\n\n\n\n\n\n";
        let signature = escape(&BASE64_STANDARD.encode(hmac256(b"key", text.as_bytes())), false);
        assert!(
            query.ends_with(&format!("&skoid=o&sktid=t&skt=s&ske=e&sks=b&skv=v&sig={signature}"))
        );
    }
}
