//! The rows that Lambda sends, as far as fleet reads them.
//!
//! Invariant: what is missing or senseless is `None`; only a row without an id or a name is no row at all.

use fleet_provider_kit::wire::{Odd, count, list, needed_text, number, text};
use fleet_types::{Accelerator, Usd, accelerator};
use serde_json::Value;
use std::collections::BTreeMap;

/// An instance type and where it can be had now.
#[derive(Clone, Debug)]
pub(crate) struct TypeRow {
    pub name: String,
    pub accelerator: Option<Accelerator>,
    pub gpu_memory_gb: Option<f64>,
    pub vcpus: Option<f64>,
    pub memory_gib: Option<f64>,
    pub storage_gib: Option<f64>,
    pub price: Option<Usd>,
    /// Regions with capacity; `None` where the answer does not say.
    pub regions: Option<Vec<String>>,
}

impl TypeRow {
    /// Reads an entry of the types, which has its name as its key.
    pub(crate) fn read(name: &str, entry: &Value) -> Self {
        let kind = entry.get("instance_type").unwrap_or(&Value::Null);
        let specs = kind.get("specs").unwrap_or(&Value::Null);
        let (accelerator, gpu_memory_gb) = gpus(kind, specs);
        let regions = list(entry, "regions_with_capacity_available").ok();
        Self {
            name: text(kind, "name").unwrap_or_else(|| name.to_owned()),
            accelerator,
            gpu_memory_gb,
            vcpus: number(specs, "vcpus").filter(|v| *v > 0.0),
            memory_gib: number(specs, "memory_gib").filter(|v| *v > 0.0),
            storage_gib: number(specs, "storage_gib").filter(|v| *v > 0.0),
            price: cents(kind),
            regions: regions.map(|r| r.iter().filter_map(|r| text(r, "name")).collect()),
        }
    }
}

/// Lambda tells prices in cents an hour for the whole machine.
fn cents(kind: &Value) -> Option<Usd> {
    number(kind, "price_cents_per_hour").and_then(|cents| Usd::price(cents / 100.0))
}

/// The GPUs under their unified name, and the memory of one. `H100 (80 GB PCIe)` is another GPU than
/// `H100 (80 GB SXM5)`, and `A100` is told apart by its memory.
fn gpus(kind: &Value, specs: &Value) -> (Option<Accelerator>, Option<f64>) {
    let many = count(specs, "gpus").and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let (Some(many), Some(said)) = (many, text(kind, "gpu_description")) else {
        return (None, None);
    };
    let (name, inner) = said.split_once('(').unwrap_or((&said, ""));
    let (name, inner) = (name.trim(), inner.trim_end_matches(')').trim());
    let (memory, form) = match inner.split_once("GB") {
        Some((memory, form)) => (memory.trim().parse().ok().filter(|gb| *gb > 0.0), form.trim()),
        None => (None, inner),
    };
    let exact = format!("{name} {form}");
    let known = if accelerator::find(&exact).is_some() { exact.as_str() } else { name };
    let name = accelerator::sized(accelerator::unify(known), memory);
    (Some(Accelerator { name, count: many }), memory)
}

/// An instance of the account.
#[derive(Clone, Debug)]
pub(crate) struct InstanceRow {
    pub id: String,
    pub status: Option<String>,
    pub ip: Option<String>,
    pub region: String,
    pub kind: String,
    pub price: Option<Usd>,
    pub keys: Vec<String>,
    pub tags: BTreeMap<String, String>,
}

impl InstanceRow {
    pub(crate) fn read(row: &Value) -> Result<Self, Odd> {
        let kind = row.get("instance_type").unwrap_or(&Value::Null);
        let tags = list(row, "tags").unwrap_or_default();
        let keys = list(row, "ssh_key_names").unwrap_or_default();
        Ok(Self {
            id: needed_text(row, "id")?,
            status: text(row, "status"),
            ip: text(row, "ip").map(|ip| ip.trim().to_owned()),
            region: row.get("region").and_then(|r| text(r, "name")).unwrap_or_default(),
            kind: text(kind, "name").unwrap_or_default(),
            price: cents(kind),
            keys: keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            tags: tags.iter().filter_map(|t| Some((text(t, "key")?, text(t, "value")?))).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
