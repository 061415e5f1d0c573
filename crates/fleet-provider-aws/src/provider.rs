//! The `Provider` of AWS: each method one conversation with EC2, nothing remembered between them.
//!
//! Invariants: a create is sent once, for the first candidate only, with the request's token; a listing
//! with a region that failed is incomplete, not shorter. Waiting, retrying and choosing is for others.

mod launch;

use crate::client::Clients;
use crate::config::AwsConfig;
use crate::instance::{self, WARNING};
use crate::offers;
use crate::wire::{filter, needed, owned};
use async_trait::async_trait;
use aws_sdk_ec2::error::ProvideErrorMetadata as _;
use aws_sdk_ec2::types::{InstanceType, Reservation, SpotInstanceRequest};
use fleet_provider::{
    Auxiliary, Capabilities, Idempotency, Identity, LaunchRequest, Listing, NoticeSource, OwnerTag,
    Provider, ProviderError, Result, StorageKeys, Termination,
};
use fleet_provider_kit::Effect;
use fleet_types::{
    Fault, Instance, InstanceId, MachineClass, Offer, OfferQuery, Place, ProviderId, Scope,
    Timestamp,
};
use futures_util::future::join_all;
use std::time::{Duration, UNIX_EPOCH};

/// No call of EC2 tells the vCPU quota of a market: `DescribeAccountAttributes` counts machines of the time
/// before, and a dry run does not look at quotas. The Service Quotas API would be another service.
const QUOTA: &str = "vCPU limits show only at a launch, which then goes on elsewhere; to read them: \
                     aws service-quotas list-service-quotas --service-code ec2";

/// AWS, in one realm.
#[derive(Debug)]
pub struct AwsProvider {
    pub(crate) clients: Clients,
}

/// Makes the driver. Makes no call to AWS; Auth if no credentials are configured at all, Rejected if
/// an endpoint override is no safe URL.
pub async fn connect(config: AwsConfig) -> Result<AwsProvider> {
    Ok(AwsProvider { clients: Clients::new(config).await? })
}

#[async_trait]
impl Provider for AwsProvider {
    fn id(&self) -> ProviderId {
        ProviderId::Aws
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            class: MachineClass::Vm,
            spot: true,
            on_demand: true,
            notice: NoticeSource::Ec2Metadata,
            warning: WARNING,
            idempotency: Idempotency::Token,
            visibility: Duration::from_secs(180),
            tags: true,
            ends_itself: true,
            native_timer: false,
            expiry_note: "the machine ends itself by an OS timer (EC2 terminates it at shutdown); \
                          `fleet reap --expired` covers one that cannot",
        }
    }

    async fn verify(&self) -> Result<Identity> {
        let answer = match self.clients.sts().get_caller_identity().send().await {
            Ok(answer) => answer,
            Err(e) => {
                return Err(self.clients.failed("GetCallerIdentity", Effect::Read, e).await);
            }
        };
        let ends = self.clients.chain.current().await.ok().and_then(|c| c.expiry());
        let ends = ends.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Ok(Identity {
            account: needed("GetCallerIdentity", answer.account)?,
            principal: answer.arn.or(answer.user_id).unwrap_or_default(),
            source: self.clients.chain.described(),
            expires_at: ends.map(|d| Timestamp::from_millis(d.as_millis() as i64)),
            notes: self.permission_note().await.into_iter().collect(),
            quota: Some(QUOTA.to_owned()),
        })
    }

    async fn offers(&self, query: &OfferQuery) -> Result<Vec<Offer>> {
        offers::find(&self.clients, query).await
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<Instance> {
        launch::launch(&self.clients, request).await
    }

    async fn describe(&self, id: &InstanceId, place: &Place) -> Result<Instance> {
        let ec2 = self.clients.ec2(&place.region);
        let machine = ec2.describe_instances().instance_ids(id.as_str()).send();
        let (machine, request) = tokio::join!(machine, self.spot_request(id, place));
        let operation = "DescribeInstances";
        let answer = match machine {
            Ok(answer) => answer,
            Err(e) => return Err(self.clients.failed(operation, Effect::Read, e).await),
        };
        let reservations = needed(operation, answer.reservations)?;
        reservations
            .iter()
            .flat_map(Reservation::instances)
            .find(|i| i.instance_id() == Some(id.as_str()))
            .and_then(|i| instance::read(&place.region, i, request.as_ref()))
            .ok_or_else(|| {
                let code = "InvalidInstanceID.NotFound";
                ProviderError::new(Fault::NotFound, Scope::Request, operation, code)
                    .message(format!("{} has no instance {id}", place.region))
            })
    }

    async fn list(&self, owner: &OwnerTag) -> Result<Listing> {
        let regions = self.regions().await?;
        let answers = join_all(regions.iter().map(|r| self.list_region(owner, r))).await;
        let mut listing = Listing { complete: true, ..Listing::default() };
        for (region, answer) in regions.iter().zip(answers) {
            match answer {
                Ok(instances) => listing.instances.extend(instances),
                Err(e) => {
                    listing.complete = false;
                    listing.gaps.push(format!("{region}: {e}"));
                }
            }
        }
        Ok(listing)
    }

    async fn terminate(&self, id: &InstanceId, place: &Place) -> Result<Termination> {
        let operation = "TerminateInstances";
        let ec2 = self.clients.ec2(&place.region);
        let answer = match ec2.terminate_instances().instance_ids(id.as_str()).send().await {
            Ok(answer) => answer,
            Err(e) => {
                let error = self.clients.failed(operation, Effect::Change, e).await;
                return match error.fault {
                    Fault::NotFound => Ok(Termination::NotFound),
                    _ => Err(error),
                };
            }
        };
        let changes = needed(operation, answer.terminating_instances)?;
        let change = changes.iter().find(|c| c.instance_id() == Some(id.as_str()));
        match change.and_then(|c| c.current_state()).and_then(|s| s.name()).map(|n| n.as_str()) {
            Some("terminated") => Ok(Termination::Gone),
            Some(_) => Ok(Termination::Requested),
            None => {
                Err(Effect::Change.unreadable(operation, "the answer does not name the machine"))
            }
        }
    }

    fn auxiliary(&self) -> Option<&dyn Auxiliary> {
        Some(self)
    }

    fn storage_keys(&self) -> Option<&dyn StorageKeys> {
        Some(self)
    }
}

impl AwsProvider {
    /// The regions enabled for the account.
    pub(crate) async fn regions(&self) -> Result<Vec<String>> {
        regions(&self.clients).await
    }

    /// Asks whether a create would be permitted, without making one.
    async fn permission_note(&self) -> Option<String> {
        let ec2 = self.clients.ec2(&self.clients.home_region);
        let call = ec2
            .run_instances()
            .dry_run(true)
            .min_count(1)
            .max_count(1)
            .instance_type(InstanceType::G4dnXlarge)
            .image_id(launch::GPU_IMAGE)
            .send();
        let error = match call.await {
            Err(e) if e.code() == Some("DryRunOperation") => return None,
            Err(e) => self.clients.failed("RunInstances", Effect::Read, e).await,
            Ok(_) => return None,
        };
        Some(match error.fault {
            Fault::Auth => format!(
                "RunInstances is not permitted ({}); attach a policy that allows ec2:RunInstances",
                error.code
            ),
            _ => format!("could not test the permission to launch: {error}"),
        })
    }

    /// The spot request of a machine; `None` where there is none or it cannot be read just now.
    async fn spot_request(&self, id: &InstanceId, place: &Place) -> Option<SpotInstanceRequest> {
        let ec2 = self.clients.ec2(&place.region);
        let call = ec2
            .describe_spot_instance_requests()
            .filters(filter("instance-id", [id.as_str()]))
            .send();
        match call.await {
            Ok(answer) => answer.spot_instance_requests.unwrap_or_default().into_iter().next(),
            Err(e) => {
                let e = self.clients.failed("DescribeSpotInstanceRequests", Effect::Read, e).await;
                tracing::debug!(%id, error = %e, "spot request not read");
                None
            }
        }
    }

    async fn list_region(&self, owner: &OwnerTag, region: &str) -> Result<Vec<Instance>> {
        let operation = "DescribeInstances";
        let ec2 = self.clients.ec2(region);
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let page = ec2
                .describe_instances()
                .filters(owned(owner))
                .max_results(1000)
                .set_next_token(next)
                .send()
                .await;
            let page = match page {
                Ok(page) => page,
                Err(e) => return Err(self.clients.failed(operation, Effect::Read, e).await),
            };
            for ec2_instance in
                needed(operation, page.reservations)?.iter().flat_map(|r| r.instances())
            {
                let read = instance::read(region, ec2_instance, None);
                found.push(needed(operation, read)?);
            }
            next = page.next_token.filter(|t| !t.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
    }
}

/// The regions enabled for the account.
pub(crate) async fn regions(clients: &Clients) -> Result<Vec<String>> {
    let operation = "DescribeRegions";
    let ec2 = clients.ec2(&clients.home_region);
    let answer = match ec2.describe_regions().all_regions(false).send().await {
        Ok(answer) => answer,
        Err(e) => return Err(clients.failed(operation, Effect::Read, e).await),
    };
    let regions = needed(operation, answer.regions)?.into_iter();
    let enabled = |r: &aws_sdk_ec2::types::Region| r.opt_in_status() != Some("not-opted-in");
    let mut names: Vec<_> = regions.filter(enabled).filter_map(|r| r.region_name).collect();
    names.retain(|name| partition(name) == partition(&clients.home_region));
    if names.is_empty() {
        return Err(Effect::Read.unreadable(operation, "the account has no region at all"));
    }
    names.sort_unstable();
    Ok(names)
}

/// Credentials hold in one partition only: China and the government's regions are clouds of their own.
fn partition(region: &str) -> &str {
    let others = ["cn-", "us-gov-", "us-iso-", "us-isob-", "us-isof-", "eu-isoe-", "eusc-"];
    others.into_iter().find(|prefix| region.starts_with(prefix)).unwrap_or("aws")
}
