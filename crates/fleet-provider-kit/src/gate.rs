//! Rate gates: calls pass with a least distance between them.
//!
//! Clouds that punish fast callers without saying when to come back need one gate an endpoint on our
//! side. This is the only place where a driver may wait. Invariants: a [`Gate`] grants turns in order and
//! never faster than its rate, from however many tasks; a [`Turnstile`] keeps its distance as the cloud
//! measures it, whatever the network does, because the next call starts only after the last one's answer.

use fleet_types::TimeScale;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Lets calls through at a rate. The interval is stretched by the time scale.
#[derive(Debug)]
pub struct Gate {
    interval: Duration,
    /// How far ahead of the rate a caller may run.
    slack: Duration,
    /// When the next call would pass if there were no slack.
    next: Mutex<Option<Instant>>,
}

impl Gate {
    /// A gate with `interval` between calls, `burst` (at least 1) of which may pass at once.
    pub fn new(interval: Duration, burst: u32, scale: TimeScale) -> Self {
        let interval = scale.span(interval);
        Self { interval, slack: interval * burst.saturating_sub(1), next: Mutex::new(None) }
    }

    /// Waits for a turn.
    pub async fn pass(&self) {
        let at = self.reserve(Instant::now());
        tokio::time::sleep_until(at).await;
    }

    /// Moves the next turn away, after the cloud complained.
    pub fn hold_off(&self, span: Duration) {
        self.hold_off_from(Instant::now(), span);
    }

    fn hold_off_from(&self, now: Instant, span: Duration) {
        let until = now + self.slack + span;
        let mut next = self.next.lock().unwrap_or_else(|e| e.into_inner());
        *next = Some(next.map_or(until, |n| n.max(until)));
    }

    /// Takes the next turn and says when it is.
    fn reserve(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(|e| e.into_inner());
        let due = next.map_or(now, |n| n.max(now));
        *next = Some(due + self.interval);
        due.checked_sub(self.slack).map_or(now, |at| at.max(now))
    }
}

/// Lets one call through at a time, with a least distance from the end of one to the start of the next.
///
/// For endpoints that are called rarely and punish the smallest haste. A call that hangs holds the others.
#[derive(Debug)]
pub struct Turnstile {
    interval: Duration,
    /// When the next call may start.
    next: tokio::sync::Mutex<Instant>,
}

impl Turnstile {
    /// A turnstile with `interval`, stretched by the time scale, between calls.
    pub fn new(interval: Duration, scale: TimeScale) -> Self {
        Self { interval: scale.span(interval), next: tokio::sync::Mutex::new(Instant::now()) }
    }

    /// Runs a call when its turn comes. One that is dropped midway keeps the distance too.
    pub async fn run<T>(&self, call: impl Future<Output = T>) -> T {
        let mut turn = Turn { next: self.next.lock().await, interval: self.interval };
        tokio::time::sleep_until(*turn.next).await;
        turn.used();
        call.await
    }

    /// The same, but `None`, and no call, if its turn does not come within `patience`.
    pub async fn run_within<T>(
        &self,
        patience: Duration,
        call: impl Future<Output = T>,
    ) -> Option<T> {
        let latest = Instant::now() + patience;
        let next = tokio::time::timeout_at(latest, self.next.lock()).await.ok()?;
        if *next > latest {
            return None;
        }
        let mut turn = Turn { next, interval: self.interval };
        tokio::time::sleep_until(*turn.next).await;
        turn.used();
        Some(call.await)
    }

    /// Moves the next turn away, after the cloud complained.
    pub async fn hold_off(&self, span: Duration) {
        let mut next = self.next.lock().await;
        *next = (*next).max(Instant::now() + span);
    }
}

/// The right to call, until it is dropped.
struct Turn<'a> {
    next: tokio::sync::MutexGuard<'a, Instant>,
    interval: Duration,
}

impl Turn<'_> {
    fn used(&mut self) {
        *self.next = Instant::now() + self.interval;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // A turn that was given up while waiting is later than now already.
        let done = Instant::now() + self.interval;
        if *self.next <= done {
            *self.next = done;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(burst: u32) -> Gate {
        Gate::new(Duration::from_secs(4), burst, TimeScale::new(0.5).unwrap())
    }

    #[test]
    fn calls_keep_their_distance_after_the_burst() {
        let (gate, now) = (gate(2), Instant::now());
        let offsets: Vec<u64> =
            (0..4).map(|_| gate.reserve(now).duration_since(now).as_secs()).collect();
        assert_eq!(offsets, [0, 0, 2, 4]);
        let later = now + Duration::from_secs(60);
        assert_eq!(gate.reserve(later), later, "unused turns do not pile up beyond the burst");
        assert_eq!(gate.reserve(later), later);
        assert_eq!(gate.reserve(later), later + Duration::from_secs(2));
    }

    #[test]
    fn a_complaint_moves_the_next_turn() {
        for burst in [1, 3] {
            let (gate, now) = (gate(burst), Instant::now());
            gate.reserve(now);
            gate.hold_off_from(now, Duration::from_secs(12));
            assert_eq!(gate.reserve(now).duration_since(now).as_secs(), 12);
        }
    }

    #[tokio::test]
    async fn a_turnstile_measures_from_the_end_of_a_call() {
        let interval = Duration::from_millis(40);
        let stile = Turnstile::new(interval, TimeScale::default());
        let spans = futures(&stile).await;
        for pair in spans.windows(2) {
            assert!(pair[1].0 >= pair[0].1 + interval, "{pair:?}");
        }
    }

    #[tokio::test]
    async fn a_dropped_call_keeps_the_distance() {
        let interval = Duration::from_millis(40);
        let stile = Turnstile::new(interval, TimeScale::default());
        let hang = stile.run(std::future::pending::<()>());
        assert!(tokio::time::timeout(Duration::from_millis(10), hang).await.is_err());
        let dropped = Instant::now();
        let started = stile.run(async { Instant::now() }).await;
        assert!(started + Duration::from_millis(5) >= dropped + interval);
        stile.hold_off(Duration::from_millis(60)).await;
        let complained = Instant::now();
        assert!(
            stile.run(async { Instant::now() }).await >= complained + Duration::from_millis(55)
        );
    }

    #[tokio::test]
    async fn a_call_whose_turn_is_far_away_is_not_made() {
        let stile = Turnstile::new(Duration::from_secs(60), TimeScale::default());
        let short = Duration::from_millis(20);
        assert_eq!(stile.run_within(short, async { 1 }).await, Some(1));
        assert_eq!(stile.run_within(short, async { 2 }).await, None);
        let quick = Turnstile::new(Duration::from_millis(5), TimeScale::default());
        quick.run(async {}).await;
        assert_eq!(quick.run_within(Duration::from_secs(5), async { 3 }).await, Some(3));
    }

    /// Start and end of three calls that want to run at once, sorted.
    async fn futures(stile: &Turnstile) -> Vec<(Instant, Instant)> {
        let call = || {
            stile.run(async {
                let start = Instant::now();
                tokio::task::yield_now().await;
                (start, Instant::now())
            })
        };
        let (a, b, c) = tokio::join!(call(), call(), call());
        let mut spans = vec![a, b, c];
        spans.sort();
        spans
    }
}
