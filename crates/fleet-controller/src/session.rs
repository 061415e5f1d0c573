//! The one connection to a machine: reach it, talk to its agent, pursue the goal, reach it again.
//!
//! Invariant: unreachable is not dead. A lost connection is reached for again for as long as the state
//! asks; silence counts only while we were awake, and ends in `Lost` only after the long bound.

mod put;
mod reach;
mod relay;
mod talk;

pub(crate) use talk::exit;

use crate::contact::Contact;
use crate::journal::Journal;
use crate::mail::Pull;
use crate::scene::Scene;
use fleet_lifecycle::{Attempt, Happening, SessionGoal};
use fleet_provider::OwnerTag;
use fleet_types::ProviderId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// What a session works with.
pub(crate) struct SessionScene {
    pub scene: Scene,
    /// The attempt as the state has it: address and user may change.
    pub attempt: watch::Receiver<Attempt>,
    pub goal: watch::Receiver<SessionGoal>,
    pub journal: Journal,
    /// Signs of life, shared with the watch.
    pub contact: Arc<Contact>,
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

/// Silence is counted in steps of this …
const STEP: Duration = Duration::from_secs(1);
/// … and a step that took longer was our own sleep.
const LONGEST_STEP: Duration = Duration::from_secs(3);
/// Silence that is shown.
const SHOWN: Duration = Duration::from_secs(20);
/// Between two looks at which address we have.
const READMIT: Duration = Duration::from_secs(60);

/// Runs until it is aborted: the state no longer asks for it.
pub(crate) async fn run(mut s: SessionScene) {
    let facts = s.scene.doc.facts.clone();
    let epoch = s.attempt.borrow().epoch;
    let mut silent = Silence::default();
    let mut pause = Duration::from_millis(200);
    loop {
        let round = Instant::now();
        let attempt = s.attempt.borrow().clone();
        let contact = s.contact.clone();
        let mut let_in = false;
        let once = async {
            match reach::reach(&s.scene, &attempt).await {
                Ok(reached) => {
                    let_in = true;
                    talk::talk(&mut s, reached).await
                }
                Err(parting) => parting,
            }
        };
        let (parting, mut quiet) = without_a_word(&contact, once).await;
        if s.contact.heard_since(round) {
            silent = Silence::default();
            pause = Duration::from_millis(200);
        }
        // The cloud may know by now what became of it.
        s.contact.nudge();
        match parting {
            Parting::Unfit(reason) => {
                s.scene.tell(Happening::Unfit { epoch, reason }).await;
                pause = Duration::from_secs(5);
            }
            Parting::Lost(why) => tracing::debug!(job = %facts.id, %epoch, "not connected: {why}"),
        }
        let rest = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = s.attempt.changed() => if changed.is_err() { return },
        }
        quiet += rest.elapsed().min(pause);
        pause = (pause * 2).min(Duration::from_secs(3));
        // Our own line may be down, or closed by a rule that knows our old address: that is no silence
        // of theirs. The cloud's word in this very round says that the line works.
        // So does an SSH server that lets us in while the agent behind it says nothing.
        if s.contact.runs_since(round) && (silent.admitted || (let_in && silent.told)) {
            silent.time += quiet;
        }
        silent.shown += quiet;
        if silent.shown > SHOWN {
            s.tell_silence(&mut silent, attempt.place.provider).await;
        }
        if silent.time > facts.timing().silence() && s.scene.inner.may_give_up(&facts.id) {
            s.scene.tell(Happening::Lost { epoch }).await;
        }
    }
}

/// Does `work`, and counts how long before its end the agent has said nothing while we were awake.
async fn without_a_word<T>(contact: &Contact, work: impl Future<Output = T>) -> (T, Duration) {
    let mut work = std::pin::pin!(work);
    let (mut quiet, mut since) = (Duration::ZERO, Instant::now());
    loop {
        let done = tokio::select! {
            done = &mut work => Some(done),
            () = tokio::time::sleep(STEP) => None,
        };
        match contact.heard_since(since) {
            true => quiet = Duration::ZERO,
            false => quiet += since.elapsed().min(LONGEST_STEP),
        }
        since = Instant::now();
        if let Some(done) = done {
            return (done, quiet);
        }
    }
}

impl SessionScene {
    /// Shows the silence, and lets SSH in from the address that we have by now.
    async fn tell_silence(&self, silent: &mut Silence, provider: ProviderId) {
        let epoch = self.attempt.borrow().epoch;
        if !silent.told {
            silent.told = true;
            let since = self.scene.now().minus(silent.shown);
            self.scene.tell(Happening::Silent { epoch, since }).await;
        }
        if silent.readmitted.is_none_or(|at| at.elapsed() >= READMIT) {
            silent.readmitted = Some(Instant::now());
            silent.admitted = readmit(&self.scene, provider).await;
        }
    }
}

/// Lets SSH in from the address that we have now, where the cloud has such rules. Answers whether it is
/// certain that we are let in.
async fn readmit(scene: &Scene, provider: ProviderId) -> bool {
    let facts = &scene.doc.facts;
    let Ok(account) = scene.inner.account(&facts.realm).await else { return false };
    let Ok(driver) = scene.inner.clouds.get(&facts.realm, provider).await else { return false };
    let Some(rules) = driver.auxiliary() else { return true };
    let Some(cidr) = crate::address::admit_from(&account.realm).await else { return false };
    let owner = OwnerTag { fleet: facts.fleet.clone() };
    match rules.admit(&owner, &cidr).await {
        Ok(()) => true,
        Err(e) => {
            tracing::warn!("SSH from {cidr} could not be admitted: {e}");
            false
        }
    }
}

/// Time without a word.
#[derive(Default)]
struct Silence {
    /// All of it; shown.
    shown: Duration,
    /// The part that counts: we were awake, admitted, and the cloud called it running.
    time: Duration,
    told: bool,
    admitted: bool,
    readmitted: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_time_since_the_last_word_is_silence() {
        let contact = Contact::default();
        let spoken = Duration::from_millis(1300);
        let work = async {
            tokio::time::sleep(spoken).await;
            contact.hear();
            tokio::time::sleep(Duration::from_millis(2500)).await;
        };
        let ((), quiet) = without_a_word(&contact, work).await;
        assert!(quiet >= Duration::from_millis(1500), "{quiet:?}");
        assert!(
            quiet < Duration::from_millis(3500),
            "what came before the word counted: {quiet:?}"
        );
    }

    #[tokio::test]
    async fn sleep_of_our_own_is_no_silence_of_theirs() {
        let work = async {
            // As in a stopped process, nothing runs here, not even the count.
            std::thread::sleep(LONGEST_STEP * 2);
        };
        let ((), quiet) = without_a_word(&Contact::default(), work).await;
        assert!(quiet <= LONGEST_STEP, "{quiet:?}");
    }
}
