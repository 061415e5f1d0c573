//! Money as integer micro-dollars.
//!
//! Invariant: sums never drift, and a price that is not a finite number of dollars is refused at the
//! door instead of becoming zero. JSON shows dollars as a number.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// An amount of US dollars in millionths. Where it is a rate, the field's name ends in `_per_hour`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From millionths of a dollar.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }
    /// From dollars; `None` for what is not finite or beyond a billion.
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        (dollars.is_finite() && dollars.abs() <= 1e9).then(|| Self((dollars * 1e6).round() as i64))
    }
    /// A price a cloud told us: positive, finite and below $10,000 an hour, else `None` (unknown).
    pub fn price(dollars: f64) -> Option<Self> {
        Self::from_dollars(dollars).filter(|p| p.0 > 0 && p.0 < 10_000_000_000)
    }
    /// In millionths of a dollar.
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// In dollars, for display and for arithmetic that is not about billing.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }
    /// What `millis` milliseconds cost at this hourly rate.
    #[must_use]
    pub fn for_millis(self, millis: i64) -> Self {
        Self((i128::from(self.0) * i128::from(millis.max(0)) / 3_600_000) as i64)
    }
    /// This amount times a factor, rounded; saturates.
    #[must_use]
    pub fn scale(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor).round() as i64)
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}
impl Sub for Usd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// Shows `$1.23`, and as many digits as small amounts need to be told apart (`$0.0042`).
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = self.dollars();
        let text = match d.abs() {
            x if x == 0.0 || x >= 1.0 => format!("${d:.2}"),
            x if x >= 0.01 => format!("${d:.3}"),
            _ => format!("${d:.5}"),
        };
        f.pad(&text)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.dollars())
    }
}
impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let dollars = f64::deserialize(d)?;
        Self::from_dollars(dollars)
            .ok_or_else(|| serde::de::Error::custom(format!("{dollars} is no amount of dollars")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_that_are_no_prices_are_unknown() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert_eq!(Usd::price(bad), None, "{bad}");
        }
        assert_eq!(Usd::price(0.2561), Some(Usd::from_micros(256_100)));
    }

    #[test]
    fn time_costs_what_it_costs() {
        let rate = Usd::from_micros(3_600_000);
        assert_eq!(rate.for_millis(1_500), Usd::from_micros(1_500));
        assert_eq!(rate.for_millis(-5), Usd::ZERO);
    }

    #[test]
    fn dollars_survive_json() {
        let text = serde_json::to_string(&Usd::from_micros(1_234_567)).unwrap();
        assert_eq!(text, "1.234567");
        assert_eq!(serde_json::from_str::<Usd>(&text).unwrap(), Usd::from_micros(1_234_567));
    }
}
