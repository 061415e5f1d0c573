//! `fleet exec`: one command on the job's machine; its exit status becomes ours.

use crate::args::Exec;
use crate::context::Context;
use crate::error::{Error, Result};
use fleet_controller::api::MachineAccess;
use fleet_ssh::{HostKeyPolicy, Session, Target, quote};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long the machine may take to let us in.
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
    let session = Session::connect(&target(access)?, LOGIN).await.map_err(failed)?;
    let mut channel = session.open(command).await.map_err(failed)?;
    let (mut input, mut from) = (vec![0; CHUNK], tokio::io::stdin());
    let (mut output, mut typing) = (vec![0; CHUNK], true);
    loop {
        tokio::select! {
            read = channel.read(&mut output) => match read {
                Ok(0) => break,
                Ok(n) => context.printer.raw(&output[..n])?,
                Err(e) => return Err(Error::internal(format!("the connection broke: {e}"))),
            },
            read = from.read(&mut input), if typing => {
                let n = read.unwrap_or(0);
                // A command that no longer reads its input is its own affair.
                typing = n > 0 && channel.write_all(&input[..n]).await.is_ok();
                if !typing {
                    let _closed = channel.shutdown().await;
                }
            }
        }
    }
    let status = status(&channel).await;
    context.printer.raw_talk(&channel.stderr());
    let status = status.ok_or_else(|| Error::internal("the command ended without a status"))?;
    Ok(u8::try_from(status).unwrap_or(u8::MAX))
}

/// The exit status, which may follow the end of the output by a moment.
async fn status(channel: &fleet_ssh::Channel) -> Option<u32> {
    let told = async {
        loop {
            if let Some(status) = channel.status() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.ok()
}

fn target(access: &MachineAccess) -> Result<Target> {
    let login_key = std::fs::read_to_string(&access.key_path)
        .map_err(|e| Error::internal(format!("{}: {e}", access.key_path.display())))?;
    Ok(Target {
        host: access.host.clone(),
        port: access.port,
        user: access.user.clone(),
        login_key: login_key.into(),
        host_key: HostKeyPolicy::Pinned(vec![access.host_key.clone()]),
    })
}
