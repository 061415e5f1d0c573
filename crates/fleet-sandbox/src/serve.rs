//! One run of the sandbox: bind, say where, serve until told to stop, leave nothing but the ledger.
//!
//! Invariants: `state.json` appears only when every endpoint answers and is gone when this returns;
//! two sandboxes never share a folder (an exclusive lock is held for life).

use crate::config::{self, Config, Endpoints, State};
use crate::host::{Addresses, Host};
use crate::runtime::{Processes, Runtime};
use crate::world::World;
use crate::{Error, aws, clock, control, http, lambda, vast};
use fleet_types::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long machines may take to die at the end.
const SHUT_DOWN: Duration = Duration::from_secs(8);

/// Runs a sandbox in the foreground until `down`, SIGTERM, SIGINT or the end of its folder.
///
/// # Errors
/// Where another one runs in the folder, the folder cannot be written, loopback cannot be bound, or
/// the scenario names a trace that cannot be read.
pub async fn run(config: Config) -> Result<(), Error> {
    let runtime = Arc::new(Processes { program: config.program.clone() });
    let mut term = signal(SignalKind::terminate()).map_err(Error::Listen)?;
    let mut int = signal(SignalKind::interrupt()).map_err(Error::Listen)?;
    let running = start(&config, runtime).await?;
    let at = &running.state.endpoints;
    tracing::info!(aws = at.aws, vast = at.vast, lambda = at.lambda, "sandbox is up");
    tokio::select! {
        () = running.host.live() => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = vanished(&config.dir) => tracing::warn!("the sandbox's folder has vanished"),
    }
    running.finish().await;
    Ok(())
}

/// A folder that somebody removed leaves nobody who could end the sandbox: it ends by itself.
async fn vanished(dir: &Path) {
    let state = config::state_path(dir);
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        if !state.exists() {
            return;
        }
    }
}

/// A sandbox that answers.
pub(crate) struct Running {
    pub(crate) host: Arc<Host>,
    pub(crate) state: State,
    servers: CancellationToken,
    dir: std::path::PathBuf,
    _lock: Flock<File>,
}

/// Binds everything and writes the state file.
pub(crate) async fn start(config: &Config, runtime: Arc<dyn Runtime>) -> Result<Running, Error> {
    let dir = &config.dir;
    let file = |what| move |source| Error::File { what, path: dir.clone(), source };
    std::fs::create_dir_all(dir).map_err(file("cannot make folder"))?;
    let lock = own(dir)?;
    // A crash may have left machine folders; their processes died with the sandbox.
    let _ = std::fs::remove_dir_all(dir.join("machines"));
    let now = clock::now();
    let addresses = Addresses::reserve().map_err(Error::Listen)?;
    let scenario = config.scenario.clone();
    let world = World::new(config.seed, config.time_scale, scenario, addresses, now)?;
    let host = Host::new(world, runtime, dir.clone());
    let servers = CancellationToken::new();
    let aws = listen(&host, &servers, |host, call| aws::answer(&host, &call)).await?;
    let vast = listen(&host, &servers, |host, call| vast::answer(&host, &call)).await?;
    let lambda = listen(&host, &servers, |host, call| lambda::answer(&host, &call)).await?;
    let control = listen(&host, &servers, |host, call| control::answer(&host, &call)).await?;
    let state = describe(config, &host, now, Endpoints { aws, vast, lambda }, control);
    host.with(|_, _| ());
    let text = serde_json::to_vec_pretty(&state).unwrap_or_default();
    config::write_atomically(&config::state_path(dir), &text)
        .map_err(file("cannot write state in"))?;
    Ok(Running { host, state, servers, dir: dir.clone(), _lock: lock })
}

impl Running {
    /// Ends every machine, then the endpoints, then the state file.
    pub(crate) async fn finish(self) {
        self.host.shut_down(SHUT_DOWN).await;
        self.servers.cancel();
        let _ = std::fs::remove_dir_all(self.dir.join("machines"));
        if let Err(e) = std::fs::remove_file(config::state_path(&self.dir)) {
            tracing::warn!("cannot remove the state file: {e}");
        }
    }
}

fn own(dir: &Path) -> Result<Flock<File>, Error> {
    let path = dir.join("lock");
    let failed = |source| Error::File { what: "cannot open", path: path.clone(), source };
    let file = File::create(&path).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| Error::AlreadyRunning {
        dir: dir.to_owned(),
        pid: config::state(dir).map_or(0, |s| s.pid),
    })
}

async fn listen(
    host: &Arc<Host>,
    stop: &CancellationToken,
    answer: fn(Arc<Host>, http::Call) -> http::Reply,
) -> Result<String, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Error::Listen)?;
    let address = listener.local_addr().map_err(Error::Listen)?;
    let host = host.clone();
    http::serve(listener, stop.clone(), move |call| {
        let reply = answer(host.clone(), call);
        async { reply }
    });
    Ok(format!("http://{address}"))
}

fn describe(
    config: &Config,
    host: &Host,
    now: Timestamp,
    endpoints: Endpoints,
    control: String,
) -> State {
    let pid = std::process::id();
    State {
        pid,
        pid_start: config::pid_start(pid).unwrap_or(0),
        started_at: now,
        seed: config.seed,
        scenario: match config.scenario.name.as_str() {
            "" => "default".to_owned(),
            name => name.to_owned(),
        },
        time_scale: config.time_scale,
        one_shot: config.one_shot,
        endpoints,
        control,
        ssh_port: host.ssh_port(),
    }
}
