//! The fake clouds: what they sell, how they answer, what befalls their machines.
//!
//! Two characters: one knows tokens and gives notice; one knows neither, and its ended machines vanish.
//! Invariant: a machine shows in lists and by its id within its cloud's visibility window of the create.

use super::dice::Kind;
use super::machine::{Agent, Life, Machine};
use super::sim::{Answer, Event, Ours, Sim};
use fleet_lifecycle::{InFlight, PlannedPlace};
use fleet_types::{
    Address, DeathCause, Epoch, Fault, Instance, InstanceId, InstanceState, Market, Offer, Refusal,
    Scope, Timestamp, Token,
};
use std::time::Duration;

/// What a terminate answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Requested,
    Gone,
    NotFound,
}

/// The call failed and says nothing.
#[derive(Debug)]
pub(crate) struct Failed;

/// What a describe answered.
pub(crate) enum Described {
    There(Box<Instance>),
    NotFound,
}

const SECOND: Duration = Duration::from_secs(1);

fn refusal(fault: Fault, scope: Scope) -> Answer {
    let code = format!("{fault:?}");
    Answer::Refused(Refusal { fault, scope, code, message: String::new(), retry_after_ms: None })
}

impl Sim {
    /// Everything on sale that is not avoided, cheapest first; `None`: no cloud answered.
    pub(crate) fn plan(&mut self) -> Option<Vec<PlannedPlace>> {
        if self.strikes(Kind::PlanFails) {
            return None;
        }
        let avoid = &self.store.state.avoid;
        let mut places: Vec<_> = self
            .clouds
            .iter()
            .flat_map(|c| &c.offers)
            .filter(|o| avoid.reason(o, self.now).is_none())
            .filter_map(|o| {
                let price = o.price_usd_per_hour?;
                Some(PlannedPlace {
                    offer: o.clone(),
                    effective_usd_per_hour: price,
                    limit_usd_per_hour: price.scale(1.5),
                })
            })
            .collect();
        places.sort_by_key(|p| p.effective_usd_per_hour);
        Some(places)
    }

    /// The request of a create leaves; its effect and its answer come later, or not.
    pub(crate) fn send_create(&mut self, epoch: Epoch, flight: &InFlight, token: Token) {
        let offer = flight.place.offer.clone();
        let cloud = self.cloud_of(&offer);
        let pool = (offer.place.zone.clone(), offer.market.to_string());
        let life = self.life;
        let quick = self.dice.span(300, 3_000);
        let number = flight.offer;
        let reply = |answer| Event::Ours(life, Ours::Answer(epoch, number, answer));
        if self.strikes(Kind::Throttled) {
            return self.after(quick, reply(refusal(Fault::Throttled, Scope::Region)));
        }
        // A cloud that knows tokens answers a repeated one with what it made.
        let known = self.clouds[cloud].token && self.machines.iter().any(|m| m.token == token);
        if !known {
            if self.strikes(Kind::StockOut) {
                let until = self.now.plus(self.dice.span(60_000, 1_200_000));
                self.sold_out.insert(pool.clone(), until.min(self.dice.until));
            }
            if self.sold_out.get(&pool).is_some_and(|until| self.now < *until) {
                return self.after(quick, reply(refusal(Fault::Capacity, Scope::Zone)));
            }
            if self.strikes(Kind::Quota) {
                return self.after(quick, reply(refusal(Fault::Quota, Scope::RegionMarket)));
            }
        }
        if self.strikes(Kind::ErrorBefore) {
            return self.after(quick, reply(Answer::Nothing));
        }
        let lost = self.lose_create_of.take_if(|e| *e == epoch).is_some()
            || self.strikes(Kind::AnswerLost)
            || self.strikes(Kind::ErrorAfter);
        let effect = if self.strikes(Kind::EffectDelayed) {
            let window = self.clouds[cloud].visibility.as_millis() as u64;
            self.dice.span(5_000, window / 3)
        } else {
            quick
        };
        let slow = if self.strikes(Kind::AnswerDelayed) { 100_000 } else { 2_000 };
        let back = self.dice.span(200, slow);
        // Nobody waits longer than that for an answer.
        let timeout = Duration::from_secs(180);
        let answer = (!lost && effect + back < timeout).then_some((life, epoch, number, back));
        if answer.is_none() {
            let gives_up = if self.dice.chance(0.5) { timeout } else { effect + back };
            self.after(gives_up, reply(Answer::Nothing));
        }
        if self.clouds[cloud].token && self.strikes(Kind::EffectDoubled) {
            let (offer, token) = (Box::new(offer.clone()), token.clone());
            let later = effect + self.dice.span(10, 30_000);
            self.after(later, Event::CreateArrives { cloud, offer, token, answer: None });
        }
        let offer = Box::new(offer);
        self.after(effect, Event::CreateArrives { cloud, offer, token, answer });
    }

    fn cloud_of(&self, offer: &Offer) -> usize {
        let here = |c: &super::sim::Cloud| {
            c.offers.iter().any(|o| o.place.provider == offer.place.provider)
        };
        self.clouds.iter().position(here).expect("invariant: offers come from the clouds")
    }

    /// A create takes effect.
    pub(crate) fn create_arrives(
        &mut self,
        cloud: usize,
        offer: &Offer,
        token: Token,
        answer: Option<(u64, Epoch, u32, Duration)>,
    ) {
        let there = self.machines.iter().position(|m| m.token == token);
        let m = match there {
            Some(m) if self.clouds[cloud].token => m,
            there => {
                if there.is_some() {
                    self.violated(format!("5: a second machine for token {token}"));
                }
                self.make(cloud, offer, token)
            }
        };
        if let Some((life, epoch, number, back)) = answer {
            self.after(back, Event::Ours(life, Ours::Answer(epoch, number, Answer::Made(m))));
        }
    }

    fn make(&mut self, cloud: usize, offer: &Offer, token: Token) -> usize {
        let m = self.machines.len();
        let now = self.now;
        let window = self.clouds[cloud].visibility;
        let listed = if self.strikes(Kind::ListLags) { window.mul_f64(0.6) } else { SECOND };
        let seen = if self.strikes(Kind::DescribeLags) { window / 4 } else { Duration::ZERO };
        let boot = self.dice.span(5_000, 60_000);
        let boots_at = (!self.strikes(Kind::NeverBoots)).then(|| now.plus(boot));
        let dear = self.strikes(Kind::TooDear);
        let mut offer = offer.clone();
        offer.price_usd_per_hour =
            offer.price_usd_per_hour.map(|p| if dear { p.scale(2.0) } else { p });
        self.note(|| format!("machine {m} made at {} for {token}", offer.place));
        self.check_made(&token);
        self.machines.push(Machine {
            id: InstanceId::new(format!("i-{m}")),
            cloud,
            offer,
            token,
            made: now,
            listed_at: now.plus(listed),
            described_at: now.plus(seen),
            address_at: now.plus(boot / 2),
            boots_at,
            life: Life::Up,
            off_at: None,
            billed_until: None,
            vanished: false,
            notice: None,
            cut: None,
            agent: Agent::new(),
        });
        self.after(Duration::from_secs(960), Event::DeadMan(m));
        let expires = self.facts.expires_at;
        self.at(expires.max(now), Event::DeadMan(m));
        self.fate(m);
        m
    }

    /// What will befall a machine is drawn when it is made.
    fn fate(&mut self, m: usize) {
        let spot = self.machines[m].offer.market == Market::Spot;
        let warns = self.clouds[self.machines[m].cloud].notice;
        let early = self.dice.chance(0.4);
        let when = self.dice.span(500, if early { 150_000 } else { 1_800_000 });
        let at = self.now.plus(when);
        if at >= self.dice.until {
            return;
        }
        let warning = Duration::from_secs(120);
        if spot && warns && self.strikes(Kind::PreemptedWithNotice) {
            self.at(at, Event::Preempt(m, Some(warning)));
        } else if spot && self.strikes(Kind::PreemptedWithoutNotice) {
            self.at(at, Event::Preempt(m, None));
        } else if self.strikes(Kind::HostDies) {
            self.at(at, Event::HostDies(m));
        } else if self.strikes(Kind::TaskKilled) {
            self.at(at, Event::TaskKilled(m));
        } else if self.strikes(Kind::ShortPartition) {
            let long = self.dice.span(10_000, 840_000);
            self.machines[m].cut = Some((at, at.plus(long).min(self.dice.until)));
        } else if self.strikes(Kind::LongPartition) {
            let long = self.dice.span(960_000, 2_400_000);
            self.machines[m].cut = Some((at, at.plus(long).min(self.dice.until)));
        }
    }

    pub(crate) fn preempt(&mut self, m: usize, warning: Option<Duration>) {
        if self.machines[m].off_at.is_some() || self.machines[m].life != Life::Up {
            return;
        }
        let phase = super::check::phase_word(&self.store.state.phase);
        *self.dice.counts.preempted_in.entry(phase).or_default() += 1;
        self.note(|| format!("machine {m} is preempted, warning {warning:?}"));
        match warning {
            Some(warning) => {
                let deadline = self.now.plus(warning);
                self.machines[m].notice = Some(deadline);
                let polls = self.dice.span(10, 5_000);
                self.after(polls, Event::AgentNotices(m));
                if self.strikes(Kind::TaskKilled) {
                    let soon = self.dice.span(10, 20_000);
                    self.after(soon, Event::TaskKilled(m));
                }
                self.at(deadline, Event::CloudSees(m, DeathCause::Preempted));
            }
            None => self.cloud_sees(m, DeathCause::Preempted),
        }
    }

    /// The agent has read the notice and tells its task at once.
    pub(crate) fn agent_notices(&mut self, m: usize) {
        let (now, task) = (self.now, self.task.clone());
        let machine = &mut self.machines[m];
        let Some(deadline) = machine.notice.filter(|_| machine.booted(now)) else { return };
        machine.agent.advance(&task, now);
        if machine.agent.contact.is_some() {
            machine.agent.stop(&task, deadline.since(now), now);
        } else {
            // Its agent comes with the first contact and reads the notice then.
            self.after(Duration::from_secs(5), Event::AgentNotices(m));
        }
    }

    /// Its host dies, and the cloud goes on calling it running.
    pub(crate) fn host_dies(&mut self, m: usize) {
        self.note(|| format!("the host of machine {m} dies"));
        let task = self.task.clone();
        self.machines[m].power_off(&task, self.now);
        let sees = self.dice.span(600_000, 3_600_000);
        self.after(sees, Event::CloudSees(m, DeathCause::HostFailure));
    }

    /// The cloud ends it and says so.
    pub(crate) fn cloud_sees(&mut self, m: usize, cause: DeathCause) {
        let (now, task) = (self.now, self.task.clone());
        let stops = !self.clouds[self.machines[m].cloud].token;
        let machine = &mut self.machines[m];
        if !matches!(machine.life, Life::Up) {
            return;
        }
        machine.power_off(&task, now);
        machine.billed_until.get_or_insert(now);
        machine.life = if stops { Life::Stopped(cause) } else { Life::Terminated(cause) };
        self.note(|| format!("machine {m}: {cause:?}"));
    }

    /// A machine that was told to end has ended.
    pub(crate) fn power_off(&mut self, m: usize) {
        let (now, task) = (self.now, self.task.clone());
        let vanishes = !self.clouds[self.machines[m].cloud].token;
        let machine = &mut self.machines[m];
        machine.power_off(&task, now);
        machine.life = Life::Terminated(DeathCause::ByUser);
        machine.vanished = vanishes;
        self.note(|| format!("machine {m} is off"));
    }

    /// Never given a task and nobody in contact, or its life is over.
    pub(crate) fn dead_man(&mut self, m: usize) {
        let now = self.now;
        let machine = &mut self.machines[m];
        if machine.off_at.is_some() || !self.clouds[machine.cloud].ends_itself {
            return;
        }
        let contact = machine.agent.contact.unwrap_or(machine.made);
        let idle = machine.agent.task == super::machine::TaskNow::Idle;
        let orphan = idle && now.since(contact) >= Duration::from_secs(900);
        if orphan || (now >= self.facts.expires_at && machine.agent.contact.is_some()) {
            self.cloud_sees(m, DeathCause::Itself);
        } else if idle && now < self.facts.expires_at {
            self.at(
                contact.plus(Duration::from_secs(960)).max(now.plus(SECOND)),
                Event::DeadMan(m),
            );
        }
    }

    /// From here on everything works, and what was hidden shows.
    pub(crate) fn faults_stop(&mut self) {
        self.note(|| "faults stop".into());
        for m in 0..self.machines.len() {
            let now = self.now;
            let machine = &mut self.machines[m];
            machine.cut = None;
            machine.boots_at.get_or_insert(now.plus(SECOND));
            if machine.off_at.is_some() {
                self.cloud_sees(m, DeathCause::HostFailure);
            }
        }
    }

    pub(crate) fn instance(&self, m: usize) -> Instance {
        let machine = &self.machines[m];
        let state = match machine.life {
            Life::Up if machine.notice.is_some() => InstanceState::Marked { at: machine.notice },
            Life::Up if machine.booted(self.now) => InstanceState::Running,
            Life::Up => InstanceState::Pending,
            Life::Stopping => InstanceState::Stopping,
            Life::Stopped(cause) => InstanceState::Stopped { cause },
            Life::Terminated(cause) => InstanceState::Terminated { cause },
        };
        let host = || Address { host: format!("10.0.0.{m}"), port: None };
        Instance {
            id: machine.id.clone(),
            place: machine.offer.place.clone(),
            instance_type: machine.offer.instance_type.clone(),
            market: machine.offer.market,
            state,
            address: (machine.address_at <= self.now).then(host),
            user: "root".into(),
            token: Some(machine.token.clone()),
            fleet: Some(self.facts.fleet.to_string()),
            job: None,
            expires_at: Some(self.facts.expires_at),
            price_usd_per_hour: machine.offer.price_usd_per_hour,
            launched_at: Some(machine.made),
            ended_at: machine.billed_until,
        }
    }

    pub(crate) fn machine_of(&self, id: &InstanceId) -> usize {
        self.machines.iter().position(|m| m.id == *id).expect("invariant: ids come from machines")
    }

    pub(crate) fn describe(&mut self, m: usize) -> Result<Described, Failed> {
        if self.strikes(Kind::DescribeFails) {
            return Err(Failed);
        }
        let machine = &self.machines[m];
        if machine.vanished || self.now < machine.described_at {
            return Ok(Described::NotFound);
        }
        Ok(Described::There(Box::new(self.instance(m))))
    }

    /// Machines of ours in a cloud, and whether that is all of them.
    pub(crate) fn list(&mut self, cloud: usize) -> Result<(Vec<usize>, bool), Failed> {
        if self.strikes(Kind::ListFails) {
            return Err(Failed);
        }
        let now = self.now;
        if self.strikes(Kind::ListPartial) {
            let until = now.plus(self.dice.span(10_000, 900_000)).min(self.dice.until);
            self.clouds[cloud].page_lost_until = until;
        }
        // A list that misses a part says so.
        if now < self.clouds[cloud].page_lost_until {
            return Ok((Vec::new(), false));
        }
        // One that is empty by mistake does not; three of them within one proof, whoever asks in between,
        // are what its rule rules out.
        if now.since(self.clouds[cloud].lied_at) > Duration::from_secs(600) {
            self.clouds[cloud].lies = 0;
        }
        if self.clouds[cloud].lies < 2 && self.strikes(Kind::ListEmpty) {
            self.clouds[cloud].lies += 1;
            self.clouds[cloud].lied_at = now;
            return Ok((Vec::new(), true));
        }
        let all = self.machines.iter().enumerate();
        let shown = all.filter(|(_, m)| m.cloud == cloud && !m.vanished && m.listed_at <= now);
        Ok((shown.map(|(m, _)| m).collect(), true))
    }

    pub(crate) fn terminate(&mut self, m: usize) -> Result<Ended, Failed> {
        if self.strikes(Kind::TerminateFails) {
            return Err(Failed);
        }
        let now = self.now;
        let (life, vanished) = (self.machines[m].life, self.machines[m].vanished);
        if vanished || now < self.machines[m].described_at {
            return Ok(Ended::NotFound);
        }
        if let Life::Terminated(_) = life {
            return Ok(Ended::Gone);
        }
        if self.strikes(Kind::TerminateNotDone) {
            return Ok(Ended::Requested);
        }
        self.note(|| format!("machine {m} is told to end"));
        let machine = &mut self.machines[m];
        machine.billed_until.get_or_insert(now);
        if machine.life != Life::Stopping {
            machine.life = Life::Stopping;
            let slow = self.dice.chance(0.2);
            let takes = self.dice.span(3_000, if slow { 240_000 } else { 40_000 });
            self.after(takes, Event::PowerOff(m));
        }
        if self.strikes(Kind::TerminateAnswerLost) {
            return Err(Failed);
        }
        Ok(Ended::Requested)
    }

    pub(crate) fn now_plus_window(&self, cloud: usize, from: Timestamp) -> Timestamp {
        from.plus(self.clouds[cloud].visibility)
    }
}
