//! `fleet`: the command line.
//!
//! Thin: it reads files, flags and the environment, asks the controller (in this process for plans,
//! through the socket for jobs) and prints. Invariants: only this crate prints, exits or reads the
//! environment; nothing is opened, started or looked up before the arguments are understood; a
//! sandbox machine (`__machine`) is started before all of it, so that it carries none of it.

mod args;
mod commands;
mod context;
mod daemon;
mod env;
mod error;
mod exit;
mod fit;
mod follow;
mod logging;
mod offer_table;
mod printer;
mod progress;
mod remote;
mod submission;
mod table;
mod task_file;

use args::{Cli, Command, Sandbox};
use clap::Parser;
use context::Context;
use env::Env;
use error::{Error, Result};
use printer::Printer;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "__machine") {
        return match arguments.next() {
            Some(path) => fleet_sandbox::machine::machine_main(std::path::Path::new(&path)),
            None => ExitCode::from(error::code::USAGE),
        };
    }
    let cli = Cli::parse();
    ExitCode::from(run(cli))
}

/// Runs the command and says how it ended.
fn run(cli: Cli) -> u8 {
    let env = Env::read();
    let plain = env.as_ref().map_or(true, Env::plain);
    let printer = Printer::new(&cli.global, plain);
    let done = env.and_then(|env| {
        logging::start(&cli, &env);
        dispatch(cli.command, &Context { env, printer })
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            printer.error(&error);
            error.exit_code()
        }
    }
}

fn dispatch(command: Command, context: &Context) -> Result<u8> {
    use commands as c;
    match command {
        Command::Launch(args) => c::launch::run(context, &args),
        Command::Validate(args) => c::validate::run(context, &args),
        Command::Offers(args) => c::offers::run(context, &args),
        Command::Attach(args) => c::attach::run(context, &args),
        Command::Status(args) => c::status::run(context, &args),
        Command::Logs(args) => c::logs::run(context, &args),
        Command::Cancel(args) => c::cancel::run(context, &args),
        Command::Ssh(args) => c::ssh::run(context, &args),
        Command::Exec(args) => c::exec::run(context, &args),
        Command::Cost(args) => c::cost::run(context, &args),
        Command::Events(args) => c::events::run(context, &args),
        Command::Check(args) => c::check::run(context, &args),
        Command::Reap(args) => c::reap::run(context, &args),
        Command::Get(args) => c::get::run(context, &args),
        Command::Cp(args) => c::cp::run(context, &args),
        Command::Sandbox(args) => sandbox(args, context),
        Command::Server(args) => c::server::run(context, &args),
        Command::Simulate(args) => c::simulate::run(context, &args),
        Command::Schema => c::schema::run(context),
        Command::Completions(args) => c::completions::run(context, &args),
        Command::Version => c::version::run(context),
        Command::Advise(rest) => later("fleet advise", &rest),
        Command::Sweep(rest) => later("fleet sweep", &rest),
        Command::Rehearse(rest) => later("fleet rehearse", &rest),
    }
}

fn sandbox(command: Sandbox, context: &Context) -> Result<u8> {
    use commands::sandbox as c;
    match command {
        Sandbox::Up(args) => c::up(context, &args),
        Sandbox::Run(args) => c::run(context, &args),
        Sandbox::Down => c::down(context),
        Sandbox::Status => c::status(context),
        Sandbox::Env => c::env(context),
        Sandbox::Preempt(args) => commands::preempt::run(context, &args),
        Sandbox::Ledger => commands::ledger::run(context),
        Sandbox::Scenario(args) => commands::scenario::run(context, &args),
    }
}

fn later(what: &str, _rest: &args::Later) -> Result<u8> {
    Err(Error::not_supported(&format!("`{what}`"))
        .hint("`fleet --help` lists the commands that are there"))
}
