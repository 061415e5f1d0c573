//! Making, finding and removing buckets that speak S3.
//!
//! Invariant: a bucket that was there before is never marked as ours.

use super::S3;
use crate::bucket::admin::{Made, Presence};
use crate::bucket::http::{Reply, request};
use crate::bucket::refused::{Refused, element, of_reply};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleet_provider_kit::mark;
use fleet_types::{FleetId, StoreKind};
use object_store::aws::AwsAuthorizer;
use reqwest::Method;
use sha2::{Digest, Sha256};

const XMLNS: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

impl S3 {
    /// Whether the bucket is there and ours to use.
    pub(in crate::bucket) async fn presence(&self) -> Result<Presence, Refused> {
        let reply = self.ask(Method::HEAD, "", String::new()).await?;
        let region = reply.header("x-amz-bucket-region").filter(|r| *r != self.region);
        match (reply.status.as_u16(), region) {
            (200..=299, _) => Ok(Presence::Here),
            (404, _) => Ok(Presence::Absent),
            (301 | 400, Some(region)) => Err(Refused::WrongRegion {
                bucket: self.bucket.clone(),
                asked: self.region.clone(),
                region: Some(region.to_owned()),
            }),
            (403, _) => Ok(Presence::Denied),
            _ => Err(self.refused("looking for the bucket", &reply)),
        }
    }

    /// Makes the bucket, which was not there a moment ago, and tags it.
    pub(in crate::bucket) async fn make(&self, fleet: &FleetId) -> Result<Made, Refused> {
        let place = match self.region.as_str() {
            "us-east-1" | "auto" => String::new(),
            region => format!(
                "<CreateBucketConfiguration xmlns=\"{XMLNS}\"><LocationConstraint>{region}\
                 </LocationConstraint></CreateBucketConfiguration>"
            ),
        };
        let reply = self.ask(Method::PUT, "", place).await?;
        if !reply.status.is_success() {
            return match element(&reply.text(), "Code") {
                Some("BucketAlreadyOwnedByYou") => Ok(Made::Before),
                _ => Err(self.refused("making the bucket", &reply)),
            };
        }
        if self.kind == StoreKind::S3 {
            let name = mark::FLEET;
            let tags = format!(
                "<Tagging xmlns=\"{XMLNS}\"><TagSet><Tag><Key>{name}</Key><Value>{fleet}</Value></Tag>\
                 </TagSet></Tagging>"
            );
            // A server without tags refuses; then an object says whose it is.
            self.ask(Method::PUT, "?tagging", tags).await?;
        }
        Ok(Made::Now)
    }

    /// The fleet that the bucket's tags name.
    pub(in crate::bucket) async fn owner(&self) -> Result<Option<String>, Refused> {
        if self.kind != StoreKind::S3 {
            return Ok(None);
        }
        let reply = self.ask(Method::GET, "?tagging", String::new()).await?;
        let text = reply.text();
        let tags = text.split("<Tag>").skip(1);
        let ours = tags.filter(|tag| element(tag, "Key") == Some(mark::FLEET));
        let owner = ours.last().and_then(|tag| element(tag, "Value"));
        Ok(owner.filter(|_| reply.status.is_success()).map(str::to_owned))
    }

    /// Removes the empty bucket.
    pub(in crate::bucket) async fn unmake(&self) -> Result<(), Refused> {
        let reply = self.ask(Method::DELETE, "", String::new()).await?;
        match reply.status.as_u16() {
            200..=299 | 404 => Ok(()),
            _ => Err(self.refused("removing the bucket", &reply)),
        }
    }

    async fn ask(&self, method: Method, query: &str, body: String) -> Result<Reply, Refused> {
        let url = format!("{}/{}{query}", self.endpoint, self.bucket);
        let digest = BASE64_STANDARD.encode(Sha256::digest(&body));
        // Amazon wants a sum with tags; SHA-256 is one that it takes.
        let sum = [("x-amz-checksum-sha256", digest.as_str())];
        let headers = if query == "?tagging" && method == Method::PUT { &sum[..] } else { &[] };
        let mut request = request(method, &url, headers, body)?;
        let own = self.own.key().await?;
        AwsAuthorizer::new(&own.key, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|e| Refused::Setting(e.to_string()))?;
        self.http.send(&self.bucket, request).await
    }

    fn refused(&self, what: &str, reply: &Reply) -> Refused {
        of_reply(&self.bucket, &self.region, what, reply.status.as_u16(), &reply.body)
    }
}
