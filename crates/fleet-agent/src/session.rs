//! The socket: who is in contact, and what they say.
//!
//! One controller at a time; a newer connection replaces the older, whose threads are gone before the new
//! one's begin. Folders and blobs are received here, in the session's own thread, so that the disk holds
//! the sender back; everything else goes to the core. Invariant: nothing is done before a `Hello` for this
//! (job, epoch) in this protocol; what is malformed ends the connection and nothing else.

use crate::base::Base;
use crate::bell::Bell;
use crate::core::{Event, Wire};
use crate::error::{Doing, Error, Result};
use crate::outbox::{self, Outbox};
use crate::put::{Answer, Receiver};
use crate::spool::Spool;
use fleet_agent_api::{Decoder, Frame, FromAgent, PROTOCOL, Slot, ToAgent};
use fleet_types::{Epoch, JobId};
use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

const PIECE: usize = 256 << 10;

/// What sessions and core share.
pub(crate) struct Desk {
    pub(crate) job: JobId,
    pub(crate) epoch: Epoch,
    pub(crate) base: Base,
    pub(crate) bell: Arc<Bell>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) shared: Mutex<Shared>,
}

/// Facts that a session needs at once.
pub(crate) struct Shared {
    /// The task was started: its folders are its own.
    pub(crate) started: bool,
    /// Slots in place with their digests.
    pub(crate) placed: Vec<(Slot, String)>,
    /// When the controller was heard last.
    pub(crate) heard: Instant,
}

impl Desk {
    /// The shared facts.
    pub(crate) fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Session {
    stream: UnixStream,
    outbox: Arc<Outbox>,
    threads: Vec<JoinHandle<()>>,
}

impl Session {
    fn replace(self) {
        self.outbox.close();
        // Fails where the peer is gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
        for thread in self.threads {
            // A panicked thread is as gone as one that returned.
            let _ = thread.join();
        }
    }
}

/// Accepts connections for ever.
pub(crate) fn accept(listener: &UnixListener, desk: &Arc<Desk>, wire: &Wire) {
    let (mut current, mut number) = (None::<Session>, 0);
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if let Some(old) = current.take() {
            old.replace();
        }
        number += 1;
        match open(stream, number, desk, wire) {
            Ok(session) => current = Some(session),
            Err(e) => crate::note(&format!("session {number}: {e}")),
        }
    }
}

fn open(stream: UnixStream, number: u64, desk: &Arc<Desk>, wire: &Wire) -> Result<Session> {
    let outbox = Arc::new(Outbox::new(number, Arc::clone(&desk.bell)));
    let copy = || stream.try_clone().doing(|| "copy the socket".into());
    let (output, input) = (copy()?, copy()?);
    let mut threads = Vec::new();
    let (out, spool, wires) = (Arc::clone(&outbox), Arc::clone(&desk.spool), wire.clone());
    threads.push(thread::spawn(move || outbox::write(&out, &output, &spool, &wires)));
    let (out, desk, wire) = (Arc::clone(&outbox), Arc::clone(desk), wire.clone());
    threads.push(thread::spawn(move || {
        let mut ear = Ear { receiver: Receiver::new(desk.base.clone()), desk, out, wire };
        if let Err(e) = ear.listen(input) {
            crate::note(&format!("session {number}: {e}"));
            ear.out.say(&FromAgent::Refused { reason: e.to_string() });
        }
        ear.out.end();
        let _ = ear.wire.send(Event::Left(number));
    }));
    Ok(Session { stream, outbox, threads })
}

struct Ear {
    desk: Arc<Desk>,
    out: Arc<Outbox>,
    wire: Wire,
    receiver: Receiver,
}

impl Ear {
    fn listen(&mut self, mut input: UnixStream) -> Result<()> {
        let (mut decoder, mut buffer) = (Decoder::default(), vec![0; PIECE]);
        let mut is_known = false;
        loop {
            let length = match input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                // A reset is an end like any other.
                Err(_) => return Ok(()),
            };
            decoder.push(&buffer[..length]);
            while let Some(frame) = decoder.next_frame()? {
                if is_known {
                    self.desk.shared().heard = Instant::now();
                    self.frame(&frame)?;
                } else {
                    self.hello(&frame)?;
                    is_known = true;
                }
            }
        }
    }

    fn hello(&self, frame: &Frame) -> Result<()> {
        let ToAgent::Hello { protocol, job, epoch, log_from } = frame.message()? else {
            return Err(Error::Refused("the first message must be hello".into()));
        };
        if protocol != PROTOCOL {
            return Err(Error::Refused(format!(
                "the controller speaks protocol {protocol}, this agent {PROTOCOL}; update the older"
            )));
        }
        if (&job, epoch) != (&self.desk.job, self.desk.epoch) {
            return Err(Error::Refused(format!(
                "this agent serves epoch {} of {}, not epoch {epoch} of {}",
                self.desk.epoch,
                self.desk.job,
                job.as_str().escape_debug()
            )));
        }
        self.desk.shared().heard = Instant::now();
        // Nothing is answered before the welcome.
        let (welcomed, welcome) = sync_channel(1);
        self.tell(Event::Joined(Arc::clone(&self.out), log_from, welcomed))?;
        welcome.recv().map_err(|_| Error::Refused("the agent is leaving".into()))
    }

    fn tell(&self, event: Event) -> Result<()> {
        self.wire.send(event).map_err(|_| Error::Refused("the agent is leaving".into()))
    }

    fn frame(&mut self, frame: &Frame) -> Result<()> {
        let answers = match frame {
            Frame::Blob(blob) => self.receiver.blob(blob),
            Frame::Json(_) => match frame.message()? {
                ToAgent::Put { slot, tree } => self.put(slot, tree),
                ToAgent::Hello { .. } => {
                    return Err(Error::Refused("hello was said already".into()));
                }
                other => return self.tell(Event::Said(self.out.number, other)),
            },
        };
        for answer in answers {
            match answer {
                Answer::Say(message) => self.out.say(&message),
                Answer::Placed(slot, digest) => {
                    self.tell(Event::Placed(slot, digest))?;
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, slot: Slot, tree: fleet_types::Tree) -> Vec<Answer> {
        let (started, placed) = {
            let shared = self.desk.shared();
            let placed = shared.placed.iter().find(|(s, _)| *s == slot).map(|(_, d)| d.clone());
            (shared.started, placed)
        };
        if started && placed.as_deref() != Some(tree.digest().as_str()) {
            let reason = "the task was started: its folders are its own now".into();
            return vec![Answer::Say(FromAgent::PutFailed { slot, reason })];
        }
        self.receiver.put(slot, tree, placed.as_deref())
    }
}
