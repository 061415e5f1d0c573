//! Watching a machine: PRV-19 to PRV-23, and PRV-32.

use crate::Bench;
use crate::bench::{failure, until};
use anyhow::{Context as _, Result, ensure};
use fleet_sandbox::Target;
use fleet_types::{DeathCause, Fault, InstanceId, InstanceState};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

pub(super) async fn runs(bench: &Bench) -> Result<()> {
    let (_, machine) = bench.running(bench.market()).await?;
    let address = machine.address.context("no address")?;
    let port = address.port.unwrap_or(bench.state.ssh_port);
    ensure!(!machine.user.is_empty(), "no login name");
    let greeting = until("SSH answers", async || {
        let Ok(mut stream) = tokio::net::TcpStream::connect((address.host.as_str(), port)).await
        else {
            return Ok(None);
        };
        let mut greeting = [0; 4];
        Ok(stream.read_exact(&mut greeting).await.is_ok().then_some(greeting))
    })
    .await?;
    ensure!(&greeting == b"SSH-", "it answers {greeting:?}");
    ensure!(machine.launched_at.is_some(), "the start of the bill is not told");
    Ok(())
}

pub(super) async fn unknown_id(bench: &Bench) -> Result<()> {
    let (_, machine) = bench.running(bench.market()).await?;
    // An id of the same form that nobody has.
    let text = machine.id.as_str();
    let last = if text.ends_with('7') { '3' } else { '7' };
    let other = InstanceId::new(format!("{}{last}", &text[..text.len() - 1]));
    let error = failure("describe", bench.driver.describe(&other, &machine.place).await)?;
    ensure!(error.fault == Fault::NotFound, "{error} is {:?}", error.fault);
    for bad in ["", "../../etc/passwd", "i-0; reboot", "1 or 1=1", "\u{202e}7"] {
        let id = InstanceId::new(bad);
        let error = failure("describe", bench.driver.describe(&id, &machine.place).await)?;
        let fine = matches!(error.fault, Fault::Rejected | Fault::NotFound);
        ensure!(fine && !error.maybe_applied, "{bad:?}: {error} is {:?}", error.fault);
        let ended = bench.driver.terminate(&id, &machine.place).await;
        ensure!(!matches!(ended, Ok(fleet_provider::Termination::Gone)), "{bad:?} was ended");
    }
    Ok(())
}

pub(super) async fn preempted(bench: &Bench) -> Result<()> {
    let (_, machine) = bench.running(bench.market()).await?;
    let target = Target::Instance(machine.id.to_string());
    fleet_sandbox::preempt(&bench.state, &target, Some(Duration::ZERO)).await?;
    let dead = bench.described(&machine, "it reads as dead", |i| i.state.task_is_dead()).await?;
    let cause = match dead.state {
        InstanceState::Stopped { cause } | InstanceState::Terminated { cause } => cause,
        other => anyhow::bail!("{other:?}"),
    };
    ensure!(cause == DeathCause::Preempted, "the cause is {cause:?}");
    Ok(())
}

pub(super) async fn noticed(bench: &Bench) -> Result<()> {
    let (_, machine) = bench.running(bench.market()).await?;
    let target = Target::Instance(machine.id.to_string());
    fleet_sandbox::preempt(&bench.state, &target, Some(Duration::from_secs(20))).await?;
    let marked = |i: &fleet_types::Instance| matches!(i.state, InstanceState::Marked { .. });
    let machine = bench.described(&machine, "it reads as marked", marked).await?;
    ensure!(!machine.state.task_is_dead(), "a notice is no death");
    Ok(())
}

pub(super) async fn failed_reads(bench: &Bench) -> Result<()> {
    let request = bench.request(bench.market()).await?;
    let place = &request.candidates[0].offer.place;
    for id in ["i-0123456789abcdef0", "1234567"] {
        let error = failure("describe", bench.driver.describe(&InstanceId::new(id), place).await)?;
        let fine = matches!(error.fault, Fault::Transient | Fault::Rejected | Fault::NotFound);
        ensure!(fine, "{error} is {:?}", error.fault);
    }
    match bench.driver.list(&request.owner).await {
        Err(error) => ensure!(error.fault == Fault::Transient, "{error} is {:?}", error.fault),
        Ok(listing) => ensure!(!listing.complete && !listing.gaps.is_empty(), "{listing:?}"),
    }
    Ok(())
}

pub(super) async fn layered(bench: &Bench) -> Result<()> {
    let request = bench.request(bench.market()).await?;
    let made = bench.driver.launch(&request).await?;
    let outer = bench.layered().await?;
    let seen = outer.describe(&made.id, &made.place).await?;
    ensure!(seen.id == made.id, "{} instead of {}", seen.id, made.id);
    Ok(())
}
