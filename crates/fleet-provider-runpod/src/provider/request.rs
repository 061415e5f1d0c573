//! The bodies of the two creates.
//!
//! Invariants: a spot create always holds a bid and the time at which RunPod itself ends the pod; the bid is the
//! candidate's limit and nothing else, shared by the GPUs and rounded down; no credential and no value of the
//! user's environment is in either.

use crate::fault::call;
use crate::offers::parse_type;
use crate::wire::{Cloud, MARKET};
use fleet_provider::{Candidate, LaunchRequest, ProviderError, Result};
use fleet_provider_kit::boot::{ONSTART_MAX, container_command};
use fleet_provider_kit::mark::Mark;
use fleet_types::{Fault, Offer, ProviderId, Scope};
use serde_json::{Map, Value, json};

/// RunPod's own image with PyTorch and sshd.
const IMAGE: &str = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404";
/// The CUDA version that it asks of the host's driver.
pub(super) const MIN_CUDA: &str = "12.8";
/// Smallest container disk that is worth asking for, in GB.
const DISK_MIN: u32 = 10;

/// A create, ready to send.
#[derive(Debug)]
pub(super) struct Order<'a> {
    request: &'a LaunchRequest,
    pub(super) candidate: &'a Candidate,
    pub(super) mark: Mark,
    pub(super) gpu: String,
    pub(super) count: u32,
    pub(super) cloud: Cloud,
    /// The start command that brings sshd.
    command: String,
}

/// Reads the create for the first candidate, or says why it cannot be one. Sends nothing.
pub(super) fn order(request: &LaunchRequest) -> Result<Order<'_>> {
    let candidate = request.candidates.first().ok_or_else(|| {
        rejected(Scope::Request, "no-candidate", "the request holds no place to try")
    })?;
    let offer = &candidate.offer;
    if offer.place.provider != ProviderId::Runpod || offer.market != request.market {
        let why =
            format!("{} {} is not a {} offer of RunPod", offer.place, offer.market, request.market);
        return Err(rejected(Scope::Offer, "wrong-market", why));
    }
    let (gpu, count, cloud) = parse_type(&offer.instance_type).ok_or_else(|| {
        let why = format!("`{}` is no type of RunPod's", offer.instance_type);
        rejected(Scope::Offer, "bad-type", why)
    })?;
    if offer.price_usd_per_hour.is_none_or(|p| p > candidate.limit_usd_per_hour) {
        let why = "the price is unknown or above the limit";
        let error = ProviderError::new(Fault::Price, Scope::Offer, call::CREATE, "over-limit");
        return Err(error.message(why));
    }
    let command = container_command(&request.boot);
    if command.len() > ONSTART_MAX {
        return Err(rejected(
            Scope::Provider,
            "command-too-long",
            "the start command is over 4 KB",
        ));
    }
    Ok(Order { request, candidate, mark: Mark::of(request), gpu, count, cloud, command })
}

impl Order<'_> {
    pub(super) fn offer(&self) -> &Offer {
        &self.candidate.offer
    }

    /// Body of REST's create.
    pub(super) fn on_demand(&self) -> Value {
        let mut gpu = json!({"id": self.gpu, "count": self.count});
        if self.request.image.is_none() {
            gpu["minCudaVersion"] = json!(MIN_CUDA);
        }
        let mut body = json!({
            "name": self.mark.label(),
            "image": self.image(),
            "args": self.command,
            "gpu": gpu,
            "cloud": self.cloud.word(),
            "disk": self.request.disk_gib.max(DISK_MIN),
            "ports": self.ports(),
            "env": self.env(),
        });
        let zone = &self.offer().place.zone;
        if !zone.is_empty() {
            body["dataCenterIds"] = json!([zone]);
        }
        body
    }

    /// Input of GraphQL's bid.
    pub(super) fn spot(&self) -> Result<Value> {
        let limit = self.candidate.limit_usd_per_hour.micros() / i64::from(self.count);
        if limit <= 0 {
            let error = ProviderError::new(Fault::Price, Scope::Offer, call::RENT, "bad-bid");
            return Err(error.message("a bid of nothing is none that RunPod takes"));
        }
        let env = self.env();
        let env: Vec<Value> =
            env.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let mut input = json!({
            "bidPerGpu": limit as f64 / 1e6,
            "cloudType": self.cloud.word(),
            "gpuTypeId": self.gpu,
            "gpuCount": self.count,
            "dataCenterId": self.offer().place.zone,
            "name": self.mark.label(),
            "imageName": self.image(),
            "dockerArgs": self.command,
            "containerDiskInGb": self.request.disk_gib.max(DISK_MIN),
            "volumeInGb": 0,
            "ports": self.ports().join(","),
            "env": env,
            "supportPublicIp": true,
            "terminateAfter": self.mark.expires_at.to_string(),
        });
        if self.request.image.is_none() {
            input["minCudaVersion"] = json!(MIN_CUDA);
        }
        Ok(input)
    }

    fn image(&self) -> &str {
        self.request.image.as_deref().map_or(IMAGE, |i| i.trim_start_matches("docker:"))
    }

    /// SSH and the task's own ports.
    fn ports(&self) -> Vec<String> {
        let own = self.request.ports.iter().filter(|p| **p != 22);
        std::iter::once(&22).chain(own).map(|p| format!("{p}/tcp")).collect()
    }

    fn env(&self) -> Map<String, Value> {
        Map::from_iter([(MARKET.to_owned(), json!(self.offer().market.to_string()))])
    }
}

fn rejected(scope: Scope, code: &str, why: impl Into<String>) -> ProviderError {
    ProviderError::new(Fault::Rejected, scope, call::CREATE, code).message(why)
}
