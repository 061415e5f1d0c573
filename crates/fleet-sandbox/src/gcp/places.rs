//! Where things can be, and what is sold there: project, regions, zones, machine types, attachable GPUs.

use super::pages::Kind;
use super::{Answer, HOME, PROJECT, Request, no_such, stamp};
use crate::facts::gcp::{GPUS, Gpu, REGIONS, Region, Shape, TYPES, Type, find_region, region_of, zones};
use crate::scenario::Site;
use crate::text::hash;
use crate::world::World;
use fleet_types::{Market, ProviderId, Timestamp};
use serde_json::{Value, json};

const LIMIT: f64 = 64.0;
const MACHINE_TYPES: Kind = Kind { one: "machineType", many: "machineTypes" };
const ACCELERATOR_TYPES: Kind = Kind { one: "acceleratorType", many: "acceleratorTypes" };

/// The pool of a shape in a zone, as rules see it.
pub(super) fn with_site<R>(shape: &Shape, zone: &str, market: Market, f: impl Fn(Site<'_>) -> R) -> R {
    let region = region_of(zone).map_or("", |r| r.name);
    f(Site {
        provider: ProviderId::Gcp,
        region,
        zone,
        instance_type: &shape.name(),
        gpu: shape.gpu.map_or("", |(gpu, _)| gpu.name),
        market,
    })
}

/// How much the scenario multiplies the price of a GPU in a region. A list price is one for the region, so of
/// several rules on its zones and types the dearest counts.
pub(super) fn factor(w: &World, gpu: &Gpu, region: &Region, market: Market, now: Timestamp) -> f64 {
    let elapsed = w.elapsed(now);
    let shapes = TYPES.iter().flat_map(|t| std::iter::once(t.bare()).chain(t.attached()));
    let with = shapes.filter(|s| s.gpu.is_some_and(|(g, _)| g.kind == gpu.kind));
    let factors = with.flat_map(|shape| {
        let here = zones().filter(|(r, _)| r.name == region.name).map(|(_, zone)| zone);
        let sold = here.filter(|zone| shape.is_sold_in(zone)).collect::<Vec<_>>();
        sold.into_iter().map(move |zone| {
            with_site(&shape, &zone, market, |site| w.price_factor(site, elapsed))
        })
    });
    factors.reduce(f64::max).unwrap_or(1.0)
}

/// What a machine of the shape costs an hour now.
pub(super) fn price(
    w: &World,
    shape: &Shape,
    region: &Region,
    market: Market,
    now: Timestamp,
) -> fleet_types::Usd {
    let factor = shape.gpu.map_or(1.0, |(gpu, _)| factor(w, gpu, region, market, now));
    shape.price(region, market, factor)
}

/// A number that Compute Engine would give a thing, always the same.
fn number(parts: &[&str]) -> String {
    (hash(0, parts) >> 1).to_string()
}

/// An image that a create may name. None is looked at: a machine's system is the sandbox's own.
pub(super) fn image(project: &str, name: &str) -> Value {
    json!({"kind": "compute#image", "id": number(&["image", name]), "name": name, "status": "READY",
        "diskSizeGb": "10", "architecture": "X86_64", "family": name,
        "selfLink": format!("https://www.googleapis.com/compute/v1/projects/{project}/global/images/{name}")})
}

impl Request<'_> {
    pub(super) fn project(&self) -> Value {
        let used: u32 = self.live().map(|u| u.gpus).sum();
        let all = json!({"metric": "GPUS_ALL_REGIONS", "limit": 2.0 * LIMIT, "usage": f64::from(used)});
        json!({"kind": "compute#project", "id": number(&["project"]), "name": PROJECT, "selfLink": HOME,
            "creationTimestamp": stamp(self.world.started_at), "defaultNetworkTier": "PREMIUM",
            "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
            "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": "AAAAAAAAAAA="},
            "quotas": [all]})
    }

    /// Live machines of this cloud.
    pub(super) fn live(&self) -> impl Iterator<Item = &crate::world::Unit> {
        let ours = |u: &&crate::world::Unit| u.pool.place.provider == ProviderId::Gcp && u.is_live();
        self.world.units.values().filter(ours)
    }

    /// GPUs of a model in a region and market: in use, and the limit.
    pub(super) fn gpu_quota(&self, shape: &Shape, zone: &str, market: Market) -> (u32, Option<u32>) {
        let region = region_of(zone).map_or("", |r| r.name);
        let name = shape.gpu.map_or("", |(g, _)| g.name);
        let same = self.live().filter(|u| {
            u.pool.place.region == region && u.pool.market == market && u.gpu == name
        });
        let used = same.map(|u| u.gpus).sum();
        let limit = with_site(shape, zone, market, |site| self.world.quota(site, self.now));
        (used, limit)
    }

    fn region_json(&self, r: &'static Region) -> Value {
        let names = r.zones.chars().map(|z| format!("{HOME}/zones/{}-{z}", r.name));
        let zone = format!("{}-{}", r.name, &r.zones[..1]);
        let mut quotas = vec![json!({"metric": "CPUS", "limit": 10.0 * LIMIT, "usage": 0.0})];
        for (prefix, market) in [("", Market::OnDemand), ("PREEMPTIBLE_", Market::Spot)] {
            for gpu in GPUS.iter().filter(|g| matches!(g.name, "T4" | "V100" | "P100" | "L4" | "A100")) {
                let holds = |s: &Shape| s.gpu.is_some_and(|(g, _)| g.kind == gpu.kind);
                let mut shapes = TYPES.iter().flat_map(|t| std::iter::once(t.bare()).chain(t.attached()));
                let Some(shape) = shapes.find(holds) else { continue };
                let (used, limit) = self.gpu_quota(&shape, &zone, market);
                let limit = limit.map_or(LIMIT, f64::from);
                let metric = format!("{prefix}NVIDIA_{}_GPUS", gpu.name);
                quotas.push(json!({"metric": metric, "limit": limit, "usage": f64::from(used)}));
            }
        }
        json!({"kind": "compute#region", "id": number(&["region", r.name]), "name": r.name,
            "description": r.name, "status": "UP", "zones": names.collect::<Vec<_>>(), "quotas": quotas,
            "creationTimestamp": stamp(self.world.started_at), "supportsPzs": false,
            "selfLink": format!("{HOME}/regions/{}", r.name)})
    }

    pub(super) fn regions(&self) -> Answer {
        let rows = REGIONS.iter().map(|r| self.region_json(r)).collect();
        let list = Kind { one: "region", many: "regions" };
        self.listed(&list, "", rows)
    }

    pub(super) fn region(&self, name: &str) -> Answer {
        let found = find_region(name).ok_or_else(|| no_such(&format!("regions/{name}")))?;
        Ok(self.region_json(found))
    }

    fn zone_json(&self, region: &Region, name: &str) -> Value {
        json!({"kind": "compute#zone", "id": number(&["zone", name]), "name": name, "description": name,
            "status": "UP", "region": format!("{HOME}/regions/{}", region.name),
            "creationTimestamp": stamp(self.world.started_at), "supportsPzs": false,
            "availableCpuPlatforms": ["Intel Cascade Lake"], "selfLink": format!("{HOME}/zones/{name}")})
    }

    pub(super) fn zones(&self) -> Answer {
        let rows = zones().map(|(r, name)| self.zone_json(r, &name)).collect();
        self.listed(&Kind { one: "zone", many: "zones" }, "", rows)
    }

    pub(super) fn zone(&self, name: &str) -> Answer {
        let region = region_of(name).ok_or_else(|| no_such(&format!("zones/{name}")))?;
        Ok(self.zone_json(region, name))
    }

    pub(super) fn all_machine_types(&self) -> Answer {
        let sold = zones().flat_map(|(_, zone)| {
            let here: Vec<_> = types_in(&zone).map(|t| (zone.clone(), type_json(t, &zone))).collect();
            here
        });
        self.aggregated(&MACHINE_TYPES, sold.collect())
    }

    pub(super) fn machine_types(&self, zone: &str) -> Answer {
        let rows = types_in(zone).map(|t| type_json(t, zone)).collect();
        self.listed(&MACHINE_TYPES, &format!("zones/{zone}"), rows)
    }

    pub(super) fn machine_type(&self, zone: &str, name: &str) -> Answer {
        let found = types_in(zone).find(|t| t.name == name);
        let found = found.ok_or_else(|| no_such(&format!("zones/{zone}/machineTypes/{name}")))?;
        Ok(type_json(found, zone))
    }

    pub(super) fn all_accelerator_types(&self) -> Answer {
        let there = zones().flat_map(|(_, zone)| {
            let here: Vec<_> = gpus_in(&zone).map(|g| (zone.clone(), gpu_json(g, &zone))).collect();
            here
        });
        self.aggregated(&ACCELERATOR_TYPES, there.collect())
    }

    pub(super) fn accelerator_types(&self, zone: &str) -> Answer {
        let rows = gpus_in(zone).map(|g| gpu_json(g, zone)).collect();
        self.listed(&ACCELERATOR_TYPES, &format!("zones/{zone}"), rows)
    }

    pub(super) fn accelerator_type(&self, zone: &str, name: &str) -> Answer {
        let found = gpus_in(zone).find(|g| g.kind == name);
        let found = found.ok_or_else(|| no_such(&format!("zones/{zone}/acceleratorTypes/{name}")))?;
        Ok(gpu_json(found, zone))
    }
}

fn types_in(zone: &str) -> impl Iterator<Item = &'static Type> {
    TYPES.iter().filter(move |t| t.is_sold_in(zone))
}

/// Attachable ones, and those that come in a machine that is sold there.
fn gpus_in(zone: &str) -> impl Iterator<Item = &'static Gpu> {
    let bundled = move |g: &Gpu| types_in(zone).any(|t| t.gpu.is_some_and(|(kind, _)| kind == g.kind));
    GPUS.iter().filter(move |g| g.is_attachable_in(zone) || bundled(g))
}

fn type_json(t: &Type, zone: &str) -> Value {
    let mut shown = json!({"kind": "compute#machineType", "id": number(&["type", t.name, zone]),
        "name": t.name, "description": format!("{} vCPUs, {} GB RAM", t.vcpus, t.memory_gib),
        "guestCpus": t.vcpus, "memoryMb": t.memory_gib * 1024, "isSharedCpu": false, "zone": zone,
        "imageSpaceGb": 0, "maximumPersistentDisks": 128, "maximumPersistentDisksSizeGb": "263168",
        "architecture": "X86_64", "creationTimestamp": "1969-12-31T16:00:00.000-08:00",
        "selfLink": format!("{HOME}/zones/{zone}/machineTypes/{}", t.name)});
    if let Some((kind, count)) = t.gpu {
        shown["accelerators"] =
            json!([{"guestAcceleratorType": kind, "guestAcceleratorCount": count}]);
    }
    if t.ssds > 0 {
        shown["bundledLocalSsds"] = json!({"defaultInterface": "NVME", "partitionCount": t.ssds});
    }
    shown
}

fn gpu_json(g: &Gpu, zone: &str) -> Value {
    let most = g.sets.iter().map(|(count, _)| *count).max().unwrap_or(8);
    json!({"kind": "compute#acceleratorType", "id": number(&["gpu", g.kind, zone]), "name": g.kind,
        "description": g.words, "zone": format!("{HOME}/zones/{zone}"), "maximumCardsPerInstance": most,
        "creationTimestamp": "1969-12-31T16:00:00.000-08:00",
        "selfLink": format!("{HOME}/zones/{zone}/acceleratorTypes/{}", g.kind)})
}
