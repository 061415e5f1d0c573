//! Process 1 of a machine: arranges its world, then serves SSH until the guard lets go.
//!
//! Everything that needs a single thread (namespaces, mounts) happens before the runtime starts. The
//! port is taken before root loses its powers, so that a low one works.

use std::io::{self, BufRead, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::sethostname;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::command::Host;
use super::reaper::Reaper;
use super::{
    Boot, Explain, Failure, Isolation, MAP, MachineSpec, READY, files, mounts, server, tree,
};

pub(super) fn run(boot: Boot) -> Result<ExitCode, Failure> {
    let Boot { isolation, spec, .. } = boot;
    let listener = TcpListener::bind((spec.address, spec.ssh_port)).or_broken("cannot listen")?;
    match isolation {
        Isolation::ProcessTree => {
            prctl::set_child_subreaper(true).or_broken("cannot adopt orphans")?;
        }
        Isolation::Namespaces => {
            prctl::set_pdeathsig(Signal::SIGKILL).or_broken("cannot follow the guard")?;
            sethostname(&spec.hostname).or_refused("cannot set the host name")?;
            mounts::in_place(&spec)?;
        }
        Isolation::PrivateRoot => {
            sethostname(&spec.hostname).or_refused("cannot set the host name")?;
            mounts::private_root(&spec)?;
            renounce()?;
            // Entering a user namespace resets it.
            prctl::set_pdeathsig(Signal::SIGKILL).or_broken("cannot follow the guard")?;
        }
    }
    let reaper = Reaper::new().or_broken("cannot start the reaper")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_broken("cannot start the runtime")?;
    let served = runtime.block_on(serve(listener, Host::new(spec, isolation, reaper)));
    runtime.shutdown_background();
    if isolation == Isolation::ProcessTree {
        tree::end_descendants();
    }
    served.or_broken("cannot serve SSH")?;
    Ok(ExitCode::SUCCESS)
}

/// Gives up root's powers over the host: inside a user namespace they end at the machine's own things.
fn renounce() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .or_refused("user namespaces are not allowed")?;
    say(MAP).or_broken("cannot speak to the guard")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).or_broken("cannot hear the guard")?;
    if answer == MAP {
        Ok(())
    } else {
        Err(Failure::Refused("users cannot be mapped", io::Error::other("the guard gave up")))
    }
}

/// Says a line to the guard.
fn say(line: &str) -> io::Result<()> {
    let mut guard = io::stdout();
    guard.write_all(line.as_bytes())?;
    guard.flush()
}

async fn serve(listener: TcpListener, host: Host) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut lifeline = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    say(READY)?;
    let host = Arc::new(host);
    if host.isolation() == Isolation::PrivateRoot {
        user_data(&host)?;
    }
    let mut byte = [0; 1];
    tokio::select! {
        ended = server::run(listener, host) => ended,
        _closed = lifeline.read(&mut byte) => Ok(()),
    }
}

/// Runs the user data at boot as clouds do: only a script, and here only where it can do no harm.
fn user_data(host: &Host) -> io::Result<()> {
    let MachineSpec { user_data, dir, .. } = host.spec();
    let Some(script) = user_data.as_deref().filter(|text| text.starts_with("#!")) else {
        return Ok(());
    };
    let path = dir.join("user-data");
    files::write(&path, script.as_bytes(), 0o700)?;
    let log = std::fs::File::create(dir.join("user-data.log"))?;
    let mut command = Command::new(path);
    host.dress(&mut command);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    if let Err(error) = host.reaper().spawn(&mut command) {
        // A bad script is the user's affair; the machine is up all the same.
        let _unheard = writeln!(io::stderr(), "cannot run the user data: {error}");
    }
    Ok(())
}
