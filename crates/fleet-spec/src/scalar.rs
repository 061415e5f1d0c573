//! Strict reading of single values: numbers, sizes, money, spans.
//!
//! YAML's own ideas of numbers (`010` is 8, `1:30` is 90, `1e999` is infinite) never apply: a number is
//! plain decimal digits or it is refused. Each function answers with the value or with what is wrong,
//! as the first line of a message; ranges that depend on the field are the field's business.

use crate::redact::quote;
use fleet_types::offer::Bound;
use fleet_types::{Usd, parse_duration};
use std::time::Duration;

/// Decimal digits with an optional fraction and sign.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || digits.len() > 30 {
        return Err(format!("{} is not a number", quote(text)));
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return Err(format!("{} could be octal or decimal", quote(text)));
    }
    text.parse().map_err(|_| format!("{} is not a number", quote(text)))
}

/// A number above zero.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match number(text)? {
        n if n > 0.0 => Ok(n),
        _ => Err(format!("{} is not more than 0", quote(text))),
    }
}

/// A whole number within `min..=max`.
pub(crate) fn whole(text: &str, min: i64, max: i64) -> Result<i64, String> {
    let n = number(text)?;
    if n.fract() != 0.0 {
        return Err(format!("{} is not a whole number", quote(text)));
    }
    // Beyond 2^53 a float has no units; every limit here is far below.
    if n < min as f64 || n > max as f64 {
        return Err(format!("{} is not within {min} and {max}", quote(text)));
    }
    Ok(n as i64)
}

/// `true` and `false`, and the words that YAML 1.1 took for them.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// `8` or `8+`.
pub(crate) fn bound(text: &str) -> Result<Bound, String> {
    let (amount, at_least) = plus(text);
    Ok(Bound { value: positive(amount)?, at_least })
}

/// Memory: `32`, `32+`, `64GB`, `64GB+` in GiB, or `4x` for each CPU.
pub(crate) fn memory(text: &str) -> Result<Memory, String> {
    if let Some(factor) = text.trim().strip_suffix(['x', 'X']) {
        return Ok(Memory::PerCpu(positive(factor)?));
    }
    let (amount, at_least) = plus(text);
    Ok(Memory::Gib(Bound { value: gib(amount)?, at_least }))
}

/// What a memory value can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Memory {
    Gib(Bound),
    PerCpu(f64),
}

fn plus(text: &str) -> (&str, bool) {
    let text = text.trim();
    text.strip_suffix('+').map_or((text, false), |amount| (amount.trim_end(), true))
}

/// `256`, `256GB`, `1TB`, `1024MB`: an amount in GiB. As everywhere in clouds, GB is counted as GiB.
pub(crate) fn gib(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (amount, unit) = text.split_at(split);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "kb" | "ki" | "kib" | "k" => 1.0 / 1024.0 / 1024.0,
        "mb" | "mi" | "mib" | "m" => 1.0 / 1024.0,
        "" | "gb" | "gi" | "gib" | "g" => 1.0,
        "tb" | "ti" | "tib" | "t" => 1024.0,
        "pb" | "pi" | "pib" | "p" => 1024.0 * 1024.0,
        _ => return Err(format!("{} has no unit of memory", quote(text))),
    };
    if amount.trim().is_empty() {
        return Err(format!("{} is no amount", quote(text)));
    }
    Ok(positive(amount.trim())? * factor)
}

/// `12.50` or `$12.50`: dollars above zero.
pub(crate) fn dollars(text: &str) -> Result<Usd, String> {
    let amount = text.trim().strip_prefix('$').unwrap_or(text.trim());
    let amount = amount.strip_suffix("USD").unwrap_or(amount).trim();
    let bad = |why: &str| format!("{} {why}", quote(text));
    let value = number(amount).map_err(|_| bad("is no amount of dollars"))?;
    if value <= 0.0 {
        return Err(bad("is not more than 0"));
    }
    Usd::from_dollars(value).ok_or_else(|| bad("is more money than there is"))
}

/// `20h`, `1h30m`: a span above zero, with its units.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    if text.trim().starts_with('-') {
        return Err(format!("{} lies in the past", quote(text)));
    }
    if number(text.trim()).is_ok() {
        return Err(format!("{} has no unit of time", quote(text)));
    }
    match parse_duration(text) {
        Ok(span) if span.is_zero() => Err(format!("{} is not more than 0", quote(text))),
        Ok(span) => Ok(span),
        Err(_) => Err(format!("{} is no duration", quote(text))),
    }
}

/// A share: `0.99` or `99%`, from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let value = match text.strip_suffix('%') {
        Some(percent) => number(percent.trim())? / 100.0,
        None => number(text)?,
    };
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{} is not within 0 and 1", quote(text)))
    }
}

/// Bandwidth in Mbit/s: `500`, `500mbps`, `1gbps`.
pub(crate) fn mbps(text: &str) -> Result<f64, String> {
    let lower = text.trim().to_ascii_lowercase();
    if let Some(gigabits) = lower.strip_suffix("gbps") {
        return Ok(positive(gigabits.trim())? * 1000.0);
    }
    positive(lower.strip_suffix("mbps").unwrap_or(&lower).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_plain_digits() {
        for (text, value) in [("8", 8.0), ("0.5", 0.5), ("-3", -3.0), ("0", 0.0)] {
            assert_eq!(number(text), Ok(value));
        }
        for bad in ["1e999", ".nan", ".inf", "0x10", "010", "1_000", "1,5", "", "-", "1.", ".5"] {
            assert!(number(bad).is_err(), "{bad}");
        }
        assert_eq!(positive("-0"), Err("`-0` is not more than 0".into()));
    }

    #[test]
    fn sizes_come_in_every_unit() {
        for (text, value) in [("256", 256.0), ("1TB", 1024.0), ("512MB", 0.5), ("64 gib", 64.0)] {
            assert_eq!(gib(text), Ok(value), "{text}");
        }
        assert!(gib("12 parsecs").is_err());
        assert!(gib("GB").is_err());
        assert_eq!(memory("4x"), Ok(Memory::PerCpu(4.0)));
        assert_eq!(memory("64GB+"), Ok(Memory::Gib(Bound { value: 64.0, at_least: true })));
    }

    #[test]
    fn money_spans_and_shares_say_what_is_wrong() {
        assert_eq!(dollars("$1.50"), Ok(Usd::from_micros(1_500_000)));
        assert_eq!(dollars("1,5"), Err("`1,5` is no amount of dollars".into()));
        assert_eq!(dollars("-1"), Err("`-1` is not more than 0".into()));
        assert_eq!(span("90"), Err("`90` has no unit of time".into()));
        assert_eq!(span("-2h"), Err("`-2h` lies in the past".into()));
        assert_eq!(span("0s"), Err("`0s` is not more than 0".into()));
        assert_eq!(share("99%"), Ok(0.99));
        assert!(share("1.5").is_err());
        assert_eq!(mbps("1gbps"), Ok(1000.0));
    }
}
