//! `fleet-agent daemon`: boots the agent, keeps its timers, and leaves when released.
//!
//! Invariant: one daemon a job (a lock on its folder), detached from whoever started it, with every orphan
//! of the task coming to it. With a task it never ends the machine before the end of the machine's life,
//! however long nobody is in contact.

use crate::base::Base;
use crate::bell::Bell;
use crate::clock;
use crate::core::{Core, Event};
use crate::deadman;
use crate::error::{Doing, Error, Result};
use crate::session::{self, Desk, Shared};
use crate::spool::Spool;
use crate::{gpu, health, notice};
use fleet_agent_api::{AgentConfig, FromAgent, StopReason, TaskState};
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{dup2_stdin, dup2_stdout, setsid};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Events that wait for the core at most.
const EVENTS: usize = 256;
/// After the machine's life, what is in transfer has this long.
const LAST_TRANSFERS: Duration = Duration::from_secs(60);
/// After `Release`, the task has this long to be gone.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// Runs until released.
pub(crate) fn daemon() -> Result<()> {
    let (config, _) = crate::start::read_config(std::io::stdin())?;
    let base = Base::of(&config.job)?;
    let _lock = hold(&base)?;
    // Fails where this leads a session already, which is as good.
    let _ = setsid();
    set_child_subreaper(true).doing(|| "become the orphans' reaper".into())?;
    let memory = base.open(config.epoch)?;
    let bell = Arc::new(Bell::default());
    let spool = Arc::new(Spool::open(&base.spool(), Arc::clone(&bell))?);
    let shared =
        Shared { started: memory.started, placed: memory.placed.clone(), heard: Instant::now() };
    let desk = Arc::new(Desk {
        job: config.job.clone(),
        epoch: config.epoch,
        base: base.clone(),
        bell,
        spool,
        shared: Mutex::new(shared),
    });
    let (wire, events) = sync_channel(EVENTS);
    let core = Core::new(Arc::clone(&desk), memory, wire.clone())?;
    let listener = listen(&base)?;
    detach()?;
    let watched = wire.clone();
    thread::spawn(move || gpu::watch(&watched));
    if let Some(notifier) = config.notifier.filter(|_| core.memory.notice.is_none()) {
        let (every, wire) = (Duration::from_millis(config.notice_poll_ms.max(50)), wire.clone());
        thread::spawn(move || notice::watch(notifier, every, &wire));
    }
    thread::spawn(move || session::accept(&listener, &desk, &wire));
    Timers::new(config, core).run(&events);
    crate::base::absent(fs::remove_file(base.socket())).doing(|| "remove the socket".into())
}

/// Takes the folder's lock; a `start` that only looks may hold it for a moment.
fn hold(base: &Base) -> Result<File> {
    let lock = crate::start::open_lock(&base.daemon_lock())?;
    let since = Instant::now();
    while lock.try_lock().is_err() {
        if since.elapsed() > Duration::from_secs(2) {
            return Err(Error::Refused("an agent of this job runs already".into()));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(lock)
}

fn listen(base: &Base) -> Result<UnixListener> {
    let path = base.socket();
    let what = || format!("listen at `{}`", path.display());
    crate::base::absent(fs::remove_file(&path)).doing(what)?;
    let (_folder, short) = base.socket_by_handle().doing(what)?;
    let listener = UnixListener::bind(&short).doing(what)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).doing(what)?;
    Ok(listener)
}

/// Tells `start` that the socket is there and lets go of its pipes.
fn detach() -> Result<()> {
    crate::say("ready")?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.doing(|| "open /dev/null".into())?;
    dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).doing(|| "leave the terminal".into())
}

struct Timers {
    config: AgentConfig,
    core: Core,
    beat_at: Instant,
    /// On the clock that also counts while the machine is suspended.
    expires_at: Duration,
    is_expired: bool,
    gone_at: Option<Instant>,
    is_ending: bool,
    released_at: Option<Instant>,
}

impl Timers {
    fn new(config: AgentConfig, core: Core) -> Self {
        let life = Duration::from_millis(config.expires_in_ms);
        Self {
            config,
            core,
            beat_at: Instant::now(),
            expires_at: clock::since_boot().saturating_add(life),
            is_expired: false,
            gone_at: None,
            is_ending: false,
            released_at: None,
        }
    }

    fn run(mut self, events: &Receiver<Event>) {
        loop {
            match events.recv_timeout(self.pause()) {
                Ok(event) => self.core.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.core.is_released {
                let since = *self.released_at.get_or_insert_with(Instant::now);
                if self.core.running.is_none() || since.elapsed() > LAST_BREATH {
                    return;
                }
            }
            self.beat();
            self.watch_over_life();
            self.watch_over_contact();
        }
    }

    /// Until the next timer; never long, because suspension moves one clock and not the other.
    fn pause(&self) -> Duration {
        let mut pause = self.beat_at.saturating_duration_since(Instant::now());
        if !self.is_expired {
            pause = pause.min(self.expires_at.saturating_sub(clock::since_boot()));
        }
        if !self.core.memory.started && !self.is_ending {
            pause = pause.min(self.orphan().saturating_sub(self.silence()));
        }
        if let Some(alone) = self.alone().filter(|_| !self.is_ending) {
            pause = pause.min(alone.saturating_sub(self.silence()));
        }
        if self.released_at.is_some() {
            pause = pause.min(Duration::from_millis(100));
        }
        pause.clamp(Duration::from_millis(1), Duration::from_secs(5))
    }

    fn orphan(&self) -> Duration {
        Duration::from_millis(self.config.orphan_ms)
    }
    fn silence(&self) -> Duration {
        self.core.desk.shared().heard.elapsed()
    }

    fn beat(&mut self) {
        if Instant::now() < self.beat_at {
            return;
        }
        self.beat_at = Instant::now() + Duration::from_millis(self.config.beat_ms.max(20));
        if let Some(session) = &self.core.session {
            let beat = health::beat(self.core.desk.base.root(), &self.core.gpus);
            session.beat(&FromAgent::Beat(beat));
        }
    }

    /// The machine's life is over: the task is stopped, then the machine ended.
    fn watch_over_life(&mut self) {
        if !self.is_expired {
            if clock::since_boot() < self.expires_at {
                return;
            }
            self.is_expired = true;
            crate::note("this machine's life is over");
            self.core.stop(StopReason::Limit, None);
        }
        let memory = &self.core.memory;
        if memory.started && !matches!(memory.task, TaskState::Ended(_)) {
            return;
        }
        let since = *self.gone_at.get_or_insert_with(Instant::now);
        let is_wanted = self.core.session.is_some() || self.core.is_saving();
        if memory.settled || !is_wanted || since.elapsed() >= LAST_TRANSFERS {
            self.end_machine("its life is over");
        }
    }

    /// Nobody ever gave a task, or the task is over and its outcome in the store, and nobody calls any more.
    fn watch_over_contact(&mut self) {
        if !self.core.memory.started && self.silence() >= self.orphan() {
            self.end_machine("it was given no task and nobody is in contact");
        }
        if self.alone().is_some_and(|alone| self.silence() >= alone) {
            self.end_machine(
                "its task is over, the outcome is in the store and nobody is in contact",
            );
        }
    }

    /// How long nobody may be in contact now that the outcome is in the store.
    fn alone(&self) -> Option<Duration> {
        let memory = &self.core.memory;
        let is_over = memory.settled && memory.recorded;
        self.config.alone_ms.filter(|_| is_over).map(Duration::from_millis)
    }

    fn end_machine(&mut self, why: &str) {
        if !self.is_ending {
            self.is_ending = true;
            deadman::end_machine(self.config.end_machine.clone(), why);
        }
    }
}
