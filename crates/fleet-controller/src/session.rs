//! The one connection to a machine: reach it, talk to its agent, pursue the goal, reach it again.
//!
//! Invariant: unreachable is not dead. A lost connection is reached for again for as long as the state
//! asks; silence counts only while we were awake, and ends in `Lost` only after the long bound.

mod put;
mod reach;
mod relay;
mod talk;

use crate::clock::now;
use crate::journal::Journal;
use crate::mail::Pull;
use crate::scene::Scene;
use fleet_lifecycle::{Attempt, Happening, SessionGoal};
use fleet_provider::OwnerTag;
use fleet_types::ProviderId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};

/// What a session works with.
pub(crate) struct SessionScene {
    pub scene: Scene,
    /// The attempt as the state has it: address and user may change.
    pub attempt: watch::Receiver<Attempt>,
    pub goal: watch::Receiver<SessionGoal>,
    pub journal: Journal,
    /// Asks the watch to look at the machine at once.
    pub nudge: Arc<Notify>,
    /// Requests for files of the running job.
    pub pulls: mpsc::Receiver<Pull>,
}

/// How a conversation ended.
#[derive(Debug)]
pub(crate) enum Parting {
    /// The connection is gone: reach again.
    Lost(String),
    /// This machine cannot be used.
    Unfit(String),
}

/// The most that one round of reaching counts as silence: what is beyond was our own sleep.
const ROUND: Duration = Duration::from_secs(20);
/// Silence that is shown.
const SHOWN: f64 = 20.0;

/// Runs until it is aborted: the state no longer asks for it.
pub(crate) async fn run(mut s: SessionScene) {
    let facts = s.scene.doc.facts.clone();
    let epoch = s.attempt.borrow().epoch;
    let mut silent = Silence::default();
    let mut pause = Duration::from_millis(200);
    loop {
        let round = Instant::now();
        let attempt = s.attempt.borrow().clone();
        let parting = match reach::reach(&s.scene, &attempt).await {
            Ok(reached) => {
                if silent.told {
                    s.scene.tell(Happening::Heard { epoch }).await;
                }
                silent = Silence::default();
                pause = Duration::from_millis(200);
                let parting = talk::talk(&mut s, reached).await;
                s.nudge.notify_one();
                parting
            }
            Err(parting) => parting,
        };
        match parting {
            Parting::Unfit(reason) => {
                s.scene.tell(Happening::Unfit { epoch, reason }).await;
                pause = Duration::from_secs(5);
            }
            Parting::Lost(why) => {
                tracing::debug!(job = %facts.id, %epoch, "not connected: {why}");
                // The cloud may know by now what became of it.
                s.nudge.notify_one();
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = s.attempt.changed() => if changed.is_err() { return },
        }
        pause = (pause * 2).min(Duration::from_secs(3));
        silent.count(round.elapsed());
        if silent.time > Duration::from_secs_f64(SHOWN) && !silent.told {
            silent.told = true;
            let since = now().minus(silent.time);
            s.scene.tell(Happening::Silent { epoch, since }).await;
            // This machine may have moved to another address, which nothing admits yet.
            readmit(&s.scene, attempt.place.provider).await;
        }
        if silent.time > facts.timing().silence() {
            s.scene.tell(Happening::Lost { epoch }).await;
        }
    }
}

/// Lets SSH in from the address that we have now, where the cloud has such rules.
async fn readmit(scene: &Scene, provider: ProviderId) {
    let facts = &scene.doc.facts;
    let Ok(account) = scene.inner.account(&facts.realm).await else { return };
    let Some(cidr) = crate::address::admit_from(&account.realm).await else { return };
    let Ok(driver) = scene.inner.clouds.get(&facts.realm, provider).await else { return };
    let Some(rules) = driver.auxiliary() else { return };
    let owner = OwnerTag { fleet: facts.fleet.clone() };
    match rules.admit(&owner, &cidr).await {
        Ok(()) => tracing::info!("{} admits SSH from {cidr}", provider.title()),
        Err(e) => tracing::warn!("SSH from {cidr} could not be admitted: {e}"),
    }
}

/// Time without a word while we were awake.
#[derive(Default)]
struct Silence {
    time: Duration,
    told: bool,
}

impl Silence {
    fn count(&mut self, round: Duration) {
        self.time += round.min(ROUND);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_of_our_own_is_no_silence_of_theirs() {
        let mut silence = Silence::default();
        silence.count(Duration::from_secs(6 * 3600));
        assert!(silence.time <= ROUND);
    }
}
