//! `fleet offers`: what can be rented now, in rank order, and why the rest is not taken.

use crate::args::Offers;
use crate::context::Context;
use crate::error::{Error, Result, code};
use crate::offer_table::{self, Side};
use crate::printer::{Paint, clean};
use crate::submission;
use fleet_controller::api::PlanView;
use fleet_types::Offer;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Reasons that people see without `--all`.
const REASONS: usize = 12;

/// Offers that people see without `--all`.
const FIRST: usize = 30;

pub(crate) fn run(context: &Context, args: &Offers) -> Result<u8> {
    let mut overrides = submission::placement(&args.placement);
    if args.placement.use_spot {
        // Spot alone was asked for: what a job would fall back to is not an answer.
        overrides.fallback = Some("none".to_owned());
    }
    // The flags go through the same checks as a task file's fields.
    let parsed = fleet_spec::parse(b"run: 'true'\n", &overrides);
    if let Some(d) = parsed.errors.first() {
        let error = Error::usage(d.message.clone());
        return Err(match &d.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        });
    }
    let Some(task) = parsed.tasks.first() else {
        return Err(Error::internal("the flags make no task"));
    };
    let home = context.home()?;
    let account = context.account(&home)?;
    let plan = context.block_on(async {
        Ok(fleet_controller::offers(&home, &account, task, args.refresh).await?)
    })?;
    show(context, args, &plan)?;
    let credentials = plan.troubles.iter().any(|t| t.credentials);
    Ok(match plan.candidates.is_empty() {
        false => 0,
        true if credentials && plan.rejected.is_empty() => code::CREDENTIALS,
        true => code::CAPACITY,
    })
}

fn show(context: &Context, args: &Offers, plan: &PlanView) -> Result<()> {
    let p = &context.printer;
    if p.json {
        let mut document = plan_document(plan);
        let rejected = if args.all { document["rejected"].take() } else { json!([]) };
        return p.json(&json!({
            "offers": document["candidates"].take(),
            "rejected": rejected,
            "troubles": plan.troubles,
        }));
    }
    if plan.candidates.is_empty() {
        p.talk("no offer within the limits");
    } else {
        let most = if args.all || p.verbose { usize::MAX } else { FIRST };
        for line in offer_table::ranked(p, Side::Out, &plan.candidates, most) {
            p.data(&line)?;
        }
    }
    if args.all && !plan.rejected.is_empty() {
        p.data("")?;
        for line in offer_table::rejected(p, Side::Out, &plan.rejected) {
            p.data(&line)?;
        }
    } else {
        for line in offer_table::not_taken(&plan.rejected, REASONS, p.width(Side::Err)) {
            p.talk(&line);
        }
    }
    for t in &plan.troubles {
        p.warn(&format!("{}: {}", t.provider.title(), clean(&t.message)));
        if let Some(hint) = &t.hint {
            p.talk(&format!("  {} {}", p.err(Paint::Cyan, "hint:"), clean(hint)));
        }
    }
    Ok(())
}

/// A plan as CLI.md shapes it: `accelerator` is a name and `count` a number.
pub(crate) fn plan_document(plan: &PlanView) -> Value {
    let mut document = json!(plan);
    let candidates = plan.candidates.iter().map(|r| flat(r, &r.offer)).collect::<Vec<_>>();
    let rejected = plan.rejected.iter().map(|r| flat(r, &r.offer)).collect::<Vec<_>>();
    document["candidates"] = candidates.into();
    document["rejected"] = rejected.into();
    document
}

/// One offer, its accelerator in two plain fields.
fn flat(whole: &impl Serialize, offer: &Offer) -> Value {
    let mut row = match serde_json::to_value(whole) {
        Ok(Value::Object(row)) => row,
        _ => Map::new(),
    };
    row.insert("accelerator".into(), json!(offer.accelerator.as_ref().map(|a| &a.name)));
    row.insert("count".into(), json!(offer.accelerator.as_ref().map_or(0, |a| a.count)));
    row.into()
}
