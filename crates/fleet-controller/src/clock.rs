//! The controller's time: this machine's clocks read in one place, the time that jobs go by kept.
//!
//! What time it is decides [`Anchor`]; here clocks are read, the anchor is stored in the home, and a clock
//! outside of this machine is asked where its word could change something. Invariant 27: nothing that
//! concerns a job asks the wall clock. `docs/architecture.md`, "Time", says what is promised.

mod outside;

use crate::error::Result;
use crate::home::{Home, write_private};
use crate::inner::Inner;
use fleet_lifecycle::{Anchor, NEAR, Reading, Stakes, Told, Trust};
use fleet_store::Store;
use fleet_types::{MachineRow, Realm, RealmId, Timestamp};
use nix::time::{ClockId, clock_gettime};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two looks at the clocks.
const LOOK: Duration = Duration::from_secs(5);
/// Between two questions outside while nothing waits for the answer, and between two times stored.
const RARELY: Duration = Duration::from_secs(60);
/// How the alarm begins that a job shows while the clocks differ.
const ALARM: &str = "the clock of this machine";

/// What the wall clock says: for looking, at offers and their age, never for a decision about a job.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as i64)
}

/// One look at this machine's clocks.
fn reading() -> Reading {
    static BOOT: LazyLock<String> = LazyLock::new(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    });
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Reading { wall: wall(), since_boot, boot: BOOT.clone() }
}

/// The time that jobs go by.
pub(crate) struct Clock {
    anchor: Mutex<Anchor>,
    path: PathBuf,
    /// Where a clock outside answers.
    source: String,
    /// A job of a cloud that is not on this machine lives.
    outside: AtomicBool,
    asked: Mutex<Option<Instant>>,
    keeping: tokio::sync::Mutex<()>,
}

impl Clock {
    /// The time as an earlier life left it. `known` is the newest time that was committed.
    pub(crate) fn open(home: &Home, stakes: Stakes, known: Option<Timestamp>) -> Self {
        let path = path(home);
        let anchor = Anchor::start(&reading(), load(&path).as_ref(), known, stakes);
        Self {
            anchor: Mutex::new(anchor),
            path,
            source: crate::address::OUTSIDE.to_owned(),
            outside: AtomicBool::new(stakes == Stakes::Outside),
            asked: Mutex::default(),
            keeping: tokio::sync::Mutex::default(),
        }
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        self.anchor().now(&reading())
    }

    /// It is no earlier than `known`, which was committed.
    pub(crate) fn not_before(&self, known: Timestamp) {
        self.anchor().not_before(known, &reading());
    }

    /// What a wrong time would harm, where something lives.
    pub(crate) fn stakes(&self) -> Stakes {
        if self.outside.load(Ordering::Relaxed) { Stakes::Outside } else { Stakes::Inside }
    }

    /// Before anything that an earlier life left is taken up: asks once where the time is in doubt.
    pub(crate) async fn settle(&self, stakes: Stakes) {
        let doubtful = self.anchor().trust() == Trust::Waiting;
        if doubtful && !self.ask(stakes).await {
            tracing::warn!(
                "this machine was booted anew and no clock outside tells the time; jobs go on from {} for at most a minute",
                self.now()
            );
        }
        self.keep().await;
    }

    /// Before jobs are accepted. Where nothing is `live` the time is taken anew; jobs of clouds that are not
    /// on this machine get one that was compared, where that is possible.
    pub(crate) async fn before_jobs(&self, realm: &Realm, live: bool) {
        let outside = !realm.is_loopback_only(fleet_providers::drivers());
        let before = self.anchor().clone();
        if live {
            self.outside.fetch_or(outside, Ordering::Relaxed);
        } else {
            self.outside.store(outside, Ordering::Relaxed);
            self.anchor().renew(&reading());
        }
        let unsure = self.anchor().trust() != Trust::Confirmed;
        if outside && unsure {
            self.ask(if live { self.stakes() } else { Stakes::Nothing }).await;
        }
        let changed = *self.anchor() != before;
        if changed {
            self.keep().await;
        }
    }

    /// One look: asks outside where that could change anything. Answers how many milliseconds the wall clock
    /// is ahead, where the two differ.
    async fn tend(&self) -> Option<i64> {
        let (asks, waits) = {
            let anchor = self.anchor();
            (anchor.asks(&reading()), anchor.trust() == Trust::Waiting)
        };
        let asked = *lock(&self.asked);
        if asks && (waits || asked.is_none_or(|at| at.elapsed() >= RARELY)) {
            self.ask(self.stakes()).await;
        }
        let gave_up = self.anchor().give_up(&reading());
        if gave_up {
            tracing::warn!("no clock outside tells the time; the wall clock has to do");
            self.keep().await;
        }
        self.anchor().apart(&reading())
    }

    /// Takes the word of a clock outside in; answers whether there was one.
    async fn ask(&self, stakes: Stakes) -> bool {
        *lock(&self.asked) = Some(Instant::now());
        let Some(word) = outside::time(&self.source).await else { return false };
        let told = self.anchor().told(word, &reading(), stakes);
        match told {
            Told::Agrees => tracing::debug!("a clock outside agrees: {word}"),
            Told::Moved(by) => {
                tracing::warn!("a clock outside moved the time of the jobs by {}", span(by));
            }
            Told::Disputed(by) => tracing::warn!(
                "a clock outside is {} from the time of the jobs, which keep the time they were accepted in",
                span(by)
            ),
        }
        self.keep().await;
        true
    }

    /// Stores the time for the next life.
    async fn keep(&self) {
        // One at a time, each the newest: an older one never lies over it.
        let _one = self.keeping.lock().await;
        let (kept, path) = (self.anchor().kept(&reading()), self.path.clone());
        let stored = tokio::task::spawn_blocking(move || {
            let bytes = serde_json::to_vec(&kept).map_err(std::io::Error::other)?;
            write_private(&path, &bytes)
        });
        let done = stored.await.map_err(std::io::Error::other);
        if let Err(e) = done.and_then(|written| written) {
            tracing::warn!("the time is not stored in `{}`: {e}", self.path.display());
        }
    }

    fn anchor(&self) -> MutexGuard<'_, Anchor> {
        lock(&self.anchor)
    }
}

fn path(home: &Home) -> PathBuf {
    home.dir().join("clock.json")
}

fn load(path: &Path) -> Option<Anchor> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds as people say them.
fn span(millis: i64) -> String {
    fleet_types::show_duration(Duration::from_millis(millis.unsigned_abs()))
}

/// What is at stake when the controller starts, and the newest time that was committed.
pub(crate) async fn at_stake(store: &dyn Store) -> Result<(Stakes, Option<Timestamp>)> {
    let (jobs, rows) = (store.jobs(true).await?, store.live_rows().await?);
    let mut realms: BTreeSet<RealmId> = jobs.iter().map(|j| j.realm.clone()).collect();
    realms.extend(rows.iter().map(|r| r.realm.clone()));
    let known = jobs.iter().map(|j| j.created_at).chain(rows.iter().flat_map(times)).max();
    let mut stakes = if realms.is_empty() { Stakes::Nothing } else { Stakes::Inside };
    for id in realms {
        let realm = store.realm(&id).await?;
        if realm.is_some_and(|r| !r.is_loopback_only(fleet_providers::drivers())) {
            stakes = Stakes::Outside;
        }
    }
    Ok((stakes, known))
}

fn times(row: &MachineRow) -> impl Iterator<Item = Timestamp> {
    [Some(row.created_at), row.launched_at, row.ended_at].into_iter().flatten()
}

/// The time for a command beside no server. A clock outside has the first word; without one it is what a
/// server of this boot kept, or the wall clock.
pub(crate) async fn of_command(home: &Home, realm: &Realm) -> Timestamp {
    let inside = realm.is_loopback_only(fleet_providers::drivers());
    let stakes = if inside { Stakes::Inside } else { Stakes::Outside };
    let mut anchor = Anchor::start(&reading(), load(&path(home)).as_ref(), None, stakes);
    if !inside && let Some(word) = outside::time(crate::address::OUTSIDE).await {
        anchor.told(word, &reading(), Stakes::Nothing);
    }
    anchor.now(&reading())
}

/// Looks at the clocks for as long as the controller lives, and tells while they differ.
pub(crate) async fn watch(inner: Weak<Inner>) {
    let (mut told, mut kept) = (None::<i64>, Instant::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.is_idle() {
            // The next job takes the time anew.
            continue;
        }
        let apart = inner.clock.tend().await;
        // Once for each jump.
        let same =
            |by: i64| told.is_some_and(|t| (by - t).unsigned_abs() <= NEAR.as_millis() as u64);
        match apart {
            Some(by) if same(by) => {}
            Some(by) => {
                inner.calm_all(ALARM);
                tell(&inner, by);
                told = Some(by);
            }
            None if told.is_some() => {
                tracing::info!("the wall clock agrees again with the time of the jobs");
                inner.calm_all(ALARM);
                told = None;
            }
            None => {}
        }
        if kept.elapsed() >= RARELY {
            kept = Instant::now();
            inner.clock.keep().await;
        }
    }
}

fn tell(inner: &Arc<Inner>, by: i64) {
    let way = if by > 0 { "ahead of" } else { "behind" };
    let text = format!(
        "{ALARM} is {} {way} the time that the jobs were accepted in; they go on by that time. \
         Look at `date`, and set it right",
        span(by)
    );
    tracing::warn!("{text}");
    inner.raise_all(&text);
}

#[cfg(test)]
mod tests;
