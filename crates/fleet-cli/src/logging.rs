//! What the libraries say goes to stderr: nothing by default, more with `-v`, all of it in a server.

use crate::args::{Cli, Command, Sandbox, Server};
use crate::env::Env;
use tracing_subscriber::EnvFilter;

/// Starts logging as the flags and `FLEET_LOG` say.
pub(crate) fn start(cli: &Cli, env: &Env) {
    let serves =
        matches!(cli.command, Command::Server(Server::Run(_)) | Command::Sandbox(Sandbox::Run(_)));
    let level = match (cli.global.verbose, serves) {
        (0, false) => None,
        (0, true) => Some("info"),
        (1, _) => Some("fleet=debug,info"),
        _ => Some("trace,hyper=info,hyper_util=info,h2=info,rustls=info"),
    };
    let Some(filter) = env.var("FLEET_LOG").or(level) else { return };
    let started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(true)
        .try_init();
    debug_assert!(started.is_ok(), "logging is started once");
}
