//! The invariants of reliability.md section C that only the world can show, by their numbers there.
//!
//! Those that state and rows show are `fleet_lifecycle::invariant`'s and are called at every commit.

use super::dice::Kind;
use super::machine::TaskNow;
use super::sim::Sim;
use fleet_lifecycle::{JobState, Phase, view};
use fleet_types::{CheckpointId, EndCause, Epoch, MachineRow, Outcome, RowState, Token, Usd};
use std::time::Duration;

pub(crate) fn phase_word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Planning { .. } => "planning",
        Phase::Launching { .. } => "launching",
        Phase::Connecting { .. } => "connecting",
        Phase::Preparing { .. } => "preparing",
        Phase::Running { in_setup: true, .. } => "setup",
        Phase::Running { in_setup: false, .. } => "running",
        Phase::Stopping { .. } => "stopping",
        Phase::Finished { .. } => "finished",
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Milliseconds by which booked and billed may differ: one look of the watch.
const BILL_SLACK: i64 = 15_000;

impl Sim {
    /// 1, 5, 19: a create leaves only with its committed intent, alone, and never after a cancel.
    pub(crate) fn check_create(&mut self, token: &Token, epoch: Epoch, offer: u32) {
        match self.store.rows.get(token) {
            Some(row) if (row.epoch, row.offer) != (epoch, offer) => {
                self.violated(format!("1: create {epoch}/{offer} uses another row's token"));
            }
            Some(row) if row.state != RowState::Intent => {
                let state = row.state.clone();
                self.violated(format!("1: a create leaves while its row is {state:?}"));
            }
            Some(_) => {}
            None => self.violated("1: a create leaves without a committed row".into()),
        }
        if self.store.rows.values().any(|r| {
            r.token != *token && matches!(r.state, RowState::Unknown { .. } | RowState::Intent)
        }) {
            self.violated("5: a create leaves while another one's outcome is open".into());
        }
        if self.cancel_acked.is_some() {
            self.violated("19: a create leaves after the cancel was answered".into());
        }
    }

    /// 2: a machine comes up only while its row is live.
    pub(crate) fn check_made(&mut self, token: &Token) {
        if self.store.rows.get(token).is_none_or(|r| r.state.is_final()) {
            self.violated(format!("2: a machine is made whose row is not live: {token}"));
        }
    }

    /// 6: a row becomes final only when nothing of it bills.
    pub(crate) fn check_row(&mut self, row: &MachineRow) {
        let machine = self.machines.iter().find(|m| m.token == row.token);
        let lives = machine.is_some_and(|m| m.off_at.is_none());
        if lives && row.state.is_final() {
            self.violated(format!("6: row {:?} while its machine lives", row.state));
        }
    }

    /// 16, 17: no other task runs, and what is restored is the newest there ever was.
    pub(crate) fn check_started(&mut self, machine: usize, epoch: Epoch) {
        let (task, now) = (self.task.clone(), self.now);
        for m in 0..self.machines.len() {
            if m != machine && self.machines[m].works(&task, now) {
                self.violated(format!("16: epoch {epoch} starts while machine {m} still works"));
            }
        }
        let far = self.shelf.published.values().max().copied().unwrap_or_default();
        let newest = self.shelf.newest().map(|(_, p)| p).unwrap_or_default();
        if newest < far {
            self.violated(format!("17: epoch {epoch} restores {newest:?}, published was {far:?}"));
        }
    }

    /// 17: an older epoch publishes nothing once a newer one began.
    pub(crate) fn check_published(&mut self, id: CheckpointId) {
        if id.epoch < self.shelf.fence {
            let fence = self.shelf.fence;
            self.violated(format!("17: checkpoint {id} is published after epoch {fence} began"));
        }
    }

    /// 14, 18, 22: what one step may change.
    pub(crate) fn check_step(&mut self, before: &JobState) {
        let after = &self.store.state;
        if before.is_finished() && before != after {
            return self.violated("14: a finished job changed".into());
        }
        if after.checkpoint < before.checkpoint {
            return self.violated("17: the newest checkpoint went back".into());
        }
        let epochs = after.attempts.windows(2).all(|w| w[0].epoch < w[1].epoch);
        if !epochs || after.epoch < before.epoch {
            return self.violated("14: epochs are not in order".into());
        }
        if let (Phase::Running { .. }, Phase::Planning { .. }) = (&before.phase, &after.phase) {
            self.check_recovery(before.epoch);
        }
        self.check_running(before);
        self.check_limits(before);
        if let (Phase::Stopping { goal, .. }, false) =
            (&self.store.state.phase, matches!(before.phase, Phase::Stopping { .. }))
        {
            let stuck = goal.reason.as_ref().is_some_and(|r| r.starts_with("no-progress: 3 att"));
            let outcome = goal.outcome;
            if stuck {
                self.check_no_progress();
            }
            match outcome {
                Outcome::Succeeded => self.check_success(),
                Outcome::Failed => self.check_failure(),
                Outcome::Cancelled | Outcome::Stopped => {}
            }
        }
    }

    /// `running_at` and the phase come with the work, not with the setup before it.
    fn check_running(&mut self, before: &JobState) {
        for attempt in self.store.state.attempts.clone() {
            let Some(at) = attempt.running_at else { continue };
            let known = before.attempt(attempt.epoch).is_some_and(|a| a.running_at.is_some());
            let m = self.machine_of(&attempt.instance);
            let from = self.machines[m].agent.works_from;
            if !known && at < from {
                let epoch = attempt.epoch;
                self.violated(format!("epoch {epoch} runs since {at}, its setup ends at {from}"));
            }
        }
    }

    /// 27: no wrong clock ends a job before its time or its money is up.
    fn check_limits(&mut self, before: &JobState) {
        if matches!(before.phase, Phase::Stopping { .. }) || self.guesses_time() {
            return;
        }
        let Phase::Stopping { goal, .. } = &self.store.state.phase else { return };
        let (cause, reason) = (goal.cause, goal.reason.clone().unwrap_or_default());
        let left = self.facts.expires_at.since(self.now);
        if cause == EndCause::Deadline && left > 2 * MINUTE {
            self.violated(format!("27: ended by its deadline {left:?} before it"));
        }
        let Some(budget) = self.facts.budget.filter(|_| reason.starts_with("budget:")) else {
            return;
        };
        let attempts = &self.store.state.attempts;
        let rate: Usd = attempts.iter().map(|a| a.price_usd_per_hour).sum();
        let spent: Usd = attempts.iter().map(|a| a.compute_cost(self.now)).sum();
        let margin = 90_000 + self.facts.grace_ms as i64 + 120_000;
        if !reason.contains("cheapest") && spent + rate.for_millis(margin) < budget {
            self.violated(format!("27: ended by its budget of {budget}, {spent} is spent"));
        }
    }

    /// 18: a healthy machine is not given up.
    fn check_recovery(&mut self, epoch: Epoch) {
        let (now, task) = (self.now, self.task.clone());
        let Some(attempt) = self.store.state.attempt(epoch) else { return };
        let m = self.machine_of(&attempt.instance);
        let machine = &mut self.machines[m];
        let works = machine.works(&task, now);
        let cut = machine.cut.is_some_and(|(from, _)| now.since(from) >= 15 * MINUTE);
        if works && !cut && machine.notice.is_none() && !machine.agent.stopped {
            self.violated(format!("18: epoch {epoch} is given up while machine {m} works"));
        }
    }

    /// 22: three epochs that ran and left nothing, in the world's eyes too.
    fn check_no_progress(&mut self) {
        let ran = self.store.state.attempts.iter().rev().filter(|a| a.has_begun());
        let epochs: Vec<_> = ran.take(3).map(|a| a.epoch).collect();
        let saved = self.shelf.published.keys().any(|id| epochs.contains(&id.epoch));
        if saved {
            self.violated(format!("22: stopped for no progress, and {epochs:?} saved"));
        }
    }

    /// A job succeeds only when its task did all of its work.
    fn check_success(&mut self) {
        let now = self.now;
        let said_done = self.task.done_when_stopped;
        let ended = |task: &TaskNow| match task {
            TaskNow::Ended { code: 0, stopped, at, in_setup: false } => {
                *at <= now && (!stopped || said_done)
            }
            _ => false,
        };
        let done = self.machines.iter().any(|m| ended(&m.agent.task));
        if !done {
            self.violated("a job succeeds whose task did not end by itself with 0".into());
        }
    }

    /// A job fails by its task only where the task failed by itself.
    fn check_failure(&mut self) {
        let code = match &self.store.state.phase {
            Phase::Stopping { goal, .. } => goal.exit_code,
            _ => None,
        };
        if code.is_some_and(|c| self.task.fails.is_none_or(|(_, own)| own != c)) {
            self.violated(format!("a job fails with {code:?}, which its task never exits with"));
        }
    }

    /// What time alone can violate.
    pub(crate) fn check_time(&mut self) {
        let now = self.now;
        let calm = now.since(self.dice.until.max(self.up_since));
        if self.memory.is_some() && calm >= 10 * MINUTE && !self.checked_alive {
            self.checked_alive = true;
            self.check_alive();
        }
        let Phase::Finished { .. } = &self.store.state.phase else { return };
        let finished = *self.finished.get_or_insert(now);
        // T_reap: the widest window and two minutes; a cloud's refusals and our absence come on top.
        let window = self.clouds.iter().map(|c| c.visibility).max().unwrap_or_default();
        let since = finished.max(self.up_since).max(self.dice.until);
        let late = self.memory.is_some() && now.since(since) > window + 4 * MINUTE;
        if late && let Some(m) = self.machines.iter().position(|m| m.off_at.is_none()) {
            self.violated(format!("2: machine {m} lives long after the job's end"));
        }
    }

    /// 25: ten minutes after the last fault a job is over, runs, or waits with a reason.
    fn check_alive(&mut self) {
        let state = &self.store.state;
        let shown = view(&self.facts, state, self.now);
        let bounded = match state.phase {
            Phase::Finished { .. } | Phase::Running { .. } => true,
            Phase::Connecting { until } | Phase::Preparing { until, .. } => until > self.now,
            Phase::Stopping { until, .. } => until.plus(10 * MINUTE) > self.now,
            Phase::Launching { .. } => true,
            Phase::Queued | Phase::Planning { .. } => false,
        };
        if !bounded && shown.reason.is_none() {
            self.violated(format!("25: {} without a reason", phase_word(&state.phase)));
        }
    }

    /// The books at the end of all.
    pub(crate) fn check_end(&mut self) {
        let state = self.store.state.clone();
        let Phase::Finished { goal, .. } = &state.phase else { return };
        *self.dice.counts.outcomes.entry(format!("{:?}", goal.outcome)).or_default() += 1;
        if self.cancel_acked.is_some()
            && goal.outcome != Outcome::Cancelled
            && goal.exit_code.is_none()
        {
            self.violated(format!("19: cancelled, and ended {:?}", goal.outcome));
        }
        let mut total = Usd::ZERO;
        for machine in &self.machines {
            let until = machine.billed_until.or(machine.off_at).unwrap_or(self.now);
            let price = machine.offer.price_usd_per_hour.unwrap_or_default();
            total += price.for_millis(until.since(machine.made).as_millis() as i64);
        }
        self.check_bills(&state);
        if let Some(budget) = self.facts.budget {
            let rate: Usd =
                self.clouds.iter().flat_map(|c| &c.offers).map(price).max().unwrap_or_default();
            let slack = rate.for_millis(25 * 60_000);
            if total > budget + slack && !self.hides_ends() {
                self.violated(format!("10: {total} was billed, {budget} was allowed"));
            }
        }
        let grace = Duration::from_millis(self.facts.grace_ms);
        let mut last = self.facts.expires_at.plus(grace + 12 * MINUTE);
        if self.hides_ends() {
            last = last.max(self.up_since.max(self.dice.until).plus(12 * MINUTE));
        }
        let late = self.machines.iter().position(|m| m.billed_until > Some(last));
        if let Some(m) = late.filter(|_| !self.stays_late()) {
            self.violated(format!("21: machine {m} bills beyond {last}"));
        }
    }

    /// Whether a fault of this run can hide a machine's end, or keep us from ending it.
    fn hides_ends(&self) -> bool {
        let hides = |k: &Kind| {
            let word = format!("{k:?}");
            [
                "Asleep",
                "Terminate",
                "Describe",
                "List",
                "HostDies",
                "ReportDelayed",
                "OutsideSilent",
            ]
            .iter()
            .any(|w| word.starts_with(w))
        };
        let fired = |k: &Kind| self.dice.counts.kinds[*k as usize] > 0;
        self.life > 1 || Kind::ALL.iter().any(|k| fired(k) && hides(k))
    }

    /// Booked is what was billed, attempt by attempt; never less, and more only where a fault hid the end.
    fn check_bills(&mut self, state: &JobState) {
        let hidden = self.hides_ends();
        let kinds = &self.dice.counts.kinds;
        // A terminate that was accepted and not done, an end booked by a clock that was late.
        let unpaid = [Kind::TerminateNotDone, Kind::Frozen, Kind::OutsideSilent]
            .iter()
            .any(|k| kinds[*k as usize] > 0);
        for attempt in &state.attempts {
            let m = self.machine_of(&attempt.instance);
            let machine = &self.machines[m];
            let until = machine.billed_until.unwrap_or(self.now);
            let billed = until.since(machine.made).as_millis() as i64;
            let booked = attempt.billed_millis(self.now);
            if (!unpaid && booked < billed - BILL_SLACK)
                || (!hidden && booked > billed + BILL_SLACK)
            {
                self.violated(format!(
                    "cost: epoch {} booked {booked} ms, machine {m} billed {billed} ms",
                    attempt.epoch
                ));
            }
        }
    }
}

fn price(offer: &fleet_types::Offer) -> Usd {
    offer.price_usd_per_hour.unwrap_or_default()
}
