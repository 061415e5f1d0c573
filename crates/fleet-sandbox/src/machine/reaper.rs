//! Process 1's duty: every child is waited for, ours and those we inherit.
//!
//! One thread waits for any child, which rules out waiting for particular ones elsewhere; so all
//! children are started here, and their exit status is handed to whoever started them.

use std::collections::HashMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use tokio::sync::oneshot;

/// Starts children and reaps them.
#[derive(Debug, Default, Clone)]
pub(super) struct Reaper(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    awaited: Mutex<HashMap<i32, oneshot::Sender<u32>>>,
    started: Condvar,
}

impl Reaper {
    /// Starts the thread that reaps.
    pub(super) fn new() -> io::Result<Reaper> {
        let reaper = Reaper::default();
        let inner = reaper.0.clone();
        std::thread::Builder::new().name("reaper".into()).spawn(move || inner.run())?;
        Ok(reaper)
    }

    /// Starts a command; the receiver yields its exit status, 128 + n after signal n.
    pub(super) fn spawn(
        &self,
        command: &mut Command,
    ) -> io::Result<(Child, oneshot::Receiver<u32>)> {
        // Held until the child is known, so that its death cannot be reaped before.
        let mut awaited = self.0.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let (tell, status) = oneshot::channel();
        awaited.insert(child.id().cast_signed(), tell);
        self.0.started.notify_one();
        Ok((child, status))
    }
}

impl Inner {
    fn run(&self) {
        loop {
            let (pid, status) = match waitpid(None, None) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code.cast_unsigned()),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + (signal as u32)),
                Err(Errno::ECHILD) => {
                    // Without children there are no orphans to come either.
                    let awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
                    if awaited.is_empty() {
                        let _woken = self.started.wait(awaited);
                    }
                    continue;
                }
                Ok(_) | Err(_) => continue,
            };
            let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(tell) = awaited.remove(&pid.as_raw()) {
                let _nobody_waits = tell.send(status);
            }
        }
    }
}
