//! Has requests to the job's store signed where this machine holds no key.
//!
//! The question goes to whoever is in contact, the answer comes back through the core. Invariant: nobody waits
//! here for ever; without a session the answer is no at once, and a session that ends answers all that
//! was asked of it. It must never be called by the core's own thread, which brings the answers.

use crate::bucket::Asker;
use crate::outbox::Outbox;
use fleet_agent_api::{FromAgent, SignedCall, StoreCall};
use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A controller in contact answers sooner, or not at all.
const PATIENCE: Duration = Duration::from_secs(30);

type Answer = Result<Vec<SignedCall>, String>;

/// Questions to the controller that wait for their answers.
#[derive(Default)]
pub(crate) struct Signer {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    session: Option<Arc<Outbox>>,
    last: u32,
    waiting: HashMap<u32, SyncSender<Answer>>,
}

impl Signer {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is in contact now. What another was asked will not be answered.
    pub(crate) fn session(&self, session: Option<Arc<Outbox>>) {
        let mut inner = self.lock();
        inner.session = session;
        inner.waiting.clear();
    }

    /// Brings an answer; one that nobody waits for any more is dropped.
    pub(crate) fn answer(&self, request: u32, answer: Answer) {
        if let Some(asker) = self.lock().waiting.remove(&request) {
            // Fails where the asker has just lost patience.
            let _ = asker.try_send(answer);
        }
    }

    fn ask(&self, calls: &[StoreCall], patience: Duration) -> Answer {
        let (sender, answer) = sync_channel(1);
        let request = {
            let mut inner = self.lock();
            let Some(session) = inner.session.clone() else {
                return Err("no controller is in contact to sign the request".into());
            };
            inner.last += 1;
            let request = inner.last;
            inner.waiting.insert(request, sender);
            session.say(&FromAgent::Sign { request, calls: calls.to_vec() });
            request
        };
        match answer.recv_timeout(patience) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => {
                Err("contact was lost before the request was signed".into())
            }
            Err(RecvTimeoutError::Timeout) => {
                self.lock().waiting.remove(&request);
                Err(format!("no signature came within {} s", patience.as_secs()))
            }
        }
    }
}

impl Asker for Signer {
    fn sign(&self, calls: &[StoreCall]) -> Answer {
        self.ask(calls, PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bell::Bell;
    use std::thread;

    fn call() -> StoreCall {
        StoreCall { method: "PUT".into(), key: "k".into(), query: Vec::new() }
    }

    /// A signer in contact, with one question asked.
    fn asked(patience: Duration) -> (Arc<Signer>, thread::JoinHandle<Answer>) {
        let signer = Arc::new(Signer::default());
        signer.session(Some(Arc::new(Outbox::new(1, Arc::new(Bell::default())))));
        let asker = Arc::clone(&signer);
        let question = thread::spawn(move || asker.ask(&[call()], patience));
        while signer.lock().waiting.is_empty() {
            thread::yield_now();
        }
        (signer, question)
    }

    #[test]
    fn answers_reach_their_questions() {
        let (signer, question) = asked(PATIENCE);
        signer.answer(9, Ok(Vec::new()));
        let url = "https://signed".to_owned();
        signer.answer(1, Ok(vec![SignedCall { call: call(), url, expires_in_ms: 1 }]));
        assert_eq!(question.join().unwrap().unwrap()[0].url, "https://signed");
    }

    #[test]
    fn nobody_in_contact_is_a_no_at_once_and_so_is_a_lost_contact() {
        let signer = Signer::default();
        assert!(signer.sign(&[call()]).unwrap_err().contains("no controller"));
        let (signer, question) = asked(PATIENCE);
        signer.session(None);
        assert!(question.join().unwrap().unwrap_err().contains("lost"));
    }

    #[test]
    fn silence_is_waited_for_no_longer_than_patience() {
        let (signer, question) = asked(Duration::from_millis(100));
        assert!(question.join().unwrap().unwrap_err().contains("no signature"));
        assert!(signer.lock().waiting.is_empty());
    }
}
