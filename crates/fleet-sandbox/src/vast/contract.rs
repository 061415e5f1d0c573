//! Contracts as Vast shows them: list, show, stop, start, label, rebid, destroy.
//!
//! Invariant: a contract says `stopped` three times (current, next, intended) only when no process of
//! its machine is left; an outbid one looks exactly like that.

use super::create::epoch;
use super::offers::{facts, merge};
use super::predicate::{compare, passes};
use super::{Request, failure, no_such_instance, price};
use crate::http::Reply;
use crate::world::{EndCause, Stage, Unit};
use fleet_types::{Market, Timestamp, Usd};
use serde_json::{Value, json};

/// Most rows of one page.
const PAGE: usize = 25;

/// A rental contract; its machine, if one ever ran, is the world's unit of the same id.
#[derive(Clone, Debug)]
pub(crate) struct Contract {
    pub(super) machine: usize,
    pub(super) market: Market,
    /// Dollars an hour without storage: the bid, or the on-demand price.
    pub(super) paid: Usd,
    pub(super) disk_gb: f64,
    pub(super) label: Option<String>,
    pub(super) image: String,
    pub(super) runtype: String,
    pub(super) onstart: String,
    pub(super) env: Vec<(String, String)>,
    pub(super) keys: Vec<String>,
    pub(super) created_at: Timestamp,
    pub(super) visible_at: Timestamp,
}

/// actual_status, cur_state, next_state, intended_status, status_msg.
type Words = (Option<&'static str>, &'static str, &'static str, &'static str, &'static str);

fn words(unit: Option<&Unit>) -> Words {
    const STOPPED: Words = (Some("stopped"), "stopped", "stopped", "stopped", "");
    let Some(unit) = unit else { return STOPPED };
    match (unit.stage, unit.end_cause) {
        (Stage::Booting, _) => (Some("loading"), "running", "running", "running", "pulling image"),
        (Stage::Running, _) => {
            (Some("running"), "running", "running", "running", "success, running image")
        }
        (_, Some(EndCause::BootFailed)) => {
            let why = "Error response from daemon: OCI runtime create failed";
            (Some("created"), "running", "running", "running", why)
        }
        (_, Some(EndCause::InstanceShutdown)) => {
            (Some("exited"), "running", "running", "running", "container exited")
        }
        (Stage::Ending, _) => (Some("running"), "running", "stopped", "stopped", ""),
        (Stage::Ended, _) => STOPPED,
    }
}

impl Request<'_> {
    fn row(&self, id: u64, c: &Contract) -> Value {
        let m = &self.world.vast.machines[c.machine];
        let unit = self.world.units.get(&id.to_string());
        let (actual, current, next, intended, message) = words(unit);
        let base = c.paid.dollars();
        let mut row = facts(self.world, m, c.market, c.disk_gb, base, self.now);
        let costs = row["search"].clone();
        let started = unit.map_or(c.created_at, |u| u.started_at);
        let env: Vec<Value> = c.env.iter().map(|(k, v)| json!([k, v])).collect();
        merge(
            &mut row,
            json!({
                "id": id, "label": c.label, "actual_status": actual, "cur_state": current,
                "next_state": next, "intended_status": intended, "status_msg": message,
                "start_date": epoch(started), "is_bid": c.market == Market::Spot,
                "image_uuid": c.image, "image_runtype": c.runtype, "image_args": [],
                "onstart": c.onstart, "extra_env": env, "rentable": false, "rented": true,
                "uptime_mins": self.now.since(started).as_secs_f64() / 60.0,
                "disk_space": c.disk_gb, "disk_usage": 1.0, "disk_util": 1.0, "cpu_util": 0.0,
                "gpu_util": 0.0, "gpu_temp": 40.0, "mem_limit": 16.0, "mem_usage": 0.5,
                "vmem_usage": 0.0, "jupyter_token": "", "local_ipaddrs": "", "credit_balance": 25.0,
                "credit_discount": 0.0, "client_run_time": 1.0, "host_run_time": 2_592_000.0,
                "template_id": null, "template_hash_id": null, "template_name": null,
                "volume_info": [], "instance": costs,
            }),
        );
        self.reach(&mut row, unit);
        row
    }

    /// Where its SSH server answers, while it does.
    fn reach(&self, row: &mut Value, unit: Option<&Unit>) {
        let port = self.ssh_port;
        let up = unit.filter(|u| u.stage == Stage::Running);
        let ports =
            up.map(|_| json!({"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": port.to_string()}]}));
        let address = unit.map(|u| u.address.to_string());
        merge(
            row,
            json!({
                "public_ipaddr": address, "ssh_host": address, "ssh_port": port, "ssh_idx": "1",
                "machine_dir_ssh_port": port, "ports": ports,
                "direct_port_start": if up.is_some() { i32::from(port) } else { -1 },
                "direct_port_end": if up.is_some() { i32::from(port) } else { -1 },
            }),
        );
    }

    fn rows(&self) -> Vec<Value> {
        let shown = |c: &&Contract| c.visible_at <= self.now;
        self.world
            .vast
            .contracts
            .iter()
            .filter(|(_, c)| shown(c))
            .map(|(id, c)| self.row(*id, c))
            .collect()
    }

    pub(super) fn list_all(&mut self) -> Reply {
        Reply::json(200, &json!({"success": true, "instances": self.rows()}))
    }

    /// The paged list: `select_filters` and `order_by` are JSON within the query.
    pub(super) fn list_pages(&mut self) -> Reply {
        let query = |name: &str| self.query.get(name).map_or("", String::as_str);
        let parsed = |name: &str| serde_json::from_str::<Value>(query(name)).unwrap_or_default();
        let filters = parsed("select_filters").as_object().cloned().unwrap_or_default();
        let mut rows = Vec::new();
        for row in self.rows() {
            match passes(&row, &filters) {
                Ok(true) => rows.push(row),
                Ok(false) => {}
                Err(reason) => return failure(400, "invalid_args", reason),
            }
        }
        let order = parsed("order_by");
        let (column, descending) = match order.get(0) {
            Some(o) => (o["col"].as_str().unwrap_or("id").to_owned(), o["dir"] == "desc"),
            None => ("id".to_owned(), false),
        };
        rows.sort_by(|a, b| {
            let order = compare(&a[&column], &b[&column]).unwrap_or(std::cmp::Ordering::Equal);
            if descending { order.reverse() } else { order }
        });
        let limit = query("limit").parse().unwrap_or(PAGE).clamp(1, PAGE);
        let start: usize = query("after_token").parse().unwrap_or(0);
        let total = rows.len();
        let next = (total > start + limit).then(|| (start + limit).to_string());
        let page: Vec<Value> = rows.into_iter().skip(start).take(limit).collect();
        Reply::json(
            200,
            &json!({"success": true, "instances": page, "instances_found": total,
                "total_instances": total, "next_token": next, "label_counts": {}}),
        )
    }

    pub(super) fn show(&mut self, id: u64) -> Reply {
        let contract = self.world.vast.contracts.get(&id).filter(|c| c.visible_at <= self.now);
        let row = contract.map(|c| self.row(id, c));
        Reply::json(200, &json!({"instances": row}))
    }

    pub(super) fn destroy(&mut self, id: u64) -> Reply {
        if self.world.vast.contracts.remove(&id).is_none() {
            return no_such_instance(id);
        }
        self.world.end(&id.to_string(), EndCause::Terminated, self.now);
        self.world.end_resource(&format!("disk-{id}"), self.now);
        Reply::json(200, &json!({"success": true, "msg": format!("Instance {id} destroyed.")}))
    }

    /// Stop, start or label.
    pub(super) fn manage(&mut self, id: u64) -> Reply {
        if !self.world.vast.contracts.contains_key(&id) {
            return no_such_instance(id);
        }
        if let Some(label) = self.body["label"].as_str().map(str::to_owned) {
            if let Some(unit) = self.world.units.get_mut(&id.to_string()) {
                unit.tags.insert("label".into(), label.clone());
            }
            if let Some(contract) = self.world.vast.contracts.get_mut(&id) {
                contract.label = Some(label);
            }
        }
        match self.body["state"].as_str() {
            None => {}
            Some("stopped") => {
                self.world.end(&id.to_string(), EndCause::Stopped, self.now);
            }
            Some("running") => return self.start_if_paid(id),
            Some(other) => return failure(400, "invalid_args", format!("state {other}")),
        }
        Reply::json(200, &json!({"success": true}))
    }

    pub(super) fn rebid(&mut self, id: u64) -> Reply {
        let bid = self.body["price"].as_f64().filter(|p| *p >= 0.001).and_then(Usd::from_dollars);
        let Some(bid) = bid else {
            return failure(400, "invalid_args", "Please set a bid price >= 0.001.");
        };
        let Some(contract) = self.world.vast.contracts.get_mut(&id) else {
            return no_such_instance(id);
        };
        if contract.market == Market::OnDemand {
            return failure(400, "invalid_args", "Instance is not interruptible.");
        }
        contract.paid = bid;
        let lowest = {
            let machine = contract.machine;
            price(self.world, &self.world.vast.machines[machine], Market::Spot, self.now)
        };
        let name = id.to_string();
        self.world.reprice(&name, bid, self.now);
        if bid < lowest {
            self.world.preempt(&name, None, EndCause::PreemptedPrice, self.now);
        } else if !self.world.units.get(&name).is_some_and(Unit::is_live) {
            return self.start_if_paid(id);
        }
        Reply::json(200, &json!({"success": true}))
    }

    /// Starts a stopped machine where its price still holds.
    fn start_if_paid(&mut self, id: u64) -> Reply {
        let Some(contract) = self.world.vast.contracts.get(&id) else {
            return no_such_instance(id);
        };
        let machine = &self.world.vast.machines[contract.machine];
        if contract.paid < price(self.world, machine, contract.market, self.now) {
            return failure(400, "invalid_price", "the bid is below the current minimum");
        }
        if self.world.units.get(&id.to_string()).is_some_and(Unit::is_live) || self.start(id) {
            return Reply::json(200, &json!({"success": true}));
        }
        failure(400, "invalid_args", "the instance is still stopping")
    }
}
