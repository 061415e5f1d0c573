//! `spot`: limits and wishes, and whether they agree with the rest of the task.

use super::task::SPAN;
use super::{Field, Reader, Section};
use crate::keys::SPOT;
use crate::{SpotSection, Task, scalar};
use fleet_types::{Fallback, Usd};

const DOLLARS: &str = "write dollars with a point, such as 12.50";

/// `spot:`; `outer_price` is what `resources.max_hourly_cost` says.
pub(super) fn spot(
    reader: &mut Reader,
    field: Option<Field<'_>>,
    outer_price: Option<Usd>,
) -> SpotSection {
    let mut spot = SpotSection { max_price_usd_per_hour: outer_price, ..SpotSection::default() };
    if let Some(section) = field.and_then(|field| open(reader, &field)) {
        let words =
            [("on-demand", Fallback::OnDemand), ("wait", Fallback::Wait), ("none", Fallback::None)];
        spot.fallback = reader.choice(section.get("fallback"), &words).unwrap_or_default();
        let hint = "write how long after acceptance, such as 36h or 2d";
        spot.deadline = reader.value(section.get("deadline"), hint, scalar::span);
        let price = reader.value(section.get("max_price"), DOLLARS, scalar::dollars);
        spot.max_price_usd_per_hour = price.or(outer_price);
        spot.budget_usd = reader.value(section.get("budget"), DOLLARS, scalar::dollars);
        filter(reader, &section, &mut spot);
    }
    spot.filter.max_price_usd_per_hour = spot.max_price_usd_per_hour;
    spot
}

fn open<'a>(reader: &mut Reader, field: &Field<'a>) -> Option<Section<'a>> {
    if field.node.text().is_some_and(|text| scalar::truth(text).is_some()) {
        let hint = "write `use_spot: true` under `resources`";
        reader.wrong(field, "`spot` is a section, not a switch", hint);
        return None;
    }
    reader.section(field, &SPOT)
}

fn filter(reader: &mut Reader, section: &Section<'_>, spot: &mut SpotSection) {
    let filter = &mut spot.filter;
    let share = "write a share, such as 0.98 or 98%";
    filter.min_reliability = reader.value(section.get("reliability"), share, scalar::share);
    filter.verified_only = reader.truth(section.get("verified")).unwrap_or_default();
    filter.datacenter_only = reader.truth(section.get("datacenter")).unwrap_or_default();
    let duration = reader.value(section.get("min_duration"), SPAN, scalar::span);
    filter.min_duration_seconds = duration.map(|d| d.as_secs_f64());
    filter.min_cuda = reader.value(section.get("min_cuda"), "such as 12.4", scalar::positive);
    let hint = "write Mbit/s, such as 500 or 1gbps";
    filter.min_inet_down_mbps = reader.value(section.get("min_network"), hint, scalar::mbps);
    let hint = "write interruptions an hour, such as 0.05 or 5%";
    filter.max_hazard_per_hour = reader.value(section.get("max_interruption"), hint, scalar::share);
}

/// Keys that need or exclude one another.
pub(super) fn agreement(reader: &mut Reader, section: &Section<'_>, task: &Task) {
    let spot = section.get("spot");
    let within = |key: &str| {
        let node = spot.as_ref()?.node.get(key)?;
        let path = super::join(&spot.as_ref()?.path, key);
        (!node.is_null()).then_some(Field { node, path })
    };
    if let (Some(deadline), None) = (within("deadline"), section.get("work")) {
        let hint = "add `work: 20h` (or `--work 20h`), how long it takes undisturbed";
        reader.wrong(&deadline, "`deadline` needs `work`", hint);
    }
    let only_on_demand = !task.resources.alternatives.is_empty()
        && task.resources.alternatives.iter().all(|a| a.use_spot == Some(false));
    let by_flag = section
        .get("resources")
        .and_then(|f| f.node.get("use_spot"))
        .is_some_and(|node| node.at.is_flag());
    if let (Some(fallback), true, false) = (within("fallback"), only_on_demand, by_flag) {
        let message = "`fallback` is for spot machines, but `use_spot: false` wants none";
        reader.wrong(&fallback, message, "remove one of the two");
    }
}
