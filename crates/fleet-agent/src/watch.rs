//! Watches the checkpoint folder and says when a picture is due.
//!
//! inotify tells of changes; where it cannot, the folder is listed twice a second. A picture is due when
//! all has been quiet for the configured time, or shortly after a rename into the folder, when nothing
//! else is being written (at the latest the quiet time after that rename; then what is being written is
//! left out). Invariant: after the task's end one last picture is taken, whatever happened before.

use crate::checkpoint::{Camera, Taken};
use crate::clock;
use crate::core::{Event, Wire};
use crate::error::Result;
use crate::parcel::{self, Found, Kind};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks where inotify does not help.
const LOOK: Duration = Duration::from_millis(400);
/// After a rename: time for the next file of the same save.
const SETTLE: Duration = Duration::from_millis(100);
/// A file written to less than this long ago is a save in progress.
const BUSY: Duration = Duration::from_millis(1000);

/// The other end of a watching thread.
pub(crate) struct Watch {
    order: UnixStream,
}

impl Watch {
    /// Starts watching.
    pub(crate) fn start(
        folder: PathBuf,
        camera: Camera,
        quiet: Duration,
        wire: Wire,
    ) -> Result<Self> {
        use crate::error::Doing;
        let (order, orders) = UnixStream::pair().doing(|| "make a socket pair".into())?;
        orders.set_nonblocking(true).doing(|| "set up a socket".into())?;
        thread::spawn(move || Eye::new(folder, camera, quiet, wire).run(orders));
        Ok(Self { order })
    }
    /// The last picture was lost: take it again.
    pub(crate) fn retake(&mut self) {
        let _ = self.order.write_all(b"r");
    }
    /// The task is gone: take the last picture and end.
    pub(crate) fn finish(&mut self) {
        let _ = self.order.write_all(b"f");
    }
}

struct Eye {
    folder: PathBuf,
    camera: Camera,
    quiet: Duration,
    wire: Wire,
    notify: Option<Inotify>,
    armed: bool,
    places: HashMap<WatchDescriptor, String>,
    /// Files written to and not closed, and when last.
    writing: HashMap<String, Instant>,
    dirty: bool,
    last_change: Instant,
    renamed: Option<Instant>,
    last_look: Vec<Found>,
}

impl Eye {
    fn new(folder: PathBuf, camera: Camera, quiet: Duration, wire: Wire) -> Self {
        Self {
            folder,
            camera,
            quiet,
            wire,
            notify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok(),
            armed: false,
            places: HashMap::new(),
            writing: HashMap::new(),
            dirty: true,
            last_change: Instant::now(),
            renamed: None,
            last_look: Vec::new(),
        }
    }

    fn run(mut self, mut orders: UnixStream) {
        loop {
            if !self.armed {
                self.arm();
            }
            self.wait(&orders);
            let mut order = [0; 16];
            let length = orders.read(&mut order).unwrap_or(0);
            self.hear();
            if order[..length].contains(&b'f') {
                return self.last_picture();
            }
            if order[..length].contains(&b'r') {
                self.camera.forget();
                self.changed();
            }
            if let Some(unfinished) = self.is_due() {
                self.picture(&unfinished);
            }
        }
    }

    fn wait(&self, orders: &UnixStream) {
        let mut wait = if self.armed { Duration::from_secs(30) } else { LOOK };
        if self.dirty {
            let until_quiet = self.quiet.saturating_sub(self.last_change.elapsed());
            wait = wait.min(until_quiet);
            if self.renamed.is_some() {
                wait = wait.min(SETTLE);
            }
        }
        let mut fds = vec![PollFd::new(orders.as_fd(), PollFlags::POLLIN)];
        if let Some(notify) = self.notify.as_ref().filter(|_| self.armed) {
            fds.push(PollFd::new(notify.as_fd(), PollFlags::POLLIN));
        }
        // A signal or an error here only means to look earlier.
        let _ = poll(&mut fds, clock::poll_timeout(wait));
    }

    /// Watches the folder and every folder in it; what is watched already stays so.
    fn arm(&mut self) {
        let Some(notify) = &self.notify else { return self.look() };
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let (mut places, mut folders) = (HashMap::new(), vec![String::new()]);
        while let Some(folder) = folders.pop() {
            let place = self.folder.join(&folder);
            match notify.add_watch(&place, flags) {
                Ok(descriptor) => places.insert(descriptor, folder.clone()),
                Err(_) if folder.is_empty() || place.is_dir() => {
                    self.armed = false;
                    return self.look();
                }
                Err(_) => continue,
            };
            folders.extend(subfolders(&place, &folder));
        }
        if !self.armed {
            self.armed = true;
            self.changed();
        }
        self.places = places;
    }

    /// The way without inotify: compares two listings.
    fn look(&mut self) {
        let Ok(found) = parcel::scan(&self.folder, &|_| false) else { return };
        if found == self.last_look {
            return;
        }
        let before: HashMap<&str, &Kind> =
            self.last_look.iter().map(|f| (f.path.as_str(), &f.kind)).collect();
        let now = Instant::now();
        for entry in &found {
            if before.get(entry.path.as_str()) != Some(&&entry.kind) {
                self.writing.insert(entry.path.clone(), now);
            }
        }
        self.last_look = found;
        self.changed();
    }

    fn changed(&mut self) {
        self.dirty = true;
        self.last_change = Instant::now();
    }

    fn hear(&mut self) {
        let mut reshaped = false;
        while let Some(Ok(events)) = self.notify.as_ref().map(Inotify::read_events) {
            for event in events {
                reshaped |= self.heard(event);
            }
        }
        if reshaped {
            self.arm();
        }
    }

    /// Takes one event; whether folders came, went or moved.
    fn heard(&mut self, event: InotifyEvent) -> bool {
        let has = |flag| event.mask.contains(flag);
        if has(AddWatchFlags::IN_IGNORED) {
            let gone = self.places.remove(&event.wd);
            if gone.is_some_and(|p| p.is_empty()) {
                self.armed = false;
            }
            return false;
        }
        self.changed();
        if has(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        if has(AddWatchFlags::IN_MOVE_SELF) {
            self.armed = self.places.get(&event.wd).is_none_or(|p| !p.is_empty());
            return true;
        }
        let name = event.name.and_then(|n| n.into_string().ok());
        let (Some(folder), Some(name)) = (self.places.get(&event.wd), name) else { return true };
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if has(AddWatchFlags::IN_MOVED_TO) {
            self.renamed.get_or_insert_with(Instant::now);
        }
        if has(AddWatchFlags::IN_ISDIR) {
            return true;
        }
        if has(AddWatchFlags::IN_MODIFY) || has(AddWatchFlags::IN_CREATE) {
            self.writing.insert(path, Instant::now());
        } else {
            self.writing.remove(&path);
        }
        false
    }

    /// What to leave out of the picture that is due now.
    fn is_due(&mut self) -> Option<HashSet<String>> {
        if !self.dirty {
            return None;
        }
        let quiet = self.quiet;
        self.writing.retain(|_, at| at.elapsed() < quiet);
        let still = self.last_change.elapsed();
        if still >= quiet {
            return Some(HashSet::new());
        }
        let since = self.renamed?.elapsed();
        let busy = self.writing.values().any(|at| at.elapsed() < BUSY.min(quiet));
        let is_over = still >= SETTLE.min(quiet) && !busy;
        (is_over || since >= quiet).then(|| self.writing.keys().cloned().collect())
    }

    fn picture(&mut self, unfinished: &HashSet<String>) {
        self.renamed = None;
        match self.camera.take(unfinished) {
            // What was left out is still to come.
            Ok(Taken::New(parcel)) => {
                self.dirty = !self.writing.is_empty();
                self.tell(Event::Checkpoint(parcel));
            }
            Ok(Taken::Nothing) => self.dirty = !self.writing.is_empty(),
            Ok(Taken::TooLarge(reason)) => {
                self.dirty = !self.writing.is_empty();
                self.tell(Event::NoCheckpoint(reason));
            }
            Err(e) if e.is_passing() => {
                // Somebody writes: once more when it has settled.
                self.renamed = Some(Instant::now());
                self.changed();
            }
            Err(e) => {
                self.dirty = false;
                self.tell(Event::NoCheckpoint(e.to_string()));
            }
        }
    }

    fn last_picture(mut self) {
        let last = last_picture(&mut self.camera);
        self.tell(Event::LastCheckpoint(last));
    }

    fn tell(&self, event: Event) {
        // The daemon is leaving when nobody listens.
        let _ = self.wire.send(event);
    }
}

/// A picture of a folder that nobody writes to any more.
pub(crate) fn last_picture(camera: &mut Camera) -> Result<Taken> {
    let mut tries = 0;
    loop {
        match camera.take(&HashSet::new()) {
            Err(e) if e.is_passing() && tries < 5 => tries += 1,
            // The task took its folder away: then it left no checkpoint.
            Err(crate::error::Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(Taken::Nothing);
            }
            other => return other,
        }
    }
}

fn subfolders(place: &Path, folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .filter_map(|e| e.file_name().into_string().ok())
        .map(|name| if folder.is_empty() { name } else { format!("{folder}/{name}") })
        .collect()
}
