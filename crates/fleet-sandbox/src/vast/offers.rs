//! Search: the machines that can be rented now, as rows of facts and prices.
//!
//! Invariant: a rented or sold-out machine is no offer; a bid search shows the lowest bid as
//! `min_bid`, for the whole machine and without storage.

use super::predicate::{compare, passes};
use super::{Request, failure, is_rentable, price, storage};
use crate::facts::vast::Machine;
use crate::http::Reply;
use crate::world::World;
use fleet_types::{Market, Timestamp};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

impl Request<'_> {
    pub(super) fn search(&mut self) -> Reply {
        let Some(mut filters) = self.body.as_object().cloned() else {
            return failure(400, "invalid_args", "the body must be a JSON object");
        };
        // Some clients nest the query under `q`.
        if let Some(inner) = filters.remove("q").as_ref().and_then(Value::as_object) {
            filters = inner.clone();
        }
        let market = match filters.remove("type").as_ref().and_then(Value::as_str) {
            Some("bid" | "interruptible") => Market::Spot,
            None | Some("on-demand" | "ondemand" | "ask" | "reserved") => Market::OnDemand,
            Some(other) => return failure(400, "invalid_args", format!("type {other}")),
        };
        let gb = filters.remove("allocated_storage").and_then(|v| number(&v)).unwrap_or(5.0);
        let limit = filters.remove("limit").and_then(|v| number(&v)).unwrap_or(64.0) as usize;
        let order = filters.remove("order");
        for ignored in ["disable_bundling", "sort_option", "resource_type", "owner"] {
            filters.remove(ignored);
        }
        let rows: Result<Vec<Value>, String> = self.offers(market, gb, &filters);
        let mut rows = match rows {
            Ok(rows) => rows,
            Err(reason) => return failure(400, "invalid_args", reason),
        };
        sort(&mut rows, order.as_ref());
        rows.truncate(limit);
        Reply::json(200, &json!({"success": true, "offers": rows}))
    }

    fn offers(
        &self,
        market: Market,
        gb: f64,
        filters: &Map<String, Value>,
    ) -> Result<Vec<Value>, String> {
        let mut rows = Vec::new();
        for m in &self.world.vast.machines {
            if !is_rentable(self.world, m, market, self.now) {
                continue;
            }
            let row = offer(self.world, m, market, gb, self.now);
            if passes(&row, filters)? {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

fn number(v: &Value) -> Option<f64> {
    match v {
        Value::Object(ops) => ops.values().next().and_then(Value::as_f64),
        other => other.as_f64(),
    }
}

/// Orders rows by `[["field", "asc"], …]`.
fn sort(rows: &mut [Value], order: Option<&Value>) {
    let keys: Vec<(String, bool)> = order
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|k| {
            let field = k.get(0)?.as_str()?.to_owned();
            Some((field, k.get(1).and_then(Value::as_str) == Some("desc")))
        })
        .collect();
    rows.sort_by(|a, b| {
        keys.iter()
            .map(|(field, descending)| {
                let order = compare(&a[field], &b[field]).unwrap_or(Ordering::Equal);
                if *descending { order.reverse() } else { order }
            })
            .find(|o| *o != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    });
}

/// One row of a search.
fn offer(w: &World, m: &Machine, market: Market, gb: f64, now: Timestamp) -> Value {
    let mut row = facts(w, m, market, gb, price(w, m, market, now).dollars(), now);
    let extra = json!({
        "id": m.ask_id, "ask_contract_id": m.ask_id, "bundle_id": m.ask_id + 1,
        "rentable": true, "rented": false, "is_bid": market == Market::Spot,
        "resource_type": "gpu", "hosting_type": i32::from(m.datacenter),
        "allocated_storage": gb, "instance": {}, "rn": 1,
    });
    merge(&mut row, extra);
    row
}

pub(super) fn merge(row: &mut Value, extra: Value) {
    if let (Value::Object(row), Value::Object(extra)) = (row, extra) {
        row.extend(extra);
    }
}

/// The facts that offers and instances share. `base` is dollars an hour without storage.
pub(super) fn facts(
    w: &World,
    m: &Machine,
    market: Market,
    gb: f64,
    base: f64,
    now: Timestamp,
) -> Value {
    let n = f64::from(m.num_gpus);
    let disk = storage(m, gb).dollars();
    let total = base + disk;
    let remaining = (m.ends_after - w.elapsed(now)).max(0.0);
    let ends = w.started_at.millis() as f64 / 1000.0 + m.ends_after;
    let mut row = hardware(m);
    merge(
        &mut row,
        json!({
            "dph_base": base, "dph_total": total, "dph_total_adj": total,
            "discounted_dph_total": total, "discounted_hourly": 0.0, "discount_rate": 0.0,
            "min_bid": price(w, m, Market::Spot, now).dollars(),
            "storage_cost": m.storage_cost, "storage_total_cost": disk,
            "vram_costperhour": base / n / f64::from(m.gpu.ram_mb),
            "flops_per_dphtotal": m.gpu.tflops * n / total,
            "dlperf_per_dphtotal": m.gpu.tflops * n * 1.4 / total,
            "score": m.gpu.tflops * n * 10.0 * m.reliability / total,
            "duration": remaining, "end_date": ends, "start_date": w.started_at.millis() as f64 / 1000.0,
            "time_remaining": "", "time_remaining_isbid": "", "credit_discount_max": 0.1,
            "search": {
                "gpuCostPerHour": base, "diskHour": disk, "totalHour": total,
                "discountTotalHour": 0.0, "discountedTotalPerHour": total,
            },
            "is_bid": market == Market::Spot,
        }),
    );
    row
}

/// GPUs, processor and disk. In two parts, because a macro takes only so many fields.
fn hardware(m: &Machine) -> Value {
    let n = m.num_gpus;
    let total_flops = m.gpu.tflops * f64::from(n);
    let mut row = json!({
        "machine_id": m.machine_id, "host_id": m.host_id, "hostname": null,
        "gpu_name": m.gpu.wire, "num_gpus": n, "gpu_ram": m.gpu.ram_mb,
        "gpu_total_ram": m.gpu.ram_mb * n, "gpu_totalram": m.gpu.ram_mb * n, "gpu_frac": 1.0,
        "gpu_arch": "nvidia", "gpu_lanes": 16, "gpu_mem_bw": 320.0, "gpu_max_power": 300,
        "gpu_max_temp": 90, "gpu_display_active": false, "gpu_ids": (0..n).collect::<Vec<_>>(),
        "compute_cap": m.gpu.compute_cap, "cuda_max_good": m.cuda, "driver_version": "570.133.20",
        "driver_vers": 570_133_020, "total_flops": total_flops, "dlperf": total_flops * 1.4,
    });
    merge(
        &mut row,
        json!({
            "cpu_name": "AMD EPYC 7543 32-Core Processor", "cpu_arch": "amd64", "cpu_ghz": 2.8,
            "cpu_cores": m.cpu_cores, "cpu_cores_effective": f64::from(m.cpu_cores),
            "cpu_ram": m.cpu_ram_mb, "has_avx": 1, "mobo_name": "ROMED8-2T", "pci_gen": 4.0,
            "pcie_bw": 24.0, "bw_nvlink": 0.0, "os_version": "22.04", "ubuntu_version": "22.04",
            "disk_space": m.disk_space_gb, "disk_name": "SAMSUNG MZQL2", "disk_bw": 2500.0,
        }),
    );
    merge(&mut row, hosting(m));
    row
}

/// Network, place, and how far the host can be trusted.
fn hosting(m: &Machine) -> Value {
    let verification = if m.verified { "verified" } else { "unverified" };
    json!({
        "inet_down": m.inet_down, "inet_up": m.inet_up, "inet_down_cost": 0.002,
        "inet_up_cost": 0.002, "internet_down_cost_per_tb": 2.0, "internet_up_cost_per_tb": 2.0,
        "reliability": m.reliability, "reliability2": m.reliability, "reliability_mult": 1.0,
        "expected_reliability": m.reliability, "verification": verification,
        "verified": m.verified, "vericode": i32::from(m.verified), "datacenter": m.datacenter,
        "external": false, "static_ip": m.datacenter, "direct_port_count": 64,
        "public_ipaddr": "127.0.0.1", "geolocation": m.geolocation, "geolocode": 0,
        "country_code": m.country, "vms_enabled": false, "is_vm_deverified": false,
        "cluster_id": null, "logo": "/static/logos/vastai_small2.png", "webpage": null,
        "avail_vol_ask_id": null, "avail_vol_dph": null, "avail_vol_size": null,
        "nw_disk_avg_bw": null, "nw_disk_max_bw": null, "nw_disk_min_bw": null,
        "bundled_results": null,
    })
}
