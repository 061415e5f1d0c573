//! `fleet ssh`: the system's `ssh`, with the job's key and the pinned host key.
//!
//! Without further arguments the shell stands in the task's folder with the variables that fleet gives the
//! task; with some, ssh gets exactly those.

use crate::args::Ssh;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::remote;
use fleet_controller::api::MachineAccess;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) fn run(context: &Context, args: &Ssh) -> Result<u8> {
    let home = context.home()?;
    let access =
        context.block_on(async { Ok(context.server(&home).await?.machine(&args.job).await?) })?;
    let terminal = std::io::stdin().is_terminal();
    let error = Command::new("ssh").args(arguments(&access, &args.rest, terminal)).exec();
    Err(Error::internal(format!("`ssh` cannot be started: {error}"))
        .hint("install an OpenSSH client, or use: fleet exec JOB -- COMMAND"))
}

fn arguments(access: &MachineAccess, rest: &[OsString], terminal: bool) -> Vec<OsString> {
    let known_hosts = format!("UserKnownHostsFile={}", access.known_hosts_path.display());
    let mut arguments: Vec<OsString> = vec!["-i".into(), access.key_path.clone().into()];
    let port = access.port.to_string();
    let options = [
        ["-o", "IdentitiesOnly=yes"],
        ["-o", "StrictHostKeyChecking=yes"],
        ["-o", "GlobalKnownHostsFile=/dev/null"],
        ["-o", &known_hosts],
        ["-o", "ServerAliveInterval=15"],
        ["-p", &port],
    ];
    arguments.extend(options.as_flattened().iter().map(Into::into));
    let host = format!("{}@{}", access.user, access.host);
    if rest.is_empty() {
        // A machine that is still being prepared has no such folder: the shell then starts at home.
        let shell = format!(
            "{{ {}; }} 2>/dev/null; exec \"${{SHELL:-/bin/sh}}\" -l",
            remote::enter(access)
        );
        // A command gets no terminal unless one is asked for.
        arguments.extend(terminal.then(|| "-t".into()));
        arguments.extend([host.into(), shell.into()]);
    } else {
        arguments.push(host.into());
        arguments.extend(rest.iter().cloned());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::tests::access;

    fn told(rest: &[&str]) -> String {
        let rest: Vec<OsString> = rest.iter().map(Into::into).collect();
        let words = arguments(&access(), &rest, true);
        words.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_bare_login_stands_where_the_task_runs() {
        let told = told(&[]);
        assert!(told.contains("-p 2222 -t ubuntu@192.0.2.1 { cd && cd -P "), "{told}");
        assert!(told.contains("FLEET_ATTEMPT="), "{told}");
        assert!(told.ends_with("exec \"${SHELL:-/bin/sh}\" -l"), "{told}");
    }

    #[test]
    fn what_is_said_to_ssh_is_passed_on_as_it_is() {
        let told = told(&["-L", "8888:localhost:8888"]);
        assert!(told.ends_with("-p 2222 ubuntu@192.0.2.1 -L 8888:localhost:8888"), "{told}");
    }
}
