//! A rented machine of any cloud: its life, its bill, and the orders that its life gives.

use super::{Resource, World};
use crate::scenario::Site;
use fleet_types::{Market, Pool, Timestamp, Usd};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Accepted; its process is being started.
    Booting,
    /// Its SSH server answers.
    Running,
    /// It bills no more; its processes are being killed.
    Ending,
    /// No process of it is left.
    Ended,
}

/// Why a machine ended, as the ledger says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EndCause {
    Terminated,
    /// Stopped by its owner; what it stored may bill on (Vast).
    Stopped,
    PreemptedPrice,
    PreemptedCapacity,
    /// It ended itself.
    InstanceShutdown,
    BootFailed,
    SandboxDown,
}

/// A preemption that was announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice {
    pub(crate) at: Timestamp,
    pub(crate) deadline: Timestamp,
    pub(crate) cause: EndCause,
}

/// What a machine is started with, before `host` adds what only it knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boot {
    pub(crate) authorized_keys: Vec<String>,
    pub(crate) user_data: Option<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Whether the cloud has a metadata service on the machine.
    pub(crate) metadata: bool,
}

/// A rented machine.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) id: String,
    pub(crate) pool: Pool,
    pub(crate) gpu: String,
    pub(crate) gpus: u32,
    pub(crate) vcpus: u32,
    /// What it bills an hour, fixed at launch.
    pub(crate) price: Usd,
    /// Market price at launch without the scenario's factor, to see a spike against the limit.
    pub(crate) calm_price: Usd,
    /// Spot: dearer than this and it is taken away.
    pub(crate) limit: Option<Usd>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) token: String,
    pub(crate) stage: Stage,
    /// As the API reports it; billing starts here.
    pub(crate) started_at: Timestamp,
    /// From when lists show it.
    pub(crate) visible_at: Timestamp,
    pub(crate) running_at: Option<Timestamp>,
    /// When fleet said that its task runs there.
    pub(crate) reported_at: Option<Timestamp>,
    pub(crate) notice: Option<Notice>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) end_cause: Option<EndCause>,
    /// When its last process was gone.
    pub(crate) gone_at: Option<Timestamp>,
    /// Billed in earlier runs of the same machine (stopped and started again).
    pub(crate) accrued: Usd,
    /// Start of the run that bills now.
    pub(crate) billed_from: Timestamp,
    pub(crate) address: Ipv4Addr,
    pub(crate) boot: Boot,
}

/// What the world wants done outside its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Start(String),
    Kill(String),
}

impl Unit {
    /// The pool as rules see it.
    pub(crate) fn site(&self) -> Site<'_> {
        Site {
            provider: self.pool.place.provider,
            region: &self.pool.place.region,
            zone: &self.pool.place.zone,
            instance_type: &self.pool.instance_type,
            gpu: &self.gpu,
            market: self.pool.market,
        }
    }

    /// Whether it bills and holds stock.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Booting | Stage::Running)
    }

    pub(crate) fn is_spot(&self) -> bool {
        self.pool.market == Market::Spot
    }

    /// What it has cost so far.
    pub(crate) fn cost(&self, now: Timestamp) -> Usd {
        let end = self.ended_at.unwrap_or(now);
        self.accrued + self.price.for_millis(end.millis() - self.billed_from.millis())
    }
}

impl World {
    /// Takes a machine into the world: it bills from now and is ordered to boot.
    pub(crate) fn admit(&mut self, unit: Unit) {
        self.orders.push(Order::Start(unit.id.clone()));
        self.units.insert(unit.id.clone(), unit);
        self.dirty = true;
    }

    /// Puts a new billing item on the books.
    pub(crate) fn bill(&mut self, resource: Resource) {
        self.resources.push(resource);
        self.dirty = true;
    }

    /// Ends a machine: no billing from `now` on, and its processes are ordered dead. Says whether
    /// it was live. Idempotent.
    pub(crate) fn end(&mut self, id: &str, cause: EndCause, now: Timestamp) -> bool {
        let Some(unit) = self.units.get_mut(id).filter(|u| u.is_live()) else { return false };
        unit.stage = Stage::Ending;
        unit.ended_at = Some(now);
        unit.end_cause = Some(cause);
        self.orders.push(Order::Kill(id.to_owned()));
        for r in self.resources.iter_mut().filter(|r| r.owner == id && r.ends_with_owner) {
            r.ended_at.get_or_insert(now);
        }
        self.dirty = true;
        true
    }

    /// Starts a machine again that had stopped (Vast). What it billed before stays billed.
    pub(crate) fn restart(&mut self, id: &str, price: Usd, now: Timestamp) -> bool {
        let Some(unit) = self.units.get_mut(id).filter(|u| u.stage == Stage::Ended) else {
            return false;
        };
        unit.accrued = unit.cost(now);
        unit.price = price;
        unit.billed_from = now;
        (unit.ended_at, unit.end_cause, unit.gone_at) = (None, None, None);
        (unit.notice, unit.running_at, unit.reported_at) = (None, None, None);
        unit.stage = Stage::Booting;
        self.orders.push(Order::Start(id.to_owned()));
        self.dirty = true;
        true
    }

    /// Changes what a live machine bills from now on (a new bid), and what it may cost at most.
    pub(crate) fn reprice(&mut self, id: &str, price: Usd, now: Timestamp) {
        if let Some(unit) = self.units.get_mut(id).filter(|u| u.is_live()) {
            unit.accrued = unit.cost(now);
            unit.billed_from = now;
            unit.price = price;
            unit.limit = Some(price);
            self.dirty = true;
        }
    }

    /// Ends a billing item by its id.
    pub(crate) fn end_resource(&mut self, id: &str, now: Timestamp) {
        for r in self.resources.iter_mut().filter(|r| r.id == id) {
            r.ended_at.get_or_insert(now);
        }
        self.dirty = true;
    }

    /// The machine answers SSH. False if it was ended meanwhile: then it must be killed.
    pub(crate) fn booted(&mut self, id: &str, now: Timestamp) -> bool {
        match self.units.get_mut(id) {
            Some(unit) if unit.stage == Stage::Booting => {
                unit.stage = Stage::Running;
                unit.running_at = Some(now);
                true
            }
            _ => false,
        }
    }

    /// No process of the machine is left.
    pub(crate) fn gone(&mut self, id: &str, now: Timestamp) {
        if let Some(unit) = self.units.get_mut(id).filter(|u| u.stage == Stage::Ending) {
            unit.stage = Stage::Ended;
            unit.gone_at = Some(now);
        }
    }

    /// Fleet says that its task runs on this machine. False where nobody knows the machine.
    pub(crate) fn reported(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(unit) = self.units.get_mut(id) else { return false };
        unit.reported_at.get_or_insert(now);
        true
    }

    /// The sandbox ends: every machine and everything that bills ends with it.
    pub(crate) fn end_all(&mut self, now: Timestamp) {
        let live: Vec<String> = self.units.keys().cloned().collect();
        for id in live {
            self.end(&id, EndCause::SandboxDown, now);
        }
        for r in &mut self.resources {
            r.ended_at.get_or_insert(now);
        }
        self.dirty = true;
    }
}
