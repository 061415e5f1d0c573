//! What every command is given: the environment, the printer, and ways to the home and the server.
//!
//! Invariant: nothing here happens before a command asks for it. `--help` opens no home and starts no
//! runtime.

use crate::daemon::{self, Progress};
use crate::env::Env;
use crate::env::account::{self, Lives};
use crate::error::{Error, Result};
use crate::printer::Printer;
use fleet_api::Client;
use fleet_controller::Home;
use fleet_controller::api::Account;
use std::ffi::OsStr;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// How long a server or a sandbox may take to come up.
pub(crate) const COME_UP: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The context of one command.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) printer: Printer,
}

impl Context {
    /// Runs `work` on a runtime that exists only for it.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        // One crypto provider for whatever TLS there is; a second call changes nothing.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::internal(format!("the async runtime cannot start: {e}")))?;
        let done = runtime.block_on(work);
        runtime.shutdown_background();
        done
    }

    /// The home, made if it is not there.
    pub(crate) fn home(&self) -> Result<Home> {
        let home = Home::open(&self.env.fleet_home()?)?;
        self.env.check_database(&home.db_path())?;
        Ok(home)
    }

    /// The account that this shell's environment describes.
    pub(crate) fn account(&self, home: &Home) -> Result<Account> {
        self.account_of(self.env.vars(), home)
    }

    /// The account of the sandbox of this home, whatever the shell says.
    pub(crate) fn sandbox_account(
        &self,
        home: &Home,
        state: &fleet_sandbox::State,
    ) -> Result<Account> {
        self.account_of(&fleet_sandbox::env(state).into_iter().collect(), home)
    }

    fn account_of(
        &self,
        vars: &std::collections::BTreeMap<String, String>,
        home: &Home,
    ) -> Result<Account> {
        let dir = home.sandbox_dir();
        let mut account = account::account(vars, |control| lives(&dir, control))?;
        if !account.realm.sandbox
            && !account.environment.contains_key("HOME")
            && let Some(user_home) = self.env.user_home()
        {
            let user_home = user_home.display().to_string();
            account.realm.accounts.insert("HOME".to_owned(), user_home.clone());
            account.environment.insert("HOME".to_owned(), user_home);
        }
        Ok(account)
    }

    /// A client of this home's server, whether or not one runs.
    pub(crate) fn client(&self, home: &Home) -> Result<Client> {
        let socket = self.env.server_socket()?.unwrap_or_else(|| home.socket_path());
        Ok(Client::new(&socket))
    }

    /// A client of a server that answers, started if none does.
    pub(crate) async fn server(&self, home: &Home) -> Result<Client> {
        let client = self.client(home)?;
        match client.server().await {
            Ok(_) => return Ok(client),
            Err(fleet_api::Error::Unreachable { .. } | fleet_api::Error::Lost { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        if self.env.server_socket()?.is_some_and(|s| s != home.socket_path()) {
            return Err(Error::internal("no server answers at FLEET_SERVER")
                .hint("unset FLEET_SERVER to use this machine's own"));
        }
        self.start_server(home, &client, true).await?;
        Ok(client)
    }

    /// Starts a server and waits until it answers. `auto`: it may leave when idle.
    pub(crate) async fn start_server(
        &self,
        home: &Home,
        client: &Client,
        auto: bool,
    ) -> Result<()> {
        let mut args = vec!["server", "run", "--detached"];
        if auto {
            args.push("--auto");
        }
        let args: Vec<&OsStr> = args.into_iter().map(OsStr::new).collect();
        let log = home.server_log_path();
        let mut starting = daemon::start(&self.env, home.dir(), "server", &args, &log)?;
        loop {
            match client.server().await {
                Ok(_) => return Ok(()),
                Err(fleet_api::Error::Unreachable { .. } | fleet_api::Error::Lost { .. }) => {}
                Err(e) => return Err(e.into()),
            }
            // `Left` means that another command's server holds the home: it will answer.
            let (Progress::Running | Progress::Left) = starting.check(COME_UP)?;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Starts a sandbox in the home and waits until it answers.
    pub(crate) async fn start_sandbox(
        &self,
        home: &Home,
        args: &[&OsStr],
    ) -> Result<fleet_sandbox::State> {
        let log = home.dir().join("sandbox.log");
        let args: Vec<&OsStr> = ["sandbox", "run", "--detached"]
            .into_iter()
            .map(OsStr::new)
            .chain(args.iter().copied())
            .collect();
        let mut starting = daemon::start(&self.env, home.dir(), "sandbox", &args, &log)?;
        loop {
            if let Some(state) = fleet_sandbox::state(&home.sandbox_dir()) {
                return Ok(state);
            }
            let (Progress::Running | Progress::Left) = starting.check(COME_UP)?;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Whether the sandbox with this control address runs: this home's, or one of another home.
fn lives(dir: &Path, control: &str) -> Lives {
    match fleet_sandbox::state(dir) {
        Some(state) if state.control.trim_end_matches('/') == control.trim_end_matches('/') => {
            return Lives::Yes { one_shot: state.one_shot };
        }
        _ => {}
    }
    let authority = control.trim_start_matches("http://").trim_end_matches('/');
    let answers = authority
        .parse::<SocketAddr>()
        .is_ok_and(|a| TcpStream::connect_timeout(&a, Duration::from_millis(300)).is_ok());
    if answers { Lives::Yes { one_shot: false } } else { Lives::No }
}
