//! Scenarios: what goes wrong in the box, where, when and how often.
//!
//! A scenario is data: rules that match places, calls or machines by pattern (`*` stands for
//! anything). The world asks the rules and carries no scenario's name in its code; the built-in ones
//! are ordinary scenarios. An empty scenario faults nothing and preempts nothing.

mod builtin;
mod trace;

use crate::Error;
use crate::text::glob;
use fleet_types::{Market, ProviderId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub use builtin::{builtin, names};
pub(crate) use trace::Trace;

/// Everything that differs from a calm day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    /// One line for `fleet sandbox scenario`.
    pub description: String,
    /// Seconds until a new machine shows up in lists, per cloud; scaled by the time scale.
    pub visibility_lag_seconds: std::collections::BTreeMap<ProviderId, f64>,
    pub places: Vec<PlaceRule>,
    pub calls: Vec<CallRule>,
    pub preemptions: Vec<PreemptRule>,
}

/// Which pools a rule is about. Every part is a pattern; an absent one matches all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pattern {
    pub provider: Option<ProviderId>,
    pub region: Option<String>,
    /// Zone name; on Vast the machine's id.
    pub zone: Option<String>,
    pub instance_type: Option<String>,
    /// GPU as fleet spells it (`T4`, `A100-80GB`).
    pub gpu: Option<String>,
    pub market: Option<Market>,
}

/// A pool as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) provider: ProviderId,
    pub(crate) region: &'a str,
    pub(crate) zone: &'a str,
    pub(crate) instance_type: &'a str,
    pub(crate) gpu: &'a str,
    pub(crate) market: Market,
}

impl Pattern {
    pub(crate) fn matches(&self, site: Site<'_>) -> bool {
        let fits = |p: &Option<String>, text: &str| p.as_deref().is_none_or(|p| glob(p, text));
        self.provider.is_none_or(|p| p == site.provider)
            && self.market.is_none_or(|m| m == site.market)
            && fits(&self.region, site.region)
            && fits(&self.zone, site.zone)
            && fits(&self.instance_type, site.instance_type)
            && fits(&self.gpu, site.gpu)
    }
}

/// Price, stock and quota of the pools it matches, for a span of the sandbox's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceRule {
    #[serde(default, rename = "match")]
    pub pattern: Pattern,
    /// Multiplies the price. Machines whose limit the new price exceeds are preempted.
    #[serde(default)]
    pub price_factor: Option<f64>,
    /// Machines that the pool can hold; 0 is sold out.
    #[serde(default)]
    pub stock: Option<u32>,
    /// The account's limit: spot or on-demand vCPUs in a region (AWS), machines (elsewhere).
    #[serde(default)]
    pub quota: Option<u32>,
    /// A `fleet-spot-trace/1` file: the pool is to be had while the trace says so, and machines in
    /// it are preempted when it stops saying so.
    #[serde(default)]
    pub trace: Option<PathBuf>,
    /// Trace seconds that pass in one second of the sandbox.
    #[serde(default = "one")]
    pub trace_speed: f64,
    /// In force from so many seconds after the sandbox started …
    #[serde(default)]
    pub from_seconds: f64,
    /// … until so many.
    #[serde(default)]
    pub until_seconds: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl PlaceRule {
    pub(crate) fn in_force(&self, elapsed: f64) -> bool {
        elapsed >= self.from_seconds && self.until_seconds.is_none_or(|until| elapsed < until)
    }
}

/// What happens to calls of an API. Rates are probabilities, drawn from the seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallRule {
    pub provider: Option<ProviderId>,
    /// EC2 action (`RunInstances`), or on REST clouds method and path with ids as `{id}`
    /// (`PUT /api/v0/asks/{id}/`). `*` allowed; absent matches all.
    pub call: Option<String>,
    /// Only the first so many calls that match; absent is no limit.
    pub first: Option<u32>,
    /// Added to every answer.
    pub latency_ms: u64,
    /// Refused as too frequent, without effect.
    pub throttle: f64,
    /// HTTP 5xx before anything happened.
    pub error_before: f64,
    /// HTTP 5xx although it happened.
    pub error_after: f64,
    /// It happened, and the connection dies without an answer.
    pub lost: f64,
}

/// Since when a preemption's delay counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    /// Since the machine answered SSH.
    #[default]
    Running,
    /// Since fleet said that its task runs there.
    Reported,
}

/// Machines that the cloud takes away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreemptRule {
    #[serde(default, rename = "match")]
    pub pattern: Pattern,
    /// Seconds of real time; the time scale does not touch it.
    pub after_seconds: f64,
    #[serde(default)]
    pub since: Since,
    /// Seconds of warning; absent is the cloud's own, and clouds without a notice give none.
    #[serde(default)]
    pub warning_seconds: Option<f64>,
    /// How many machines in all; absent is every one.
    #[serde(default)]
    pub times: Option<u32>,
}

impl Scenario {
    /// A built-in scenario by name, else a JSON file.
    ///
    /// # Errors
    /// Where it is neither, or the file does not hold a scenario.
    pub fn load(name_or_file: &str) -> Result<Self, Error> {
        if let Some(known) = builtin(name_or_file) {
            return Ok(known);
        }
        let path = Path::new(name_or_file);
        if !path.exists() {
            return Err(Error::UnknownScenario(name_or_file.to_owned()));
        }
        let text = std::fs::read(path).map_err(|source| Error::File {
            what: "cannot read scenario",
            path: path.to_owned(),
            source,
        })?;
        let mut scenario = Self::from_json(name_or_file, &text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for rule in &mut scenario.places {
            rule.trace = rule.trace.take().map(|t| folder.join(t));
        }
        Ok(scenario)
    }

    /// Reads a scenario from JSON; `name` is used where it names none, and in errors.
    ///
    /// # Errors
    /// Where the text is no scenario, or a number in it makes no sense.
    pub fn from_json(name: &str, text: &[u8]) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadScenario { name: name.to_owned(), reason };
        let mut scenario: Self = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
        if scenario.name.is_empty() {
            scenario.name = name.to_owned();
        }
        scenario.checked().map_err(bad)?;
        Ok(scenario)
    }

    fn checked(&self) -> Result<(), String> {
        let rate = |what: &str, r: f64| match (0.0..=1.0).contains(&r) {
            true => Ok(()),
            false => Err(format!("{what} is {r}; a rate lies between 0 and 1")),
        };
        for c in &self.calls {
            for (what, r) in [
                ("throttle", c.throttle),
                ("error_before", c.error_before),
                ("error_after", c.error_after),
                ("lost", c.lost),
            ] {
                rate(what, r)?;
            }
        }
        let positive = |what: &str, n: f64| match n.is_finite() && n > 0.0 {
            true => Ok(()),
            false => Err(format!("{what} is {n}; it must be above 0")),
        };
        for p in &self.places {
            positive("price_factor", p.price_factor.unwrap_or(1.0))?;
            positive("trace_speed", p.trace_speed)?;
        }
        let span = |what: &str, n: f64| match (0.0..1e9).contains(&n) {
            true => Ok(()),
            false => Err(format!("{what} is {n}; it must be 0 or more seconds")),
        };
        for p in &self.preemptions {
            span("after_seconds", p.after_seconds)?;
            span("warning_seconds", p.warning_seconds.unwrap_or(0.0))?;
        }
        self.visibility_lag_seconds.values().try_for_each(|s| span("visibility_lag_seconds", *s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_survives_json_and_its_own_check() {
        for name in names() {
            let s = builtin(name).unwrap();
            assert_eq!(&s.name, name);
            let text = serde_json::to_vec(&s).unwrap();
            assert_eq!(Scenario::from_json("x", &text).unwrap(), s, "{name}");
        }
        assert!(builtin("nonsense").is_none());
    }

    #[test]
    fn a_rule_that_nobody_knows_or_an_impossible_rate_is_refused_with_its_reason() {
        let unknown = Scenario::from_json("f.json", br#"{"plces":[]}"#).unwrap_err().to_string();
        assert!(unknown.contains("f.json") && unknown.contains("plces"), "{unknown}");
        let rate =
            Scenario::from_json("f", br#"{"calls":[{"lost":1.5}]}"#).unwrap_err().to_string();
        assert!(rate.contains("lost is 1.5"), "{rate}");
        assert!(Scenario::load("no-such").unwrap_err().to_string().contains("price-spike"));
    }
}
