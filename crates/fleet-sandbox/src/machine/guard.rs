//! The outer process of a machine: makes its namespaces, starts its init, and ends it.
//!
//! It has one thread and does nothing but wait for two pipes: the lifeline to the sandbox (its stdin)
//! and the init's stdout. When either closes, the machine ends: in namespaces by killing process 1, which
//! makes the kernel end all others, else by hunting down every descendant. It exits after the last.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{getegid, geteuid};

use super::{Boot, Explain, Failure, Isolation, MAP, READY, Role, SUBCOMMAND, files, tree};

pub(super) fn run(boot: Boot) -> Result<ExitCode, Failure> {
    let isolation = boot.isolation;
    let record = boot.spec.dir.join("isolation");
    enter(isolation)?;
    let file = files::write_boot(&Boot { role: Role::Init, ..boot }, "init.json")
        .or_broken("cannot write the init's specification")?;
    let mut init = Command::new("/proc/self/exe")
        .arg0("fleet-machine")
        .arg(SUBCOMMAND)
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .or_refused("cannot start the init")?;
    let watched =
        watch(&mut init, || files::write(&record, format!("{isolation}\n").as_bytes(), 0o600));
    // Whatever went wrong, nothing may stay behind.
    let _already_dead = init.kill();
    let status = init.wait().or_broken("cannot wait for the init")?;
    if isolation == Isolation::ProcessTree {
        tree::end_descendants();
    }
    watched.or_broken("cannot watch the machine")?;
    // Only a status, never a signal, can be passed on; a killed machine is no failure of the guard.
    Ok(status.code().map_or(ExitCode::SUCCESS, |code| ExitCode::from(code as u8)))
}

/// Enters the namespaces that the init will be born in.
fn enter(isolation: Isolation) -> Result<(), Failure> {
    // The mount namespace is the init's own: a changed root would change the guard's as well.
    let own = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    match isolation {
        Isolation::ProcessTree => {
            prctl::set_child_subreaper(true).or_broken("cannot adopt orphans")
        }
        Isolation::PrivateRoot => unshare(own).or_refused("namespaces are not allowed"),
        Isolation::Namespaces if geteuid().is_root() => {
            unshare(own).or_refused("namespaces are not allowed")
        }
        Isolation::Namespaces => {
            let (user, group) = (geteuid(), getegid());
            unshare(own | CloneFlags::CLONE_NEWUSER)
                .or_refused("user namespaces are not allowed")?;
            fs::write("/proc/self/setgroups", "deny").or_refused("cannot map groups")?;
            fs::write("/proc/self/uid_map", format!("0 {user} 1"))
                .or_refused("cannot map users")?;
            fs::write("/proc/self/gid_map", format!("0 {group} 1")).or_refused("cannot map groups")
        }
    }
}

/// Waits until the sandbox or the init closes its pipe; passes the init's words on.
fn watch(init: &mut Child, ready: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let pid = init.id();
    let (Some(mut orders), Some(mut said)) = (init.stdin.take(), init.stdout.take()) else {
        return Err(io::Error::other("the init has no pipes"));
    };
    let mut heard = Vec::new();
    loop {
        let stdin = io::stdin();
        let mut pipes = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(said.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut pipes, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [sandbox, machine] = pipes.map(|pipe| pipe.any().unwrap_or(true));
        let mut bytes = [0; 256];
        if sandbox && stdin.lock().read(&mut bytes)? == 0 {
            return Ok(());
        }
        if machine {
            let length = said.read(&mut bytes)?;
            if length == 0 {
                return Ok(());
            }
            heard.extend_from_slice(&bytes[..length]);
            obey(&mut heard, pid, &mut orders, &ready)?;
        }
    }
}

/// Acts on every whole line the init has said.
fn obey(
    heard: &mut Vec<u8>,
    pid: u32,
    orders: &mut ChildStdin,
    ready: &impl Fn() -> io::Result<()>,
) -> io::Result<()> {
    while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = heard.drain(..=end).collect();
        if line == MAP.as_bytes() {
            map_users(pid)?;
            orders.write_all(MAP.as_bytes())?;
        } else if line == READY.as_bytes() {
            ready()?;
            let mut sandbox = io::stdout();
            sandbox.write_all(READY.as_bytes())?;
            sandbox.flush()?;
        }
    }
    Ok(())
}

/// Gives the init's user namespace the same users that we have, each as itself.
fn map_users(pid: u32) -> io::Result<()> {
    for map in ["uid_map", "gid_map"] {
        let ours = fs::read_to_string(format!("/proc/self/{map}"))?;
        let mut theirs = String::new();
        for line in ours.lines() {
            let mut fields = line.split_whitespace();
            if let (Some(first), Some(_), Some(count)) =
                (fields.next(), fields.next(), fields.next())
            {
                theirs.push_str(&format!("{first} {first} {count}\n"));
            }
        }
        fs::write(format!("/proc/{pid}/{map}"), theirs)?;
    }
    Ok(())
}
