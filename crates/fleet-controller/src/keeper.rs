//! Sees one machine row to its end: terminate until accepted, then until death is proven.
//!
//! Invariant: a keeper never gives up, whatever the cloud answers and however often we restart; the row
//! becomes final only by proof.

use crate::death::Absence;
use crate::inner::Inner;
use crate::mail::Mail;
use fleet_lifecycle::Happening;
use fleet_provider::{OwnerTag, Provider, ProviderError, Termination};
use fleet_types::{
    DeathCause, Fault, Instance, InstanceId, InstanceState, MachineRow, RowState, TimeScale,
    Timestamp,
};
use std::sync::Arc;
use std::time::Duration;

/// Starts a keeper for the row unless it has one.
pub(crate) fn keep(inner: &Arc<Inner>, row: &MachineRow) {
    if !matches!(row.state, RowState::Ending { .. }) || !inner.take_keeper(&row.token) {
        return;
    }
    let (inner, row) = (inner.clone(), row.clone());
    tokio::spawn(async move {
        let token = row.token.clone();
        Keeper { inner: inner.clone(), row }.run().await;
        inner.drop_keeper(&token);
    });
}

/// When a machine that ends or has ended stopped billing, where its cloud says.
fn said_end(instance: &Instance) -> Option<Timestamp> {
    match instance.state {
        InstanceState::Stopping
        | InstanceState::Stopped { .. }
        | InstanceState::Terminated { .. } => instance.ended_at,
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Marked { .. }
        | InstanceState::Unknown(_) => None,
    }
}

struct Keeper {
    inner: Arc<Inner>,
    row: MachineRow,
}

impl Keeper {
    async fn run(mut self) {
        let Some(instance) = self.row.instance.clone() else { return };
        let account = loop {
            match self.inner.account(&self.row.realm).await {
                Ok(account) => break account,
                Err(e) => tracing::warn!("row {}: {e}", self.row.token),
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        let scale = account.realm.time_scale;
        let mut absence = Absence::new(self.row.launched_at.unwrap_or(self.row.created_at));
        let mut pause = Duration::from_millis(500);
        loop {
            // Others may have proven its death: the end of a one-shot sandbox does.
            if let Ok(Some(row)) = self.inner.store.row(&self.row.token).await {
                self.row = row;
            }
            if self.row.state.is_final() {
                return;
            }
            match self.inner.clouds.get(&self.row.realm, self.row.provider()).await {
                Ok(provider) => {
                    if let Err(e) = self.push(&*provider, &instance, &mut absence, scale).await {
                        self.inner.clouds.note(&self.row.realm, self.row.provider(), &e).await;
                        tracing::debug!("ending {instance}: {e}");
                        if e.fault == Fault::Auth {
                            let text = format!(
                                "credentials: {} refuses to end machine {instance}: {}; it bills on",
                                self.row.provider().title(),
                                e.code
                            );
                            self.inner.raise(&self.row.job, &text);
                        }
                    }
                }
                Err(e) => tracing::debug!("ending {instance}: {e}"),
            }
            tokio::time::sleep(pause.min(scale.secs(60.0)).max(Duration::from_millis(200))).await;
            pause = (pause * 2).min(Duration::from_secs(60));
        }
    }

    /// One push: look, terminate where it still lives, book what is proven.
    async fn push(
        &mut self,
        provider: &dyn Provider,
        id: &InstanceId,
        absence: &mut Absence,
        scale: TimeScale,
    ) -> Result<(), ProviderError> {
        let place = self.row.place.clone();
        // When it stopped billing, by the cloud's own word where it gives one.
        let mut ended = None;
        match provider.describe(id, &place).await {
            Ok(instance) => {
                absence.seen();
                if let InstanceState::Terminated { cause } = instance.state {
                    self.over(instance.ended_at, cause).await;
                    return Ok(());
                }
                if instance.state == InstanceState::Stopping && self.is_accepted() {
                    return Ok(());
                }
                ended = said_end(&instance);
            }
            Err(e) if e.fault == Fault::NotFound => {
                // Terminate anyway: a fresh machine may not be visible yet. Then count the absence.
                let answer = provider.terminate(id, &place).await?;
                if answer == Termination::Requested {
                    self.accepted(self.now()).await;
                }
                let owner = OwnerTag { fleet: self.fleet() };
                if absence.proven(provider, &owner, id, scale, self.now()).await {
                    // It stopped billing when it went, not when we were sure of that.
                    self.accepted(absence.since().unwrap_or_else(|| self.now())).await;
                    self.gone(self.now(), DeathCause::Unsaid).await;
                }
                return Ok(());
            }
            Err(e) => tracing::debug!("describing {id} while ending it: {e}"),
        }
        match provider.terminate(id, &place).await? {
            Termination::Requested => self.accepted(ended.unwrap_or_else(|| self.now())).await,
            Termination::Gone => {
                // Somebody was faster: the cloud knows since when.
                let said = provider.describe(id, &place).await.ok();
                let cause = match said.as_ref().map(|i| &i.state) {
                    Some(InstanceState::Terminated { cause }) => *cause,
                    Some(_) | None => DeathCause::ByUser,
                };
                self.over(said.as_ref().and_then(said_end).or(ended), cause).await;
            }
            Termination::NotFound => {}
        }
        Ok(())
    }

    /// It is gone for good; `ended` is the cloud's word of when.
    async fn over(&mut self, ended: Option<Timestamp>, cause: DeathCause) {
        let at = ended.unwrap_or_else(|| self.now());
        self.accepted(at).await;
        self.gone(at, cause).await;
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    fn fleet(&self) -> fleet_types::FleetId {
        self.inner.home.fleet_id().clone()
    }

    fn is_accepted(&self) -> bool {
        matches!(self.row.state, RowState::Ending { accepted_at: Some(_), .. })
    }

    /// Billing is over for the job's books.
    async fn accepted(&mut self, at: Timestamp) {
        if let RowState::Ending { since, accepted_at: None } = self.row.state {
            self.row.state = RowState::Ending { since, accepted_at: Some(at) };
            self.row.ended_at = self.row.ended_at.or(Some(at));
            self.save().await;
        }
        let at = self.row.ended_at.unwrap_or(at);
        self.tell(Happening::Released { epoch: self.row.epoch, at }).await;
    }

    async fn gone(&mut self, at: Timestamp, cause: DeathCause) {
        self.row.state = RowState::Gone { at, cause };
        self.row.ended_at = self.row.ended_at.or(Some(at));
        self.save().await;
        self.tell(Happening::Dead { epoch: self.row.epoch, cause, at }).await;
    }

    async fn tell(&self, happening: Happening) {
        if let Some(mailbox) = self.inner.mailbox(&self.row.job)
            && mailbox.send(Mail::Happened(happening)).await.is_err()
        {
            tracing::debug!("job {} ended before its row", self.row.job);
        }
    }

    async fn save(&self) {
        loop {
            match self.inner.store.put_row(self.row.clone()).await {
                Ok(_) => return,
                Err(e) => tracing::warn!("row {} is not saved yet: {e}", self.row.token),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[cfg(test)]
mod tests;
