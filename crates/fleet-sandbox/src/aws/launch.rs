//! RunInstances: every check that EC2 makes before it gives a machine, in EC2's order.
//!
//! Invariant: one client token is one reservation for ever. The same body gets the same machine back,
//! also after it died; another body gets IdempotentParameterMismatch and nothing is made.

use super::instances::Ec2;
use super::places::{calm_price, image_id, price, stock};
use super::xml::Xml;
use super::{Answer, Refusal, Request, bad_value, network, refuse};
use crate::facts::aws::{Type, Zone, find, region, zone};
use crate::text::aws_id;
use crate::world::{Boot, Resource, Stage, Unit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleet_types::{Market, Place, Pool, ProviderId, Timestamp, Usd};
use std::collections::BTreeMap;

/// Largest user data, before base64.
const MAX_USER_DATA: usize = 16 * 1024;
/// gp3, dollars for a GB and month; a month has 730 hours here.
const GP3_USD_PER_GB_MONTH: f64 = 0.08;

/// A create that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    id: String,
    /// The parameters it was made with.
    body: String,
    instances: Vec<String>,
}

/// What a call asks for, checked.
struct Wish {
    kind: &'static Type,
    zone: Zone,
    market: Market,
    count: u32,
    image: String,
    key_name: Option<String>,
    authorized: Vec<String>,
    groups: Vec<String>,
    user_data: Option<String>,
    max_price: Option<Usd>,
    disk_gib: u32,
}

impl Request<'_> {
    pub(super) fn run_instances(&mut self) -> Answer {
        let body = self.params.body();
        let token = self.params.get("ClientToken").map(str::to_owned);
        if token.as_ref().is_some_and(|t| t.len() > 64 || !t.is_ascii()) {
            return Err(bad_value("ClientToken", token.as_deref().unwrap_or("")));
        }
        let known = token.as_ref().map(|t| (self.region.clone(), t.clone()));
        if let Some(earlier) = known.as_ref().and_then(|k| self.world.aws.tokens.get(k)).cloned() {
            if earlier.body != body {
                let text = "The request uses the same client token as a previous, but \
                            non-identical request. Do not reuse a client token.";
                return Err(refuse(400, "IdempotentParameterMismatch", text));
            }
            return Ok(self.reservation_xml(&earlier));
        }
        let wish = self.wish()?;
        self.dry_run()?;
        let spot_price = self.admissible(&wish)?;
        let reservation = Reservation {
            id: self.fresh_id("r"),
            body,
            instances: (0..wish.count).map(|_| self.fresh_id("i")).collect(),
        };
        for (n, id) in reservation.instances.iter().enumerate() {
            self.create(id, n, &reservation.id, &wish, spot_price);
        }
        if let Some(key) = known {
            self.world.aws.tokens.insert(key, reservation.clone());
        }
        Ok(self.reservation_xml(&reservation))
    }

    fn reservation_xml(&self, reservation: &Reservation) -> Xml {
        let ids = &reservation.instances;
        let shown: Vec<(&Ec2, &Unit)> = ids.iter().filter_map(|id| self.instance(id)).collect();
        Xml::default()
            .el("reservationId", &reservation.id)
            .el("ownerId", super::ACCOUNT)
            .list("groupSet", None::<&str>, Xml::el_item)
            .list("instancesSet", shown, |x, (ec2, unit)| ec2.xml(x, unit))
    }

    /// An id that nothing else has, drawn from the seed.
    pub(super) fn fresh_id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.world.draw())
    }

    /// Reads and checks the parameters; touches nothing.
    fn wish(&self) -> Result<Wish, Refusal> {
        let p = &self.params;
        let count = p.number("MinCount")?.ok_or_else(|| super::missing("MinCount"))?;
        if count == 0 || count > 16 || p.number("MaxCount")?.is_some_and(|max| max < count) {
            return Err(bad_value("MinCount", &count.to_string()));
        }
        let name = p.need("InstanceType")?;
        let kind = find(name).ok_or_else(|| bad_value("InstanceType", name))?;
        let market = match p.get("InstanceMarketOptions.MarketType") {
            None => Market::OnDemand,
            Some("spot") => Market::Spot,
            Some(other) => return Err(bad_value("InstanceMarketOptions.MarketType", other)),
        };
        let max = "InstanceMarketOptions.SpotOptions.MaxPrice";
        let parse = |v: &str| v.parse().ok().and_then(Usd::price).ok_or_else(|| bad_value(max, v));
        let (key_name, authorized) = self.key()?;
        Ok(Wish {
            kind,
            zone: self.placement(kind)?,
            market,
            count,
            image: image(p.need("ImageId")?)?,
            key_name,
            authorized,
            groups: self.asked_groups()?,
            user_data: self.user_data()?,
            max_price: p.get(max).map(parse).transpose()?,
            disk_gib: p.number("BlockDeviceMapping.1.Ebs.VolumeSize")?.unwrap_or(35),
        })
    }

    fn key(&self) -> Result<(Option<String>, Vec<String>), Refusal> {
        let Some(name) = self.params.get("KeyName") else { return Ok((None, Vec::new())) };
        let key = self.world.aws.keys.get(&(self.region.clone(), name.to_owned()));
        let key = key.ok_or_else(|| {
            let text = format!("The key pair '{name}' does not exist");
            refuse(400, "InvalidKeyPair.NotFound", text)
        })?;
        Ok((Some(name.to_owned()), vec![key.public.clone()]))
    }

    /// The zone asked for by subnet or name, else the first that sells the type.
    fn placement(&self, kind: &Type) -> Result<Zone, Refusal> {
        let p = &self.params;
        let subnet = p.get("NetworkInterface.1.SubnetId").or_else(|| p.get("SubnetId"));
        let named = p.get("Placement.AvailabilityZone");
        let here: Vec<Zone> = region(&self.region).into_iter().flat_map(|r| r.zones()).collect();
        let found = match (subnet, named) {
            (Some(id), _) => Some(
                here.iter().copied().find(|z| network::subnet_id(*z) == id).ok_or_else(|| {
                    let text = format!("The subnet ID '{id}' does not exist");
                    refuse(400, "InvalidSubnetID.NotFound", text)
                })?,
            ),
            (None, Some(name)) => {
                let zone = zone(name).filter(|z| z.region == self.region);
                Some(zone.ok_or_else(|| bad_value("availabilityZone", name))?)
            }
            (None, None) => here.iter().copied().find(|z| kind.sold_in(*z)),
        };
        found.filter(|z| kind.sold_in(*z)).ok_or_else(|| {
            let place = found.map_or_else(|| self.region.clone(), Zone::name);
            let text = format!(
                "Your requested instance type ({}) is not supported in your requested \
                 Availability Zone ({place}).",
                kind.name
            );
            refuse(400, "Unsupported", text)
        })
    }

    fn asked_groups(&self) -> Result<Vec<String>, Refusal> {
        let mut ids = self.params.list("NetworkInterface.1.SecurityGroupId");
        ids.extend(self.params.list("SecurityGroupId"));
        if ids.is_empty() {
            return Ok(vec![super::groups::default_group(&self.region)]);
        }
        ids.iter().map(|id| self.group(id).map(|_| (*id).to_owned())).collect()
    }

    fn user_data(&self) -> Result<Option<String>, Refusal> {
        let Some(encoded) = self.params.get("UserData") else { return Ok(None) };
        let compact: String = encoded.chars().filter(|c| !c.is_whitespace()).collect();
        let raw = STANDARD.decode(compact).map_err(|_| {
            refuse(400, "InvalidParameterValue", "Invalid BASE64 encoding of user data.")
        })?;
        if raw.len() > MAX_USER_DATA {
            let text = "User data is limited to 16384 bytes";
            return Err(refuse(400, "InvalidParameterValue", text));
        }
        Ok(Some(String::from_utf8_lossy(&raw).into_owned()))
    }

    /// Price, quota and stock, in EC2's order. Gives the price in force.
    fn admissible(&self, wish: &Wish) -> Result<Usd, Refusal> {
        let now = price(self.world, wish.kind, wish.zone, wish.market, self.now);
        if let Some(max) = wish.max_price.filter(|max| wish.market == Market::Spot && *max < now) {
            let text = format!(
                "Your Spot request price of {} is lower than the minimum required Spot request \
                 fulfillment price of {:.4}.",
                max.dollars(),
                now.dollars()
            );
            return Err(refuse(400, "SpotMaxPriceTooLow", text));
        }
        self.within_quota(wish)?;
        if stock(self.world, wish.kind, wish.zone, wish.market, self.now) < wish.count {
            let (t, z) = (wish.kind.name, wish.zone.name());
            let text = format!(
                "We currently do not have sufficient {t} capacity in the Availability Zone you \
                 requested ({z}). Our system will be working on provisioning additional capacity."
            );
            return Err(refuse(500, "InsufficientInstanceCapacity", text));
        }
        Ok(now)
    }

    fn within_quota(&self, wish: &Wish) -> Result<(), Refusal> {
        let quota = super::places::with_site(wish.kind, wish.zone, wish.market, |site| {
            self.world.quota(site, self.now)
        });
        let Some(quota) = quota else { return Ok(()) };
        let used: u32 = self
            .world
            .units
            .values()
            .filter(|u| {
                u.is_live() && u.pool.place.region == self.region && u.pool.market == wish.market
            })
            .map(|u| u.vcpus)
            .sum();
        if used + wish.kind.vcpus * wish.count <= quota {
            return Ok(());
        }
        Err(match wish.market {
            Market::Spot => {
                refuse(400, "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
            }
            Market::OnDemand => {
                let text = format!(
                    "You have requested more vCPU capacity than your current vCPU limit of {quota} \
                     allows for the instance bucket that the specified instance type belongs to."
                );
                refuse(400, "VcpuLimitExceeded", text)
            }
        })
    }

    /// Puts one machine and its disk into the world.
    fn create(&mut self, id: &str, nth: usize, reservation: &str, wish: &Wish, price: Usd) {
        let token = self.params.get("ClientToken").unwrap_or("").to_owned();
        let token = if nth == 0 { token } else { format!("{token}#{nth}") };
        let tags = self.params.tags_for("instance");
        // EC2 reports whole seconds, and bills from what it reports.
        let started_at = Timestamp::from_millis(self.now.millis() / 1000 * 1000);
        let volume = self.fresh_id("vol");
        let spot = wish.market == Market::Spot;
        let ec2 = Ec2 {
            reservation: reservation.to_owned(),
            region: self.region.clone(),
            zone: wish.zone,
            spot_request: spot.then(|| self.fresh_id("sir").replace("sir-00", "sir-")),
            volume: volume.clone(),
            disk_gib: wish.disk_gib,
            image: wish.image.clone(),
            key_name: wish.key_name.clone(),
            groups: wish.groups.clone(),
            client_token: self.params.get("ClientToken").unwrap_or("").to_owned(),
            max_price: wish.max_price,
            arm: wish.kind.arm,
            cancelled: false,
            request_tags: self.params.tags_for("spot-instances-request"),
            volume_tags: self.params.tags_for("volume"),
        };
        let on_demand = wish.kind.on_demand(&self.region);
        let place = Place {
            provider: ProviderId::Aws,
            region: self.region.clone(),
            zone: wish.zone.name(),
        };
        let instance_type = wish.kind.name.to_owned();
        let address = self.world.addresses.take();
        let unit = Unit {
            id: id.to_owned(),
            pool: Pool { place, instance_type, market: wish.market },
            gpu: wish.kind.gpu.to_owned(),
            gpus: wish.kind.gpus,
            vcpus: wish.kind.vcpus,
            price,
            calm_price: calm_price(self.world, wish.kind, wish.zone, wish.market, self.now),
            limit: spot.then(|| wish.max_price.unwrap_or(on_demand)),
            tags,
            token,
            stage: Stage::Booting,
            started_at,
            visible_at: self.now.plus(self.world.visibility_lag(ProviderId::Aws)),
            running_at: None,
            reported_at: None,
            notice: None,
            ended_at: None,
            end_cause: None,
            gone_at: None,
            accrued: Usd::ZERO,
            billed_from: started_at,
            address,
            boot: Boot {
                authorized_keys: wish.authorized.clone(),
                user_data: wish.user_data.clone(),
                env: vec![("AWS_REGION".into(), self.region.clone())],
                metadata: true,
            },
        };
        let hourly = f64::from(wish.disk_gib) * GP3_USD_PER_GB_MONTH / 730.0;
        self.world.bill(Resource {
            provider: ProviderId::Aws,
            kind: "volume",
            id: volume,
            owner: id.to_owned(),
            ends_with_owner: true,
            price: Usd::from_dollars(hourly).unwrap_or_default(),
            started_at,
            ended_at: None,
        });
        self.world.aws.instances.insert(id.to_owned(), ec2);
        self.world.admit(unit);
    }
}

/// An AMI id, or the id that an SSM path stands for.
fn image(text: &str) -> Result<String, Refusal> {
    if let Some(path) = text.strip_prefix("resolve:ssm:") {
        return Ok(image_id(path));
    }
    if text.strip_prefix("ami-").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Ok(text.to_owned());
    }
    let text = format!("Invalid id: \"{text}\" (expecting \"ami-...\")");
    Err(refuse(400, "InvalidAMIID.Malformed", text))
}

/// Tags by resource kind are kept apart: an instance's tags do not reach its spot request.
pub(super) type Tags = BTreeMap<String, String>;

/// The id of the network interface of an instance.
pub(super) fn interface_id(instance: &str) -> String {
    aws_id("eni", 0, &[instance])
}
