//! What EC2 sells where, and for how much: regions, zones, types, offerings, spot prices, scores.

use super::filter::{Filters, Row};
use super::xml::Xml;
use super::{Answer, Request, refuse};
use crate::clock;
use crate::facts::aws::{REGIONS, TYPES, Type, Zone, find, region};
use crate::scenario::Site;
use crate::text::{aws_id, fraction};
use crate::world::World;
use fleet_types::{Market, ProviderId, Timestamp, Usd};
use std::time::Duration;

/// Seconds between two moves of a price, in whole milliseconds.
const STEP_MS: i64 = 300_000;
/// How many old prices are remembered.
const STEPS_BACK: i64 = 12;

/// The pool of a type in a zone, as rules see it.
pub(super) fn with_site<R>(t: &Type, zone: Zone, market: Market, f: impl Fn(Site<'_>) -> R) -> R {
    f(Site {
        provider: ProviderId::Aws,
        region: zone.region,
        zone: &zone.name(),
        instance_type: t.name,
        gpu: t.gpu,
        market,
    })
}

/// The price of a pool in force at `at`.
pub(super) fn price(w: &World, t: &Type, zone: Zone, market: Market, at: Timestamp) -> Usd {
    with_site(t, zone, market, |site| match market {
        Market::Spot => w.price(site, t.spot_level(zone, w.seed), at),
        Market::OnDemand => t.on_demand(zone.region).scale(w.price_factor(site, w.elapsed(at))),
    })
}

/// The same without the scenario's factor.
pub(super) fn calm_price(w: &World, t: &Type, zone: Zone, market: Market, at: Timestamp) -> Usd {
    with_site(t, zone, market, |site| match market {
        Market::Spot => w.calm_price(site, t.spot_level(zone, w.seed), at),
        Market::OnDemand => t.on_demand(zone.region),
    })
}

/// How many more machines a pool can hold. On-demand never runs dry on a calm day.
pub(super) fn stock(w: &World, t: &Type, zone: Zone, market: Market, now: Timestamp) -> u32 {
    let anchor = market == Market::OnDemand || t.is_anchor(zone);
    with_site(t, zone, market, |site| w.stock(site, anchor, now))
}

impl Request<'_> {
    fn zones(&self) -> Vec<Zone> {
        region(&self.region).map(|r| r.zones().collect()).unwrap_or_default()
    }

    /// The types that this call's region sells, narrowed to those asked by name.
    fn types(&self) -> Result<Vec<&'static Type>, super::Refusal> {
        let asked = self.params.list("InstanceType");
        if let Some(unknown) = asked.iter().find(|n| find(n).is_none()) {
            let text = format!("The following supplied instance types do not exist: [{unknown}]");
            return Err(refuse(400, "InvalidInstanceType", text));
        }
        let here = |t: &&Type| {
            t.zones().iter().any(|z| z.region == self.region)
                && (asked.is_empty() || asked.contains(&t.name))
        };
        Ok(TYPES.iter().filter(here).collect())
    }

    pub(super) fn describe_regions(&mut self) -> Answer {
        let asked = self.params.list("RegionName");
        let shown =
            REGIONS.iter().filter(|r| asked.is_empty() || asked.contains(&r.name)).collect();
        let status = "opt-in-not-required";
        let shown = Filters::of(&self.params).pass(shown, |r: &&crate::facts::aws::Region| {
            Row::new([("region-name", r.name.into()), ("opt-in-status", status.into())])
        })?;
        Ok(Xml::default().list("regionInfo", shown, |x, r| {
            let endpoint = format!("ec2.{}.amazonaws.com", r.name);
            x.el("regionName", r.name).el("regionEndpoint", endpoint).el("optInStatus", status)
        }))
    }

    pub(super) fn describe_availability_zones(&mut self) -> Answer {
        let names = self.params.list("ZoneName");
        let ids = self.params.list("ZoneId");
        let asked = |z: &Zone| {
            (names.is_empty() || names.contains(&z.name().as_str()))
                && (ids.is_empty() || ids.contains(&z.id))
        };
        let shown = self.zones().into_iter().filter(asked).collect();
        let shown = Filters::of(&self.params).pass(shown, |z: &Zone| {
            Row::new([
                ("zone-name", z.name()),
                ("zone-id", z.id.into()),
                ("region-name", z.region.into()),
                ("state", "available".into()),
                ("zone-type", "availability-zone".into()),
                ("opt-in-status", "opt-in-not-required".into()),
            ])
        })?;
        Ok(Xml::default().list("availabilityZoneInfo", shown, |x, z| {
            x.el("optInStatus", "opt-in-not-required")
                .el("zoneState", "available")
                .el("regionName", z.region)
                .el("zoneName", z.name())
                .el("zoneId", z.id)
                .el("groupName", format!("{}-zg-1", z.region))
                .el("networkBorderGroup", z.region)
                .el("zoneType", "availability-zone")
        }))
    }

    pub(super) fn describe_instance_types(&mut self) -> Answer {
        let shown = Filters::of(&self.params).pass(self.types()?, |t| {
            Row::new([
                ("instance-type", t.name.into()),
                ("processor-info.supported-architecture", arch(t).into()),
                ("supported-usage-class", "on-demand".into()),
                ("supported-usage-class", "spot".into()),
                ("bare-metal", t.name.ends_with(".metal").to_string()),
                ("current-generation", (!t.name.starts_with("p2")).to_string()),
                ("hypervisor", "nitro".into()),
            ])
        })?;
        let (page, next) = self.params.page(shown, 100)?;
        Ok(Xml::default().list("instanceTypeSet", page, type_info).maybe("nextToken", next))
    }

    pub(super) fn describe_offerings(&mut self) -> Answer {
        let kind = self.params.get("LocationType").unwrap_or("region").to_owned();
        let mut rows: Vec<(&Type, String)> = Vec::new();
        for t in self.types()? {
            let zones = t.zones().into_iter().filter(|z| z.region == self.region);
            match kind.as_str() {
                "region" => rows.push((t, self.region.clone())),
                "availability-zone" => rows.extend(zones.map(|z| (t, z.name()))),
                "availability-zone-id" => rows.extend(zones.map(|z| (t, z.id.to_owned()))),
                other => return Err(super::bad_value("LocationType", other)),
            }
        }
        let rows = Filters::of(&self.params).pass(rows, |(t, place)| {
            Row::new([("instance-type", t.name.into()), ("location", place.clone())])
        })?;
        let (page, next) = self.params.page(rows, 1000)?;
        Ok(Xml::default()
            .list("instanceTypeOfferingSet", page, |x, (t, place)| {
                x.el("instanceType", t.name).el("locationType", &kind).el("location", place)
            })
            .maybe("nextToken", next))
    }

    pub(super) fn describe_spot_price_history(&mut self) -> Answer {
        let time = |name| -> Result<Option<Timestamp>, super::Refusal> {
            let parse = |v| clock::parse(v).ok_or_else(|| super::bad_value(name, v));
            self.params.get(name).map(parse).transpose()
        };
        let (from, until) = (time("StartTime")?, time("EndTime")?.unwrap_or(self.now));
        let products = self.params.list("ProductDescription");
        const PRODUCT: &str = "Linux/UNIX";
        let zone = self.params.get("AvailabilityZone").map(str::to_owned);
        let mut rows = Vec::new();
        if products.is_empty() || products.iter().any(|p| p.starts_with(PRODUCT)) {
            for t in self.types()? {
                let zones = t.zones().into_iter().filter(|z| z.region == self.region);
                for z in zones.filter(|z| zone.as_ref().is_none_or(|n| *n == z.name())) {
                    rows.extend(self.steps(from, until).into_iter().map(|at| (t, z, at)));
                }
            }
        }
        let rows = Filters::of(&self.params).pass(rows, |(t, z, _)| {
            Row::new([
                ("instance-type", t.name.into()),
                ("product-description", PRODUCT.into()),
                ("availability-zone", z.name()),
                ("availability-zone-id", z.id.into()),
            ])
        })?;
        let (page, next) = self.params.page(rows, 1000)?;
        let prices: Vec<_> = page
            .into_iter()
            .map(|(t, z, at)| {
                // The newest row shows what a spike that began within its step made of the price.
                let within = at.plus(Duration::from_millis(STEP_MS as u64 - 1));
                let moment = if within > self.now { self.now } else { within };
                (t, z, at, price(self.world, t, z, Market::Spot, moment))
            })
            .collect();
        Ok(Xml::default()
            .list("spotPriceHistorySet", prices, |x, (t, z, at, price)| {
                x.el("instanceType", t.name)
                    .el("productDescription", PRODUCT)
                    .el("spotPrice", format!("{:.6}", price.dollars()))
                    .el("timestamp", clock::iso(at))
                    .el("availabilityZone", z.name())
                    .el("availabilityZoneId", z.id)
            })
            .el("nextToken", next.unwrap_or_default()))
    }

    /// Starts of the price steps within a span, newest first, with the one in force at its start.
    fn steps(&self, from: Option<Timestamp>, until: Timestamp) -> Vec<Timestamp> {
        let start = self.world.started_at.millis();
        let step = |at: Timestamp| (at.millis() - start).div_euclid(STEP_MS);
        let last = step(until).min(step(self.now));
        let first = from.map_or(i64::MIN, step).max(last - STEPS_BACK).min(last);
        (first..=last).rev().map(|k| Timestamp::from_millis(start + k * STEP_MS)).collect()
    }

    pub(super) fn spot_placement_scores(&mut self) -> Answer {
        let capacity = self.params.number("TargetCapacity")?;
        let capacity = capacity.ok_or_else(|| super::missing("TargetCapacity"))?;
        let asked = self.params.list("RegionName");
        if asked.len() > 10 {
            let text = "You can specify up to 10 Regions";
            return Err(refuse(400, "InvalidParameterValue", text));
        }
        let names = self.params.list("InstanceType");
        let types: Vec<&Type> = names.iter().filter_map(|n| find(n)).collect();
        let single = self.params.get("SingleAvailabilityZone") == Some("true");
        let mut scores: Vec<(&str, Option<&str>, u32)> = Vec::new();
        for r in REGIONS.iter().filter(|r| asked.is_empty() || asked.contains(&r.name)) {
            let per_zone: Vec<(Zone, u32)> =
                r.zones().map(|z| (z, self.score(&types, z, capacity))).collect();
            if single {
                scores.extend(per_zone.iter().map(|(z, s)| (r.name, Some(z.id), *s)));
            } else {
                let best = per_zone.iter().map(|(_, s)| *s).max().unwrap_or(1);
                scores.push((r.name, None, best));
            }
        }
        scores.sort_by_key(|(region, zone, s)| (std::cmp::Reverse(*s), *region, *zone));
        let (page, next) = self.params.page(scores, 1000)?;
        Ok(Xml::default()
            .list("spotPlacementScoreSet", page, |x, (region, zone, score)| {
                x.el("region", region).maybe("availabilityZoneId", zone).el("score", score)
            })
            .maybe("nextToken", next))
    }

    /// 1 where nothing is to be had, else 3 to 9, steady for a pool.
    fn score(&self, types: &[&Type], zone: Zone, capacity: u32) -> u32 {
        let one = |t: &&Type| {
            if !t.sold_in(zone) || stock(self.world, t, zone, Market::Spot, self.now) < capacity {
                return 1;
            }
            3 + (7.0 * fraction(self.world.seed, &["score", t.name, zone.id])) as u32
        };
        types.iter().map(one).max().unwrap_or(1)
    }

    pub(super) fn describe_images(&mut self) -> Answer {
        let mut ids: Vec<String> =
            self.params.list("ImageId").into_iter().map(Into::into).collect();
        if ids.is_empty() {
            ids.push(image_id("base-oss-nvidia-driver-gpu-ubuntu-22.04"));
        }
        Ok(Xml::default().list("imagesSet", ids, |x, id| {
            x.el("imageId", id)
                .el("imageState", "available")
                .el("imageOwnerId", "898082745236")
                .el("isPublic", true)
                .el("architecture", "x86_64")
                .el("imageType", "machine")
                .el("name", "Sandbox Deep Learning Base GPU AMI (Ubuntu 22.04)")
                .el("creationDate", "2026-10-01T00:00:00.000Z")
                .el("rootDeviceType", "ebs")
                .el("rootDeviceName", "/dev/sda1")
                .list("blockDeviceMapping", ["/dev/sda1"], |x, device| {
                    let ebs = Xml::default().el("deleteOnTermination", true);
                    let ebs = ebs.el("volumeSize", 35).el("volumeType", "gp3");
                    x.el("deviceName", device).group("ebs", ebs)
                })
        }))
    }
}

/// The image that an SSM path stands for.
pub(super) fn image_id(path: &str) -> String {
    aws_id("ami", 0, &[path])
}

fn arch(t: &Type) -> &'static str {
    if t.arm { "arm64" } else { "x86_64" }
}

fn type_info(x: Xml, t: &Type) -> Xml {
    let new = Xml::default;
    let memory = |mib: u32| new().el("sizeInMiB", mib);
    let gpu = |x: Xml, t: &Type| {
        x.el("name", t.gpu_wire)
            .el("manufacturer", "NVIDIA")
            .el("count", t.gpus)
            .group("memoryInfo", memory(t.gpu_mib))
    };
    let x = x
        .el("instanceType", t.name)
        .el("currentGeneration", !t.name.starts_with("p2"))
        .el("freeTierEligible", false)
        .texts("supportedUsageClasses", &["on-demand", "spot"])
        .texts("supportedRootDeviceTypes", &["ebs"])
        .texts("supportedVirtualizationTypes", &["hvm"])
        .el("bareMetal", t.name.ends_with(".metal"))
        .el("hypervisor", "nitro")
        .group("processorInfo", new().texts("supportedArchitectures", &[arch(t)]))
        .group("vCpuInfo", new().el("defaultVCpus", t.vcpus))
        .group("memoryInfo", memory(t.memory_mib))
        .el("instanceStorageSupported", t.nvme_gb > 0);
    let x = match t.nvme_gb {
        0 => x,
        gb => x.group("instanceStorageInfo", new().el("totalSizeInGB", gb)),
    };
    x.group("networkInfo", new().el("networkPerformance", "Up to 25 Gigabit")).group("gpuInfo", {
        let total = t.gpus * t.gpu_mib;
        new().list("gpus", [t], gpu).el("totalGpuMemoryInMiB", total)
    })
}
