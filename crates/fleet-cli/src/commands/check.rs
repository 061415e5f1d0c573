//! `fleet check`: which clouds are usable, as whom, and why not.

use crate::args::Check;
use crate::context::Context;
use crate::error::{Error, Result, code};
use crate::printer::{Paint, Printer, clean};
use fleet_controller::api::CheckView;
use fleet_types::ProviderId;
use serde_json::json;

pub(crate) fn run(context: &Context, args: &Check) -> Result<u8> {
    let providers = asked(&args.providers)?;
    let home = context.home()?;
    let account = context.account(&home)?;
    let views =
        context.block_on(async { Ok(fleet_controller::check(&account, &providers).await) })?;
    let p = &context.printer;
    if p.json {
        p.json(&json!({ "providers": views }))?;
    } else {
        for view in &views {
            show(p, view)?;
        }
    }
    // Named clouds must all work; of all clouds, one is enough to launch.
    let usable = match args.providers.is_empty() {
        true => views.iter().any(|v| v.usable),
        false => views.iter().all(|v| v.usable),
    };
    Ok(if usable { 0 } else { code::CREDENTIALS })
}

fn asked(names: &[String]) -> Result<Vec<ProviderId>> {
    let drivers = fleet_providers::drivers();
    if names.is_empty() {
        return Ok(drivers.to_vec());
    }
    let known = drivers.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(", ");
    names
        .iter()
        .map(|name| match name.parse::<ProviderId>() {
            Ok(id) if drivers.contains(&id) => Ok(id),
            Ok(id) => {
                Err(Error::not_supported(id.title()).hint(format!("this build knows {known}")))
            }
            Err(_) => Err(Error::usage(format!("`{}` is no cloud", name.escape_debug()))
                .hint(format!("this build knows {known}"))),
        })
        .collect()
}

fn show(p: &Printer, view: &CheckView) -> Result<()> {
    let word = match view.usable {
        true => p.out(Paint::Green, "usable"),
        false => p.out(Paint::Red, "not usable"),
    };
    p.data(&format!("{}: {word}", p.out(Paint::Bold, view.provider.title())))?;
    let fact = |name: &str, text: &str| p.data(&format!("  {name:<13}{}", clean(text)));
    if let Some(who) = &view.identity {
        fact("account", &who.account)?;
        fact("as", &who.principal)?;
        fact("found in", &who.source)?;
        if let Some(end) = who.expires_at {
            fact("expires", &end.to_string())?;
        }
    }
    view.quota.iter().try_for_each(|q| fact("quota", q))?;
    view.error.iter().try_for_each(|e| fact("because", e))?;
    view.notes.iter().try_for_each(|n| fact("note", n))?;
    view.hint.iter().try_for_each(|h| fact("next", h))
}
