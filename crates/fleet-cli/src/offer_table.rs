//! Offers and plans for people: the table, the reasons, and who pays.

use crate::fit;
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
    ])
    .spare(&["WHY", "RISK/H", "EFFECTIVE/H"])
    .within(printer.width(side));
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
        Columns::new(&["PLACE", "MACHINE", "MARKET", ">PRICE/H", "NOT TAKEN BECAUSE"])
            .within(printer.width(side));
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

/// Reasons that a plan names.
const REASONS: usize = 4;

/// A plan as `launch` shows it before it asks.
pub(crate) fn plan(printer: &Printer, side: Side, plan: &PlanView) -> Vec<String> {
    let mut lines = match plan.candidates.is_empty() {
        true => vec!["no offer within the limits".to_owned()],
        false => ranked(printer, side, &plan.candidates, 8),
    };
    let width = printer.width(side);
    lines.extend(not_taken(&plan.rejected, REASONS, width));
    lines.extend(told(printer, side, plan, width));
    lines
}

/// Why offers are not taken, a line for each of the `most` commonest reasons.
pub(crate) fn not_taken(
    rejected: &[RejectedOffer],
    most: usize,
    width: Option<usize>,
) -> Vec<String> {
    let reasons = reasons(rejected);
    let mut lines = Vec::new();
    for (reason, count) in reasons.iter().take(most) {
        let places = if *count == 1 { "place" } else { "places" };
        lines.extend(fit::wrap(
            &format!("   {count} {places} not taken: {}", clean(reason)),
            width,
            6,
        ));
    }
    if let more @ 1.. = reasons.len().saturating_sub(most) {
        let noun = if more == 1 { "reason" } else { "reasons" };
        lines.push(format!("   ... and {more} more {noun}: fleet offers --all"));
    }
    lines
}

/// What a plan says besides its places.
fn told(printer: &Printer, side: Side, plan: &PlanView, width: Option<usize>) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(cost), Some(hours)) = (plan.expected_cost_usd, plan.expected_hours) {
        lines.push(format!("expected: {cost} for {hours:.1} h"));
    }
    for a in &plan.accounts {
        let until = a.expires_at.map(|t| format!(", expires {t}")).unwrap_or_default();
        let who = format!("{} as {} ({}{until})", a.account, a.principal, a.source);
        let text = format!("{} pays: {}", a.provider.title(), clean(&who));
        lines.extend(fit::wrap(&text, width, 2));
    }
    for t in &plan.troubles {
        let hint = t.hint.as_deref().map(|h| format!(" ({h})")).unwrap_or_default();
        let text = clean(&format!("! {}: {}{hint}", t.provider.title(), t.message)).into_owned();
        let mut wrapped = fit::wrap(&text, width, 2);
        if let Some(rest) = wrapped[0].strip_prefix('!') {
            wrapped[0] = format!("{}{rest}", side.paint(printer, Paint::Yellow, "!"));
        }
        lines.extend(wrapped);
    }
    for note in &plan.notes {
        lines.extend(fit::wrap(&format!("- {}", clean(note)), width, 2));
    }
    lines
}

/// Reasons by how many offers each turned away, an offer's own numbers apart.
fn reasons(rejected: &[RejectedOffer]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for r in rejected {
        *counts.entry(r.kind.clone()).or_default() += 1;
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

    fn rejected_offer(zone: usize, reason: &str, kind: &str) -> RejectedOffer {
        serde_json::from_value(serde_json::json!({
            "provider": "aws", "region": "us-east-1", "zone": format!("us-east-1{zone}"),
            "instance_type": "g4dn.xlarge", "market": "spot", "vcpus": 4.0, "memory_gib": 16.0,
            "price_usd_per_hour": 0.2, "available": "sold_out", "class": "vm", "trust": "trusted",
            "reason": reason, "kind": kind,
        }))
        .expect("an offer")
    }

    #[test]
    fn what_is_not_taken_is_counted_by_reason_and_fits_the_terminal() {
        let mut rejected: Vec<_> =
            (0..12).map(|n| rejected_offer(n, "sold out", "sold out")).collect();
        for n in 0..3 {
            let limit = "is above the limit $0.100/h";
            let reason = format!("$0.20{n}/h {limit}");
            rejected.push(rejected_offer(n, &reason, &format!("its price {limit}")));
        }
        let host = "a host that is not trusted with this task's secrets";
        rejected.push(rejected_offer(0, host, host));
        assert_eq!(
            not_taken(&rejected, 4, Some(50)),
            [
                "   12 places not taken: sold out",
                "   3 places not taken: its price is above the",
                "      limit $0.100/h",
                "   1 place not taken: a host that is not trusted",
                "      with this task's secrets",
            ]
        );
        assert_eq!(
            not_taken(&rejected, 1, None),
            ["   12 places not taken: sold out", "   ... and 2 more reasons: fleet offers --all",]
        );
    }

    #[test]
    fn a_small_risk_is_not_none() {
        assert_eq!([0.0, 0.0001, 0.111].map(risk), ["0 %", "<0.1 %", "10.5 %"]);
    }
}
