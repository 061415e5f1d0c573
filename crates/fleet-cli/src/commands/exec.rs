//! `fleet exec`: one command in the task's folder on the job's machine; its exit status becomes ours.
//!
//! It has the variables that fleet gives the task, not its secrets. Its three streams are ours: nothing is
//! cut and nothing is held back until the end.

use crate::args::Exec;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::remote;
use fleet_controller::api::MachineAccess;
use fleet_ssh::{Input, Piece, Session, quote};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long the machine may take to let us in, and to look for a folder.
const LOGIN: Duration = Duration::from_secs(20);

/// Bytes moved at once.
const CHUNK: usize = 64 << 10;

pub(crate) fn run(context: &Context, args: &Exec) -> Result<u8> {
    if args.command.iter().any(|a| a.contains('\0')) {
        return Err(Error::usage("a command cannot contain a NUL byte"));
    }
    let home = context.home()?;
    context.block_on(async {
        let access = context.server(&home).await?.machine(&args.job).await?;
        // One argument is a line for the shell, as with ssh; several are words as they stand.
        let command = match args.command.as_slice() {
            [line] => line.clone(),
            words => words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" "),
        };
        talk(context, &access, &command).await
    })
}

async fn talk(context: &Context, access: &MachineAccess, command: &str) -> Result<u8> {
    let failed = |e: fleet_ssh::Error| Error::internal(e.to_string());
    let session = Session::connect(&remote::target(access)?, LOGIN).await.map_err(failed)?;
    let there = session.exec(&remote::is_there(access), &b""[..], LOGIN).await.map_err(failed)?;
    if !there.success() {
        let job = &access.job;
        return Err(Error::not_found(format!("the files of job {job} are not on its machine yet"))
            .hint(format!(
                "`fleet status {job}` says where it stands; `fleet ssh {job}` logs in"
            )));
    }
    let line = format!("{} || exit\n{command}", remote::enter(access));
    let mut streams = session.streams(&line).await.map_err(failed)?;
    let typing = tokio::spawn(feed(streams.input()));
    let broke = |e| Error::internal(format!("the connection broke: {e}"));
    while let Some(piece) = streams.next().await.map_err(broke)? {
        match piece {
            Piece::Stdout(bytes) => context.printer.raw(&bytes)?,
            Piece::Stderr(bytes) => context.printer.raw_talk(&bytes),
        }
    }
    typing.abort();
    let status =
        streams.status().ok_or_else(|| Error::internal("the command ended without a status"))?;
    Ok(u8::try_from(status).unwrap_or(u8::MAX))
}

/// Passes our stdin on. A command that no longer reads its input is its own affair.
async fn feed(mut input: Input) {
    let (mut bytes, mut from) = (vec![0; CHUNK], tokio::io::stdin());
    loop {
        let n = from.read(&mut bytes).await.unwrap_or(0);
        if n == 0 || input.write_all(&bytes[..n]).await.is_err() {
            let _closed = input.shutdown().await;
            return;
        }
    }
}
