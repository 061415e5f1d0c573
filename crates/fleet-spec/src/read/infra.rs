//! `infra`, and the older `cloud`, `region` and `zone`: where a machine may be.

use super::regions::{self, Known};
use super::{Field, Reader};
use crate::redact::quote;
use fleet_types::accelerator::distance;
use fleet_types::{PlacePattern, ProviderId};

/// Clouds that SkyPilot files name and fleet does not rent from.
const OTHERS: &[&str] = &[
    "cudo",
    "do",
    "fluidstack",
    "hyperbolic",
    "ibm",
    "k8s",
    "kubernetes",
    "mithril",
    "nebius",
    "oci",
    "paperspace",
    "primeintellect",
    "scp",
    "seeweb",
    "shadeform",
    "slurm",
    "ssh",
    "verda",
    "vsphere",
    "yotta",
];

/// The older spelling's parts.
pub(super) struct Parts<'a> {
    pub(super) cloud: Option<Field<'a>>,
    pub(super) region: Option<Field<'a>>,
    pub(super) zone: Option<Field<'a>>,
}

/// Places allowed; empty is everywhere.
pub(super) fn places(
    reader: &mut Reader,
    infra: Option<Field<'_>>,
    parts: &Parts<'_>,
) -> Vec<PlacePattern> {
    let older = [&parts.cloud, &parts.region, &parts.zone];
    let Some(infra) = infra else {
        return if older.iter().any(|part| part.is_some()) {
            from_parts(reader, parts).into_iter().collect()
        } else {
            Vec::new()
        };
    };
    if let Some(part) = older.into_iter().flatten().next() {
        let message = "`infra` and the older cloud, region and zone exclude each other";
        reader.wrong(part, message, "keep `infra: cloud/region/zone`");
    }
    let mut places: Vec<PlacePattern> = Vec::new();
    for one in infra.one_or_more() {
        if let Some(place) = from_infra(reader, &one) {
            places.push(place);
        }
    }
    // `*` among others allows everything.
    if places.iter().any(|p| *p == PlacePattern::default()) { Vec::new() } else { places }
}

fn from_infra(reader: &mut Reader, field: &Field<'_>) -> Option<PlacePattern> {
    let text = reader.text(field)?.trim();
    let mut parts = text.splitn(3, '/').map(str::trim);
    let cloud = parts.next().unwrap_or_default();
    let (region, zone) = (wanted(parts.next()), wanted(parts.next()));
    if text.is_empty() || text.split('/').any(|part| part.trim().is_empty()) {
        reader.wrong(field, format!("{} is no place", quote(text)), FORM);
        return None;
    }
    let provider = match wanted(Some(cloud)) {
        Some(name) => Some(provider(reader, field, &name)?),
        None => None,
    };
    if zone.as_deref().is_some_and(|zone| zone.contains('/')) {
        reader.wrong(field, format!("{} has too many parts", quote(text)), FORM);
        return None;
    }
    check(reader, field, PlacePattern { provider, region, zone })
}

const FORM: &str = "write cloud/region/zone, such as aws/us-east-1/us-east-1a, with * for any";

fn from_parts(reader: &mut Reader, parts: &Parts<'_>) -> Option<PlacePattern> {
    let mut read = |part: &Option<Field<'_>>| {
        part.as_ref().and_then(|f| reader.text(f).map(|t| wanted(Some(t)))).flatten()
    };
    let (cloud, region, zone) = (read(&parts.cloud), read(&parts.region), read(&parts.zone));
    let provider = match (&parts.cloud, cloud) {
        (Some(field), Some(name)) => Some(provider(reader, field, &name)?),
        _ => None,
    };
    let field = parts.region.as_ref().or(parts.zone.as_ref()).or(parts.cloud.as_ref())?;
    check(reader, field, PlacePattern { provider, region, zone })
}

fn wanted(part: Option<&str>) -> Option<String> {
    part.map(str::trim).filter(|p| !p.is_empty() && *p != "*").map(str::to_owned)
}

fn provider(reader: &mut Reader, field: &Field<'_>, name: &str) -> Option<ProviderId> {
    if let Ok(provider) = name.parse() {
        return Some(provider);
    }
    let names = ProviderId::ALL.map(ProviderId::as_str);
    let lower = name.to_ascii_lowercase();
    if OTHERS.contains(&lower.as_str()) {
        let hint = format!("fleet rents from {}", names.join(", "));
        reader.wrong(field, format!("cloud {} is not supported", quote(name)), &hint);
        return None;
    }
    let near = names.iter().map(|n| (distance(&lower, n), *n)).min().filter(|(d, _)| *d <= 2);
    let of_region = regions::owner(name).map(|owner| format!("write {owner}/{lower}"));
    let hint = of_region
        .or_else(|| near.map(|(_, n)| format!("did you mean `{n}`?")))
        .unwrap_or_else(|| format!("fleet rents from {}", names.join(", ")));
    reader.wrong(field, format!("unknown cloud {}", quote(name)), &hint);
    None
}

fn check(reader: &mut Reader, field: &Field<'_>, place: PlacePattern) -> Option<PlacePattern> {
    let (Some(provider), Some(region)) = (place.provider, &place.region) else {
        return check_zone(reader, field, place);
    };
    let (title, shown) = (provider.title(), quote(region));
    match regions::known(provider, region) {
        Known::Yes => return check_zone(reader, field, place),
        Known::OfAnother(other) => {
            let message = format!("region {shown} is {}'s, not {title}'s", other.title());
            reader.wrong(field, message, &valid(provider));
        }
        Known::Misspelt(near) => {
            let message = format!("{title} has no region {shown}");
            reader.wrong(field, message, &format!("did you mean `{near}`?"));
        }
        Known::No => {
            let message = format!("{title} is not known to have a region {shown}");
            reader.warn(field.at(), &field.path, message, &valid(provider));
            return Some(place);
        }
    }
    None
}

/// AWS and GCP name a zone after its region; a pair that disagrees can match nothing.
fn check_zone(reader: &mut Reader, field: &Field<'_>, place: PlacePattern) -> Option<PlacePattern> {
    if let (Some(ProviderId::Aws | ProviderId::Gcp), Some(region), Some(zone)) =
        (place.provider, &place.region, &place.zone)
    {
        let local = zone.to_ascii_lowercase();
        let rest = local.strip_prefix(&region.to_ascii_lowercase());
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit()))
        {
            let message = format!("zone {} is not in region {}", quote(zone), quote(region));
            reader.wrong(field, message, "zones are named like us-east-1a or us-central1-a");
            return None;
        }
    }
    Some(place)
}

fn valid(provider: ProviderId) -> String {
    let names = regions::of(provider);
    if names.is_empty() || names.len() > 60 {
        return format!("write a region such as {}", regions::form(provider));
    }
    format!("regions of {} are {}", provider.title(), names.join(", "))
}
