//! The seam between the world and the processes of its machines.
//!
//! One implementation starts real machines (`machine`); tests of the wires use one that starts none,
//! because what they check is what clouds say, not what machines do.

use crate::machine::{Machine, MachineSpec};
use futures_util::future::BoxFuture;
use std::io;
use std::path::PathBuf;

/// Starts machines.
pub(crate) trait Runtime: Send + Sync {
    /// Returns when the machine's SSH server listens.
    fn start(&self, spec: MachineSpec) -> BoxFuture<'_, io::Result<Box<dyn Running>>>;
}

/// A machine that was started.
pub(crate) trait Running: Send {
    /// Whether it ended without being killed.
    fn has_exited(&mut self) -> bool;
    /// Kills the whole process tree; returns when none of it is left.
    fn kill(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Machines as real process trees.
pub(crate) struct Processes {
    pub(crate) program: PathBuf,
}

impl Runtime for Processes {
    fn start(&self, spec: MachineSpec) -> BoxFuture<'_, io::Result<Box<dyn Running>>> {
        Box::pin(async move {
            let machine = Machine::start(&self.program, spec).await?;
            Ok(Box::new(machine) as Box<dyn Running>)
        })
    }
}

impl Running for Machine {
    fn has_exited(&mut self) -> bool {
        Machine::has_exited(self)
    }
    fn kill(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { Machine::kill(&mut self).await })
    }
}
