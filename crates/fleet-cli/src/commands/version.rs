//! `fleet version`.

use crate::context::Context;
use crate::error::Result;
use serde_json::json;

/// This build's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn run(context: &Context) -> Result<u8> {
    let p = &context.printer;
    match p.json {
        true => p.json(&json!({
            "version": VERSION,
            "providers": fleet_providers::drivers(),
            "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        }))?,
        false => p.data(&format!("fleet {VERSION}"))?,
    }
    Ok(0)
}
