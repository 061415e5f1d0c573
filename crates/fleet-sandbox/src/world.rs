//! The one world behind all clouds: clock, prices, stock, quota, faults, machines, ledger.
//!
//! Synchronous and single-threaded: wires lock it, ask or change it, and let go. What takes time
//! (boots, kills) it only orders; `host` carries orders out afterwards.
//!
//! Invariants: a machine bills from its start until a terminate was accepted or it died, whichever
//! comes first, and every machine that stops billing is ordered killed in the same step.

mod fate;
mod ledger;
mod market;
mod preempt;
mod unit;

use crate::host::Addresses;
use crate::scenario::{Scenario, Site, Trace};
use crate::{Error, aws, lambda, vast};
use fleet_types::{ProviderId, TimeScale, Timestamp, Usd};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

pub(crate) use fate::Fate;
pub(crate) use ledger::{Ledger, Mutation, close};
pub(crate) use unit::{Boot, EndCause, Notice, Order, Stage, Unit};

/// Something that bills beside machines: a disk, a stopped contract.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) provider: ProviderId,
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    /// The machine it belongs to.
    pub(crate) owner: String,
    /// Ends with that machine, without a call of its own.
    pub(crate) ends_with_owner: bool,
    pub(crate) price: Usd,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
}

/// Everything that the clouds know. One lock holds it.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) scale: TimeScale,
    pub(crate) started_at: Timestamp,
    scenario: Scenario,
    /// Traces by the index of the place rule that names them.
    traces: HashMap<usize, Trace>,
    pub(crate) units: BTreeMap<String, Unit>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) ledger: Ledger,
    /// Pools without stock after a preemption, until when.
    dry: HashMap<String, Timestamp>,
    /// How often each call rule matched, and each preemption rule struck.
    rule_calls: Vec<u32>,
    rule_strikes: Vec<u32>,
    dice: fastrand::Rng,
    pub(crate) addresses: Addresses,
    orders: Vec<Order>,
    /// Whether the ledger file is behind.
    dirty: bool,
    pub(crate) aws: aws::Account,
    pub(crate) vast: vast::Account,
    pub(crate) lambda: lambda::Account,
}

impl World {
    /// A fresh world.
    ///
    /// # Errors
    /// Where a trace that the scenario names cannot be read.
    pub(crate) fn new(
        seed: u64,
        scale: TimeScale,
        scenario: Scenario,
        addresses: Addresses,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut traces = HashMap::new();
        for (i, rule) in scenario.places.iter().enumerate() {
            if let Some(path) = &rule.trace {
                traces.insert(i, Trace::read(path)?);
            }
        }
        Ok(Self {
            seed,
            scale,
            started_at: now,
            traces,
            units: BTreeMap::new(),
            resources: Vec::new(),
            ledger: Ledger::default(),
            dry: HashMap::new(),
            rule_calls: vec![0; scenario.calls.len()],
            rule_strikes: vec![0; scenario.preemptions.len()],
            dice: fastrand::Rng::with_seed(seed),
            addresses,
            orders: Vec::new(),
            dirty: true,
            aws: aws::Account::default(),
            vast: vast::Account::new(seed),
            lambda: lambda::Account::default(),
            scenario,
        })
    }

    /// Seconds since the sandbox started.
    pub(crate) fn elapsed(&self, now: Timestamp) -> f64 {
        now.since(self.started_at).as_secs_f64()
    }

    /// Name of the scenario, `default` where there is none.
    pub(crate) fn scenario_name(&self) -> &str {
        if self.scenario.name.is_empty() { "default" } else { &self.scenario.name }
    }

    /// How late new machines of a cloud show up in its lists.
    pub(crate) fn visibility_lag(&self, provider: ProviderId) -> Duration {
        let seconds = self.scenario.visibility_lag_seconds.get(&provider).copied().unwrap_or(0.0);
        self.scale.secs(seconds)
    }

    /// A number for ids, drawn from the seed.
    pub(crate) fn draw(&mut self) -> u64 {
        self.dice.u64(..)
    }

    /// Orders given since the last call, for `host` to carry out.
    pub(crate) fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Whether anything changed that the ledger file does not show yet; clears the mark.
    pub(crate) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Notes a mutating call and its result.
    pub(crate) fn mutation(
        &mut self,
        now: Timestamp,
        provider: ProviderId,
        call: &str,
        token: &str,
        result: &str,
    ) {
        self.ledger.mutations.push(Mutation {
            at: now,
            provider,
            call: call.to_owned(),
            token: token.to_owned(),
            result: result.to_owned(),
        });
        self.dirty = true;
    }
}

/// A pool's name within the world's maps.
fn pool_key(site: Site<'_>) -> String {
    format!("{}/{}/{}/{}", site.provider, site.zone, site.instance_type, site.market)
}
