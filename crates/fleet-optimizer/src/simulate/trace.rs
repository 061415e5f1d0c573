//! Traces of the format `fleet-spot-trace/1`: one object per zone, one character a tick.
//!
//! What was recorded, expanded so that a tick is one look-up. Invariant: every place of a world has
//! the same ticks, at least one character of availability and a price for each; a file that says
//! otherwise is refused with the field that is wrong.

use crate::policy::Place;
use serde::Deserialize;

const FORMAT: &str = "fleet-spot-trace/1";

/// Why traces cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("not a trace: {0}")]
    Json(#[from] serde_json::Error),
    #[error("`{field}` of zone `{zone}` {problem}")]
    Field { zone: String, field: &'static str, problem: String },
    #[error(
        "the trace of zone `{zone}` has other ticks than the first: given together, all have the same"
    )]
    Ticks { zone: String },
    #[error("a world needs at least one trace")]
    Empty,
}

/// One zone's recording.
#[derive(Clone, Debug)]
pub struct Trace {
    pub zone: String,
    pub region: String,
    pub gap_seconds: f64,
    /// Dollars per hour for the whole gang.
    pub on_demand_price: f64,
    /// Per tick.
    spot_prices: Vec<f64>,
    /// Per tick.
    available: Vec<bool>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    format: Option<String>,
    zone: String,
    region: String,
    gap_seconds: f64,
    ticks: usize,
    on_demand_price: f64,
    spot_prices: Vec<(usize, f64)>,
    available: String,
}

impl Trace {
    /// Reads one zone's object.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let wire: Wire = serde_json::from_str(text)?;
        wire.check()?;
        let mut spot_prices = Vec::with_capacity(wire.ticks);
        for (i, &(first, price)) in wire.spot_prices.iter().enumerate() {
            let end = wire.spot_prices.get(i + 1).map_or(wire.ticks, |next| next.0);
            spot_prices.extend((first..end.min(wire.ticks)).map(|_| price));
        }
        Ok(Self {
            available: wire.available.bytes().map(|b| b == b'1').collect(),
            spot_prices,
            zone: wire.zone,
            region: wire.region,
            gap_seconds: wire.gap_seconds,
            on_demand_price: wire.on_demand_price,
        })
    }
    /// A trace that nobody recorded, for tests and benches.
    pub fn made(zone: &str, gap_seconds: f64, prices: (f64, f64), available: Vec<bool>) -> Self {
        Self {
            zone: zone.to_owned(),
            region: zone.to_owned(),
            gap_seconds,
            on_demand_price: prices.0,
            spot_prices: vec![prices.1; available.len()],
            available,
        }
    }
    /// Replaces what on-demand costs, in dollars per hour.
    pub fn set_on_demand_price(&mut self, price: f64) {
        self.on_demand_price = price;
    }
    /// Replaces what spot costs at every tick, in dollars per hour.
    pub fn set_spot_price(&mut self, price: f64) {
        self.spot_prices.fill(price);
    }
    /// How many ticks were recorded.
    pub fn ticks(&self) -> usize {
        self.available.len()
    }
    /// Beyond the end there is no spot.
    pub fn available(&self, tick: usize) -> bool {
        self.available.get(tick).copied().unwrap_or(false)
    }
    /// Beyond the end the last price holds.
    pub fn spot_price(&self, tick: usize) -> f64 {
        self.spot_prices.get(tick).or(self.spot_prices.last()).copied().unwrap_or(f64::INFINITY)
    }
}

impl Wire {
    fn check(&self) -> Result<(), TraceError> {
        let bad = |field, problem: String| {
            Err(TraceError::Field { zone: self.zone.clone(), field, problem })
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if let Some(format) = &self.format
            && format != FORMAT
        {
            return bad("format", format!("is `{format}`; this reads `{FORMAT}`"));
        }
        if !positive(self.gap_seconds) {
            return bad("gap_seconds", "is not greater than 0".to_owned());
        }
        if !positive(self.on_demand_price) {
            return bad("on_demand_price", "is not greater than 0".to_owned());
        }
        if self.ticks == 0 || self.available.len() != self.ticks {
            let (chars, ticks) = (self.available.len(), self.ticks);
            return bad("available", format!("has {chars} characters for {ticks} ticks"));
        }
        if self.available.bytes().any(|b| !matches!(b, b'0' | b'1')) {
            return bad("available", "has a character that is neither 0 nor 1".to_owned());
        }
        let steps = &self.spot_prices;
        if steps.first().is_none_or(|s| s.0 != 0) || steps.windows(2).any(|w| w[0].0 >= w[1].0) {
            return bad("spot_prices", "does not start at tick 0 or is not in order".to_owned());
        }
        if steps.iter().any(|s| !positive(s.1)) {
            return bad("spot_prices", "has a price that is not greater than 0".to_owned());
        }
        Ok(())
    }
}

/// Traces given together: places are numbered in their order.
#[derive(Clone, Debug)]
pub struct World {
    traces: Vec<Trace>,
    places: Vec<Place>,
}

impl World {
    /// All traces have the same gap and the same number of ticks.
    pub fn new(traces: Vec<Trace>) -> Result<Self, TraceError> {
        let first = traces.first().ok_or(TraceError::Empty)?;
        let shape = (first.gap_seconds, first.ticks());
        if let Some(odd) = traces.iter().find(|t| (t.gap_seconds, t.ticks()) != shape) {
            return Err(TraceError::Ticks { zone: odd.zone.clone() });
        }
        let region = |name: &str| traces.iter().position(|t| t.region == name).unwrap_or(0);
        let place =
            |t: &Trace| Place { region: region(&t.region), on_demand_price: t.on_demand_price };
        Ok(Self { places: traces.iter().map(place).collect(), traces })
    }
    pub fn traces(&self) -> &[Trace] {
        &self.traces
    }
    pub fn places(&self) -> &[Place] {
        &self.places
    }
    /// Seconds a tick.
    pub fn gap_s(&self) -> f64 {
        self.traces.first().map_or(1.0, |t| t.gap_seconds)
    }
}
