//! A job told step by step, its rows kept as a store keeps them.

use crate::given::{START, facts, offer};
use fleet_lifecycle::{
    Exit, Happening, JobFacts, JobState, PlannedPlace, RowChange, Saved, Turn, step,
};
use fleet_types::{
    Epoch, EventBody, Fault, Instance, InstanceId, InstanceState, MachineRow, Market, ProviderId,
    Refusal, Scope, Timestamp, Token, Usd,
};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) struct Story {
    pub(crate) facts: JobFacts,
    pub(crate) state: JobState,
    pub(crate) now: Timestamp,
    pub(crate) rows: BTreeMap<Token, MachineRow>,
}

pub(crate) fn exit(code: i32, stopped: bool, done: bool) -> Exit {
    Exit { code, in_setup: false, stopped, done, lost: false, at: START }
}

pub(crate) fn refusal(fault: Fault) -> Refusal {
    let (code, message) = ("code".to_owned(), String::new());
    Refusal { fault, scope: Scope::Zone, code, message, retry_after_ms: None }
}

impl Story {
    /// A job that plans.
    pub(crate) fn new() -> Self {
        let rows = BTreeMap::new();
        let mut story = Self { facts: facts(), state: JobState::new(), now: START, rows };
        story.take(Happening::Begin);
        story
    }
    pub(crate) fn launched(epoch: Epoch) -> Self {
        let mut story = Self::new();
        story.plan();
        story.accept(epoch, 0);
        story
    }
    pub(crate) fn running(epoch: Epoch) -> Self {
        let mut story = Self::launched(epoch);
        story.ready(epoch);
        story.start(epoch);
        story
    }
    pub(crate) fn rows(&self) -> Vec<MachineRow> {
        self.rows.values().cloned().collect()
    }
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }
    /// Takes one step and commits it; answers its events.
    pub(crate) fn take(&mut self, happening: Happening) {
        self.told(happening);
    }
    pub(crate) fn told(&mut self, happening: Happening) -> Vec<EventBody> {
        let facts = self.facts.clone();
        let turn: Turn<'_> = step(&facts, self.state.clone(), happening, self.now, Usd::ZERO);
        for change in &turn.rows {
            self.apply(change);
        }
        self.state = turn.state;
        turn.events
    }
    fn apply(&mut self, change: &RowChange) {
        let row = self.rows.get(change.token()).cloned();
        if let Some(row) = change.apply(row, self.now) {
            self.rows.insert(row.token.clone(), row);
        }
    }
    /// Five places in five regions, the cheapest first.
    pub(crate) fn places() -> Vec<PlannedPlace> {
        (0..5)
            .map(|n| {
                let offer = offer(ProviderId::Aws, n, 0, Market::Spot, 30 + n as u64);
                let price = offer.price_usd_per_hour.unwrap_or_default();
                PlannedPlace {
                    offer,
                    effective_usd_per_hour: price,
                    limit_usd_per_hour: price.scale(2.0),
                }
            })
            .collect()
    }
    pub(crate) fn plan(&mut self) {
        let (rejected, reasons) = (0, Vec::new());
        self.take(Happening::Planned { round: 0, places: Self::places(), rejected, reasons });
    }
    pub(crate) fn machine(&self, epoch: Epoch) -> Instance {
        let place = Self::places().remove(0).offer.place;
        Instance {
            id: InstanceId::new(format!("i-{epoch}")),
            place,
            instance_type: "g1".into(),
            market: Market::Spot,
            state: InstanceState::Running,
            address: None,
            user: "root".into(),
            token: None,
            fleet: None,
            job: None,
            expires_at: None,
            price_usd_per_hour: None,
            launched_at: Some(self.now),
            ended_at: None,
        }
    }
    pub(crate) fn accept(&mut self, epoch: Epoch, offer: u32) {
        let instance = Box::new(self.machine(epoch));
        self.take(Happening::Accepted { epoch, offer, instance });
    }
    pub(crate) fn ready(&mut self, epoch: Epoch) {
        self.take(Happening::Connected { epoch, host: "h".into() });
        self.take(Happening::Prepared { epoch });
    }
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        self.take(Happening::Begun { epoch, at: self.now, restored: None });
    }
    pub(crate) fn start(&mut self, epoch: Epoch) {
        self.take(Happening::Started { epoch, at: self.now, restored: None });
    }
    pub(crate) fn save(&mut self, epoch: Epoch, number: u32) {
        let (taken_at, bytes, files, egress_usd) = (self.now, 1, 1, Usd::ZERO);
        let saved = Saved { number, taken_at, bytes, files, egress_usd };
        self.take(Happening::Saved { epoch, saved });
    }
}
