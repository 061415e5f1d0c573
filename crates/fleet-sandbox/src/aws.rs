//! AWS on the wire: EC2 and STS (Query protocol), Pricing (JSON) and the spot advisor's public file.
//!
//! One port speaks for all regions and services; which is meant is read from the credential scope of
//! the SigV4 header. Signatures are not checked, and only the sandbox's dummy keys are let in.
//!
//! Invariant: a refusal carries the code and the HTTP status that EC2 gives it (capacity is a 500).

mod auth;
mod billing;
mod filter;
mod groups;
mod instances;
mod launch;
mod network;
mod places;
mod query;
mod resources;
mod spot;
mod xml;

use crate::host::Host;
use crate::http::{Call, Reply};
use crate::text::pairs;
use crate::world::{Fate, World};
use fleet_types::{ProviderId, Timestamp};
use query::Params;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use xml::Xml;

/// The account number of every sandbox.
const ACCOUNT: &str = "000000000000";

/// What EC2 knows beside the world's machines.
#[derive(Default)]
pub(crate) struct Account {
    instances: BTreeMap<String, instances::Ec2>,
    keys: BTreeMap<(String, String), network::Key>,
    groups: BTreeMap<String, groups::Group>,
    /// Creates by region and client token.
    tokens: HashMap<(String, String), launch::Reservation>,
}

impl Account {
    /// The image that an instance was launched from; empty where it is none of ours.
    pub(crate) fn image_of(&self, id: &str) -> String {
        self.instances.get(id).map(|i| i.image.clone()).unwrap_or_default()
    }
}

/// A refusal: HTTP status, code and message as EC2 words them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

fn refuse(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status, code, message: message.into() }
}

fn bad_value(name: &str, value: &str) -> Refusal {
    refuse(400, "InvalidParameterValue", format!("Invalid value '{value}' for {name}."))
}

fn missing(name: &str) -> Refusal {
    let text = format!("The request must contain the parameter {name}");
    refuse(400, "MissingParameter", text)
}

/// What a handler gives: the inside of the response element, or a refusal.
type Answer = Result<Xml, Refusal>;

/// One EC2 call with all that it depends on.
struct Request<'a> {
    world: &'a mut World,
    now: Timestamp,
    region: String,
    action: String,
    params: Params,
}

/// Answers one HTTP call.
pub(crate) fn answer(host: &std::sync::Arc<Host>, call: &Call) -> Reply {
    if call.method == "GET" && call.path == "/spot-advisor-data.json" {
        return host.with(|w, _| {
            w.ledger.calls += 1;
            Reply::json(200, &billing::advisor())
        });
    }
    let scope = match auth::scope(call) {
        Ok(scope) => scope,
        Err(r) => return error(&scopeless(call), &r),
    };
    let target = call.header("x-amz-target").to_owned();
    if !target.is_empty() {
        return host.with(|w, _| json_call(w, &scope, &target, call));
    }
    let text = String::from_utf8_lossy(&call.body).into_owned();
    let params = Params::new(if text.is_empty() { pairs(&call.query) } else { pairs(&text) });
    let action = params.get("Action").unwrap_or("").to_owned();
    host.with(|world, now| {
        let (fate, latency) = world.fate(ProviderId::Aws, &action);
        let region = scope.region.clone();
        let request = Request { world, now, region, action: action.clone(), params };
        let mut reply = with_fate(fate, &scope.service, request);
        reply.delay = Duration::from_millis(latency);
        reply
    })
}

fn with_fate(fate: Fate, service: &str, mut request: Request<'_>) -> Reply {
    let internal = refuse(500, "InternalError", "An internal error has occurred");
    match fate {
        Fate::Throttled => {
            return error(service, &refuse(503, "RequestLimitExceeded", "Request limit exceeded."));
        }
        Fate::FailsBefore => return error(service, &internal),
        Fate::Works | Fate::FailsAfter | Fate::Lost => {}
    }
    let outcome = dispatch(service, &mut request);
    let mutates = !["Describe", "Get"].iter().any(|p| request.action.starts_with(p));
    if mutates {
        request.note(&outcome);
    }
    match fate {
        Fate::FailsAfter => error(service, &internal),
        Fate::Lost => Reply { lost: true, ..Reply::text(200, "") },
        _ => match outcome {
            Ok(inside) => Reply::xml(200, inside.respond(service, &request.action)),
            Err(r) => error(service, &r),
        },
    }
}

fn dispatch(service: &str, r: &mut Request<'_>) -> Answer {
    if service == "sts" && r.action == "GetCallerIdentity" {
        return Ok(billing::caller());
    }
    if crate::facts::aws::region(&r.region).is_none() {
        let text = format!("The region {} is not one that this account can use", r.region);
        return Err(refuse(401, "AuthFailure", text));
    }
    match r.action.as_str() {
        "DescribeRegions" => r.describe_regions(),
        "DescribeAvailabilityZones" => r.describe_availability_zones(),
        "DescribeInstanceTypes" => r.describe_instance_types(),
        "DescribeInstanceTypeOfferings" => r.describe_offerings(),
        "DescribeSpotPriceHistory" => r.describe_spot_price_history(),
        "GetSpotPlacementScores" => r.spot_placement_scores(),
        "DescribeImages" => r.describe_images(),
        "RunInstances" => r.run_instances(),
        "DescribeInstances" => r.describe_instances(),
        "DescribeInstanceStatus" => r.describe_instance_status(),
        "TerminateInstances" => r.terminate_instances(),
        "GetConsoleOutput" => r.console_output(),
        "DescribeSpotInstanceRequests" => r.describe_spot_requests(),
        "CancelSpotInstanceRequests" => r.cancel_spot_requests(),
        "ImportKeyPair" => r.import_key_pair(),
        "DescribeKeyPairs" => r.describe_key_pairs(),
        "DeleteKeyPair" => r.delete_key_pair(),
        "CreateSecurityGroup" => r.create_security_group(),
        "AuthorizeSecurityGroupIngress" => r.authorize_ingress(),
        "RevokeSecurityGroupIngress" => r.revoke_ingress(),
        "DescribeSecurityGroups" => r.describe_security_groups(),
        "DeleteSecurityGroup" => r.delete_security_group(),
        "DescribeVpcs" => r.describe_vpcs(),
        "DescribeSubnets" => r.describe_subnets(),
        "DescribeVolumes" => r.describe_volumes(),
        "CreateTags" => r.create_tags(),
        other => {
            let text = format!("The action {other} is not valid for this web service.");
            Err(refuse(400, "InvalidAction", text))
        }
    }
}

impl Request<'_> {
    /// Writes a mutating call into the sandbox's log.
    fn note(&mut self, outcome: &Answer) {
        let named = self.params.list("InstanceId");
        let token = match self.params.get("ClientToken") {
            Some(token) => token.to_owned(),
            None => named
                .first()
                .and_then(|id| self.world.units.get(*id))
                .map(|u| u.token.clone())
                .unwrap_or_default(),
        };
        let result = match outcome {
            Ok(xml) => match xml.first_of("instanceId") {
                Some(id) => format!("ok {id}"),
                None => "ok".to_owned(),
            },
            Err(r) => r.code.to_owned(),
        };
        let action = self.action.clone();
        self.world.mutation(self.now, ProviderId::Aws, &action, &token, &result);
    }

    fn dry_run(&self) -> Result<(), Refusal> {
        match self.params.get("DryRun") {
            Some("true") => Err(refuse(
                412,
                "DryRunOperation",
                "Request would have succeeded, but DryRun flag is set.",
            )),
            _ => Ok(()),
        }
    }
}

fn json_call(world: &mut World, scope: &auth::Scope, target: &str, call: &Call) -> Reply {
    let action = target.rsplit('.').next().unwrap_or("");
    let (fate, latency) = world.fate(ProviderId::Aws, action);
    let refused = |code: &str, text: &str| {
        Reply::json(400, &serde_json::json!({"__type": code, "message": text}))
    };
    let mut reply = match fate {
        Fate::Throttled => refused("ThrottlingException", "Rate exceeded"),
        Fate::FailsBefore | Fate::FailsAfter => {
            Reply::json(500, &serde_json::json!({"__type": "InternalErrorException"}))
        }
        Fate::Works | Fate::Lost if scope.service == "pricing" && action == "GetProducts" => {
            match billing::products(&call.json()) {
                Ok(body) => Reply::json(200, &body),
                Err((code, text)) => refused(code, &text),
            }
        }
        Fate::Works | Fate::Lost => refused("UnknownOperationException", ""),
    };
    reply.kind = "application/x-amz-json-1.1";
    reply.delay = Duration::from_millis(latency);
    reply.lost = fate == Fate::Lost;
    reply
}

/// Which service's error shape a caller without a scope expects.
fn scopeless(call: &Call) -> String {
    let sts = String::from_utf8_lossy(&call.body).contains("Version=2011-06-15");
    if sts { "sts" } else { "ec2" }.to_owned()
}

fn error(service: &str, refusal: &Refusal) -> Reply {
    Reply::xml(refusal.status, Xml::error(service, refusal.code, &refusal.message))
}
