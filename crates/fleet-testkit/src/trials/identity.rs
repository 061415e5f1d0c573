//! Who we are: PRV-1 to PRV-4.

use crate::Bench;
use crate::bench::{failure, query};
use anyhow::{Result, ensure};
use fleet_provider::{OwnerTag, Provider};
use fleet_types::{Fault, FleetId, Scope};
use std::sync::Arc;

/// What stands for a real account's secret.
const WRONG: &str = "wrong/secret/wrong/secret/wrong/secret/1";
/// The name of it, which is no secret itself.
const WRONG_ID: &str = "AKIAWRONGWRONG123456";

pub(super) async fn constant(bench: &Bench) -> Result<()> {
    let before = bench.driver.capabilities();
    bench.driver.verify().await?;
    ensure!(bench.driver.id() == bench.id, "the driver calls itself {}", bench.driver.id());
    ensure!(bench.driver.capabilities() == before, "the capabilities changed");
    ensure!(before.spot || before.on_demand, "a cloud without a market");
    Ok(())
}

pub(super) async fn verifies(bench: &Bench) -> Result<()> {
    let identity = bench.driver.verify().await?;
    ensure!(!identity.account.is_empty(), "no account");
    ensure!(!identity.source.is_empty(), "no source");
    let shown = format!("{identity:?}");
    let secret = |name: &str| name.contains("SECRET") || name.contains("API_KEY");
    for (name, value) in bench.environment.iter().filter(|(n, _)| secret(n)) {
        ensure!(!shown.contains(value), "the identity shows {name}");
    }
    let ledger = bench.ledger().await?;
    let changes = ledger["mutations"].as_array().cloned().unwrap_or_default();
    // A dry run asks for permission and changes nothing.
    let real = changes.iter().find(|m| m["result"] != "DryRunOperation");
    ensure!(real.is_none(), "verify changed something: {real:?}");
    Ok(())
}

/// The driver with a key that the cloud does not accept.
async fn stranger(bench: &Bench) -> Result<Arc<dyn Provider>> {
    let mut environment = bench.environment.clone();
    for (name, _) in fleet_sandbox::DUMMY_ENVIRONMENT {
        let wrong = if name == "AWS_ACCESS_KEY_ID" { WRONG_ID } else { WRONG };
        environment.insert(name.into(), wrong.into());
    }
    Ok(fleet_providers::bare(bench.id, &bench.realm, &environment).await?)
}

pub(super) async fn refused(bench: &Bench) -> Result<()> {
    let request = bench.request(bench.market()).await?;
    let stranger = stranger(bench).await?;
    let owner = OwnerTag { fleet: FleetId::new("0".repeat(32)) };
    let place = request.candidates[0].offer.place.clone();
    let id = fleet_types::InstanceId::new("1234567");
    for (what, error) in [
        ("verify", failure("verify", stranger.verify().await)?),
        ("offers", failure("offers", stranger.offers(&query(bench.market())).await)?),
        ("launch", failure("launch", stranger.launch(&request).await)?),
        ("list", failure("list", stranger.list(&owner).await)?),
    ] {
        ensure!(
            (error.fault, error.scope) == (Fault::Auth, Scope::Provider),
            "{what}: {error} is {:?} at {:?}",
            error.fault,
            error.scope
        );
    }
    // An id that is not one of this cloud may be refused before the credential is.
    let error = failure("describe", stranger.describe(&id, &place).await)?;
    ensure!(matches!(error.fault, Fault::Auth | Fault::Rejected), "describe: {error}");
    ensure!(bench.machines().await?.is_empty(), "a stranger made a machine");
    Ok(())
}

pub(super) async fn hidden(bench: &Bench) -> Result<()> {
    let stranger = stranger(bench).await?;
    let errors = [
        failure("verify", stranger.verify().await)?,
        failure("offers", stranger.offers(&query(bench.market())).await)?,
    ];
    for error in errors {
        let shown = format!("{error} {error:?}");
        ensure!(!shown.contains(WRONG), "the error shows the key: {shown}");
    }
    let shown = format!("{stranger:?}");
    let at = shown.find(WRONG).map(|i| &shown[i.saturating_sub(120)..i]);
    ensure!(at.is_none(), "the driver prints its key after …{}", at.unwrap_or_default());
    Ok(())
}
