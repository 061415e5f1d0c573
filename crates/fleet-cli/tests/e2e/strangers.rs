//! Programs that know nothing of fleet read its sandbox: the clouds' own clients, from PyPI.
//!
//! They live in a virtual environment under the target folder, made once. Where pip cannot install
//! them the test says `SKIPPED` and why; once installed, nothing is skipped.

use crate::home::{Home, example};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with `aws` and `vastai`; why there is none.
fn clients() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    let (bin, done) = (venv.join("bin"), venv.join("installed"));
    if done.exists() {
        return Ok(bin);
    }
    let run = |program: &Path, args: &[&str]| -> Result<(), String> {
        let out = Command::new(program).args(args).output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if out.status.success() { Ok(()) } else { Err(format!("{program:?} {args:?}: {said}")) }
    };
    run(Path::new("python3"), &["-m", "venv", "--clear", venv.to_str().expect("UTF-8")])?;
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "awscli", "vastai>=1.9"];
    run(&bin.join("python"), &pip)?;
    std::fs::write(done, "").map_err(|e| e.to_string())?;
    Ok(bin)
}

#[test]
fn the_clouds_own_clients_see_the_machines_of_running_jobs() {
    let bin = match clients() {
        Ok(bin) => bin,
        Err(why) => {
            println!("SKIPPED the clouds' own clients: they cannot be installed: {why}");
            return;
        }
    };
    let mut home = Home::with_sandbox("strangers", &["--seed", "91"]);
    home.env.insert("COLUMNS".into(), "400".into());
    let machine = |infra: &str| {
        let id = home.launch(&example("train.yaml"), &["--infra", infra, "--env", "STEPS=2000"]);
        home.until_log(&id, "step 1 of");
        let attempt = &home.job(&id)["attempts"][0];
        (id, attempt["instance_id"].as_str().expect("an id").to_owned(), attempt["region"].clone())
    };
    // Nothing but this home's environment reaches them: no proxy, no certificate bundle, no account.
    let client = |name: &str, args: &[&str]| -> Value {
        let said = home.run(&bin.join(name), args).ends(0);
        serde_json::from_str(&said.stdout).unwrap_or(Value::String(said.stdout))
    };

    let (job, instance, region) = machine("aws");
    let region = region.as_str().expect("a region");
    let there = ["--region", region, "--output", "json"];
    let aws = |args: &[&str]| client("aws", &[args, &there].concat());
    let seen = aws(&["ec2", "describe-instances"]);
    let seen = &seen["Reservations"][0]["Instances"][0];
    assert_eq!(seen["InstanceId"], instance.as_str(), "{seen}");
    assert_eq!(seen["State"]["Name"], "running", "{seen}");
    assert_eq!(seen["InstanceLifecycle"], "spot", "{seen}");
    let tags = seen["Tags"].as_array().expect("tags");
    assert!(tags.iter().any(|t| t["Key"] == "fleet-job" && t["Value"] == job.as_str()), "{seen}");
    let prices = aws(&["ec2", "describe-spot-price-history", "--instance-types", "g4dn.xlarge"]);
    let price = prices["SpotPriceHistory"][0]["SpotPrice"].as_str().expect("a price");
    assert!(price.parse::<f64>().is_ok_and(|p| p > 0.0), "{price}");
    let types = aws(&["ec2", "describe-instance-types", "--instance-types", "g4dn.xlarge"]);
    assert_eq!(types["InstanceTypes"][0]["GpuInfo"]["Gpus"][0]["Name"], "T4", "{types}");

    let (job, contract, _) = machine("vast");
    let mine = client("vastai", &["show", "instances", "--raw"]);
    assert_eq!(mine[0]["id"].to_string(), contract, "{mine}");
    assert_eq!(mine[0]["actual_status"], "running", "{mine}");
    let table = client("vastai", &["show", "instances"]);
    assert!(table.as_str().is_some_and(|t| t.contains(&contract)), "{table}");
    let offers = client("vastai", &["search", "offers", "gpu_name=Tesla_T4 num_gpus=1", "--raw"]);
    assert!(offers[0]["dph_total"].as_f64().is_some_and(|p| p > 0.0), "{offers}");

    home.fleet(&["cancel", "--all"]).ends(0);
    home.in_phase(&job, "finished");
    home.drained();
    let after =
        aws(&["ec2", "describe-instances", "--filters", "Name=instance-state-name,Values=running"]);
    assert_eq!(after["Reservations"].as_array().map(Vec::len), Some(0), "{after}");
}
