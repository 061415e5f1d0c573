//! `fleet ssh`: the system's `ssh`, with the job's key and the pinned host key.

use crate::args::Ssh;
use crate::context::Context;
use crate::error::{Error, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) fn run(context: &Context, args: &Ssh) -> Result<u8> {
    let home = context.home()?;
    let access =
        context.block_on(async { Ok(context.server(&home).await?.machine(&args.job).await?) })?;
    let known_hosts = format!("UserKnownHostsFile={}", access.known_hosts_path.display());
    let error = Command::new("ssh")
        .arg("-i")
        .arg(&access.key_path)
        .args(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"])
        .args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", &known_hosts])
        .args(["-o", "ServerAliveInterval=15", "-p", &access.port.to_string()])
        .arg(format!("{}@{}", access.user, access.host))
        .args(&args.rest)
        .exec();
    Err(Error::internal(format!("`ssh` cannot be started: {error}"))
        .hint("install an OpenSSH client, or use: fleet exec JOB -- COMMAND"))
}
