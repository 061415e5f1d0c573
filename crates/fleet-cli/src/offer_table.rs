//! Offers and plans for people: the table, the reasons, and who pays.

use crate::printer::{Paint, Printer, clean};
use crate::table::Columns;
use fleet_controller::api::{PlanView, RankedOffer, RejectedOffer};
use fleet_types::Availability;
use std::collections::BTreeMap;

/// Where the lines go: stdout for data, stderr for talk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Out,
    Err,
}

impl Side {
    fn paint(self, printer: &Printer, paint: Paint, text: &str) -> String {
        match self {
            Self::Out => printer.out(paint, text),
            Self::Err => printer.err(paint, text),
        }
    }
}

/// The ranked offers, at most `most`, best first.
pub(crate) fn ranked(
    printer: &Printer,
    side: Side,
    offers: &[RankedOffer],
    most: usize,
) -> Vec<String> {
    let mut columns = Columns::new(&[
        ">#",
        "PLACE",
        "MACHINE",
        "GPU",
        "MARKET",
        ">PRICE/H",
        ">EFFECTIVE/H",
        ">RISK/H",
        "WHY",
    ]);
    for (i, ranked) in offers.iter().take(most).enumerate() {
        let o = &ranked.offer;
        columns.row([
            (i + 1).to_string(),
            o.place.to_string(),
            o.instance_type.clone(),
            gpu(ranked),
            o.market.to_string(),
            o.price_usd_per_hour.map_or_else(|| "?".to_owned(), |p| p.to_string()),
            ranked.effective_usd_per_hour.to_string(),
            risk(ranked.hazard_used_per_hour),
            ranked.why.clone(),
        ]);
    }
    let mut lines = dressed(printer, side, columns);
    if let Some(more @ 1..) = offers.len().checked_sub(most) {
        lines.push(format!("   ... and {more} more"));
    }
    lines
}

/// The rejected offers with their reasons.
pub(crate) fn rejected(printer: &Printer, side: Side, offers: &[RejectedOffer]) -> Vec<String> {
    let mut columns =
        Columns::new(&["PLACE", "MACHINE", "MARKET", ">PRICE/H", "NOT TAKEN BECAUSE"]);
    for r in offers {
        columns.row([
            r.offer.place.to_string(),
            r.offer.instance_type.clone(),
            r.offer.market.to_string(),
            r.offer.price_usd_per_hour.map_or_else(|| "?".to_owned(), |p| p.to_string()),
            r.reason.clone(),
        ]);
    }
    dressed(printer, side, columns)
}

/// A plan as `launch` shows it before it asks.
pub(crate) fn plan(printer: &Printer, side: Side, plan: &PlanView) -> Vec<String> {
    let mut lines = match plan.candidates.is_empty() {
        true => vec!["no offer within the limits".to_owned()],
        false => ranked(printer, side, &plan.candidates, 8),
    };
    for (reason, count) in reasons(&plan.rejected).into_iter().take(4) {
        lines.push(format!("   {count} not taken: {}", clean(&reason)));
    }
    if let (Some(cost), Some(hours)) = (plan.expected_cost_usd, plan.expected_hours) {
        lines.push(format!("expected: {cost} for {hours:.1} h"));
    }
    for a in &plan.accounts {
        let until = a.expires_at.map(|t| format!(", expires {t}")).unwrap_or_default();
        let who = format!("{} as {} ({}{until})", a.account, a.principal, a.source);
        lines.push(format!("{} pays: {}", a.provider.title(), clean(&who)));
    }
    for t in &plan.troubles {
        let hint = t.hint.as_deref().map(|h| format!(" ({h})")).unwrap_or_default();
        let text = format!("{}: {}{hint}", t.provider.title(), t.message);
        lines.push(format!("{} {}", side.paint(printer, Paint::Yellow, "!"), clean(&text)));
    }
    lines.extend(plan.notes.iter().map(|n| format!("- {}", clean(n))));
    lines
}

/// Reasons by how many offers each turned away; prices apart, the same reason is one.
pub(crate) fn reasons(rejected: &[RejectedOffer]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for r in rejected {
        let reason = match r.reason.split_once("/h ") {
            Some((price, rest)) if price.starts_with('$') => format!("its price {rest}"),
            _ => r.reason.clone(),
        };
        *counts.entry(reason).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts
}

/// How likely it is to lose the machine within an hour.
fn risk(per_hour: f64) -> String {
    let percent = 100.0 * (1.0 - (-per_hour).exp());
    match percent {
        p if p <= 0.0 => "0 %".to_owned(),
        p if p < 0.1 => "<0.1 %".to_owned(),
        p => format!("{p:.1} %"),
    }
}

fn gpu(ranked: &RankedOffer) -> String {
    let sold_out = match ranked.offer.available {
        Availability::SoldOut => " (sold out)",
        Availability::Available | Availability::Unknown => "",
    };
    match &ranked.offer.accelerator {
        Some(a) => format!("{a}{sold_out}"),
        None => format!("-{sold_out}"),
    }
}

fn dressed(printer: &Printer, side: Side, columns: Columns) -> Vec<String> {
    let mut lines: Vec<String> =
        columns.lines().into_iter().map(|l| clean(&l).into_owned()).collect();
    if let Some(head) = lines.first_mut() {
        *head = side.paint(printer, Paint::Dim, head);
    }
    if let Some(best) = lines.get_mut(1) {
        *best = side.paint(printer, Paint::Bold, best);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_risk_is_not_none() {
        assert_eq!([0.0, 0.0001, 0.111].map(risk), ["0 %", "<0.1 %", "10.5 %"]);
    }
}
