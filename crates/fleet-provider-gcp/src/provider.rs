//! The `Provider` of GCP: each method one conversation with Compute Engine, nothing remembered between them.
//!
//! Invariants: a create is sent once, for the first candidate only; a machine that cannot be found is dead only
//! if an operation says so; a listing in which a zone is missing is incomplete, not shorter. Waiting, retrying
//! and choosing is for others.

mod launch;

use crate::client::Clients;
use crate::config::GcpConfig;
use crate::instance::{self, WARNING};
use crate::wire::{checked, every_scope, owned};
use crate::{offers, operation};
use async_trait::async_trait;
use fleet_provider::{
    Auxiliary, Capabilities, Idempotency, Identity, LaunchRequest, Listing, NoticeSource, OwnerTag,
    Provider, ProviderError, Result, Termination,
};
use fleet_provider_kit::http::Method;
use fleet_provider_kit::{Call, Effect};
use fleet_types::{
    Fault, Instance, InstanceId, InstanceState, MachineClass, Offer, OfferQuery, Place, ProviderId,
};
use google_cloud_compute_v1::model::{Instance as GceInstance, InstancesScopedList, Project};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const INSERT: &str = "instances.insert";
const GET: &str = "instances.get";
const DELETE: &str = "instances.delete";
const PROJECT: &str = "projects.get";
const PERMISSIONS: &str = "projects.testIamPermissions";

/// What fleet cannot do without.
const NEEDED: [&str; 9] = [
    "compute.disks.create",
    "compute.instances.create",
    "compute.instances.delete",
    "compute.instances.get",
    "compute.instances.list",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
    "compute.subnetworks.useExternalIp",
    "compute.zoneOperations.list",
];

/// GCP, in one realm.
#[derive(Debug)]
pub struct GcpProvider {
    pub(crate) clients: Clients,
}

/// Makes the driver. Makes no call to GCP; Auth if no credentials are configured at all or no project is
/// named, Rejected if an endpoint override is no safe URL.
pub async fn connect(config: GcpConfig) -> Result<GcpProvider> {
    Ok(GcpProvider { clients: Clients::new(&config).await? })
}

#[async_trait]
impl Provider for GcpProvider {
    fn id(&self) -> ProviderId {
        ProviderId::Gcp
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            class: MachineClass::Vm,
            spot: true,
            on_demand: true,
            notice: NoticeSource::GceMetadata,
            warning: WARNING,
            idempotency: Idempotency::Token,
            visibility: Duration::from_secs(120),
            tags: true,
            ends_itself: true,
            native_timer: true,
            expiry_note: "GCP deletes the machine at the end of its maximum run duration; one that shut \
                          itself down before keeps its disk until `fleet reap --expired`",
        }
    }

    async fn verify(&self) -> Result<Identity> {
        let call = self.clients.projects.get().set_project(self.clients.project());
        let project = match call.send().await {
            Ok(project) => project,
            Err(e) => return Err(self.clients.failed(PROJECT, Effect::Read, e).await),
        };
        let Some(name) = project.name.clone() else {
            return Err(Effect::Read.unreadable(PROJECT, "the answer names no project"));
        };
        Ok(Identity {
            account: format!("project {name}"),
            principal: self.clients.account.principal.clone(),
            source: self.clients.account.described(),
            expires_at: None,
            notes: self.permission_note().await.into_iter().collect(),
            quota: Some(quota(&project)),
        })
    }

    async fn offers(&self, query: &OfferQuery) -> Result<Vec<Offer>> {
        offers::find(&self.clients, query).await
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<Instance> {
        launch::launch(self, request).await
    }

    async fn describe(&self, id: &InstanceId, place: &Place) -> Result<Instance> {
        let (name, zone) = checked(id, place, GET)?;
        let found = match self.get(name, zone).await {
            Ok(found) => found,
            Err(error) if error.fault == Fault::NotFound => {
                let known = operation::of(&self.clients, zone, name).await?;
                let end = operation::end(&known).ok_or(error)?;
                return Ok(instance::remembered(id, place, &end));
            }
            Err(error) => return Err(error),
        };
        let odd = || Effect::Read.unreadable(GET, "the answer is about another instance");
        let read = |end: Option<&operation::End>| {
            instance::read(&found, end, self.clients.loopback)
                .filter(|i| i.id == *id)
                .ok_or_else(odd)
        };
        let machine = read(None)?;
        if !matches!(machine.state, InstanceState::Stopped { .. }) {
            return Ok(machine);
        }
        // Why it stopped is not in the instance itself.
        let known = operation::of(&self.clients, zone, name).await?;
        read(operation::end(&known).as_ref())
    }

    async fn list(&self, owner: &OwnerTag) -> Result<Listing> {
        let (mut rows, mut gaps) = (Vec::<GceInstance>::new(), Vec::new());
        let call = || {
            let list = self.clients.instances.aggregated_list().set_project(self.clients.project());
            list.set_filter(owned(owner))
        };
        let take = |_: &str, scope: InstancesScopedList| rows.extend(scope.instances);
        let kind = "compute#instanceAggregatedList";
        every_scope!(&self.clients, "instances.aggregatedList", call(), kind, &mut gaps, take);
        let mut instances = Vec::new();
        for row in &rows {
            match instance::read(row, None, self.clients.loopback) {
                // Whatever the filter did, only the owner's are the owner's.
                Some(machine) if machine.fleet.as_deref() == Some(owner.fleet.as_str()) => {
                    instances.push(machine);
                }
                Some(_) => {}
                None => gaps.push("a row has no name or zone".to_owned()),
            }
        }
        instances.sort_by(|a, b| (&a.place, &a.id).cmp(&(&b.place, &b.id)));
        Ok(Listing { instances, complete: gaps.is_empty(), gaps })
    }

    async fn terminate(&self, id: &InstanceId, place: &Place) -> Result<Termination> {
        let (name, zone) = checked(id, place, DELETE)?;
        let call = self.clients.instances.delete().set_project(self.clients.project());
        match call.set_zone(zone).set_instance(name).send().await {
            Ok(operation) if operation.name.is_some() => Ok(Termination::Requested),
            Ok(_) => Err(Effect::Change.unreadable(DELETE, "the answer is no operation")),
            Err(e) => match self.clients.failed(DELETE, Effect::Change, e).await {
                error if error.fault == Fault::NotFound => Ok(Termination::NotFound),
                error => Err(error),
            },
        }
    }

    fn auxiliary(&self) -> Option<&dyn Auxiliary> {
        Some(self)
    }
}

impl GcpProvider {
    async fn get(&self, name: &str, zone: &str) -> Result<GceInstance> {
        let call = self.clients.instances.get().set_project(self.clients.project());
        match call.set_zone(zone).set_instance(name).send().await {
            Ok(found) => Ok(found),
            Err(e) => Err(self.clients.failed(GET, Effect::Read, e).await),
        }
    }

    /// What the account may not do, of what fleet needs. Nothing is made to find out.
    async fn permission_note(&self) -> Option<String> {
        let path = format!("/v1/projects/{}:testIamPermissions", self.clients.project());
        let call = Call::new(PERMISSIONS, Method::POST, path, Effect::Read);
        let reply = self.clients.resource_manager(call.body(json!({"permissions": NEEDED}))).await;
        let granted = match reply.and_then(|r| r.json()) {
            Ok(answer) => answer["permissions"].as_array().cloned().unwrap_or_default(),
            Err(error) => return Some(untold(&error)),
        };
        let has = |p: &&str| granted.iter().filter_map(Value::as_str).any(|g| g == *p);
        let missing: Vec<&str> = NEEDED.into_iter().filter(|p| !has(p)).collect();
        (!missing.is_empty()).then(|| {
            format!(
                "not permitted: {}; grant roles/compute.instanceAdmin.v1, or the role that the README \
                 of this cloud lists",
                missing.join(", ")
            )
        })
    }
}

fn untold(error: &ProviderError) -> String {
    format!(
        "permissions could not be tested ({}); to see them here: \
         gcloud services enable cloudresourcemanager.googleapis.com",
        error.code
    )
}

/// How many GPUs the project may still have anywhere. The limits of each region are beside it.
fn quota(project: &Project) -> String {
    let all = project
        .quotas
        .iter()
        .find(|q| q.metric.as_ref().and_then(|m| m.name()) == Some("GPUS_ALL_REGIONS"));
    let regions = "limits of a region: gcloud compute regions describe REGION";
    match all.and_then(|q| Some((q.usage?, q.limit?))) {
        Some((used, limit)) => format!("{used} of {limit} GPUs in use in all regions; {regions}"),
        None => format!("GCP did not tell the limit of all regions; {regions}"),
    }
}
