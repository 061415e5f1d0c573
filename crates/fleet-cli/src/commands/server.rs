//! `fleet server start | stop | status | run`: the controller process.
//!
//! Invariants: one server a home, by a lock that dies with its process; `status` never starts one;
//! what another command started leaves after 15 idle minutes, and any leaves when its home is gone.

use crate::args::{Server, ServerRun};
use crate::commands::version::VERSION;
use crate::context::Context;
use crate::daemon;
use crate::error::{Error, Result};
use crate::printer::{Paint, clean};
use crate::table::Columns;
use fleet_api::Activity;
use fleet_controller::api::{LeftRunning, ServerStatus};
use fleet_controller::{Controller, Home, Options};
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// An idle server that another command started leaves after this.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// How often a server looks whether it should leave.
const LOOK: Duration = Duration::from_secs(2);
/// How long a server may take to leave.
const LEAVE: Duration = Duration::from_secs(15);

pub(crate) fn run(context: &Context, args: &Server) -> Result<u8> {
    match args {
        Server::Start => start(context),
        Server::Stop => stop(context),
        Server::Status => status(context),
        Server::Run(args) => serve(context, args),
    }
}

fn start(context: &Context) -> Result<u8> {
    let home = context.home()?;
    let p = &context.printer;
    let status = context.block_on(async {
        let client = context.client(&home)?;
        if let Ok(status) = client.server().await {
            p.talk("it runs already");
            return Ok(status);
        }
        context.start_server(&home, &client, false).await?;
        Ok(client.server().await?)
    })?;
    show(context, &status)
}

fn status(context: &Context) -> Result<u8> {
    let home = context.home()?;
    let status = context.block_on(async {
        match context.client(&home)?.server().await {
            Ok(status) => Ok(status),
            Err(fleet_api::Error::Unreachable { .. } | fleet_api::Error::Lost { .. }) => {
                Ok(ServerStatus {
                    running: false,
                    pid: None,
                    version: None,
                    started_at: None,
                    jobs_live: 0,
                })
            }
            Err(e) => Err(e.into()),
        }
    })?;
    show(context, &status)
}

fn show(context: &Context, status: &ServerStatus) -> Result<u8> {
    let p = &context.printer;
    if p.json {
        p.json(status)?;
        return Ok(0);
    }
    if !status.running {
        p.data("server: not running")?;
        return Ok(0);
    }
    let pid = status.pid.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let since = status.started_at.map(|t| format!(" since {t}")).unwrap_or_default();
    let version = status.version.as_deref().unwrap_or("?");
    let live = status.jobs_live;
    let word = p.out(Paint::Green, "running");
    p.data(&format!(
        "server: {word}{since} (pid {pid}, version {}, {live} live jobs)",
        clean(version)
    ))?;
    if version != VERSION {
        p.talk(&format!(
            "it is another version than this fleet ({VERSION}); restart it: fleet server stop"
        ));
    }
    Ok(0)
}

fn stop(context: &Context) -> Result<u8> {
    let home = context.home()?;
    let p = &context.printer;
    let left = context.block_on(async {
        let left = match context.client(&home)?.stop().await {
            Ok(left) => Some(left),
            Err(fleet_api::Error::Unreachable { .. }) => None,
            Err(e) => return Err(e.into()),
        };
        if left.is_some() {
            gone(&home).await?;
        }
        Ok(left)
    })?;
    if p.json {
        p.json(
            &json!({ "was_running": left.is_some(), "left_running": left.unwrap_or_default() }),
        )?;
        return Ok(0);
    }
    match left {
        None => p.talk("no server runs"),
        Some(left) => say_left(context, &left)?,
    }
    Ok(0)
}

/// Names what goes on without a server, and what it costs.
fn say_left(context: &Context, left: &[LeftRunning]) -> Result<()> {
    let p = &context.printer;
    if left.is_empty() {
        p.talk("the server has left; no machine is running");
        return Ok(());
    }
    let mut columns = Columns::new(&["JOB", "PLACE", "MACHINE", "MARKET", ">PRICE/H"]);
    for l in left {
        columns.row([
            l.job.to_string(),
            l.place.to_string(),
            l.instance_id.clone(),
            l.market.to_string(),
            l.price_usd_per_hour.to_string(),
        ]);
    }
    columns.lines().iter().try_for_each(|l| p.data(&clean(l)))?;
    let sum: fleet_types::Usd = left.iter().map(|l| l.price_usd_per_hour).sum();
    p.warn(&format!(
        "the server has left; these machines run on for {sum} an hour, and recovery waits for the next start"
    ));
    p.talk("  start it again: fleet server start   end them: fleet cancel --all");
    Ok(())
}

/// Waits until the server's lock is free: its process has ended.
async fn gone(home: &Home) -> Result<()> {
    let free = async {
        while lock(home)?.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(LEAVE, free).await.unwrap_or_else(|_| {
        Err(Error::internal(format!("the server still runs after {} s", LEAVE.as_secs()))
            .hint(format!("its log is {}", home.server_log_path().display())))
    })
}

/// The home's lock; `None` while another process holds it.
fn lock(home: &Home) -> Result<Option<Flock<File>>> {
    let path = home.lock_path();
    let failed = |e: std::io::Error| Error::internal(format!("{}: {e}", path.display()));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(failed(e.into())),
    }
}

fn serve(context: &Context, args: &ServerRun) -> Result<u8> {
    if args.detached {
        daemon::leave_terminal()?;
    }
    // Whatever is made from here on is the owner's alone.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let home = context.home()?;
    let Some(held) = lock(&home)? else {
        if args.auto {
            return Ok(0);
        }
        return Err(Error::internal("a server runs already in this home")
            .hint("look at it: fleet server status"));
    };
    let options = Options {
        agent_binary: agent_binary(context.env.program()),
        version: VERSION.to_owned(),
        seed: context.env.seed()?,
    };
    context.block_on(async {
        // Bound before everything is resumed: a caller waits instead of starting another server.
        let listener = fleet_api::bind(&home.socket_path())?;
        let controller = Controller::start(home.clone(), options).await?;
        let (stop, activity) = (CancellationToken::new(), Activity::default());
        let watch = Watch {
            home: home.clone(),
            inode: held.metadata().map(|m| m.ino()).ok(),
            controller: controller.clone(),
            activity: activity.clone(),
            stop: stop.clone(),
            auto: args.auto,
        };
        tokio::spawn(watch.run());
        tracing::info!(home = %home.dir().display(), "the server answers");
        fleet_api::serve(listener, controller.clone(), stop, activity).await;
        if tokio::time::timeout(LEAVE, controller.shutdown()).await.is_err() {
            tracing::warn!("the controller did not come to rest in time");
        }
        // The next server makes its own; a missing file says sooner that none runs.
        let _absent = std::fs::remove_file(home.socket_path());
        tracing::info!("the server leaves");
        Ok(())
    })?;
    drop(held);
    Ok(0)
}

/// Decides when the server should leave.
struct Watch {
    home: Home,
    /// Of the lock's file: another one there means another home.
    inode: Option<u64>,
    controller: Controller,
    activity: Activity,
    stop: CancellationToken,
    auto: bool,
}

impl Watch {
    async fn run(self) {
        let (Ok(mut term), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be read; `fleet server stop` still works");
            return;
        };
        // A closing terminal is no reason to leave.
        let _hangup = signal(SignalKind::hangup());
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = interrupt.recv() => break,
                () = self.stop.cancelled() => return,
                _ = look.tick() => if self.should_leave().await { break },
            }
        }
        self.stop.cancel();
    }

    async fn should_leave(&self) -> bool {
        let inode = std::fs::metadata(self.home.lock_path()).map(|m| m.ino()).ok();
        if inode.is_none() || inode != self.inode {
            tracing::warn!("the home has vanished");
            return true;
        }
        self.auto && self.activity.idle_for() > IDLE && self.controller.is_idle().await
    }
}

/// The agent that is put on machines: the static one beside this program, else the one a plain build of
/// the workspace leaves there, which runs only where the C library is as new as here.
fn agent_binary(program: &Path) -> PathBuf {
    let dir = program.parent().unwrap_or(Path::new("/"));
    let portable = dir.join("fleet-agent-static");
    let plain = dir.join("fleet-agent");
    if portable.is_file() || !plain.is_file() { portable } else { plain }
}
