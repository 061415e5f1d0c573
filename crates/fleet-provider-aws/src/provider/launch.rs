//! The create: one `RunInstances` for the first candidate.
//!
//! Invariant: its body is a pure function of the request and of things found by names that follow from
//! the request. There is no clock and no chance in it, so the same token never meets another body.

use crate::client::Clients;
use crate::instance::{self, USER};
use crate::network::{self, Footing};
use crate::wire::launch_tags;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, InstanceInterruptionBehavior,
    InstanceMarketOptionsRequest, InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
    InstanceNetworkInterfaceSpecification, InstanceType, MarketType, Placement, ResourceType,
    ShutdownBehavior, SpotInstanceType, SpotMarketOptions, VolumeType,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet_provider::{Candidate, LaunchRequest, ProviderError, Result};
use fleet_provider_kit::{Effect, boot};
use fleet_types::{Fault, Instance, Market, Scope, Usd};

const OPERATION: &str = "RunInstances";
/// Ubuntu with NVIDIA's driver, by AWS; resolved by EC2 in the region of the create.
pub(super) const GPU_IMAGE: &str = "resolve:ssm:/aws/service/deeplearning/ami/x86_64/\
                         base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id";
/// Plain Ubuntu, by Canonical.
const CPU_IMAGE: &str = "resolve:ssm:/aws/service/canonical/ubuntu/server/22.04/\
                                    stable/current/amd64/hvm/ebs-gp2/ami-id";

/// Makes the machine, or gets the one that the token made before, in whatever state it is.
pub(super) async fn launch(clients: &Clients, request: &LaunchRequest) -> Result<Instance> {
    let first = request.candidates.first();
    let ours = first.filter(|c| c.offer.place.provider == fleet_types::ProviderId::Aws);
    let candidate = ours.ok_or_else(|| {
        let why = "the request names no place of AWS";
        refused(Fault::Rejected, Scope::Request, "NoCandidate", why.into())
    })?;
    within_limit(request.market, candidate)?;
    let user_data = boot::cloud_config(&request.boot, USER);
    if user_data.len() > boot::CLOUD_CONFIG_MAX {
        let why = format!("user data of {} bytes is longer than 16 KB", user_data.len());
        return Err(refused(Fault::Rejected, Scope::Provider, "UserDataTooLong", why));
    }
    let place = &candidate.offer.place;
    let image = image(request, candidate);
    let footing = network::prepare(clients, request, &place.region, &place.zone, &image).await?;
    let call =
        body(clients, request, candidate, &footing, image).user_data(STANDARD.encode(user_data));
    let answer = match call.send().await {
        Ok(answer) => answer,
        Err(e) => {
            let mut error = clients.failed(OPERATION, Effect::Create, e).await;
            if error.fault == Fault::NotFound {
                // The key pair or group found a moment ago: not seen yet, or just removed.
                error.fault = Fault::Transient;
            }
            return Err(error);
        }
    };
    let made = answer.instances().first().and_then(|i| instance::read(&place.region, i, None));
    let mut made =
        made.ok_or_else(|| Effect::Create.unreadable(OPERATION, "the answer holds no instance"))?;
    // The answer to a create may leave out what it was asked for.
    if made.place.zone.is_empty() {
        made.place.zone.clone_from(&place.zone);
    }
    Ok(made)
}

/// An on-demand price is fixed: one above the limit is refused here. EC2 itself refuses a low bid.
fn within_limit(market: Market, candidate: &Candidate) -> Result<()> {
    let limit = candidate.limit_usd_per_hour;
    match candidate.offer.price_usd_per_hour {
        Some(price) if market == Market::OnDemand && price > limit => Err(refused(
            Fault::Price,
            Scope::Offer,
            "PriceAboveLimit",
            format!("the on-demand price {price} is above the limit {limit}"),
        )),
        _ => Ok(()),
    }
}

fn refused(fault: Fault, scope: Scope, code: &str, why: String) -> ProviderError {
    ProviderError::new(fault, scope, OPERATION, code).message(why)
}

fn image(request: &LaunchRequest, candidate: &Candidate) -> String {
    let default = if candidate.offer.accelerator.is_some() { GPU_IMAGE } else { CPU_IMAGE };
    request.image.clone().unwrap_or_else(|| default.to_owned())
}

/// Everything but the user data.
fn body(
    clients: &Clients,
    request: &LaunchRequest,
    candidate: &Candidate,
    footing: &Footing,
    image: String,
) -> RunInstancesFluentBuilder {
    let place = &candidate.offer.place;
    let spot = request.market == Market::Spot;
    let mut tagged =
        vec![ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];
    if spot {
        tagged.push(ResourceType::SpotInstancesRequest);
    }
    let tags = tagged.into_iter().map(|on| launch_tags(request, on)).collect();
    clients
        .ec2(&place.region)
        .run_instances()
        .client_token(request.token.as_str())
        .min_count(1)
        .max_count(1)
        .instance_type(InstanceType::from(candidate.offer.instance_type.as_str()))
        .image_id(image)
        .key_name(&footing.key)
        .placement(Placement::builder().availability_zone(&place.zone).build())
        .network_interfaces(network_interface(footing))
        .block_device_mappings(root_disk(footing, request.disk_gib))
        .metadata_options(metadata_options())
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .set_instance_market_options(spot.then(|| spot_options(candidate.limit_usd_per_hour)))
        .set_tag_specifications(Some(tags))
}

fn network_interface(footing: &Footing) -> InstanceNetworkInterfaceSpecification {
    InstanceNetworkInterfaceSpecification::builder()
        .device_index(0)
        .subnet_id(&footing.subnet)
        .groups(&footing.group)
        .associate_public_ip_address(true)
        .delete_on_termination(true)
        .build()
}

fn root_disk(footing: &Footing, gib: u32) -> BlockDeviceMapping {
    let disk = EbsBlockDevice::builder()
        .volume_size(i32::try_from(gib).unwrap_or(i32::MAX))
        .volume_type(VolumeType::Gp3)
        .delete_on_termination(true)
        .build();
    BlockDeviceMapping::builder().device_name(&footing.root_device).ebs(disk).build()
}

/// Metadata only with a token, and not to containers on the machine.
fn metadata_options() -> InstanceMetadataOptionsRequest {
    InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .build()
}

fn spot_options(limit: Usd) -> InstanceMarketOptionsRequest {
    let micros = limit.micros();
    let spot = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
        .max_price(format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000))
        .build();
    InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(spot).build()
}
