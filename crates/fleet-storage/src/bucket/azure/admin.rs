//! Making, finding and removing containers.
//!
//! Invariant: a container that was there before is never marked as ours.

use super::Azure;
use crate::bucket::admin::{Made, Presence};
use crate::bucket::http::{Reply, request};
use crate::bucket::refused::{Refused, of_reply};
use fleet_types::FleetId;
use object_store::azure::AzureAuthorizer;
use reqwest::Method;

/// Names of metadata take no hyphen.
const OWNER: &str = "x-ms-meta-fleet_id";

impl Azure {
    /// Whether the container is there.
    pub(in crate::bucket) async fn presence(&self) -> Result<Presence, Refused> {
        let reply = self.ask(Method::GET, &[]).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(Presence::Here),
            404 => Ok(Presence::Absent),
            403 => Ok(Presence::Denied),
            _ => Err(self.refused("looking for the container", &reply)),
        }
    }

    /// Makes the container, which was not there a moment ago.
    pub(in crate::bucket) async fn make(&self, fleet: &FleetId) -> Result<Made, Refused> {
        let reply = self.ask(Method::PUT, &[(OWNER, fleet.as_str())]).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(Made::Now),
            409 if reply.text().contains("ContainerAlreadyExists") => Ok(Made::Before),
            _ => Err(self.refused("making the container", &reply)),
        }
    }

    /// The fleet that the container's metadata names.
    pub(in crate::bucket) async fn owner(&self) -> Result<Option<String>, Refused> {
        let reply = self.ask(Method::GET, &[]).await?;
        Ok(reply.header(OWNER).map(str::to_owned))
    }

    /// Removes the container.
    pub(in crate::bucket) async fn unmake(&self) -> Result<(), Refused> {
        let reply = self.ask(Method::DELETE, &[]).await?;
        match reply.status.as_u16() {
            200..=299 | 404 => Ok(()),
            _ => Err(self.refused("removing the container", &reply)),
        }
    }

    async fn ask(
        &self,
        method: Method,
        headers: &[(&'static str, &str)],
    ) -> Result<Reply, Refused> {
        let what = "looking for the container";
        let url = format!("{}/{}?restype=container", self.base, self.container);
        let mut request = request(method, &url, headers, Vec::new())?;
        let own = self.credentials().get_credential().await.map_err(|e| self.failed(what, &e))?;
        AzureAuthorizer::new(&own, &self.account)
            .try_authorize(&mut request)
            .map_err(|e| self.failed(what, &e))?;
        self.http.send(&self.container, request).await
    }

    fn refused(&self, what: &str, reply: &Reply) -> Refused {
        of_reply(&self.container, "", what, reply.status.as_u16(), &reply.body)
    }
}
