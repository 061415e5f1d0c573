//! `fleet reap`: ends what carries our tag and has no owner.
//!
//! With a server or a database, what a live job owns is kept; with neither, everything of the fleet
//! goes at once, from this process. Of another fleet nobody here knows what is in use: its machines are
//! listed with what they cost, and asked about.

use crate::args::Reap;
use crate::context::Context;
use crate::error::{Error, Result, code};
use crate::printer::{Paint, clean};
use crate::table::Columns;
use fleet_api::ReapRequest;
use fleet_controller::Home;
use fleet_controller::api::{Account, GapReason, ReapItem, ReapOptions, ReapReport, ReapVerdict};
use fleet_types::{Usd, show_duration};

pub(crate) fn run(context: &Context, args: &Reap) -> Result<u8> {
    let p = &context.printer;
    let fleet = args.fleet.as_deref().map(fleet_id).transpose()?;
    let asks = !args.yes && !args.dry_run;
    let mute = asks && !p.can_ask();
    if mute && fleet.is_none() {
        return Err(nobody_to_ask());
    }
    let home = context.home()?;
    let foreign = fleet.clone().filter(|f| f != home.fleet_id().as_str());
    if mute && foreign.is_none() {
        return Err(nobody_to_ask());
    }
    let account = context.account(&home)?;
    let options = ReapOptions { expired: args.expired, fleet, dry_run: args.dry_run };
    context.block_on(async {
        if asks {
            let look = ReapOptions { dry_run: true, ..options.clone() };
            let found = reap(context, &home, &account, look).await?;
            if mute && p.json {
                p.json(&found)?;
            } else {
                show(context, &found)?;
            }
            if !found.items.iter().any(|i| i.verdict == ReapVerdict::WouldEnd) {
                return Ok(exit_code(&found));
            }
            if !agreed(context, foreign.as_deref(), mute)? {
                return Ok(0);
            }
        }
        let report = reap(context, &home, &account, options).await?;
        match p.json {
            true => p.json(&report)?,
            false => show(context, &report)?,
        }
        Ok(exit_code(&report))
    })
}

/// A fleet id as it stands on machines.
fn fleet_id(text: &str) -> Result<String> {
    if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Error::usage(format!("`{}` is no fleet id", text.escape_debug()))
        .hint("it is the 32 characters after `fleet_id:` in config.yaml of the fleet's home"))
}

fn nobody_to_ask() -> Error {
    Error::usage("nobody is at the terminal to say which machines may be ended")
        .hint("add -y to end them without asking, or --dry-run to see them")
}

/// Whether what was listed may be ended; an error where nobody can say so.
fn agreed(context: &Context, foreign: Option<&str>, mute: bool) -> Result<bool> {
    let Some(fleet) = foreign else { return context.printer.confirm("end them?") };
    if mute {
        return Err(Error::usage(format!(
            "these machines are of fleet {fleet}, not of this home's, and nobody is at the terminal to say that they may be ended"
        ))
        .hint(format!("to end them: fleet reap --fleet {fleet} -y")));
    }
    context.printer.warn(&format!(
        "these machines are of fleet {fleet}, not of this home's; jobs that another home looks after may still run on them"
    ));
    context.printer.confirm("end them?")
}

/// 0 if everything was seen and nothing bills on that should not.
fn exit_code(report: &ReapReport) -> u8 {
    let gap = |reason| report.gaps.iter().any(|g| g.reason == reason);
    // A cloud that nobody has an account with holds no machine of ours.
    if gap(GapReason::Unanswered) || report.items.iter().any(|i| i.failed) {
        code::INTERNAL
    } else if gap(GapReason::Credentials) {
        code::CREDENTIALS
    } else {
        0
    }
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

/// What was found or done: on stdout, or as talk where stdout holds the document.
fn show(context: &Context, report: &ReapReport) -> Result<()> {
    let p = &context.printer;
    let line = |text: &str| match p.json {
        true => {
            p.talk(text);
            Ok(())
        }
        false => p.data(text),
    };
    if report.items.is_empty() {
        p.talk("nothing of this fleet is there");
    }
    for (n, text) in table(&report.items).into_iter().enumerate() {
        line(&if n == 0 { p.out(Paint::Dim, &text) } else { clean(&text).into_owned() })?;
    }
    if let Some(sum) = sum(&report.items) {
        p.talk(&sum);
    }
    for gap in &report.gaps {
        let text = clean(&gap.message);
        let cloud = gap.provider.title();
        match gap.reason {
            GapReason::NoAccount => p.talk(&format!("{cloud}: no account here, not looked at")),
            GapReason::Credentials | GapReason::Unanswered => {
                p.warn(&format!("nothing is known about {cloud}: {text}"));
            }
        }
    }
    Ok(())
}

fn table(items: &[ReapItem]) -> Vec<String> {
    if items.is_empty() {
        return Vec::new();
    }
    let now = super::status::now();
    let mut columns =
        Columns::new(&["PLACE", "WHAT", "ID", ">PRICE/H", ">SINCE", "EXPIRES", "JOB", "ACTION"])
            .spare(&["EXPIRES", "JOB"]);
    for i in items {
        let dash = || "-".to_owned();
        let what = match (&i.instance_type, i.market) {
            (Some(kind), Some(market)) => format!("{kind} {market}"),
            (Some(kind), None) => kind.clone(),
            (None, _) => i.kind.clone(),
        };
        // What is no machine costs nothing by itself, unless the cloud names a price.
        let price = i.price_usd_per_hour.map(|u| u.to_string());
        columns.row([
            i.place.to_string(),
            what,
            i.id.clone(),
            price.unwrap_or_else(|| if i.instance_type.is_some() { "?".into() } else { dash() }),
            i.since.map_or_else(dash, |t| show_duration(now.since(t))),
            i.expires_at.map_or_else(dash, |t| t.to_string()),
            i.job.clone().unwrap_or_else(dash),
            i.action.clone(),
        ]);
    }
    columns.lines()
}

/// What would be ended costs together.
fn sum(items: &[ReapItem]) -> Option<String> {
    let billing = || items.iter().filter(|i| i.verdict == ReapVerdict::WouldEnd);
    let machines = billing().filter(|i| i.instance_type.is_some()).count();
    let total: Usd = billing().filter_map(|i| i.price_usd_per_hour).sum();
    let unknown = billing().any(|i| i.instance_type.is_some() && i.price_usd_per_hour.is_none());
    let noun = if machines == 1 { "machine" } else { "machines" };
    let least = if unknown { "at least " } else { "" };
    (machines > 0).then(|| format!("{machines} {noun}, {least}{total} an hour together"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_controller::api::ReapGap;
    use fleet_types::ProviderId;

    fn gap(reason: GapReason) -> ReapGap {
        // The words are nobody's business but the reader's.
        let message = "list: credentials (no-credentials): words".to_owned();
        ReapGap { provider: ProviderId::Aws, reason, message }
    }

    #[test]
    fn the_exit_code_goes_by_the_reason_and_not_by_its_words() {
        use GapReason::{Credentials, NoAccount, Unanswered};
        for (reasons, code) in [
            (&[][..], 0),
            (&[NoAccount][..], 0),
            (&[NoAccount, Credentials], code::CREDENTIALS),
            (&[Credentials, Unanswered], code::INTERNAL),
            (&[Unanswered], code::INTERNAL),
        ] {
            let gaps = reasons.iter().map(|r| gap(*r)).collect();
            let report = ReapReport { items: Vec::new(), gaps };
            assert_eq!(exit_code(&report), code, "{reasons:?}");
        }
    }

    #[test]
    fn a_fleet_id_in_capitals_is_the_same_fleet() {
        let id = "0123456789ABCDEF0123456789abcdef";
        assert_eq!(fleet_id(id).unwrap(), id.to_ascii_lowercase());
        assert!(fleet_id("0123").is_err());
    }

    #[test]
    fn what_is_listed_names_type_price_and_age() {
        let item = |price: Option<f64>| -> ReapItem {
            serde_json::from_value(serde_json::json!({
                "provider": "aws", "kind": "machine", "id": "i-1",
                "place": {"provider": "aws", "region": "us-east-1", "zone": "us-east-1a"},
                "instance_type": "g4dn.xlarge", "market": "spot", "price_usd_per_hour": price,
                "since": null, "expires_at": null, "job": null,
                "verdict": "would-end", "action": "would end", "failed": false,
            }))
            .expect("an item")
        };
        let items = [item(Some(0.25)), item(None)];
        let lines = table(&items).join("\n");
        for word in ["aws/us-east-1/us-east-1a", "g4dn.xlarge spot", "i-1", "$0.25", "?"] {
            assert!(lines.contains(word), "`{word}` is not in\n{lines}");
        }
        assert_eq!(sum(&items).unwrap(), "2 machines, at least $0.250 an hour together");
        assert_eq!(sum(&items[..1]).unwrap(), "1 machine, $0.250 an hour together");
        assert_eq!(sum(&[]), None);
    }
}
