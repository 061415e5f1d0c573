//! One step while it is taken: the state being changed, and what the change emits.
//!
//! Invariant: rows and events leave together with the state, in one commit. An intent row is in the same
//! commit as the state that asks for the create, so no create can leave before it.

use crate::{Attempt, InFlight, JobFacts, JobState, Outgoing, Phase, PlannedPlace};
use fleet_optimizer::Avoid;
use fleet_types::{
    DeathCause, EndCause, Epoch, EventBody, Instance, MachineClass, MachineRow, RowState, Scope,
    Timestamp, Token, Usd,
};
use std::time::Duration;

/// A change to a machine row, applied in the step's commit unless the row is final.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// A create is about to be asked for.
    Intend(Box<MachineRow>),
    /// The create's outcome is open.
    Lose(Token),
    /// The create was accepted.
    Live { token: Token, instance: Box<Instance> },
    /// The create was refused.
    Refuse(Token),
    /// The machine must go.
    End(Token),
    /// Its task is proven dead; `gone` where nothing of it bills any more.
    Dead { token: Token, at: Timestamp, cause: DeathCause },
}

impl RowChange {
    /// Which row.
    pub fn token(&self) -> &Token {
        match self {
            Self::Intend(row) => &row.token,
            Self::Lose(t) | Self::Refuse(t) | Self::End(t) => t,
            Self::Live { token, .. } | Self::Dead { token, .. } => token,
        }
    }
    /// Applies the change to the row as stored; `None` leaves it as it is.
    pub fn apply(&self, row: Option<MachineRow>, now: Timestamp) -> Option<MachineRow> {
        if let Self::Intend(intent) = self {
            return row.is_none().then(|| (**intent).clone());
        }
        let mut row = row.filter(|r| !r.state.is_final())?;
        match self {
            Self::Intend(_) => return None,
            Self::Lose(_) => {
                if row.state != RowState::Intent {
                    return None;
                }
                row.state = RowState::Unknown { since: now };
            }
            Self::Live { instance, .. } => {
                if row.instance.is_none() {
                    row.instance = Some(instance.id.clone());
                    row.launched_at = Some(instance.launched_at.unwrap_or(now));
                }
                if matches!(row.state, RowState::Intent | RowState::Unknown { .. }) {
                    row.state = RowState::Live;
                }
            }
            Self::Refuse(_) => {
                // What was accepted is never forgotten by a refusal (invariant 6).
                if !matches!(row.state, RowState::Intent | RowState::Unknown { .. }) {
                    return None;
                }
                row.state = RowState::Refused;
            }
            Self::End(_) => {
                // A create whose outcome is open is settled first; its keeper ends what it finds.
                if row.state == RowState::Intent {
                    row.state = RowState::Unknown { since: now };
                } else if row.state == RowState::Live {
                    row.state = RowState::Ending { since: now, accepted_at: None };
                } else {
                    return None;
                }
            }
            Self::Dead { at, .. } => {
                row.ended_at = row.ended_at.or(Some(*at));
                if row.state == RowState::Live {
                    row.state = RowState::Ending { since: now, accepted_at: Some(*at) };
                }
            }
        }
        Some(row)
    }
}

/// A step being taken.
#[derive(Debug)]
pub struct Turn<'a> {
    pub facts: &'a JobFacts,
    pub now: Timestamp,
    /// What the job has cost up to now, all parts.
    pub accrued: Usd,
    pub state: JobState,
    pub events: Vec<EventBody>,
    pub rows: Vec<RowChange>,
}

impl<'a> Turn<'a> {
    /// A turn that has changed nothing yet.
    pub fn new(facts: &'a JobFacts, state: JobState, now: Timestamp, accrued: Usd) -> Self {
        Self { facts, now, accrued, state, events: Vec::new(), rows: Vec::new() }
    }

    pub(crate) fn emit(&mut self, event: EventBody) {
        self.events.push(event);
    }

    /// Whether `epoch` is the newest one.
    pub(crate) fn is_current(&self, epoch: Epoch) -> bool {
        epoch == self.state.epoch && epoch.0 > 0
    }

    /// Whether `epoch` is the one whose task is on its way out.
    pub(crate) fn is_outgoing(&self, epoch: Epoch) -> bool {
        self.state.outgoing.as_ref().is_some_and(|o| o.epoch == epoch)
    }

    pub(crate) fn attempt_mut(&mut self, epoch: Epoch) -> Option<&mut Attempt> {
        self.state.attempts.iter_mut().find(|a| a.epoch == epoch)
    }

    /// Goes to planning; `round` counts plans that found nothing.
    pub(crate) fn plan(&mut self, round: u32) {
        self.state.avoid.expire(self.now);
        self.state.phase = Phase::Planning { round, waiting: None };
    }

    /// Asks for a create at `place`: intent row, token and state in one.
    pub(crate) fn launch(
        &mut self,
        offer: u32,
        place: PlannedPlace,
        rest: Vec<PlannedPlace>,
        refused: Vec<crate::RefusedPlace>,
    ) {
        let facts = self.facts;
        if offer == 0 {
            self.state.epoch = self.state.epoch.next();
        }
        let token = Token::derive(&facts.fleet, &facts.id, self.state.epoch, 0, offer);
        let at = &place.offer;
        let price = at.price_usd_per_hour.unwrap_or(place.limit_usd_per_hour);
        self.rows.push(RowChange::Intend(Box::new(MachineRow {
            token: token.clone(),
            job: facts.id.clone(),
            epoch: self.state.epoch,
            node: 0,
            offer,
            realm: facts.realm.clone(),
            place: at.place.clone(),
            instance_type: at.instance_type.clone(),
            market: at.market,
            price_usd_per_hour: price,
            disk_gib: facts.disk_gib,
            disk_usd_per_gib_hour: at.disk_usd_per_gib_hour,
            expires_at: facts.expires_at,
            created_at: self.now,
            instance: None,
            launched_at: None,
            ended_at: None,
            state: RowState::Intent,
        })));
        self.emit(EventBody::Launching {
            epoch: self.state.epoch,
            place: at.place.clone(),
            instance_type: at.instance_type.clone(),
            market: at.market,
            price_usd_per_hour: price,
        });
        let current = InFlight {
            offer,
            token,
            place,
            unresolved: false,
            retries: 0,
            not_before: None,
            sent_before: false,
        };
        self.state.phase = Phase::Launching { current, rest, refused };
    }

    /// Tells the machine of `epoch` to end.
    pub(crate) fn end_machine(&mut self, epoch: Epoch) {
        if let Some(attempt) = self.state.attempt(epoch)
            && attempt.ended_at.is_none()
        {
            self.rows.push(RowChange::End(attempt.token.clone()));
        }
    }

    /// Names the cause of an attempt's end, the first name given stays.
    pub(crate) fn name_cause(&mut self, epoch: Epoch, cause: EndCause) {
        if let Some(attempt) = self.attempt_mut(epoch) {
            attempt.end_cause.get_or_insert(cause);
        }
    }

    /// Billing of an attempt is over since then: by the cloud's clock where it says, whatever ours shows.
    pub(crate) fn release(&mut self, epoch: Epoch, at: Timestamp) {
        let now = self.now;
        let Some(attempt) = self.attempt_mut(epoch) else { return };
        if attempt.ended_at.is_some() {
            return;
        }
        attempt.ended_at = Some(at.max(attempt.launched_at));
        let ended = EventBody::Ended {
            epoch,
            end_cause: attempt.end_cause.unwrap_or(EndCause::HostLost),
            exit_code: attempt.exit_code,
            lost_work_seconds: attempt.lost_work_seconds(now),
            cost_usd: attempt.compute_cost(now),
        };
        self.emit(ended);
    }

    /// Whether the newest attempt's task may have been started without our having heard of it.
    pub(crate) fn may_run(&self) -> bool {
        let ready = matches!(self.state.phase, Phase::Preparing { ready: true, .. });
        ready && self.state.outgoing.is_none()
    }

    /// Takes the newest attempt out of service and plans the next. Its task may save until `until`; with
    /// `dead` it is proven gone already.
    pub(crate) fn recover(&mut self, cause: EndCause, until: Timestamp, dead: bool) {
        let epoch = self.state.epoch;
        self.name_cause(epoch, cause);
        let Some(attempt) = self.state.attempt(epoch).cloned() else { return self.plan(0) };
        let timing = self.facts.timing();
        let span = match cause {
            EndCause::LaunchFailed => timing.broken_place(),
            _ => timing.preempted_place(),
        };
        let left_alone = self.now.plus(span);
        if cause != EndCause::UserError {
            let reason = match cause {
                EndCause::LaunchFailed => "its machine did not come up",
                EndCause::HostLost => "its machine was lost here",
                _ => "it took a machine of this job away",
            };
            self.state.avoid.add_zone(&attempt.place, attempt.market, left_alone, reason);
        }
        if (attempt.has_begun() || self.may_run()) && !dead {
            self.state.outgoing = Some(Outgoing { epoch, cause, until, ending: false });
        } else {
            // No task ran on it, or it is dead: nothing to wait for.
            self.count_progress(epoch);
            self.end_machine(epoch);
        }
        self.emit(EventBody::Recovering { epoch, cause, next_epoch: epoch.next() });
        self.plan(0);
    }

    /// Counts what an attempt achieved, once its task is gone: until then it may still save.
    pub(crate) fn count_progress(&mut self, epoch: Epoch) {
        let Some(attempt) = self.state.attempt(epoch) else { return };
        let (ran, saved) = (attempt.has_begun(), attempt.checkpoint.is_some());
        if !ran {
            self.state.stillborn += 1;
        } else if saved {
            self.state.barren = 0;
        } else {
            self.state.barren += 1;
        }
    }

    /// Leaves `scope` around a place alone for a while.
    pub(crate) fn avoid(
        &mut self,
        place: &PlannedPlace,
        scope: Scope,
        span: Duration,
        reason: String,
    ) {
        let until = self.now.plus(self.facts.time_scale.span(span));
        self.state.avoid.add(Avoid {
            pool: place.offer.pool(),
            scope,
            key: place.offer.key.clone(),
            until,
            reason,
        });
    }

    /// The class that the job is bound to by its first attempt, unless it may cross.
    pub(crate) fn bound_class(&self) -> Option<MachineClass> {
        if self.facts.any_class {
            return None;
        }
        self.state.attempts.first().map(|a| a.class)
    }
}
