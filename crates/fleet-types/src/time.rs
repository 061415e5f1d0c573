//! Points in time and spans, as the whole system writes and reads them.
//!
//! Invariant: `now` is always an argument. Nothing below the edges asks a clock, so that the same
//! inputs replay to the same decisions.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A point in time, in milliseconds since 1970 UTC. JSON shows RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970 UTC.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }
    /// Milliseconds since 1970 UTC.
    pub const fn millis(self) -> i64 {
        self.0
    }
    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }
    /// The time from `earlier` to this, zero if this is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis((self.0 - earlier.0).max(0) as u64)
    }
    /// This point moved later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
    /// This point moved earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "@{}ms", self.0),
        }
    }
}
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no RFC 3339 time")))
    }
}

/// What multiplies every poll interval, visibility window, grace, rate gate and backoff (1 in life,
/// less in tests). It never touches billing, warnings, the task, I/O timeouts or leases.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeScale(f64);

impl Default for TimeScale {
    fn default() -> Self {
        Self(1.0)
    }
}

impl TimeScale {
    /// A factor in (0, 1000]; `None` for anything else.
    pub fn new(factor: f64) -> Option<Self> {
        (factor.is_finite() && factor > 0.0 && factor <= 1000.0).then_some(Self(factor))
    }
    /// The factor.
    pub fn factor(self) -> f64 {
        self.0
    }
    /// Whether time runs as in life.
    pub fn is_real(self) -> bool {
        self.0 == 1.0
    }
    /// A waiting span, scaled.
    pub fn span(self, span: Duration) -> Duration {
        span.mul_f64(self.0)
    }
    /// A waiting span of so many seconds, scaled.
    pub fn secs(self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds * self.0)
    }
    /// An I/O timeout or lease: scaled, but never below five seconds.
    pub fn timeout_secs(self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds * self.0).max(5.0_f64.min(seconds)))
    }
}

/// Reads `90s`, `20m`, `36h`, `2d`, and sums such as `1h30m`. A number without a unit is refused.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let bad = || BadDuration(text.to_owned());
    let (mut total, mut number) = (0.0_f64, String::new());
    let mut any = false;
    for c in text.trim().chars() {
        if c.is_ascii_digit() || c == '.' {
            number.push(c);
            continue;
        }
        let unit = match c {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            'd' => 86_400.0,
            'w' => 604_800.0,
            _ => return Err(bad()),
        };
        total += number.parse::<f64>().map_err(|_| bad())? * unit;
        number.clear();
        any = true;
    }
    // A hundred years is beyond any job and far from every overflow.
    if !any || !number.is_empty() || !total.is_finite() || total > 3.2e9 {
        return Err(bad());
    }
    Ok(Duration::from_secs_f64(total))
}

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration: write a number and a unit, such as 90s, 20m, 36h or 2d")]
pub struct BadDuration(pub String);

/// Shows a span as people say it: `42s`, `3m 05s`, `2h 10m`, `3d 4h`.
pub fn show_duration(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0 if span.as_millis() > 0 => format!("{}ms", span.as_millis()),
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(parse_duration("90s").unwrap().as_secs(), 90);
        assert_eq!(parse_duration("1h30m").unwrap().as_secs(), 5400);
        assert_eq!(parse_duration("2d").unwrap().as_secs(), 172_800);
        for bad in ["", "90", "h", "1x", "-5m", "1e9d", "nan", "5 m", "99999999999w"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_survive_json() {
        let t = Timestamp::from_millis(1_764_000_000_123);
        let text = serde_json::to_string(&t).unwrap();
        assert_eq!(text, "\"2025-11-24T16:00:00.123Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), t);
    }

    #[test]
    fn scale_leaves_timeouts_alone() {
        let s = TimeScale::new(0.05).unwrap();
        assert_eq!(s.secs(60.0), Duration::from_secs(3));
        assert_eq!(s.timeout_secs(60.0), Duration::from_secs(5));
        assert_eq!(s.timeout_secs(2.0), Duration::from_secs(2));
    }
}
