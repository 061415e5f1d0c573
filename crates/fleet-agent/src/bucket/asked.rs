//! Signatures of somebody else: where the machine holds no key, every request is signed by the controller.
//!
//! A signature is used until a minute before its end, so a stock of them bridges silence. Invariant: one
//! thread asks at a time, and what failed while others waited is not asked again for each of them.

use super::clock;
use fleet_agent_api::{SignedCall, StoreCall};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Kept back from a signature's life, for the request itself.
const MARGIN: Duration = Duration::from_secs(60);
/// Addresses are long: so many are some tens of megabytes at the very most.
const MOST: usize = 20_000;

/// Signs requests where the machine holds no key: asks the controller. It blocks for as long as its owner
/// finds right and then fails.
pub(crate) trait Asker: Send + Sync {
    fn sign(&self, calls: &[StoreCall]) -> Result<Vec<SignedCall>, String>;
}

/// Signed addresses that are good for a while.
pub(super) struct Stock {
    asker: Option<Arc<dyn Asker>>,
    signed: Mutex<HashMap<StoreCall, Signed>>,
    /// The last failure and when it came; held while asking.
    asking: Mutex<Option<(Duration, String)>>,
}

struct Signed {
    url: String,
    /// On the clock since boot.
    until: Duration,
}

impl Stock {
    pub(super) fn new(asker: Option<Arc<dyn Asker>>) -> Self {
        Self { asker, signed: Mutex::default(), asking: Mutex::default() }
    }

    /// The signed address of a call. Where the controller must be asked, it is asked for `ahead` as well.
    pub(super) fn url(&self, call: &StoreCall, ahead: &[StoreCall]) -> Result<String, String> {
        self.url_since(&ordered(call.clone()), ahead, clock::since_boot())
    }

    /// `since`: when the caller came; a failure after that is the answer to its question too.
    fn url_since(
        &self,
        call: &StoreCall,
        ahead: &[StoreCall],
        since: Duration,
    ) -> Result<String, String> {
        if let Some(url) = self.kept(call) {
            return Ok(url);
        }
        let mut failed = locked(&self.asking);
        if let Some(url) = self.kept(call) {
            return Ok(url);
        }
        if let Some((_, why)) = failed.as_ref().filter(|(at, _)| *at >= since) {
            return Err(why.clone());
        }
        let mut calls = vec![call.clone()];
        calls.extend(ahead.iter().cloned().map(ordered).filter(|c| c != call));
        calls.retain(|c| self.kept(c).is_none());
        if let Err(why) = self.fetch(&calls) {
            *failed = Some((clock::since_boot(), why.clone()));
            return Err(why);
        }
        self.kept(call).ok_or_else(|| "the controller signed something else".into())
    }

    /// Asks for what is not there or will not last for `span`.
    pub(super) fn fill(&self, calls: &[StoreCall], span: Duration) -> Result<(), String> {
        let until = clock::since_boot() + span;
        let _one_at_a_time = locked(&self.asking);
        let wanted: Vec<_> = {
            let signed = locked(&self.signed);
            let lasts = |call: &StoreCall| signed.get(call).is_some_and(|s| s.until >= until);
            calls.iter().cloned().map(ordered).filter(|call| !lasts(call)).collect()
        };
        if wanted.is_empty() { Ok(()) } else { self.fetch(&wanted) }
    }

    /// Whether a call would need no question.
    pub(super) fn has(&self, call: &StoreCall) -> bool {
        self.kept(&ordered(call.clone())).is_some()
    }

    /// A signature that the store did not take.
    pub(super) fn forget(&self, call: &StoreCall) {
        locked(&self.signed).remove(&ordered(call.clone()));
    }

    fn kept(&self, call: &StoreCall) -> Option<String> {
        let now = clock::since_boot();
        locked(&self.signed).get(call).filter(|s| s.until > now).map(|s| s.url.clone())
    }

    fn fetch(&self, calls: &[StoreCall]) -> Result<(), String> {
        let asker = self.asker.as_ref().ok_or("there is no key and nobody who signs")?;
        let answers = asker.sign(calls)?;
        let now = clock::since_boot();
        let mut signed = locked(&self.signed);
        if signed.len() + answers.len() > MOST {
            signed.retain(|_, s| s.until > now);
        }
        for SignedCall { call, url, expires_in_ms } in answers.into_iter().take(MOST) {
            let life = Duration::from_millis(expires_in_ms);
            // One that lives for less than two minutes is used for half of its life.
            let until = now + life.saturating_sub(MARGIN).max(life / 2);
            signed.insert(ordered(call), Signed { url, until });
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same call, whatever order its query came in.
fn ordered(mut call: StoreCall) -> StoreCall {
    call.query.sort();
    call
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Signs everything for so long, and counts how often it was asked.
    struct Counting {
        life_ms: u64,
        asked: AtomicUsize,
        fails: bool,
    }

    impl Asker for Counting {
        fn sign(&self, calls: &[StoreCall]) -> Result<Vec<SignedCall>, String> {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            if self.fails {
                return Err("nobody is awake".into());
            }
            let sign = |call: &StoreCall| SignedCall {
                call: call.clone(),
                url: format!("http://{number}/{}", call.key),
                expires_in_ms: self.life_ms,
            };
            Ok(calls.iter().map(sign).collect())
        }
    }

    fn stock(life_ms: u64, fails: bool) -> (Arc<Counting>, Stock) {
        let asker = Arc::new(Counting { life_ms, asked: AtomicUsize::new(0), fails });
        (asker.clone(), Stock::new(Some(asker)))
    }

    fn call(key: &str) -> StoreCall {
        StoreCall { method: "PUT".into(), key: key.into(), query: Vec::new() }
    }

    #[test]
    fn a_signature_serves_until_it_ends_or_is_refused() {
        let (asker, stock) = stock(3_600_000, false);
        let ahead = [call("b"), call("c")];
        assert_eq!(stock.url(&call("a"), &ahead).unwrap(), "http://0/a");
        assert_eq!(stock.url(&call("b"), &[]).unwrap(), "http://0/b");
        stock.forget(&call("b"));
        assert_eq!(stock.url(&call("b"), &[]).unwrap(), "http://1/b");
        stock.fill(&[call("a"), call("c")], Duration::from_secs(600)).unwrap();
        assert_eq!(asker.asked.load(Ordering::SeqCst), 2, "both last long enough");
        stock.fill(&[call("a")], Duration::from_secs(3600)).unwrap();
        assert_eq!(asker.asked.load(Ordering::SeqCst), 3, "a minute of its hour is kept back");
        assert!(stock.has(&call("c")) && !stock.has(&call("d")));
    }

    #[test]
    fn the_order_of_a_query_is_nothing() {
        let (_, stock) = stock(3_600_000, false);
        let pair = |n: &str| (n.to_owned(), "1".to_owned());
        let one = StoreCall { query: vec![pair("a"), pair("b")], ..call("k") };
        let two = StoreCall { query: vec![pair("b"), pair("a")], ..call("k") };
        stock.url(&one, &[]).unwrap();
        assert!(stock.has(&two) && !stock.has(&call("k")));
    }

    #[test]
    fn an_ended_signature_is_asked_for_again() {
        let (asker, stock) = stock(0, false);
        assert!(stock.url(&call("a"), &[]).is_err(), "one that is over on arrival serves nobody");
        assert!(stock.url(&call("a"), &[]).is_err());
        assert_eq!(asker.asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_silent_controller_is_not_asked_by_every_lane_in_turn() {
        let (asker, stock) = stock(3_600_000, true);
        let before = clock::since_boot();
        for _ in 0..4 {
            // All four came before the first of them was told.
            let told = stock.url_since(&call("a"), &[], before).unwrap_err();
            assert_eq!(told, "nobody is awake");
        }
        assert_eq!(asker.asked.load(Ordering::SeqCst), 1);
        stock.url(&call("a"), &[]).unwrap_err();
        assert_eq!(asker.asked.load(Ordering::SeqCst), 2, "who comes later asks for himself");
    }
}
