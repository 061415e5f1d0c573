//! The create: one `instances.insert` for the first candidate, and Google's verdict on it.
//!
//! Invariants: name and request id follow from the token, so the same token never makes a second machine; what
//! is made deletes itself when it is preempted and at its expiry; it has no service account, and no key but
//! ours. Capacity and quota may be refused seconds after the create was accepted, inside its operation.

use super::{GcpProvider, INSERT};
use crate::instance::{self, USER};
use crate::network::{self, NETWORK};
use crate::offers::{Parts, parts};
use crate::operation;
use crate::wire::{fleet_name, labels, machine_name, now, request_id};
use fleet_provider::{Candidate, LaunchRequest, ProviderError, Result};
use fleet_provider_kit::{Effect, boot};
use fleet_types::{
    Fault, Instance, InstanceId, InstanceState, Market, Offer, ProviderId, Scope, Timestamp,
};
use google_cloud_compute_v1::model::{
    self, AcceleratorConfig, AccessConfig, AttachedDisk, AttachedDiskInitializeParams, Metadata,
    NetworkInterface, Scheduling, Tags, access_config, metadata, scheduling,
};
use std::time::Duration;

/// Ubuntu with NVIDIA's driver, by Canonical and Google.
const GPU_IMAGE: &str = "projects/ubuntu-os-accelerator-images/global/images/family/\
                         ubuntu-accelerator-2204-amd64-with-nvidia-570";
/// Plain Ubuntu, by Canonical.
const CPU_IMAGE: &str = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2204-lts";
/// Bounds of `maxRunDuration`.
const RUN_LEAST: Duration = Duration::from_secs(30);
const RUN_MOST: Duration = Duration::from_secs(120 * 24 * 3600);
/// The image's own size; a smaller disk is refused.
const DISK_LEAST_GIB: u32 = 20;

/// Makes the machine, or gets the one that the token made before.
pub(super) async fn launch(driver: &GcpProvider, request: &LaunchRequest) -> Result<Instance> {
    let first = request.candidates.first();
    let ours = first.filter(|c| c.offer.place.provider == ProviderId::Gcp);
    let candidate = ours.ok_or_else(|| {
        refused(Fault::Rejected, Scope::Request, "NoCandidate", "the request names no place of GCP")
    })?;
    within_limit(candidate)?;
    let (offer, clients) = (&candidate.offer, &driver.clients);
    let name = InstanceId::new(machine_name(&request.token));
    let (_, zone) = crate::wire::checked(&name, &offer.place, INSERT)?;
    let sent = now();
    let body = body(request, offer, sent)?;
    network::prepare(clients, request).await?;
    let call = clients.instances.insert().set_project(clients.project()).set_zone(zone);
    let answer = call.set_request_id(request_id(&request.token)).set_body(body).send().await;
    let accepted = match answer {
        Ok(operation) if operation.name.is_some() => operation,
        Ok(_) => return Err(Effect::Create.unreadable(INSERT, "the answer is no operation")),
        Err(e) => {
            let error = clients.failed(INSERT, Effect::Create, e).await;
            if error.fault == Fault::Conflict {
                return adopted(driver, request, name.as_str(), zone).await;
            }
            return Err(error);
        }
    };
    operation::verdict(clients, zone, accepted).await?;
    let seen = driver.get(name.as_str(), zone).await.ok();
    let seen = seen.and_then(|found| instance::read(&found, None, clients.loopback));
    // Accepted, and not seen yet, or gone already: whoever describes it finds out.
    Ok(seen.unwrap_or_else(|| expected(request, offer, name, sent)))
}

/// The name is taken: by an earlier create of this token, or by nobody we know.
async fn adopted(
    driver: &GcpProvider,
    request: &LaunchRequest,
    name: &str,
    zone: &str,
) -> Result<Instance> {
    let found = driver.get(name, zone).await.map_err(|e| {
        ProviderError::unknown(INSERT, format!("looking at the earlier create: {e}"))
    })?;
    let machine = instance::read(&found, None, driver.clients.loopback);
    machine.filter(|m| m.token.as_ref() == Some(&request.token)).ok_or_else(|| {
        let why = format!("{zone} has a machine {name} that this create did not make");
        refused(Fault::Conflict, Scope::Request, "alreadyExists", &why)
    })
}

/// GCP takes no bid: what is dearer than the limit is refused here.
fn within_limit(candidate: &Candidate) -> Result<()> {
    let limit = candidate.limit_usd_per_hour;
    match candidate.offer.price_usd_per_hour {
        Some(price) if price > limit => Err(refused(
            Fault::Price,
            Scope::Offer,
            "PriceAboveLimit",
            &format!("the price {price} is above the limit {limit}"),
        )),
        _ => Ok(()),
    }
}

fn refused(fault: Fault, scope: Scope, code: &str, why: &str) -> ProviderError {
    ProviderError::new(fault, scope, INSERT, code).message(why)
}

/// The machine as it was asked for.
fn expected(request: &LaunchRequest, offer: &Offer, id: InstanceId, sent: Timestamp) -> Instance {
    Instance {
        id,
        place: offer.place.clone(),
        instance_type: offer.instance_type.clone(),
        market: request.market,
        state: InstanceState::Pending,
        address: None,
        user: USER.to_owned(),
        token: Some(request.token.clone()),
        fleet: Some(request.owner.fleet.to_string()),
        job: Some(request.job.to_string()),
        expires_at: Some(request.expires_at),
        price_usd_per_hour: None,
        launched_at: Some(sent),
        ended_at: None,
    }
}

fn body(request: &LaunchRequest, offer: &Offer, sent: Timestamp) -> Result<model::Instance> {
    let user_data = boot::cloud_config(&request.boot, USER);
    if user_data.len() > boot::CLOUD_CONFIG_MAX {
        let why = format!("user data of {} bytes is longer than 16 KB", user_data.len());
        return Err(refused(Fault::Rejected, Scope::Provider, "UserDataTooLong", &why));
    }
    let zone = &offer.place.zone;
    let Parts { machine, gpus } = parts(&offer.instance_type);
    let attached = gpus.map(|(count, kind)| {
        AcceleratorConfig::new()
            .set_accelerator_count(i32::try_from(count).unwrap_or(i32::MAX))
            .set_accelerator_type(format!("zones/{zone}/acceleratorTypes/{kind}"))
    });
    Ok(model::Instance::new()
        .set_name(machine_name(&request.token))
        .set_machine_type(format!("zones/{zone}/machineTypes/{machine}"))
        .set_guest_accelerators(attached)
        .set_disks([root_disk(request, offer, machine)])
        .set_network_interfaces([public_interface()])
        .set_tags(Tags::new().set_items([fleet_name(&request.owner.fleet)]))
        .set_labels(labels(request))
        .set_metadata(metadata(request, user_data))
        .set_scheduling(scheduling(request, sent)))
}

fn root_disk(request: &LaunchRequest, offer: &Offer, machine: &str) -> AttachedDisk {
    let zone = &offer.place.zone;
    let usual = if offer.accelerator.is_some() { GPU_IMAGE } else { CPU_IMAGE };
    let made = AttachedDiskInitializeParams::new()
        .set_source_image(request.image.as_deref().unwrap_or(usual))
        .set_disk_size_gb(i64::from(request.disk_gib.max(DISK_LEAST_GIB)))
        .set_disk_type(format!("zones/{zone}/diskTypes/{}", disk_type(machine)))
        .set_labels(labels(request));
    AttachedDisk::new().set_boot(true).set_auto_delete(true).set_initialize_params(made)
}

/// The newest machines take no disk of the older kind.
fn disk_type(machine: &str) -> &'static str {
    let newest = ["a3-ultragpu-", "a4-", "a4x-", "g4-", "c4-", "n4-"];
    if newest.iter().any(|f| machine.starts_with(f)) { "hyperdisk-balanced" } else { "pd-balanced" }
}

fn public_interface() -> NetworkInterface {
    let public =
        AccessConfig::new().set_type(access_config::Type::OneToOneNat).set_name("External NAT");
    NetworkInterface::new().set_network(NETWORK).set_access_configs([public])
}

/// The boot document, and our key alone: OS Login would ignore it in silence.
fn metadata(request: &LaunchRequest, user_data: String) -> Metadata {
    let key = request.boot.login_key.trim();
    let items = [
        ("ssh-keys", format!("{USER}:{key}")),
        ("enable-oslogin", "FALSE".to_owned()),
        ("block-project-ssh-keys", "TRUE".to_owned()),
        ("user-data", user_data),
    ];
    let item = |(key, value): (&str, String)| metadata::Items::new().set_key(key).set_value(value);
    Metadata::new().set_items(items.map(item))
}

/// Machines with GPUs cannot move to another host, so they end at maintenance.
fn scheduling(request: &LaunchRequest, sent: Timestamp) -> Scheduling {
    let life = request.expires_at.since(sent).clamp(RUN_LEAST, RUN_MOST);
    let seconds = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
    let model = match request.market {
        Market::Spot => scheduling::ProvisioningModel::Spot,
        Market::OnDemand => scheduling::ProvisioningModel::Standard,
    };
    Scheduling::new()
        .set_provisioning_model(model)
        .set_preemptible(request.market == Market::Spot)
        .set_automatic_restart(false)
        .set_on_host_maintenance(scheduling::OnHostMaintenance::Terminate)
        .set_instance_termination_action(scheduling::InstanceTerminationAction::Delete)
        .set_max_run_duration(model::Duration::new().set_seconds(seconds))
}
