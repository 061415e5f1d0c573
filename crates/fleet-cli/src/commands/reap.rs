//! `fleet reap`: ends what carries our tag and has no owner.
//!
//! With a server or a database, what a live job owns is kept; with neither, everything of the fleet
//! goes at once, from this process.

use crate::args::Reap;
use crate::context::Context;
use crate::error::{Error, Result, code};
use crate::printer::{Paint, clean};
use crate::table::Columns;
use fleet_api::ReapRequest;
use fleet_controller::Home;
use fleet_controller::api::{Account, ReapOptions, ReapReport};

pub(crate) fn run(context: &Context, args: &Reap) -> Result<u8> {
    let p = &context.printer;
    if let Some(id) = &args.fleet
        && !(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(Error::usage(format!("`{}` is no fleet id", id.escape_debug()))
            .hint("it is the 32 characters after `fleet_id:` in config.yaml of the fleet's home"));
    }
    let asks = !args.yes && !args.dry_run;
    if asks && !p.can_ask() {
        return Err(Error::usage("nobody is at the terminal to say which machines may be ended")
            .hint("add -y to end them without asking, or --dry-run to see them"));
    }
    let home = context.home()?;
    let account = context.account(&home)?;
    let options =
        ReapOptions { expired: args.expired, fleet: args.fleet.clone(), dry_run: args.dry_run };
    context.block_on(async {
        if asks {
            let look = ReapOptions { dry_run: true, ..options.clone() };
            let found = reap(context, &home, &account, look).await?;
            show(context, &found)?;
            let ends = found.items.iter().any(|i| !i.action.starts_with("kept"));
            if !ends || !p.confirm("end them?")? {
                return Ok(0);
            }
        }
        let report = reap(context, &home, &account, options).await?;
        match p.json {
            true => p.json(&report)?,
            false => show(context, &report)?,
        }
        // A cloud that nobody has an account with holds no machine of ours.
        let unseen = report.gaps.iter().any(|g| !g.contains("(no-credentials)"));
        let failed = unseen || report.items.iter().any(|i| i.failed);
        Ok(if failed { code::INTERNAL } else { 0 })
    })
}

async fn reap(
    context: &Context,
    home: &Home,
    account: &Account,
    options: ReapOptions,
) -> Result<ReapReport> {
    let own = options.fleet.as_deref().is_none_or(|f| f == home.fleet_id().as_str());
    let client = context.client(home)?;
    let served = own && (client.server().await.is_ok() || home.db_path().exists());
    if served {
        let request = ReapRequest { account: account.clone(), options };
        return Ok(context.server(home).await?.reap(&request).await?);
    }
    Ok(fleet_controller::reap(home, account, &options).await?)
}

fn show(context: &Context, report: &ReapReport) -> Result<()> {
    let p = &context.printer;
    if report.items.is_empty() {
        p.talk("nothing of this fleet was found");
    } else {
        let mut columns =
            Columns::new(&["PLACE", "KIND", "ID", ">PRICE/H", "EXPIRES", "JOB", "ACTION"]);
        for i in &report.items {
            let dash = || "-".to_owned();
            columns.row([
                i.place.to_string(),
                i.kind.clone(),
                i.id.clone(),
                i.price_usd_per_hour.map_or_else(dash, |u| u.to_string()),
                i.expires_at.map_or_else(dash, |t| t.to_string()),
                i.job.clone().unwrap_or_else(dash),
                i.action.clone(),
            ]);
        }
        for (n, line) in columns.lines().into_iter().enumerate() {
            p.data(&if n == 0 { p.out(Paint::Dim, &line) } else { clean(&line).into_owned() })?;
        }
    }
    for gap in &report.gaps {
        p.warn(&format!("nothing is known about {}", clean(gap)));
    }
    Ok(())
}
