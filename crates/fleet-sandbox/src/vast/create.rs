//! Renting: `PUT /asks/{id}/`, with the traps that the real one has.
//!
//! Invariants: without `price` it is on-demand, whatever was searched for; a bid below the minimum
//! answers an error and leaves a stopped contract whose disk bills; there is no idempotency at all.

use super::contract::Contract;
use super::{Request, calm_price, failure, instance_type, is_rentable, price, storage, with_site};
use crate::http::Reply;
use crate::world::{Boot, Resource, Stage, Unit};
use fleet_types::{Market, Place, Pool, ProviderId, Timestamp, Usd};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const MAX_LABEL: usize = 256;
const MAX_ONSTART: usize = 4096;
const MAX_ENV: usize = 32 * 1024;
const MIN_DISK_GB: f64 = 8.0;

/// The token within fleet's label `fleet/FLEET/TOKEN/EXPIRY`; of any other label, the label itself.
pub(super) fn token_of(label: &str) -> String {
    let parts: Vec<&str> = label.split('/').collect();
    match parts.as_slice() {
        ["fleet", _, token, ..] => (*token).to_owned(),
        _ => label.to_owned(),
    }
}

/// The environment as Vast takes it: an object, or text in docker's flags.
fn environment(env: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    match env {
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
        Value::String(flags) => flags
            .split("-e ")
            .skip(1)
            .filter_map(|f| f.split_whitespace().next()?.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect(),
        _ => Vec::new(),
    }
}

impl Request<'_> {
    pub(super) fn rent(&mut self, ask: u64) -> Reply {
        if let Err(refused) = self.check(ask) {
            return refused;
        }
        let bid = self.body["price"].as_f64();
        let market = if bid.is_some() { Market::Spot } else { Market::OnDemand };
        let Some(index) = self.world.vast.machines.iter().position(|m| m.ask_id == ask) else {
            return unavailable(404, ask, "error 404/3603: no_such_ask Instance type by id");
        };
        let machine = &self.world.vast.machines[index];
        if !is_rentable(self.world, machine, market, self.now) {
            return unavailable(410, ask, "error 410/3907: no_such_ask Instance type");
        }
        let quota = with_site(machine, market, |site| self.world.quota(site, self.now));
        let live = self.world.vast.contracts.len();
        if quota.is_some_and(|q| live >= q as usize) {
            let text = "Your account lacks credit; see the billing page.";
            return failure(400, "insufficient_credit", text);
        }
        let lowest = price(self.world, machine, market, self.now);
        let paid = bid.and_then(Usd::from_dollars).unwrap_or(lowest);
        let id = self.contract(index, market, paid);
        if paid < lowest {
            let msg =
                format!("bid {} is below the minimum {:.4}", paid.dollars(), lowest.dollars());
            return Reply::json(
                400,
                &json!({"success": false, "error": "invalid_price", "msg": msg,
                    "ask_id": ask, "new_contract": id}),
            );
        }
        if self.body["target_state"] != "stopped" {
            self.start(id);
        }
        Reply::json(200, &json!({"success": true, "new_contract": id}))
    }

    fn check(&self, ask: u64) -> Result<(), Reply> {
        let bad = |msg: &str| {
            let msg = format!("error 400/3467: Invalid args: {msg}");
            let body =
                json!({"success": false, "error": "invalid_args", "msg": msg, "ask_id": ask});
            Err(Reply::json(400, &body))
        };
        let b = &self.body;
        let length = |field: &str| b[field].as_str().map_or(0, str::len);
        if b["client_id"] != "me" {
            return bad("client_id must be \"me\"");
        }
        if length("image") == 0 && b["template_hash_id"].is_null() {
            return bad("an image is required");
        }
        if b["disk"].as_f64().is_some_and(|gb| gb < MIN_DISK_GB) {
            return bad("disk must be at least 8 GB");
        }
        if length("label") > MAX_LABEL {
            return bad("label is longer than 256 characters");
        }
        if length("onstart") + length("args_str") > MAX_ONSTART {
            return bad("args and onstart are longer than 4096 bytes");
        }
        if b["env"].to_string().len() > MAX_ENV {
            return bad("env is larger than 32 KB");
        }
        match b.get("price").filter(|p| !p.is_null()) {
            Some(p) if !p.as_f64().is_some_and(|p| (0.001..=128.0).contains(&p)) => {
                Err(failure(400, "invalid_price", "Please set a bid price >= 0.001."))
            }
            _ => Ok(()),
        }
    }

    /// Writes a contract whose disk bills from now; no machine runs yet.
    fn contract(&mut self, index: usize, market: Market, paid: Usd) -> u64 {
        let id = self.world.vast.next_contract;
        // Ids rise, with gaps: other customers rent as well.
        self.world.vast.next_contract += 1 + self.world.draw() % 7;
        let text = |field: &str| self.body[field].as_str().unwrap_or("").to_owned();
        let disk = self.body["disk"].as_f64().unwrap_or(10.0);
        let contract = Contract {
            machine: index,
            market,
            paid,
            disk_gb: disk,
            label: self.body["label"].as_str().map(str::to_owned),
            image: text("image"),
            runtype: text("runtype"),
            onstart: text("onstart"),
            env: environment(&self.body["env"]),
            keys: Vec::new(),
            created_at: self.now,
            visible_at: self.now.plus(self.world.visibility_lag(ProviderId::Vast)),
        };
        let machine = &self.world.vast.machines[index];
        let hourly = storage(machine, disk);
        let lowest = price(self.world, machine, market, self.now);
        self.world.bill(Resource {
            provider: ProviderId::Vast,
            kind: if paid < lowest { "contract" } else { "disk" },
            id: format!("disk-{id}"),
            owner: id.to_string(),
            ends_with_owner: false,
            price: hourly,
            started_at: self.now,
            ended_at: None,
        });
        self.world.vast.contracts.insert(id, contract);
        id
    }

    /// Starts the machine of a contract, for the first time or again. False if it cannot be had.
    pub(super) fn start(&mut self, id: u64) -> bool {
        let Some(contract) = self.world.vast.contracts.get(&id).cloned() else { return false };
        let name = id.to_string();
        if self.world.units.contains_key(&name) {
            return self.world.restart(&name, contract.paid, self.now);
        }
        let unit = self.unit(id, &contract);
        self.world.admit(unit);
        true
    }

    fn unit(&mut self, id: u64, contract: &Contract) -> Unit {
        let address: Ipv4Addr = self.world.addresses.take();
        let m = &self.world.vast.machines[contract.machine];
        let label = contract.label.clone().unwrap_or_default();
        let mut keys: Vec<String> = self.world.vast.keys.iter().map(|k| k.public.clone()).collect();
        keys.extend(contract.keys.clone());
        let mut env = contract.env.clone();
        env.retain(|(k, _)| !k.starts_with('-'));
        env.push(("CONTAINER_ID".into(), id.to_string()));
        Unit {
            id: id.to_string(),
            pool: Pool {
                place: Place {
                    provider: ProviderId::Vast,
                    region: m.country.to_owned(),
                    zone: m.machine_id.to_string(),
                },
                instance_type: instance_type(m),
                market: contract.market,
            },
            gpu: m.gpu.name.to_owned(),
            gpus: m.num_gpus,
            vcpus: m.cpu_cores,
            price: contract.paid,
            calm_price: calm_price(self.world, m, contract.market, self.now),
            limit: (contract.market == Market::Spot).then_some(contract.paid),
            tags: BTreeMap::from([("label".to_owned(), label.clone())]),
            token: token_of(&label),
            stage: Stage::Booting,
            started_at: self.now,
            visible_at: contract.visible_at,
            running_at: None,
            reported_at: None,
            notice: None,
            ended_at: None,
            end_cause: None,
            gone_at: None,
            accrued: Usd::ZERO,
            billed_from: self.now,
            address,
            boot: Boot {
                authorized_keys: keys,
                user_data: (!contract.onstart.is_empty()).then(|| contract.onstart.clone()),
                env,
                metadata: false,
            },
        }
    }
}

fn unavailable(status: u16, ask: u64, text: &str) -> Reply {
    let tail = if status == 404 { "is not available." } else { "is no longer available." };
    let error = if status == 404 { "invalid_args" } else { "no_such_ask" };
    let msg = format!("{text} {ask} {tail}");
    Reply::json(status, &json!({"success": false, "error": error, "msg": msg, "ask_id": ask}))
}

/// Seconds since 1970 with a fraction, as Vast writes times.
pub(super) fn epoch(at: Timestamp) -> f64 {
    at.millis() as f64 / 1000.0
}
