//! The clouds' own clients against the sandbox: `aws` and `vastai`, both from PyPI.
//!
//! They are looked for in the folder that `FLEET_CLIENT_TOOLS` names (a virtual environment's `bin`);
//! the test command of the repository installs them there. Without it this says so and checks nothing.

use super::{Lab, sandbox};
use crate::{Scenario, env};
use serde_json::Value;
use std::path::PathBuf;
use tokio::process::Command;

fn tools() -> Option<PathBuf> {
    let folder =
        std::env::var_os("FLEET_CLIENT_TOOLS").filter(|v| !v.is_empty()).map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: FLEET_CLIENT_TOOLS does not name a folder with `aws` and `vastai`");
    }
    folder
}

impl Lab {
    /// Runs a client with the environment that `fleet sandbox env` prints; its answer as JSON.
    async fn client(&self, tools: &std::path::Path, line: &[&str]) -> Value {
        let out = Command::new(tools.join(line[0]))
            .args(&line[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            // Tables are cut to the terminal's width.
            .env("COLUMNS", "240")
            .envs(env(&self.running.state))
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        let talk = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{line:?}: {talk}");
        serde_json::from_str(&text).unwrap_or(Value::String(text.into_owned()))
    }
}

#[tokio::test]
async fn the_aws_cli_reads_launches_lists_and_terminates() {
    let Some(tools) = tools() else { return };
    let b = sandbox(Scenario::default()).await;
    let aws = async |line: &str| {
        let words: Vec<&str> = std::iter::once("aws").chain(line.split(' ')).collect();
        b.client(&tools, &words).await
    };
    let who = aws("sts get-caller-identity").await;
    assert_eq!(who["Account"], "000000000000");
    let types = aws("ec2 describe-instance-types --region us-west-2").await;
    let names: Vec<&Value> =
        types["InstanceTypes"].as_array().unwrap().iter().map(|t| &t["InstanceType"]).collect();
    assert!(names.contains(&&Value::from("p5.48xlarge")), "{names:?}");
    let prices = aws("ec2 describe-spot-price-history --instance-types g4dn.xlarge \
                      --product-descriptions Linux/UNIX --start-time 2026-01-01T00:00:00Z")
    .await;
    assert!(prices["SpotPriceHistory"][0]["AvailabilityZoneId"].is_string(), "{prices}");
    let offered =
        aws("ec2 describe-instance-type-offerings --location-type availability-zone").await;
    assert!(offered["InstanceTypeOfferings"].as_array().unwrap().len() > 20);
    let scores = aws("ec2 get-spot-placement-scores --target-capacity 1 --instance-types \
                      g4dn.xlarge --single-availability-zone")
    .await;
    assert!(scores["SpotPlacementScores"][0]["Score"].as_u64().unwrap() > 1, "{scores}");
    let products = aws("pricing get-products --service-code AmazonEC2 --filters \
                        Type=TERM_MATCH,Field=instanceType,Value=g4dn.xlarge --max-items 3")
    .await;
    assert!(products["PriceList"][0].as_str().unwrap().contains("OnDemand"), "{products}");
    for describe in [
        "vpcs",
        "subnets",
        "security-groups",
        "images --image-ids ami-0123456789abcdef0",
        "availability-zones",
        "key-pairs",
        "volumes",
        "regions",
    ] {
        assert!(aws(&format!("ec2 describe-{describe}")).await.is_object(), "{describe}");
    }
    let made =
        aws("ec2 run-instances --image-id ami-0123456789abcdef0 --instance-type g4dn.xlarge \
                    --count 1 --client-token tok --instance-market-options MarketType=spot \
                    --tag-specifications ResourceType=instance,Tags=[{Key=fleet,Value=x}]")
        .await;
    let id = made["Instances"][0]["InstanceId"].as_str().unwrap().to_owned();
    b.in_state(&id, "running").await;
    let listed = aws("ec2 describe-instances --filters Name=tag:fleet,Values=x").await;
    assert_eq!(listed["Reservations"][0]["Instances"][0]["InstanceId"], id.as_str(), "{listed}");
    assert!(listed["Reservations"][0]["Instances"][0]["PublicIpAddress"].is_string());
    let requests = aws("ec2 describe-spot-instance-requests").await;
    assert_eq!(requests["SpotInstanceRequests"][0]["Status"]["Code"], "fulfilled");
    aws(&format!("ec2 describe-instance-status --instance-ids {id}")).await;
    aws(&format!("ec2 terminate-instances --instance-ids {id}")).await;
    b.in_state(&id, "terminated").await;
}

#[tokio::test]
async fn vastai_searches_rents_shows_and_destroys() {
    let Some(tools) = tools() else { return };
    let b = sandbox(Scenario::default()).await;
    let vastai = async |line: &[&str]| {
        let words: Vec<&str> = std::iter::once("vastai").chain(line.iter().copied()).collect();
        b.client(&tools, &words).await
    };
    let query = "gpu_name=Tesla_T4 num_gpus=1 reliability>0.98";
    let offers = vastai(&["search", "offers", "--type", "bid", query, "--raw"]).await;
    let offer = &offers[0];
    assert_eq!(offer["gpu_name"], "Tesla T4", "{offers}");
    let table = vastai(&["search", "offers", query]).await;
    assert!(table.as_str().unwrap().contains("Tesla"), "{table}");
    let (id, bid) = (offer["id"].to_string(), offer["min_bid"].as_f64().unwrap() * 1.1);
    let bid = format!("{bid:.4}");
    let made = vastai(&[
        "create",
        "instance",
        &id,
        "--image",
        "pytorch/pytorch",
        "--disk",
        "20",
        "--ssh",
        "--direct",
        "--bid_price",
        &bid,
        "--label",
        "fleet/f/t/1",
        "--raw",
    ])
    .await;
    let contract = made["new_contract"].to_string();
    super::until("running", || async {
        let shown = vastai(&["show", "instances", "--raw"]).await;
        (shown[0]["actual_status"] == "running").then_some(())
    })
    .await;
    assert!(vastai(&["show", "instances"]).await.as_str().unwrap().contains(&contract));
    let one = vastai(&["show", "instance", &contract, "--raw"]).await;
    assert_eq!(one["label"], "fleet/f/t/1", "{one}");
    vastai(&["ssh-url", &contract]).await;
    vastai(&["label", "instance", &contract, "other"]).await;
    vastai(&["change", "bid", &contract, "--price", &bid]).await;
    assert!(vastai(&["show", "user", "--raw"]).await.is_object());
    vastai(&["destroy", "instance", &contract, "-y"]).await;
    let shown = vastai(&["show", "instances", "--raw"]).await;
    assert_eq!(shown.as_array().map(Vec::len), Some(0), "{shown}");
}
