//! The controller's work on a job, as its effects do it: plan, create, settle, watch.
//!
//! Invariant: work decides nothing; it does its one thing and reports with the epoch it was asked for.

use super::bug::Bug;
use super::cloud::Described;
use super::controller::Key;
use super::dice::{Edge, Moment};
use super::session::Session;
use super::sim::{Answer, Ours, Sim, Step};
use fleet_lifecycle::{Happening, Phase, SessionGoal};
use fleet_types::{Address, DeathCause, Epoch, InstanceState, RowState, Timestamp, Token};
use std::time::Duration;

/// One piece of running work.
pub(crate) struct Work {
    pub(crate) id: u64,
    pub(crate) goal: Option<SessionGoal>,
    pub(crate) job: Job,
}

/// Lists must omit a create over this long before it is absent.
const LOOKED_FOR: Duration = Duration::from_secs(120);

/// What a piece of work remembers between two looks.
#[derive(Clone)]
pub(crate) enum Job {
    Begin,
    Plan(u32),
    Settle {
        epoch: Epoch,
        offer: u32,
        started: Option<Timestamp>,
        omitted: u32,
    },
    Watch(Watch),
    Session(Session),
    /// It has reported and is over.
    Done,
}

#[derive(Clone)]
pub(crate) struct Watch {
    epoch: Epoch,
    machine: usize,
    address: Option<Address>,
    noticed: bool,
    absence: Absence,
}

/// Rule (b) of proof of death: not found by id, and omitted by complete lists for long enough.
#[derive(Clone)]
pub(crate) struct Absence {
    launched_at: Timestamp,
    since: Option<Timestamp>,
    omitted: u32,
}

impl Absence {
    pub(crate) fn new(launched_at: Timestamp) -> Self {
        Self { launched_at, since: None, omitted: 0 }
    }
    pub(crate) fn seen(&mut self) {
        (self.since, self.omitted) = (None, 0);
    }
    /// One more not-found, with a list beside it.
    pub(crate) fn proven(&mut self, sim: &mut Sim, m: usize) -> bool {
        if sim.has(Bug::NotFoundIsGone) {
            return true;
        }
        let cloud = sim.machines[m].cloud;
        match sim.list(cloud) {
            Ok((shown, _)) if shown.contains(&m) => self.seen(),
            Ok((_, complete)) if complete || sim.has(Bug::PartialListCounts) => {
                self.since.get_or_insert(sim.now);
                let window_over = sim.now > sim.now_plus_window(cloud, self.launched_at);
                self.omitted += u32::from(window_over || sim.has(Bug::CountsEarlyLists));
            }
            Ok(_) | Err(_) => {}
        }
        let Some(since) = self.since else { return false };
        self.omitted >= 3
            && sim.now.since(since) >= Duration::from_secs(120)
            && sim.now > sim.now_plus_window(cloud, self.launched_at)
    }
}

impl Job {
    pub(crate) fn of(sim: &Sim, key: Key) -> Option<Self> {
        let attempt = |epoch| sim.store.state.attempt(epoch).cloned();
        Some(match key {
            Key::Begin => Self::Begin,
            Key::Plan(round) => Self::Plan(round),
            Key::Settle(epoch, offer) => Self::Settle { epoch, offer, started: None, omitted: 0 },
            Key::Watch(epoch) => {
                let attempt = attempt(epoch)?;
                Self::Watch(Watch {
                    epoch,
                    machine: sim.machine_of(&attempt.instance),
                    address: attempt.address,
                    noticed: attempt.notice_until.is_some(),
                    absence: Absence::new(attempt.launched_at),
                })
            }
            Key::Session(epoch) => {
                let attempt = attempt(epoch)?;
                Self::Session(Session::new(epoch, sim.machine_of(&attempt.instance), sim.now))
            }
        })
    }
}

impl Sim {
    /// A piece of work goes on, unless it is not wanted any more.
    pub(crate) fn work(&mut self, id: u64) -> Step {
        let found = self.memory().work.iter().find(|(_, w)| w.id == id);
        let Some((key, work)) = found else { return Ok(()) };
        let (key, job, goal) = (*key, work.job.clone(), work.goal.clone());
        let (next, pause) = match job {
            Job::Begin => {
                self.tell(Happening::Begin, None);
                (Job::Done, None)
            }
            Job::Plan(round) => (Job::Done, self.plan_round(round)?),
            Job::Settle { epoch, offer, started, omitted } => {
                self.settle(epoch, offer, started, omitted)?
            }
            Job::Watch(watch) => self.watch(watch)?,
            Job::Session(session) => {
                let Some(goal) = goal else { return Ok(()) };
                let (session, pause) = self.session(session, goal, id)?;
                (Job::Session(session), Some(pause))
            }
            Job::Done => return Ok(()),
        };
        if let Some(work) = self.memory().work.get_mut(&key).filter(|w| w.id == id) {
            work.job = next;
            if let Some(pause) = pause {
                self.ours(pause, Ours::Work(id));
            }
        }
        Ok(())
    }

    fn plan_round(&mut self, round: u32) -> Result<Option<Duration>, super::sim::Crash> {
        self.edge(Edge::Plan, Moment::BeforeCall)?;
        let places = self.plan();
        self.edge(Edge::Plan, Moment::AfterCall)?;
        let happening = match places {
            Some(places) => Happening::Planned { round, places, rejected: 0, reasons: vec![] },
            None => Happening::PlanFailed {
                round,
                reason: "no cloud answered".into(),
                credentials: false,
            },
        };
        self.tell(happening, Some(Edge::Plan));
        Ok(None)
    }

    /// The time of a create has come: it is sent if it is still wanted.
    pub(crate) fn send(&mut self, epoch: Epoch, offer: u32) -> Step {
        self.edge(Edge::Launch, Moment::BeforeCall)?;
        let wanted = self.store.state.epoch == epoch
            && match &self.store.state.phase {
                Phase::Launching { current, .. } => current.offer == offer && !current.unresolved,
                Phase::Stopping { in_flight: Some(f), .. } => {
                    f.offer == offer && self.has(Bug::LateCreate)
                }
                _ => false,
            };
        let Some(flight) = self.flight().filter(|_| wanted) else {
            self.memory().launches.remove(&(epoch, offer));
            return Ok(());
        };
        let mut token = flight.token.clone();
        if self.has(Bug::FreshTokenAfterRestart) && self.life > 1 {
            token = Token::new(format!("{token}-{}", self.life));
        }
        self.check_create(&token, epoch, offer);
        self.note(|| format!("create of {epoch}/{offer} leaves for {}", flight.place.offer.place));
        self.send_create(epoch, &flight, token);
        Ok(())
    }

    pub(crate) fn answer(&mut self, epoch: Epoch, offer: u32, answer: Answer) -> Step {
        self.edge(Edge::Launch, Moment::AfterCall)?;
        if self.has(Bug::ForgetsSentCreate) {
            self.memory().launches.remove(&(epoch, offer));
        }
        if self.has(Bug::IntentAfterCreate) {
            self.late_intent(epoch, offer);
        }
        let happening = match answer {
            Answer::Made(m) => {
                let instance = Box::new(self.instance(m));
                Happening::Accepted { epoch, offer, instance }
            }
            Answer::Refused(refusal) => Happening::Refused { epoch, offer, refusal },
            Answer::Nothing if self.has(Bug::RepeatsUnknown) => {
                self.memory().launches.insert((epoch, offer), true);
                self.ours(Duration::from_secs(1), Ours::Send(epoch, offer));
                return Ok(());
            }
            Answer::Nothing => Happening::Unresolved { epoch, offer },
        };
        self.tell(happening, Some(Edge::Launch));
        Ok(())
    }

    /// The planted bug's way: the row comes with the answer.
    fn late_intent(&mut self, epoch: Epoch, offer: u32) {
        let Some(flight) = self.flight() else { return };
        let place = &flight.place.offer;
        let row = fleet_types::MachineRow {
            token: flight.token.clone(),
            job: self.facts.id.clone(),
            epoch,
            node: 0,
            offer,
            realm: self.facts.realm.clone(),
            place: place.place.clone(),
            instance_type: place.instance_type.clone(),
            market: place.market,
            price_usd_per_hour: place.price_usd_per_hour.unwrap_or_default(),
            disk_gib: 0,
            disk_usd_per_gib_hour: None,
            expires_at: self.facts.expires_at,
            created_at: self.now,
            instance: None,
            launched_at: None,
            ended_at: None,
            state: RowState::Intent,
        };
        self.store.rows.entry(flight.token.clone()).or_insert(row);
    }

    fn settle(
        &mut self,
        epoch: Epoch,
        offer: u32,
        started: Option<Timestamp>,
        mut omitted: u32,
    ) -> Result<(Job, Option<Duration>), super::sim::Crash> {
        let pause = Some(Duration::from_secs(10));
        // The create itself may still answer; looking for it waits for that.
        if self.memory().launches.contains_key(&(epoch, offer)) {
            return Ok((Job::Settle { epoch, offer, started, omitted }, pause));
        }
        let Some(flight) = self.flight() else { return Ok((Job::Done, None)) };
        let started = started.unwrap_or(self.now);
        let provider = flight.place.offer.place.provider;
        let cloud = self
            .clouds
            .iter()
            .position(|c| c.offers.iter().any(|o| o.place.provider == provider))
            .expect("invariant: offers come from the clouds");
        let window = self.now_plus_window(cloud, started).plus(Duration::from_secs(20));
        self.edge(Edge::Settle, Moment::BeforeCall)?;
        let listed = self.list(cloud);
        self.edge(Edge::Settle, Moment::AfterCall)?;
        if let Ok((shown, complete)) = listed {
            let found = shown.into_iter().find(|m| self.machines[*m].token == flight.token);
            if let Some(m) = found {
                let instance = Box::new(self.instance(m));
                let found = Happening::Accepted { epoch, offer, instance };
                self.tell(found, Some(Edge::Settle));
                return Ok((Job::Done, None));
            }
            if complete || self.has(Bug::PartialListCounts) {
                // What is not shown yet says nothing: only lists after the window count.
                omitted += u32::from(self.now > window || self.has(Bug::CountsEarlyLists));
            }
        }
        let hasty = self.has(Bug::EmptyListIsAbsence);
        let long = self.has(Bug::CountsEarlyLists) || self.now > window.plus(LOOKED_FOR);
        if hasty || (omitted >= 3 && self.now > window && long) {
            self.tell(Happening::Absent { epoch, offer }, Some(Edge::Settle));
            return Ok((Job::Done, None));
        }
        Ok((Job::Settle { epoch, offer, started: Some(started), omitted }, pause))
    }

    fn watch(&mut self, mut w: Watch) -> Result<(Job, Option<Duration>), super::sim::Crash> {
        let (epoch, m) = (w.epoch, w.machine);
        self.edge(Edge::Watch, Moment::BeforeCall)?;
        let answer = self.describe(m);
        self.edge(Edge::Watch, Moment::AfterCall)?;
        match answer {
            Ok(Described::There(instance)) => {
                w.absence.seen();
                if instance.address.is_some() && instance.address != w.address {
                    w.address.clone_from(&instance.address);
                    let (address, user) = (instance.address.clone(), instance.user.clone());
                    let launched_at = instance.launched_at;
                    let told = Happening::Addressed { epoch, address, user, launched_at };
                    self.tell(told, Some(Edge::Watch));
                }
                match instance.state {
                    InstanceState::Stopped { cause } | InstanceState::Terminated { cause } => {
                        let at = instance.ended_at.unwrap_or(self.now);
                        self.tell(Happening::Dead { epoch, cause, at }, Some(Edge::Watch));
                        return Ok((Job::Done, None));
                    }
                    InstanceState::Marked { at } if !w.noticed => {
                        w.noticed = true;
                        let deadline = at.unwrap_or(self.now);
                        let source = "seen from outside".to_owned();
                        let told = Happening::Notice { epoch, source, deadline };
                        self.tell(told, Some(Edge::Watch));
                    }
                    _ => {}
                }
            }
            Ok(Described::NotFound) => {
                if w.absence.proven(self, m) {
                    let (cause, at) = (DeathCause::Unsaid, self.now);
                    self.tell(Happening::Dead { epoch, cause, at }, Some(Edge::Watch));
                    return Ok((Job::Done, None));
                }
            }
            Err(_) => {}
        }
        let pause = if w.address.is_none() { 4 } else { 10 };
        Ok((Job::Watch(w), Some(Duration::from_secs(pause))))
    }
}
