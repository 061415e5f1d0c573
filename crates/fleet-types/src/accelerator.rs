//! Accelerator names: one spelling for what clouds and people spell in many ways.
//!
//! Invariant: an A100 with 40 GB is never an A100 with 80 GB, and a slice of a GPU is never a GPU.
//! A name we do not know stays itself; it is not guessed into a known one.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One row of facts about a GPU model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// The name that fleet shows and files use.
    pub name: &'static str,
    /// Memory of one GPU, in GB as the vendor counts.
    pub memory_gb: u32,
    /// Other spellings, compared without case, spaces, dashes and underscores.
    pub aliases: &'static [&'static str],
}

const fn model(name: &'static str, memory_gb: u32, aliases: &'static [&'static str]) -> Model {
    Model { name, memory_gb, aliases }
}

/// The models whose names are unified. Source: vendor data sheets.
pub const MODELS: &[Model] = &[
    model("A10", 24, &["nvidia-a10"]),
    model(
        "A100",
        40,
        &[
            "A100-40GB",
            "A100-SXM4",
            "A100-PCIE-40GB",
            "A100 PCIE",
            "A100 SXM4 40GB",
            "nvidia-tesla-a100",
        ],
    ),
    model(
        "A100-80GB",
        80,
        &[
            "A100-80G",
            "A100-SXM4-80GB",
            "A100-SXM-80GB",
            "A100 PCIE 80GB",
            "A100 80GB PCIe",
            "A100X",
            "nvidia-a100-80gb",
        ],
    ),
    model("A10G", 24, &[]),
    model("A16", 16, &[]),
    model("A30", 24, &[]),
    model("A40", 48, &[]),
    model("A6000", 48, &["RTXA6000", "RTX-A6000", "RTX A6000"]),
    model("A5000", 24, &["RTXA5000", "RTX A5000"]),
    model("A4000", 16, &["RTXA4000", "RTX A4000"]),
    model("A4500", 20, &["RTXA4500", "RTX A4500"]),
    model("B200", 180, &["B200-SXM", "nvidia-b200"]),
    model("B300", 288, &["B300-SXM"]),
    model("GB200", 186, &[]),
    model("GH200", 96, &[]),
    model(
        "H100",
        80,
        &["H100-80GB", "H100-SXM", "H100 SXM", "H100 SXM5", "H100-80GB-HBM3", "nvidia-h100-80gb"],
    ),
    model("H100-PCIE", 80, &["H100 PCIE", "H100-PCI"]),
    model("H100-NVL", 94, &["H100 NVL"]),
    model("H200", 141, &["H200-SXM", "H200-141GB", "nvidia-h200-141gb"]),
    model("H200-NVL", 141, &["H200 NVL"]),
    model("K80", 12, &["Tesla K80", "nvidia-tesla-k80"]),
    model("L4", 24, &["nvidia-l4"]),
    model("L40", 48, &[]),
    model("L40S", 48, &[]),
    model("M60", 8, &["Tesla M60"]),
    model("MI300X", 192, &["AMD Instinct MI300X OAM"]),
    model("P100", 16, &["Tesla P100", "nvidia-tesla-p100"]),
    model("P4", 8, &["Tesla P4", "nvidia-tesla-p4"]),
    model("RTX3090", 24, &["RTX 3090", "GeForce RTX 3090"]),
    model("RTX4090", 24, &["RTX 4090", "GeForce RTX 4090"]),
    model("RTX5090", 32, &["RTX 5090", "GeForce RTX 5090"]),
    model("RTX3080", 10, &["RTX 3080", "GeForce RTX 3080"]),
    model("RTX4080", 16, &["RTX 4080", "GeForce RTX 4080"]),
    model("RTX2000-Ada", 16, &["RTX 2000 Ada", "RTX 2000 Ada Generation"]),
    model("RTX4000-Ada", 20, &["RTX 4000 Ada", "RTX 4000 Ada Generation"]),
    model("RTX5000-Ada", 32, &["RTX 5000 Ada", "RTX 5000 Ada Generation"]),
    model("RTX6000", 24, &["RTX 6000", "Quadro RTX 6000"]),
    model(
        "RTX6000-Ada",
        48,
        &["RTX 6000Ada", "RTX 6000 Ada", "RTX6000Ada", "RTX-6000-Ada-Generation"],
    ),
    model("RTXPRO6000", 96, &["RTX PRO 6000", "RTX PRO 6000 WS", "RTX PRO 6000 S"]),
    model("T4", 16, &["Tesla T4", "nvidia-tesla-t4"]),
    model("T4g", 16, &[]),
    model(
        "V100",
        16,
        &[
            "V100-16GB",
            "Tesla V100",
            "Tesla V100-SXM2-16GB",
            "Tesla V100-PCIE-16GB",
            "Tesla V100-FHHL-16GB",
            "nvidia-tesla-v100",
        ],
    ),
    model("V100-32GB", 32, &["Tesla V100-32GB", "V100-SXM2-32GB", "Tesla V100-SXM2-32GB"]),
];

fn folded(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Finds the model that `text` spells, whichever of its spellings is used.
pub fn find(text: &str) -> Option<&'static Model> {
    let key = folded(text);
    let key = key.strip_prefix("nvidia").filter(|k| !k.is_empty()).unwrap_or(&key);
    MODELS.iter().find(|m| {
        folded(m.name) == key
            || m.aliases.iter().any(|a| {
                let alias = folded(a);
                alias.strip_prefix("nvidia").unwrap_or(&alias) == key
            })
    })
}

/// The unified spelling of `text`, or `text` itself where the model is unknown to us.
pub fn unify(text: &str) -> String {
    find(text).map_or_else(|| text.trim().to_owned(), |m| m.name.to_owned())
}

/// The model of a unified `name` whose GPUs have `memory_gb`, where clouds sell two sizes under one name
/// (`A100` with 40 and with 80 GB). Any other memory leaves the name as it is: somebody's altered card.
pub fn sized(name: String, memory_gb: Option<f64>) -> String {
    let Some(memory) = memory_gb else { return name };
    if find(&name).is_none_or(|m| memory < f64::from(m.memory_gb) * 1.4) {
        return name;
    }
    let bigger = MODELS.iter().find(|m| {
        m.name.strip_prefix(name.as_str()).is_some_and(|rest| rest == format!("-{}GB", m.memory_gb))
            && (memory / f64::from(m.memory_gb) - 1.0).abs() < 0.1
    });
    bigger.map_or(name, |m| m.name.to_owned())
}

/// The known name nearest to `text`, for "did you mean".
pub fn nearest(text: &str) -> Option<&'static str> {
    let key = folded(text);
    MODELS
        .iter()
        .map(|m| (distance(&key, &folded(m.name)), m.name))
        .min()
        .filter(|(d, _)| *d <= 2)
        .map(|(_, name)| name)
}

/// Edits that turn `a` into `b`: insert, delete, replace. The measure behind every suggestion.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = corner + usize::from(ca != *cb);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A number of GPUs of one model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Accelerator {
    /// Unified name.
    pub name: String,
    /// GPUs in one machine, at least 1.
    pub count: u32,
}

impl Accelerator {
    /// A number of GPUs, its name unified.
    pub fn new(name: &str, count: u32) -> Self {
        Self { name: unify(name), count }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.name, self.count))
    }
}

/// What a task asks for: a model, or any GPU with at least so much memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceleratorRequest {
    /// This model, this many.
    Named(Accelerator),
    /// Any model with this much memory a GPU (`24GB+`), or exactly it without the plus.
    Memory { min_gb: u32, max_gb: Option<u32>, count: u32 },
}

impl AcceleratorRequest {
    /// GPUs in one machine.
    pub fn count(&self) -> u32 {
        match self {
            Self::Named(a) => a.count,
            Self::Memory { count, .. } => *count,
        }
    }
    /// Whether a machine with `accelerator`, of `memory_gb` a GPU where known, is what was asked.
    pub fn accepts(&self, accelerator: &Accelerator, memory_gb: Option<f64>) -> bool {
        match self {
            Self::Named(wanted) => wanted == accelerator,
            Self::Memory { min_gb, max_gb, count } => {
                accelerator.count == *count
                    && memory_gb
                        .or_else(|| find(&accelerator.name).map(|m| f64::from(m.memory_gb)))
                        .is_some_and(|gb| {
                            // Vendors round: a "24 GB" card reports 22.5 to 24.6.
                            gb >= f64::from(*min_gb) * 0.93
                                && max_gb.is_none_or(|max| gb <= f64::from(max) * 1.05)
                        })
            }
        }
    }
}

impl fmt::Display for AcceleratorRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(a) => a.fmt(f),
            Self::Memory { min_gb, max_gb: None, count } => write!(f, "{min_gb}GB+:{count}"),
            Self::Memory { min_gb, count, .. } => write!(f, "{min_gb}GB:{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_meet_and_sizes_stay_apart() {
        for (text, name) in [
            ("RTX 4090", "RTX4090"),
            ("RTX_4090", "RTX4090"),
            ("nvidia-tesla-t4", "T4"),
            ("a100-80gb", "A100-80GB"),
            ("A100 SXM4", "A100"),
            ("H100 SXM", "H100"),
            ("H100 NVL", "H100-NVL"),
            ("NVIDIA A100 80GB PCIe", "A100-80GB"),
            ("NVIDIA A100-SXM4-40GB", "A100"),
            ("NVIDIA RTX 6000 Ada Generation", "RTX6000-Ada"),
            ("Quadro RTX 6000", "RTX6000"),
            ("Tesla V100-PCIE-16GB", "V100"),
            ("Quantum9000", "Quantum9000"),
        ] {
            assert_eq!(unify(text), name);
        }
        assert_ne!(unify("A100"), unify("A100-80GB"));
        for (name, gb, sized_name) in [
            ("A100", Some(80.0), "A100-80GB"),
            ("A100", Some(40.0), "A100"),
            ("A100", None, "A100"),
            ("V100", Some(32.0), "V100-32GB"),
            ("RTX4090", Some(48.0), "RTX4090"),
        ] {
            assert_eq!(sized(name.into(), gb), sized_name, "{name} {gb:?}");
        }
        assert_eq!(nearest("H10O"), Some("H100"));
    }

    #[test]
    fn no_spelling_names_two_models() {
        let mut seen = std::collections::BTreeMap::new();
        for m in MODELS {
            for s in m.aliases.iter().chain([&m.name]) {
                let key = folded(s);
                let key = key.strip_prefix("nvidia").unwrap_or(&key).to_owned();
                assert!(seen.insert(key, m.name).is_none_or(|other| other == m.name), "{s}");
            }
        }
    }
}
