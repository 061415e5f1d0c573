//! IMDSv2 of one machine, on the machine's own address: what a process on an EC2 instance can ask.
//!
//! Invariant: without a token from `PUT /latest/api/token` nothing is told, and the interruption
//! documents are 404 until there is a notice.

use crate::clock::iso_seconds;
use crate::host::Host;
use crate::http::{self, Call, Reply};
use crate::world::Unit;
use serde_json::json;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves one machine's metadata until `stop`; returns the base URL.
pub(crate) async fn serve(
    host: Arc<Host>,
    id: &str,
    address: Ipv4Addr,
    stop: CancellationToken,
) -> io::Result<String> {
    let listener = TcpListener::bind((address, 0)).await?;
    let base = format!("http://{}", listener.local_addr()?);
    let id = id.to_owned();
    // Guessing it is of no use: the documents are about this machine alone.
    let token = format!("AQAE{:032x}", host.with(|w, _| w.draw()));
    http::serve(listener, stop, move |call| {
        let unit = host.with(|w, _| w.units.get(&id).cloned());
        let image = host.with(|w, _| w.aws.image_of(&id));
        let reply = unit.map_or_else(not_found, |u| answer(&call, &u, &token, &image));
        async { reply }
    });
    Ok(base)
}

fn not_found() -> Reply {
    Reply::text(404, "404 - Not Found")
}

fn answer(call: &Call, unit: &Unit, token: &str, image: &str) -> Reply {
    let path = call.path.trim_end_matches('/');
    if call.method == "PUT" && path == "/latest/api/token" {
        let ttl = call.header("x-aws-ec2-metadata-token-ttl-seconds").parse::<u32>();
        return match ttl {
            Ok(1..=21600) => Reply::text(200, token),
            _ => Reply::text(400, "400 - Bad Request"),
        };
    }
    if call.method != "GET" {
        return Reply::text(405, "405 - Method Not Allowed");
    }
    if call.header("x-aws-ec2-metadata-token") != token {
        return Reply::text(401, "401 - Unauthorized");
    }
    let path = path.strip_prefix("/latest/").unwrap_or("");
    match path.strip_prefix("meta-data/") {
        Some(item) => metadata(item, unit, image),
        None if path == "user-data" => {
            unit.boot.user_data.as_ref().map_or_else(not_found, |d| Reply::text(200, d))
        }
        None if path == "dynamic/instance-identity/document" => Reply::text(
            200,
            json!({"instanceId": unit.id, "region": unit.pool.place.region,
                "availabilityZone": unit.pool.place.zone, "instanceType": unit.pool.instance_type,
                "imageId": image, "privateIp": unit.address.to_string()})
            .to_string(),
        ),
        None => not_found(),
    }
}

fn metadata(item: &str, unit: &Unit, image: &str) -> Reply {
    let place = &unit.pool.place;
    let text = match item {
        "instance-id" => unit.id.clone(),
        "instance-type" => unit.pool.instance_type.clone(),
        "ami-id" => image.to_owned(),
        "instance-life-cycle" => if unit.is_spot() { "spot" } else { "on-demand" }.to_owned(),
        "hostname" | "local-hostname" => unit.id.clone(),
        "local-ipv4" | "public-ipv4" => unit.address.to_string(),
        "placement/availability-zone" => place.zone.clone(),
        "placement/region" => place.region.clone(),
        "public-keys" => "0=fleet".to_owned(),
        "public-keys/0/openssh-key" => unit.boot.authorized_keys.join("\n"),
        "placement/availability-zone-id" => match crate::facts::aws::zone(&place.zone) {
            Some(zone) => zone.id.to_owned(),
            None => return not_found(),
        },
        _ => return interruption(item, unit),
    };
    Reply::text(200, text)
}

fn interruption(item: &str, unit: &Unit) -> Reply {
    let Some(notice) = unit.notice else { return not_found() };
    let at = iso_seconds(notice.deadline);
    let text = match item {
        "spot/instance-action" => json!({"action": "terminate", "time": at}).to_string(),
        "spot/termination-time" => at,
        "events/recommendations/rebalance" => {
            json!({"noticeTime": iso_seconds(notice.at)}).to_string()
        }
        _ => return not_found(),
    };
    Reply::text(200, text)
}
