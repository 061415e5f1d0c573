//! From which address this machine reaches the internet: the only one that SSH is admitted from.
//! Whoever tells it tells the time too, in the `Date` of the answer.

use fleet_types::Realm;
use std::net::IpAddr;
use std::time::Duration;

/// Tells the address that it is asked from.
pub(crate) const OUTSIDE: &str = "https://checkip.amazonaws.com/";

/// The address as a CIDR; `None` where it could not be learned (the driver then admits nobody new).
pub(crate) async fn admit_from(realm: &Realm) -> Option<String> {
    if realm.is_loopback_only(fleet_providers::drivers()) {
        return Some("127.0.0.1/32".into());
    }
    fleet_provider_kit::http::install_crypto();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().ok()?;
    let text = client.get(OUTSIDE).send().await.ok()?.text().await.ok()?;
    match text.trim().parse().ok()? {
        IpAddr::V4(ip) => Some(format!("{ip}/32")),
        IpAddr::V6(ip) => Some(format!("{ip}/128")),
    }
}
