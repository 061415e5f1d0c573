//! Ending a machine: PRV-27 to PRV-30.

use crate::Bench;
use crate::bench::{failure, until};
use anyhow::{Context as _, Result, ensure};
use fleet_provider::Termination;
use fleet_types::{Fault, Instance};

/// The books say that the machine's bill has ended.
async fn ended(bench: &Bench, machine: &Instance) -> Result<bool> {
    let machines = bench.machines().await?;
    let row = machines.iter().find(|m| m["id"].as_str() == Some(machine.id.as_str()));
    Ok(!row.context("the books do not know it")?["ended_at"].is_null())
}

/// Asks until the cloud says that it is gone, as a controller would.
async fn gone(bench: &Bench, machine: &Instance) -> Result<()> {
    until("the cloud says that it is gone", async || {
        match bench.driver.describe(&machine.id, &machine.place).await {
            Ok(now) => Ok(now.state.is_gone().then_some(())),
            Err(e) if e.fault == Fault::NotFound => Ok(Some(())),
            Err(e) => Err(e.into()),
        }
    })
    .await
}

pub(super) async fn ends(bench: &Bench) -> Result<()> {
    for market in bench.markets() {
        let (_, machine) = bench.running(market).await?;
        let said = bench.driver.terminate(&machine.id, &machine.place).await?;
        ensure!(said != Termination::NotFound, "it was there");
        gone(bench, &machine).await?;
        ensure!(ended(bench, &machine).await?, "it bills on");
    }
    let ledger = bench.ledger().await?;
    let rows = ledger["resources"].as_array().cloned().unwrap_or_default();
    let disks = rows.iter().filter(|r| r["cost_usd"] != 0.0 && r["ended_at"].is_null());
    ensure!(disks.count() == 0, "something of it bills on: {rows:?}");
    Ok(())
}

pub(super) async fn repeats(bench: &Bench) -> Result<()> {
    let (request, machine) = bench.running(bench.market()).await?;
    for _ in 0..3 {
        bench.driver.terminate(&machine.id, &machine.place).await?;
    }
    gone(bench, &machine).await?;
    let listing = bench.driver.list(&request.owner).await?;
    let alive = listing.instances.iter().any(|i| i.id == machine.id && !i.state.is_gone());
    ensure!(listing.complete && !alive, "{listing:?}");
    let text = machine.id.as_str();
    let last = if text.ends_with('7') { '3' } else { '7' };
    let nobody = fleet_types::InstanceId::new(format!("{}{last}", &text[..text.len() - 1]));
    let said = bench.driver.terminate(&nobody, &machine.place).await?;
    ensure!(said == Termination::NotFound, "an id that nobody has was {said:?}");
    Ok(())
}

pub(super) async fn lost(bench: &Bench) -> Result<()> {
    let (_, machine) = bench.running(bench.market()).await?;
    let error = failure("terminate", bench.driver.terminate(&machine.id, &machine.place).await)?;
    ensure!(matches!(error.fault, Fault::Transient | Fault::Unknown), "{error}");
    bench.driver.terminate(&machine.id, &machine.place).await?;
    gone(bench, &machine).await?;
    ensure!(ended(bench, &machine).await?, "it bills on");
    Ok(())
}

pub(super) async fn leftovers(bench: &Bench) -> Result<()> {
    let Some(extra) = bench.driver.auxiliary() else { return Ok(()) };
    let (request, machine) = bench.running(bench.market()).await?;
    let found = extra.leftovers(&request.owner).await?;
    ensure!(!found.is_empty(), "a machine was made, and nothing besides");
    bench.driver.terminate(&machine.id, &machine.place).await?;
    gone(bench, &machine).await?;
    until("every leftover is removed", async || {
        for thing in extra.leftovers(&request.owner).await? {
            if let Err(e) = extra.remove(&thing).await {
                // Used until the machine is gone for good.
                ensure!(matches!(e.fault, Fault::Rejected | Fault::NotFound), "{thing:?}: {e}");
            }
        }
        Ok(extra.leftovers(&request.owner).await?.is_empty().then_some(()))
    })
    .await
}
