//! What a cloud sells right now, and what a task asks of it.
//!
//! Invariant: unknown is `None`, never 0. Sold-out rows are carried and marked, so that a plan can
//! explain every place it did not take.

use crate::{Accelerator, AcceleratorRequest, Market, Place, PlacePattern, Pool, Usd};
use serde::{Deserialize, Serialize};

/// Whether the cloud says that the offer can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Listed as available.
    Available,
    /// Listed as sold out.
    SoldOut,
    /// The cloud gives no such signal (EC2: one finds out by asking).
    Unknown,
}

/// Whole machine or container: a job's system must not change under it when it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineClass {
    Vm,
    Container,
}

/// How far the owner of the hardware is trusted with secrets (reliability.md F2, "Default class").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// A stranger's computer.
    Untrusted,
    /// A verified data centre of a marketplace.
    Semi,
    /// A cloud with an account team.
    Trusted,
}

/// One thing that can be rented: a machine type at a place in a market, at its price now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    #[serde(flatten)]
    pub place: Place,
    pub instance_type: String,
    pub market: Market,
    /// The driver's own handle for this offer (Vast: the ask id). Opaque to everyone else.
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub accelerator: Option<Accelerator>,
    /// Memory of one GPU in GB, as the cloud says.
    #[serde(default)]
    pub gpu_memory_gb: Option<f64>,
    pub vcpus: f64,
    pub memory_gib: f64,
    /// Local disk that the machine can have, in GiB; `None` where it is cut to measure.
    #[serde(default)]
    pub disk_gib: Option<f64>,
    /// Price of the whole machine; `None` is unknown and is never ranked.
    pub price_usd_per_hour: Option<Usd>,
    /// On-demand price of the same machine, where known: what spot saves.
    #[serde(default)]
    pub on_demand_usd_per_hour: Option<Usd>,
    /// Price of a GiB of disk for an hour, on top.
    #[serde(default)]
    pub disk_usd_per_gib_hour: Option<Usd>,
    /// Price of a GB sent out to the internet.
    #[serde(default)]
    pub egress_usd_per_gb: Option<Usd>,
    pub available: Availability,
    /// Interruptions per hour that the cloud's own signal stands for; `None` is unknown.
    #[serde(default)]
    pub hazard_per_hour: Option<f64>,
    /// Where the hazard comes from, in words (`spot advisor 5-10 %`).
    #[serde(default)]
    pub hazard_source: Option<String>,
    /// Share of time the host works, 0 to 1, where the cloud says.
    #[serde(default)]
    pub reliability: Option<f64>,
    #[serde(default)]
    pub verified: Option<bool>,
    #[serde(default)]
    pub datacenter: Option<bool>,
    #[serde(default)]
    pub cuda: Option<f64>,
    #[serde(default)]
    pub inet_down_mbps: Option<f64>,
    #[serde(default)]
    pub inet_up_mbps: Option<f64>,
    /// Seconds until the offer itself ends, on marketplaces.
    #[serde(default)]
    pub ends_in_seconds: Option<f64>,
    pub class: MachineClass,
    pub trust: Trust,
}

impl Offer {
    /// The pool that shares this offer's fate.
    pub fn pool(&self) -> Pool {
        Pool {
            place: self.place.clone(),
            instance_type: self.instance_type.clone(),
            market: self.market,
        }
    }
}

/// One alternative of what a task asks for. Several (any_of / ordered) make several queries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OfferQuery {
    /// Any one of these; empty asks for a machine without GPU.
    pub accelerators: Vec<AcceleratorRequest>,
    /// Both markets if empty.
    pub markets: Vec<Market>,
    /// Any of these places; everywhere if empty.
    pub places: Vec<PlacePattern>,
    pub instance_type: Option<String>,
    pub vcpus: Option<Bound>,
    pub memory_gib: Option<Bound>,
    /// Disk the task needs, in GiB.
    pub disk_gib: u32,
    #[serde(default)]
    pub filter: OfferFilter,
}

/// A number with or without `+` behind it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    pub value: f64,
    /// `8+`: at least; else exactly.
    pub at_least: bool,
}

impl Bound {
    /// Whether `have` is within the bound.
    pub fn accepts(self, have: f64) -> bool {
        if self.at_least { have + 1e-9 >= self.value } else { (have - self.value).abs() < 1e-6 }
    }
}

/// Hard limits on the quality of an offer; an offer that does not say is not rejected by a limit
/// unless the limit was set by the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OfferFilter {
    /// Never dearer than this an hour.
    pub max_price_usd_per_hour: Option<Usd>,
    pub min_reliability: Option<f64>,
    pub verified_only: bool,
    pub datacenter_only: bool,
    pub min_duration_seconds: Option<f64>,
    pub min_cuda: Option<f64>,
    pub min_inet_down_mbps: Option<f64>,
    pub max_hazard_per_hour: Option<f64>,
    /// The least trust that a host must have (raised when the task has secrets).
    pub min_trust: Option<Trust>,
    /// Only this class of machine (a job stays in the class of its first attempt).
    pub class: Option<MachineClass>,
}
