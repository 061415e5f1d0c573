//! Beside the job: rows seen to their end, and what the clouds bill against what the rows say.
//!
//! Mirrors `fleet-controller`'s keeper and reconciler.

use super::bug::Bug;
use super::cloud::{Described, Ended};
use super::dice::{Edge, Moment};
use super::sim::{Ours, Sim, Step};
use super::work::Absence;
use fleet_lifecycle::Happening;
use fleet_types::{DeathCause, InstanceState, MachineRow, RowState, Timestamp, Token};
use std::time::Duration;

/// One row being ended.
#[derive(Clone)]
pub(crate) struct Keeper {
    row: MachineRow,
    absence: Absence,
    pause: Duration,
}

impl Keeper {
    fn accepted_at(&self) -> Option<Timestamp> {
        match self.row.state {
            RowState::Ending { accepted_at, .. } => accepted_at,
            _ => None,
        }
    }
}

impl Sim {
    /// Starts a keeper for the row unless it has one.
    pub(crate) fn keep(&mut self, token: &Token) {
        let Some(row) = self.store.rows.get(token).cloned() else { return };
        let ending = matches!(row.state, RowState::Ending { .. }) && row.instance.is_some();
        if !ending || self.memory().keepers.contains_key(token) {
            return;
        }
        let absence = Absence::new(row.launched_at.unwrap_or(row.created_at));
        let pause = Duration::from_millis(500);
        self.memory().keepers.insert(token.clone(), Keeper { row, absence, pause });
        self.ours(Duration::from_millis(10), Ours::Keeper(token.clone()));
    }

    pub(crate) fn keeper(&mut self, token: &Token) -> Step {
        let Some(mut k) = self.memory().keepers.get(token).cloned() else { return Ok(()) };
        self.edge(Edge::Terminate, Moment::BeforeCall)?;
        self.push(&mut k)?;
        self.edge(Edge::Terminate, Moment::AfterPersist)?;
        if k.row.state.is_final() {
            self.memory().keepers.remove(token);
            return Ok(());
        }
        self.ours(k.pause, Ours::Keeper(token.clone()));
        k.pause = (k.pause * 2).min(Duration::from_secs(60));
        self.memory().keepers.insert(token.clone(), k);
        Ok(())
    }

    /// One push: look, terminate where it still lives, book what is proven.
    fn push(&mut self, k: &mut Keeper) -> Step {
        let Some(id) = k.row.instance.clone() else { return Ok(()) };
        let m = self.machine_of(&id);
        let mut ended = None;
        match self.describe(m) {
            Ok(Described::There(instance)) => {
                k.absence.seen();
                // By the cloud's own word where it gives one.
                ended = instance.ended_at;
                if let InstanceState::Terminated { cause } = instance.state {
                    let at = ended.unwrap_or_else(|| self.clock());
                    self.edge(Edge::Terminate, Moment::AfterCall)?;
                    self.accepted(k, at);
                    return self.gone(k, at, cause);
                }
                if instance.state == InstanceState::Stopping && k.accepted_at().is_some() {
                    return Ok(());
                }
            }
            Ok(Described::NotFound) => {
                // Terminate anyway: a fresh machine may not be visible yet. Then count the absence.
                let Ok(answer) = self.terminate(m) else { return Ok(()) };
                self.edge(Edge::Terminate, Moment::AfterCall)?;
                if answer == Ended::Requested {
                    let now = self.clock();
                    self.accepted(k, now);
                }
                let mut absence = k.absence.clone();
                let proven = absence.proven(self, m);
                k.absence = absence;
                if proven {
                    let now = self.clock();
                    self.accepted(k, now);
                    self.gone(k, now, DeathCause::Unsaid)?;
                }
                return Ok(());
            }
            Err(_) => {}
        }
        let Ok(answer) = self.terminate(m) else { return Ok(()) };
        self.edge(Edge::Terminate, Moment::AfterCall)?;
        let at = ended.unwrap_or_else(|| self.clock());
        match answer {
            Ended::Requested => {
                self.accepted(k, at);
                Ok(())
            }
            Ended::Gone => {
                self.accepted(k, at);
                self.gone(k, at, DeathCause::ByUser)
            }
            Ended::NotFound if self.has(Bug::NotFoundIsGone) => {
                self.gone(k, at, DeathCause::ByUser)
            }
            Ended::NotFound => Ok(()),
        }
    }

    /// Billing is over for the job's books.
    fn accepted(&mut self, k: &mut Keeper, at: Timestamp) {
        if let RowState::Ending { since, accepted_at: None } = k.row.state {
            k.row.state = RowState::Ending { since, accepted_at: Some(at) };
            k.row.ended_at = k.row.ended_at.or(Some(at));
            self.store.put_row(k.row.clone());
        }
        let at = k.row.ended_at.unwrap_or(at);
        self.tell(Happening::Released { epoch: k.row.epoch, at }, None);
    }

    fn gone(&mut self, k: &mut Keeper, at: Timestamp, cause: DeathCause) -> Step {
        k.row.state = RowState::Gone { at, cause };
        k.row.ended_at = k.row.ended_at.or(Some(at));
        self.check_row(&k.row);
        self.store.put_row(k.row.clone());
        self.edge(Edge::Terminate, Moment::AfterPersist)?;
        self.tell(Happening::Dead { epoch: k.row.epoch, cause, at }, None);
        Ok(())
    }

    /// An unresolved create of a job that has ended: found and ended, or proven absent.
    pub(crate) fn adopt(&mut self, token: &Token) -> Step {
        let Some(mut row) = self.store.rows.get(token).cloned() else { return Ok(()) };
        let Some(omitted) = self.memory().adopting.get(token).copied() else { return Ok(()) };
        let provider = row.place.provider;
        let sells = |c: &super::sim::Cloud| c.offers.iter().any(|o| o.place.provider == provider);
        let cloud = self.clouds.iter().position(sells).expect("invariant: rows name clouds");
        if let Ok((shown, complete)) = self.list(cloud) {
            if let Some(m) = shown.into_iter().find(|m| self.machines[*m].token == *token) {
                row.instance = Some(self.machines[m].id.clone());
                row.launched_at = Some(self.machines[m].made);
                row.state = RowState::Ending { since: self.clock(), accepted_at: None };
            } else if complete && self.now > self.now_plus_window(cloud, row.created_at) {
                self.memory().adopting.insert(token.clone(), omitted + 1);
            }
        }
        if omitted >= 12 {
            row.state = RowState::Refused;
        }
        if row.state.is_final() || row.instance.is_some() {
            self.check_row(&row);
            self.store.put_row(row);
            self.memory().adopting.remove(token);
            self.keep(token);
            return Ok(());
        }
        self.ours(Duration::from_secs(10), Ours::Adopt(token.clone()));
        Ok(())
    }

    /// One look at every cloud: what no live row owns is ended.
    pub(crate) fn reconcile(&mut self) -> Step {
        self.ours(Duration::from_secs(60), Ours::Reconcile);
        for cloud in 0..self.clouds.len() {
            let Ok((shown, _)) = self.list(cloud) else { continue };
            for m in shown {
                let machine = &self.machines[m];
                if machine.is_over() {
                    continue;
                }
                let row = self.store.rows.get(&machine.token);
                let old = self.now > self.now_plus_window(cloud, machine.made);
                if row.map_or(old, |r| r.state.is_final()) {
                    self.note(|| format!("machine {m} has no live row"));
                    // It is looked at again, whatever the answer.
                    let _ = self.terminate(m);
                }
            }
        }
        Ok(())
    }
}
