//! `fleet completions`: a completion script for a shell.

use crate::args::{Cli, Completions};
use crate::context::Context;
use crate::error::Result;
use clap::CommandFactory;

pub(crate) fn run(context: &Context, args: &Completions) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fleet", &mut script);
    context.printer.raw(&script)?;
    Ok(0)
}
