//! The controller's part: one step at a time, committed with its rows, then the work that is wanted.
//!
//! Mirrors `fleet-controller`'s mailbox: work is started and stopped by comparing what the state wants
//! with what runs; creates are never broken off; a crash forgets all of it and nothing that was committed.

use super::bug::Bug;
use super::dice::{Edge, Kind, Moment};
use super::keeper::Keeper;
use super::sim::{Event, Ours, Sim, Step};
use super::work::{Job, Work};
use fleet_lifecycle::{
    Anchor, Happening, InFlight, Phase, SessionGoal, Want, invariant, resumed, step, wants,
};
use fleet_types::{Epoch, RowState, Timestamp, Token, Usd};
use std::collections::BTreeMap;
use std::time::Duration;

/// Running work by what it is; a session goes on while its goal changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Begin,
    Plan(u32),
    Settle(Epoch, u32),
    Watch(Epoch),
    Session(Epoch),
}

/// What a crash forgets.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) work: BTreeMap<Key, Work>,
    /// Creates on their way.
    pub(crate) launches: BTreeMap<(Epoch, u32), bool>,
    pub(crate) keepers: BTreeMap<Token, Keeper>,
    /// Unresolved creates of an ended job, looked for.
    pub(crate) adopting: BTreeMap<Token, u32>,
    pub(crate) next: u64,
    pub(crate) tick: Duration,
    pub(crate) anchor: Option<Anchor>,
}

fn key(want: &Want) -> Option<Key> {
    Some(match want {
        Want::Await { .. } | Want::Launch { .. } => return None,
        Want::Begin => Key::Begin,
        Want::Plan { round } => Key::Plan(*round),
        Want::Settle { epoch, offer } => Key::Settle(*epoch, *offer),
        Want::Watch { epoch } => Key::Watch(*epoch),
        Want::Session { epoch, .. } => Key::Session(*epoch),
    })
}

impl Sim {
    pub(crate) fn memory(&mut self) -> &mut Memory {
        self.memory.as_mut().expect("invariant: only the living controller acts")
    }

    pub(crate) fn crash(&mut self) {
        self.note(|| "the controller crashes".into());
        self.memory = None;
        self.life += 1;
        self.boot();
        let away = if self.dice.chance(0.2) { 600_000 } else { 20_000 };
        let away = self.dice.span(500, away);
        self.after(away, Event::Restart);
    }

    /// Everything is read again from what was committed.
    pub(crate) fn restart(&mut self) -> Step {
        self.life += 1;
        self.up_since = self.now;
        let text = serde_json::to_string(&self.store.state).expect("a state is JSON");
        let state = serde_json::from_str(&text).expect("a state reads its own JSON");
        if self.store.state != state {
            self.violated(format!("a state changes when it is stored: {text}"));
        }
        let tick = Duration::from_secs([2, 5, 10][self.dice.pick(3)]);
        self.memory = Some(Memory { tick, ..Memory::default() });
        self.note(|| "the controller starts".into());
        self.find_time();
        let ended = self.store.state.is_finished();
        for mut row in self.store.live_rows() {
            if ended && row.state == RowState::Live {
                row.state = RowState::Ending { since: self.clock(), accepted_at: None };
                self.store.put_row(row.clone());
            }
            if ended && matches!(row.state, RowState::Intent | RowState::Unknown { .. }) {
                self.memory().adopting.insert(row.token.clone(), 0);
                self.ours(Duration::ZERO, Ours::Adopt(row.token));
            } else if !self.has(Bug::ForgetsEnding) {
                self.keep(&row.token);
            }
        }
        let rows: Vec<_> = self.store.rows.values().cloned().collect();
        let repeatable = self.flight().is_some_and(|f| self.knows_tokens(&f));
        let told = resumed(&self.store.state, &rows, repeatable);
        for happening in told {
            let resend =
                matches!(happening, Happening::Unresolved { .. }) && self.has(Bug::RepeatsUnknown);
            let release =
                matches!(happening, Happening::Released { .. }) && self.has(Bug::NoResumedReleases);
            if !resend && !release {
                self.take(happening)?;
            }
        }
        self.pursue()?;
        self.ours(tick, Ours::Tick);
        self.ours(Duration::from_secs(60), Ours::Reconcile);
        Ok(())
    }

    pub(crate) fn act(&mut self, what: Ours) -> Step {
        match what {
            Ours::Tick => {
                let asleep = self.dice.chance(0.005) && self.strikes(Kind::Asleep);
                let pause = self.memory().tick;
                if asleep {
                    return self.sleep();
                }
                self.ours(pause, Ours::Tick);
                self.tend_clock();
                self.take(Happening::Tick)
            }
            Ours::Take(happening, edge) => {
                self.take(*happening)?;
                edge.map_or(Ok(()), |edge| self.edge(edge, Moment::AfterPersist))
            }
            Ours::Send(epoch, offer) => self.send(epoch, offer),
            Ours::Answer(epoch, offer, answer) => self.answer(epoch, offer, answer),
            Ours::Work(id) => self.work(id),
            Ours::Keeper(token) => self.keeper(&token),
            Ours::Adopt(token) => self.adopt(&token),
            Ours::Reconcile => self.reconcile(),
        }
    }

    /// The machine that the controller runs on sleeps: all of its timers stand still.
    fn sleep(&mut self) -> Step {
        let long = self.dice.span(60_000, 3_600_000);
        self.note(|| format!("the controller sleeps {long:?}"));
        self.postpone(long);
        if self.strikes(Kind::Frozen) {
            self.note(|| "its machine was frozen meanwhile".into());
            self.freeze(long);
        }
        self.up_since = self.now.plus(long);
        self.ours(long, Ours::Tick);
        Ok(())
    }

    pub(crate) fn user_cancels(&mut self) {
        self.note(|| "the user cancels".into());
        if self.memory.is_none() || self.up_since > self.now {
            // Nobody answers: the user tries again.
            return self.after(Duration::from_secs(30), Event::Cancel);
        }
        if self.has(Bug::AcksEarly) {
            self.cancel_acked.get_or_insert(self.now);
            if self.dice.chance(0.5) {
                return self.crash();
            }
        }
        if self.cancel().is_err() {
            self.crash();
        }
    }

    /// Takes the cancel and answers.
    pub(crate) fn cancel(&mut self) -> Step {
        let reason = "cancelled by the user".to_owned();
        let taken = self.take(Happening::Cancel { reason });
        if !self.store.state.is_finished() {
            self.cancel_acked.get_or_insert(self.now);
        }
        taken
    }

    /// Puts a report into the job's mailbox. Between parts of the controller it may come late or twice.
    pub(crate) fn tell(&mut self, happening: Happening, edge: Option<Edge>) {
        let slow = self.strikes(Kind::ReportDelayed);
        let takes = self.dice.span(1, if slow { 20_000 } else { 30 });
        if self.doubles(&happening) {
            let late = self.dice.span(1, 90_000);
            self.ours(late, Ours::Take(Box::new(happening.clone()), None));
        }
        self.ours(takes, Ours::Take(Box::new(happening), edge));
    }

    /// One create is tried several times under one number, so that a refusal must come once: it does.
    fn doubles(&mut self, happening: &Happening) -> bool {
        !matches!(happening, Happening::Refused { .. }) && self.strikes(Kind::ReportDoubled)
    }

    /// Reports of a session keep their order, but may come twice.
    pub(crate) fn tell_now(&mut self, happening: Happening, edge: Option<Edge>) -> Step {
        if self.doubles(&happening) {
            let late = self.dice.span(1, 90_000);
            self.ours(late, Ours::Take(Box::new(happening.clone()), None));
        }
        self.take(happening)?;
        edge.map_or(Ok(()), |edge| self.edge(edge, Moment::AfterPersist))
    }

    /// What the job has cost by then.
    fn accrued(&self, now: Timestamp) -> Usd {
        let cost = |a: &fleet_lifecycle::Attempt| a.compute_cost(now) + a.disk_cost(now);
        self.store.state.attempts.iter().map(cost).sum()
    }

    /// Takes one step and commits it.
    pub(crate) fn take(&mut self, mut happening: Happening) -> Step {
        if self.store.state.is_finished() {
            return Ok(());
        }
        if self.has(Bug::NoEpochCheck)
            && let Happening::Dead { epoch, .. } | Happening::Settled { epoch } = &mut happening
        {
            *epoch = self.store.state.epoch;
        }
        if self.has(Bug::StopIsSuccess)
            && let Happening::Exited { exit, .. } = &mut happening
        {
            exit.stopped = false;
        }
        self.answered(&happening);
        let facts = self.facts.clone();
        let tick = happening == Happening::Tick;
        let shown = (self.traces() && !tick).then(|| format!("{happening:?}"));
        let before = self.store.state.clone();
        let now = self.clock();
        let accrued = self.accrued(now);
        let mut turn = step(&facts, before.clone(), happening, now, accrued);
        if turn.state == before && turn.rows.is_empty() && turn.events.is_empty() {
            return Ok(());
        }
        if self.has(Bug::TerminateIsProof) && turn.state.outgoing.as_ref().is_some_and(|o| o.ending)
        {
            turn.state.outgoing = None;
        }
        let mut changed = Vec::new();
        for change in &turn.rows {
            let token = change.token().clone();
            let row = change.apply(self.store.rows.get(&token).cloned(), now);
            if let Some(row) = row {
                let intent = row.state == RowState::Intent && self.has(Bug::IntentAfterCreate);
                if !intent {
                    self.check_row(&row);
                    self.store.put_row(row);
                }
                changed.push(token);
            }
        }
        self.store.state = turn.state;
        self.store.newest = self.store.newest.max(now);
        let phase = super::check::phase_word(&self.store.state.phase);
        if let Some(shown) = shown {
            self.note(|| format!("-> {phase:10} {}", shown.chars().take(150).collect::<String>()));
        }
        self.check_step(&before);
        if phase != super::check::phase_word(&before.phase) {
            self.trigger();
        }
        let rows: Vec<_> = self.store.rows.values().cloned().collect();
        for violated in invariant::violations(&self.store.state, &rows) {
            if !self.has(Bug::IntentAfterCreate) {
                self.violated(violated);
            }
        }
        for token in changed {
            self.keep(&token);
        }
        self.pursue()
    }

    /// A create is on its way until its answer is taken: an answer that waits behind another report must
    /// not let the same create leave again.
    fn answered(&mut self, happening: &Happening) {
        if let Happening::Accepted { epoch, offer, .. }
        | Happening::Refused { epoch, offer, .. }
        | Happening::Unresolved { epoch, offer } = happening
        {
            self.memory().launches.remove(&(*epoch, *offer));
        }
    }

    /// Compares what the state wants with what runs.
    fn pursue(&mut self) -> Step {
        let mut wanted = wants(None, &self.store.state);
        if self.has(Bug::IgnoresOutgoing) {
            self.start_at_once(&mut wanted);
        }
        let keys: Vec<_> = wanted.iter().filter_map(key).collect();
        self.memory().work.retain(|key, _| keys.contains(key));
        for want in wanted {
            self.want(want)?;
        }
        Ok(())
    }

    fn start_at_once(&self, wanted: &mut [Want]) {
        for want in wanted {
            if let Want::Session { epoch, goal: goal @ SessionGoal::Prepare } = want
                && *epoch == self.store.state.epoch
            {
                *goal = SessionGoal::Run;
            }
        }
    }

    fn want(&mut self, want: Want) -> Step {
        let mut goal = None;
        match &want {
            Want::Await { .. } => return Ok(()),
            Want::Launch { epoch, offer, not_before } => {
                let clock = self.clock();
                let wait = not_before.map_or(Duration::ZERO, |at| at.since(clock));
                if self.memory().launches.insert((*epoch, *offer), true).is_none() {
                    self.ours(wait + Duration::from_millis(20), Ours::Send(*epoch, *offer));
                }
                return Ok(());
            }
            Want::Session { goal: wanted, .. } => goal = Some(wanted.clone()),
            Want::Begin | Want::Plan { .. } | Want::Settle { .. } | Want::Watch { .. } => {}
        }
        let Some(key) = key(&want) else { return Ok(()) };
        if let Some(work) = self.memory().work.get_mut(&key) {
            work.goal = goal;
            return Ok(());
        }
        let Some(job) = Job::of(self, key) else { return Ok(()) };
        let memory = self.memory();
        memory.next += 1;
        let id = memory.next;
        memory.work.insert(key, Work { id, goal, job });
        self.ours(Duration::from_millis(10), Ours::Work(id));
        Ok(())
    }

    /// The create whose answer the state awaits.
    pub(crate) fn flight(&self) -> Option<InFlight> {
        match &self.store.state.phase {
            Phase::Launching { current, .. } => Some(current.clone()),
            Phase::Stopping { in_flight, .. } => in_flight.clone(),
            _ => None,
        }
    }

    pub(crate) fn knows_tokens(&self, flight: &InFlight) -> bool {
        let provider = flight.place.offer.place.provider;
        self.clouds.iter().any(|c| c.token && c.offers.iter().any(|o| o.place.provider == provider))
    }
}
