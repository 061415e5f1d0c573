//! The rows that RunPod sends, as far as fleet reads them.
//!
//! Invariant: what is missing or senseless is `None`; only a row without an id is no row at all. Prices are of
//! one GPU on the wire and of the whole pod here.

use fleet_provider_kit::wire::{Odd, count, flag, list, needed_text, number, port, price, text};
use fleet_types::{Accelerator, Timestamp, Usd, accelerator};
use serde_json::Value;

/// RunPod-owned data centres, or other people's machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    Secure,
    Community,
}

impl Cloud {
    /// As both APIs spell it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Secure => "SECURE",
            Self::Community => "COMMUNITY",
        }
    }
    /// As prices and limits are named.
    fn field(self) -> &'static str {
        match self {
            Self::Secure => "secure",
            Self::Community => "community",
        }
    }
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Secure, Self::Community].into_iter().find(|c| c.word() == word)
    }
}

/// How much is left, in RunPod's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stock {
    None,
    Some,
    Unsaid,
}

/// `NONE|LOW|MEDIUM|HIGH` in REST, `Low|Medium|High` in GraphQL.
fn stock(word: Option<String>) -> Stock {
    match word.map(|w| w.to_ascii_uppercase()).as_deref() {
        Some("NONE") => Stock::None,
        Some("LOW" | "MEDIUM" | "HIGH") => Stock::Some,
        Some(_) | None => Stock::Unsaid,
    }
}

/// A GPU type of the catalogue, for a number of GPUs in one pod of one cloud.
#[derive(Clone, Debug)]
pub(crate) struct GpuRow {
    pub id: String,
    pub accelerator: Accelerator,
    pub memory_gb: Option<f64>,
    pub price: Option<Usd>,
    pub stock: Stock,
    /// Stock by data centre; `None` where the answer names none.
    pub data_centers: Option<Vec<(String, Stock)>>,
}

impl GpuRow {
    /// Reads a row; `Ok(None)` is a type that is not sold so many in a pod of this cloud.
    pub(crate) fn read(row: &Value, many: u32, cloud: Cloud) -> Result<Option<Self>, Odd> {
        let id = needed_text(row, "id")?;
        let of_cloud = |field: &str| row.get(field).unwrap_or(&Value::Null);
        let sold = flag(row, cloud.field()).unwrap_or(true);
        let most = count(of_cloud("maxCount"), cloud.field());
        if !sold || most.is_some_and(|most| u64::from(many) > most) {
            return Ok(None);
        }
        let memory_gb = number(row, "memory").filter(|gb| *gb > 0.0);
        let each = price(of_cloud("price"), cloud.field());
        let places = list(row, "dataCenters").ok();
        Ok(Some(Self {
            accelerator: Accelerator { name: gpu_name(&id, memory_gb), count: many },
            memory_gb,
            price: each.and_then(|p| Usd::price(p.dollars() * f64::from(many))),
            stock: stock(text(row, "availability")),
            data_centers: places.map(|places| {
                let one = |p: &Value| Some((text(p, "id")?, stock(text(p, "availability"))));
                places.iter().filter_map(one).collect()
            }),
            id,
        }))
    }
}

/// The unified name of a GPU type's id; of one that we do not know, the id without its maker.
pub(crate) fn gpu_name(id: &str, memory_gb: Option<f64>) -> String {
    let known = accelerator::sized(accelerator::unify(id), memory_gb);
    match accelerator::find(&known) {
        Some(_) => known,
        None => id.strip_prefix("NVIDIA ").unwrap_or(id).to_owned(),
    }
}

/// A data centre and the GPU types that it has, free or not.
#[derive(Clone, Debug)]
pub(crate) struct DataCenterRow {
    pub id: String,
    pub gpus: Vec<String>,
}

impl DataCenterRow {
    pub(crate) fn read(row: &Value) -> Result<Self, Odd> {
        let gpus = list(row, "gpuAvailability").unwrap_or_default();
        Ok(Self {
            id: needed_text(row, "id")?,
            gpus: gpus.iter().filter_map(|g| text(g, "id")).collect(),
        })
    }
}

/// What a bid must be for a GPU type at a data centre, for so many GPUs together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SpotRow {
    pub gpu: String,
    pub data_center: String,
    /// Whether the type is sold as spot at all.
    pub sold: bool,
    pub least: Option<Usd>,
    pub stock: Stock,
    pub vcpus: Option<f64>,
    pub memory_gib: Option<f64>,
}

impl SpotRow {
    /// Reads what came back under `alias`; `None` for a row without an id.
    pub(crate) fn read(row: &Value, alias: &str, data_center: &str, many: u32) -> Option<Self> {
        let lowest = row.get(alias).unwrap_or(&Value::Null);
        let each = price(lowest, "minimumBidPrice");
        let listed =
            ["secureSpotPrice", "communitySpotPrice"].iter().any(|f| price(row, f).is_some());
        Some(Self {
            gpu: text(row, "id")?,
            data_center: data_center.to_owned(),
            sold: listed || each.is_some(),
            least: each.and_then(|p| Usd::price(p.dollars() * f64::from(many))),
            // No word at all is RunPod's way of saying none.
            stock: match text(lowest, "stockStatus") {
                None => Stock::None,
                word => stock(word),
            },
            vcpus: number(lowest, "minVcpu").filter(|v| *v > 0.0),
            memory_gib: number(lowest, "minMemory").filter(|v| *v > 0.0),
        })
    }
}

/// A pod of the account.
#[derive(Clone, Debug)]
pub(crate) struct PodRow {
    pub id: String,
    pub name: Option<String>,
    pub status: Option<String>,
    pub gpu: Option<(String, u32)>,
    pub cloud: Option<Cloud>,
    pub data_center: Option<String>,
    /// The market that the create wrote into its environment.
    pub market: Option<String>,
    /// Where sshd answers, not through RunPod's proxy.
    pub ssh: Option<(String, u16)>,
    /// The container runs: RUNNING alone may still be pulling.
    pub has_runtime: bool,
    pub was_started: bool,
    pub price: Option<Usd>,
    pub created_at: Option<Timestamp>,
}

/// Variable in which a pod carries its market: REST does not say it.
pub(crate) const MARKET: &str = "FLEET_MARKET";

impl PodRow {
    pub(crate) fn read(row: &Value) -> Result<Self, Odd> {
        let null = Value::Null;
        let field = |name: &str| row.get(name).unwrap_or(&null);
        let direct = field("ssh").get("direct").unwrap_or(&null);
        let gpus = count(field("gpu"), "count").and_then(|n| u32::try_from(n).ok());
        Ok(Self {
            id: needed_text(row, "id")?,
            name: text(row, "name"),
            status: text(row, "status"),
            gpu: text(field("gpu"), "id").map(|id| (id, gpus.unwrap_or(1))),
            cloud: text(row, "cloud").as_deref().and_then(Cloud::parse),
            data_center: text(row, "dataCenterId"),
            market: text(field("env"), MARKET),
            ssh: text(direct, "host").zip(port(direct, "port")),
            has_runtime: field("runtime").is_object(),
            was_started: text(row, "startedAt").is_some(),
            price: price(row, "cost"),
            created_at: text(row, "createdAt").and_then(|t| Timestamp::parse(&t)),
        })
    }
}

#[cfg(test)]
mod tests;
