//! Watches the checkpoint folder and says when a picture is due.
//!
//! inotify tells of changes; where it cannot, the folder is listed twice a second. A picture is due when
//! all has been quiet for the configured time; shortly after a rename into the folder or a file that ends a
//! save, when nothing else is being written (at the latest the quiet time after that; then what is being
//! written is left out); or when a directory has been quiet for that time while others are not, if it is
//! whole now (`layout`). Invariant: after the task's end one last picture is taken, whatever happened before.

use crate::checkpoint::{Camera, Taken, is_temporary};
use crate::clock;
use crate::core::{Event, Wire};
use crate::error::Result;
use crate::layout::{self, Activity, SETTLE};
use crate::parcel::{self, Found, Kind};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks where inotify does not help.
const LOOK: Duration = Duration::from_millis(400);
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
    /// Files that are whole when they are closed, and are open.
    open: HashSet<String>,
    /// Directories in which something changed, renames into them aside, and when last.
    touched: HashMap<String, Instant>,
    /// Files that were in a new directory before it was watched: how they came there made no event.
    missed: HashMap<String, Instant>,
    dirty: bool,
    last_change: Instant,
    /// When a rename, or a file that is written last, said that a save is over.
    hinted: Option<Instant>,
    /// When to look whether a directory is whole now, whoever writes elsewhere.
    look_at: Option<Instant>,
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
            open: HashSet::new(),
            touched: HashMap::new(),
            missed: HashMap::new(),
            dirty: true,
            last_change: Instant::now(),
            hinted: None,
            look_at: None,
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
            if let Some(activity) = self.is_due() {
                self.picture(&activity);
            }
        }
    }

    fn wait(&self, orders: &UnixStream) {
        let mut wait = if self.armed { Duration::from_secs(30) } else { LOOK };
        if self.dirty {
            let until_quiet = self.quiet.saturating_sub(self.last_change.elapsed());
            wait = wait.min(until_quiet);
            if self.hinted.is_some() {
                wait = wait.min(SETTLE);
            }
            for at in self.touched.values().chain(self.missed.values()) {
                wait = wait.min(self.quiet.saturating_sub(at.elapsed()));
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
        let mut missed = Vec::new();
        while let Some(folder) = folders.pop() {
            let place = self.folder.join(&folder);
            let is_new = match notify.add_watch(&place, flags) {
                Ok(descriptor) => {
                    let is_new = !self.places.contains_key(&descriptor);
                    places.insert(descriptor, folder.clone());
                    is_new
                }
                Err(_) if folder.is_empty() || place.is_dir() => {
                    self.armed = false;
                    return self.look();
                }
                Err(_) => continue,
            };
            let (below, files) = contents(&place, &folder);
            folders.extend(below);
            if is_new && self.armed {
                missed.extend(files);
            }
        }
        if missed.iter().any(|path| is_end(path)) {
            self.hint();
        }
        let now = Instant::now();
        self.missed.extend(missed.into_iter().map(|path| (path, now)));
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
                touch(&mut self.touched, &entry.path);
            }
        }
        self.last_look = found;
        self.changed();
    }

    fn changed(&mut self) {
        self.dirty = true;
        self.last_change = Instant::now();
    }

    /// A save may be over.
    fn hint(&mut self) {
        let now = Instant::now();
        self.hinted.get_or_insert(now);
        self.look_at = Some(now + SETTLE);
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
            self.open.clear();
            return true;
        }
        if has(AddWatchFlags::IN_MOVE_SELF) {
            self.armed = self.places.get(&event.wd).is_none_or(|p| !p.is_empty());
            return true;
        }
        let name = event.name.and_then(|n| n.into_string().ok());
        let (Some(folder), Some(name)) = (self.places.get(&event.wd), name) else { return true };
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let is_file = !has(AddWatchFlags::IN_ISDIR);
        if has(AddWatchFlags::IN_MOVED_TO)
            || (is_file && has(AddWatchFlags::IN_CLOSE_WRITE) && is_end(&path))
        {
            self.hint();
        }
        if !has(AddWatchFlags::IN_MOVED_TO) && !has(AddWatchFlags::IN_MOVED_FROM) {
            // A directory that comes into being is one that is being written.
            let inside = if is_file { path.clone() } else { format!("{path}/") };
            touch(&mut self.touched, &inside);
        }
        if is_file {
            let is_open = has(AddWatchFlags::IN_MODIFY) || has(AddWatchFlags::IN_CREATE);
            self.written(path, is_open, has(AddWatchFlags::IN_MODIFY));
        }
        !is_file
    }

    /// Notes that a file is being written, or no more.
    fn written(&mut self, path: String, is_open: bool, is_modified: bool) {
        self.missed.remove(&path);
        if !is_open {
            self.writing.remove(&path);
            self.open.remove(&path);
            return;
        }
        // A second name for a file, or a link, comes into being without ever being closed.
        if layout::ends_when_closed(&path) && (is_modified || is_fresh(&self.folder.join(&path))) {
            self.open.insert(path.clone());
        }
        self.writing.insert(path, Instant::now());
    }

    /// What is being written while a picture is due now.
    fn is_due(&mut self) -> Option<Activity> {
        if !self.dirty {
            return None;
        }
        let quiet = self.quiet;
        self.writing.retain(|_, at| at.elapsed() < quiet);
        let before = self.touched.len();
        self.touched.retain(|_, at| at.elapsed() < quiet);
        let has_calmed = self.touched.len() < before;
        // One that has been quiet since may have been renamed there.
        let quiet_since = self.missed.values().copied().filter(|at| at.elapsed() >= quiet).min();
        self.missed.retain(|_, at| at.elapsed() < quiet);
        self.hinted = self.hinted.or(quiet_since);
        let still = self.last_change.elapsed();
        if still >= quiet {
            return Some(self.activity(false));
        }
        let busy = self.writing.values().any(|at| at.elapsed() < BUSY.min(quiet));
        let is_over = still >= SETTLE.min(quiet) && !busy;
        let hinted = self.hinted.map(|since| since.elapsed());
        if hinted.is_some_and(|since| is_over || since >= quiet) {
            return Some(self.activity(false));
        }
        // A directory that is whole does not wait for whoever writes elsewhere.
        let is_early = self.look_at.take_if(|at| *at <= Instant::now()).is_some();
        (has_calmed || is_early).then(|| self.activity(true))
    }

    fn activity(&self, only_news: bool) -> Activity {
        Activity {
            writing: self.writing.keys().chain(&self.open).cloned().collect(),
            touched: self.touched.iter().map(|(f, at)| (f.clone(), at.elapsed())).collect(),
            only_news,
        }
    }

    fn picture(&mut self, activity: &Activity) {
        if !activity.only_news {
            self.hinted = None;
            self.look_at = None;
        }
        let taken = self.camera.take(activity);
        // What was left out is still to come.
        let has_more = !self.writing.is_empty() || self.camera.has_more;
        match taken {
            Ok(Taken::New(parcel)) => {
                self.dirty = has_more;
                self.tell(Event::Checkpoint(parcel));
            }
            Ok(Taken::Nothing) => self.dirty = has_more,
            // When all is quiet, only a change can make it more.
            Ok(Taken::NotYet) => self.dirty = self.last_change.elapsed() < self.quiet,
            Ok(Taken::TooLarge(reason)) => {
                self.dirty = has_more;
                self.tell(Event::NoCheckpoint(reason));
            }
            Err(e) if e.is_passing() => {
                // Somebody writes: once more when it has settled.
                self.hinted = Some(Instant::now());
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
        match camera.take(&Activity::default()) {
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

/// Folders in a folder, and its files but for temporary ones.
fn contents(place: &Path, folder: &str) -> (Vec<String>, Vec<String>) {
    let Ok(entries) = fs::read_dir(place) else { return (Vec::new(), Vec::new()) };
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            folders.push(path);
        } else if !is_temporary(&path) {
            files.push(path);
        }
    }
    (folders, files)
}

fn is_end(path: &str) -> bool {
    layout::is_last_word(path) && !is_temporary(path)
}

/// Notes a change in the directory of a file, unless its name says that it does not count yet.
fn touch(touched: &mut HashMap<String, Instant>, path: &str) {
    if let Some((folder, _)) = path.rsplit_once('/')
        && !is_temporary(path)
    {
        touched.insert(folder.to_owned(), Instant::now());
    }
}

/// Whether a file has come into being under this name alone.
fn is_fresh(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.nlink() == 1)
}
