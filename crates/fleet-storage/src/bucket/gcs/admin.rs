//! Making, finding and removing Google's buckets.
//!
//! Invariant: a bucket that was there before is never marked as ours.

use super::Gcs;
use crate::bucket::admin::{Made, Presence};
use crate::bucket::http::{Reply, request};
use crate::bucket::refused::{Refused, of_reply};
use fleet_provider_kit::mark;
use fleet_types::FleetId;
use reqwest::Method;
use serde_json::{Value, json};

impl Gcs {
    /// Whether the bucket is there and ours to use.
    pub(in crate::bucket) async fn presence(&self) -> Result<Presence, Refused> {
        let reply = self.ask(Method::GET, &self.path(), None).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(Presence::Here),
            404 => Ok(Presence::Absent),
            403 => Ok(Presence::Denied),
            _ => Err(self.refused("looking for the bucket", &reply)),
        }
    }

    /// Makes the bucket, which was not there a moment ago. Narrow tokens need its uniform access.
    pub(in crate::bucket) async fn make(&self, fleet: &FleetId) -> Result<Made, Refused> {
        let project = self.project.as_deref().ok_or_else(|| {
            let what =
                "in which project the bucket is to be made is not known; set GOOGLE_CLOUD_PROJECT";
            Refused::Setting(what.to_owned())
        })?;
        let body = json!({
            "name": self.bucket,
            "location": self.location,
            "labels": { mark::FLEET: fleet },
            "iamConfiguration": { "uniformBucketLevelAccess": { "enabled": true } },
        });
        let query = format!("/storage/v1/b?project={}", crate::bucket::v4::escape(project, false));
        let reply = self.ask(Method::POST, &query, Some(body)).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(Made::Now),
            409 => match self.presence().await? {
                Presence::Here => Ok(Made::Before),
                Presence::Absent | Presence::Denied => Err(Refused::Taken(self.bucket.clone())),
            },
            _ => Err(self.refused("making the bucket", &reply)),
        }
    }

    /// The fleet that the bucket's labels name.
    pub(in crate::bucket) async fn owner(&self) -> Result<Option<String>, Refused> {
        let reply = self.ask(Method::GET, &self.path(), None).await?;
        let document: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        Ok(document["labels"][mark::FLEET].as_str().map(str::to_owned))
    }

    /// Removes the empty bucket.
    pub(in crate::bucket) async fn unmake(&self) -> Result<(), Refused> {
        let reply = self.ask(Method::DELETE, &self.path(), None).await?;
        match reply.status.as_u16() {
            200..=299 | 404 => Ok(()),
            _ => Err(self.refused("removing the bucket", &reply)),
        }
    }

    fn path(&self) -> String {
        format!("/storage/v1/b/{}", self.bucket)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Reply, Refused> {
        let bearer = format!("Bearer {}", self.token().await?);
        let url = format!("{}{path}", self.base);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = body.map(|b| b.to_string()).unwrap_or_default();
        self.http.send(&self.bucket, request(method, &url, &headers, body)?).await
    }

    fn refused(&self, what: &str, reply: &Reply) -> Refused {
        of_reply(&self.bucket, "", what, reply.status.as_u16(), &reply.body)
    }
}
