//! How far a machine is kept apart from its host.

use std::fmt;

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

/// The levels, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Isolation {
    /// Own file system over the host's (root only): writes stay in the machine, user data runs, and
    /// root inside has no power over the host's network, clock or disks.
    PrivateRoot,
    /// Own process table, host name, `/tmp` and `/dev/shm`; the host's files can only be read.
    Namespaces,
    /// Own home and temporary directory by variable, and a process tree that dies whole.
    ProcessTree,
}

impl Isolation {
    /// The levels worth trying for this user, from `strongest` down.
    pub(super) fn to_try(strongest: Isolation) -> impl Iterator<Item = Isolation> {
        let root = geteuid().is_root();
        [Isolation::PrivateRoot, Isolation::Namespaces, Isolation::ProcessTree]
            .into_iter()
            .filter(move |level| *level >= strongest)
            .filter(move |level| root || *level != Isolation::PrivateRoot)
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isolation::PrivateRoot => "private-root",
            Isolation::Namespaces => "namespaces",
            Isolation::ProcessTree => "process-tree",
        })
    }
}
