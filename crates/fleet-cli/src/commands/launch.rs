//! `fleet launch`: read, plan, ask, submit, follow.
//!
//! Order matters: the file and the flags are judged before anything is started or frozen, and nothing
//! is submitted before somebody said yes.

use crate::args::Launch;
use crate::context::Context;
use crate::error::{Error, Result, code};
use crate::offer_table::{self, Side};
use crate::printer::{Paint, clean};
use crate::task_file::TaskFile;
use crate::{follow, submission};
use fleet_api::Client;
use fleet_controller::Home;
use fleet_controller::api::{Account, PlanView, Submission};
use fleet_types::{Fallback, JobView};
use serde_json::json;
use std::ffi::OsStr;
use std::time::Duration;

/// The scenario that a sandbox plays which `launch` starts.
const DEMO: &str = "demo";

/// How long a sandbox may take to end after its job.
const SANDBOX_LEAVES: Duration = Duration::from_secs(10);

pub(crate) fn run(context: &Context, args: &Launch) -> Result<u8> {
    let overrides = submission::overrides(context, args)?;
    let file = TaskFile::read(&args.file, &overrides)?;
    file.report(&context.printer)?;
    let must_ask = !args.yes && !args.dry_run;
    if must_ask && !context.printer.can_ask() {
        return Err(Error::usage("nobody is at the terminal to say yes to the plan")
            .hint("add -y to launch without asking, or --dry-run to see the plan"));
    }
    let home = context.home()?;
    context.block_on(launch(context, args, &home, file, &overrides.secrets))
}

async fn launch(
    context: &Context,
    args: &Launch,
    home: &Home,
    file: TaskFile,
    secrets: &std::collections::BTreeMap<String, String>,
) -> Result<u8> {
    let account = match args.sandbox {
        true => sandbox_account(context, args, home).await?,
        false => context.account(home)?,
    };
    let silent = (args.yes && context.printer.json) || args.detach;
    if args.dry_run || !(silent && args.yes) {
        let code = show_plans(context, args, home, &account, &file).await?;
        if args.dry_run || code != 0 {
            return Ok(code);
        }
    }
    if !args.yes && !context.printer.confirm("launch?")? {
        return Err(Error::usage("not launched: nobody said yes"));
    }
    let one_shot = account.realm.one_shot;
    let submission = submission::build(context, home, account, &file, &args.file, secrets)?;
    let client = context.server(home).await?;
    let jobs = submit(context, home, &client, &submission).await?;
    if args.detach {
        return accepted(context, &jobs);
    }
    if !context.printer.json {
        for job in &jobs {
            say_accepted(context, job);
        }
    }
    let code = follow::follow(context, home, &client, &jobs).await?;
    if one_shot && code != code::INTERRUPTED {
        sandbox_gone(home, &client).await;
    }
    Ok(code)
}

/// Waits a moment for the sandbox that ends with its job, so that the next command finds none.
async fn sandbox_gone(home: &Home, client: &Client) {
    let gone = async {
        while fleet_sandbox::state(&home.sandbox_dir()).is_some() {
            if client.server().await.map_or(true, |s| s.jobs_live > 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(SANDBOX_LEAVES, gone).await.is_err() {
        tracing::debug!("the sandbox has not ended yet");
    }
}

/// Submits; a server that dies meanwhile is started again and asked again with the same key.
async fn submit(
    context: &Context,
    home: &Home,
    client: &Client,
    submission: &Submission,
) -> Result<Vec<JobView>> {
    match client.submit(submission).await {
        Err(fleet_api::Error::Lost { .. } | fleet_api::Error::Unreachable { .. }) => {
            Ok(context.server(home).await?.submit(submission).await?)
        }
        done => Ok(done?),
    }
}

/// What `-d` prints: one line a job.
fn accepted(context: &Context, jobs: &[JobView]) -> Result<u8> {
    let p = &context.printer;
    for job in jobs {
        if p.json {
            p.json(&json!({
                "at": job.created_at,
                "event": "job.accepted",
                "job_id": job.id,
                "name": job.name,
                "workdir_hash": job.workdir_hash,
                "expires_at": job.expires_at,
                "group": job.group,
            }))?;
            continue;
        }
        say_accepted(context, job);
        p.data(job.id.as_str())?;
        p.talk("  recovery needs this machine awake");
        p.talk(&format!("  follow: fleet attach {0}   end: fleet cancel {0}", job.id));
    }
    Ok(0)
}

fn say_accepted(context: &Context, job: &JobView) {
    let p = &context.printer;
    let name = job.name.as_deref().map(|n| format!(" ({})", clean(n))).unwrap_or_default();
    let id = p.err(Paint::Bold, job.id.as_str());
    let end = job.expires_at.map(|t| format!("; the task ends at the latest at {t}"));
    p.talk(&format!("job {id}{name} accepted{}", end.unwrap_or_default()));
}

/// Shows what would be done; a code other than 0 ends the command here.
async fn show_plans(
    context: &Context,
    args: &Launch,
    home: &Home,
    account: &Account,
    file: &TaskFile,
) -> Result<u8> {
    let p = &context.printer;
    let (mut worst, mut documents) = (0, Vec::new());
    for task in &file.parsed.tasks {
        let plan = fleet_controller::plan(home, account, task, args.refresh).await?;
        let code = verdict(&plan);
        if args.dry_run && p.json {
            documents.push(super::offers::plan_document(&plan));
        } else {
            let side = if args.dry_run { Side::Out } else { Side::Err };
            if let Some(name) = task.name.as_deref().filter(|_| file.parsed.tasks.len() > 1) {
                say(context, side, &clean(name))?;
            }
            for line in offer_table::plan(p, side, &plan) {
                say(context, side, &line)?;
            }
        }
        // A job that may wait, or buy on demand later, is the server's to judge.
        if code != 0 && (args.dry_run || task.spot.fallback == Fallback::None) {
            worst = worst.max(code);
        }
    }
    match documents.as_slice() {
        [] => {}
        [plan] => p.json(&json!({ "plan": plan }))?,
        [first, ..] => p.json(&json!({ "plan": first, "plans": documents }))?,
    }
    if worst == code::CREDENTIALS {
        p.warn("no cloud is usable with the credentials that were found; `fleet check` says why");
    }
    Ok(worst)
}

fn say(context: &Context, side: Side, line: &str) -> Result<()> {
    match side {
        Side::Out => context.printer.data(line),
        Side::Err => {
            context.printer.talk(line);
            Ok(())
        }
    }
}

/// 0 if there is a place to go to; else why not.
fn verdict(plan: &PlanView) -> u8 {
    if !plan.candidates.is_empty() {
        return 0;
    }
    let nobody = plan.rejected.is_empty() && plan.troubles.iter().any(|t| t.credentials);
    if nobody { code::CREDENTIALS } else { code::CAPACITY }
}

/// The sandbox of this home, started if none runs; the shell's own clouds do not count.
async fn sandbox_account(context: &Context, args: &Launch, home: &Home) -> Result<Account> {
    let p = &context.printer;
    let state = match fleet_sandbox::settled(&home.sandbox_dir()).await {
        Some(state) => {
            p.talk("using the sandbox that runs already; no cloud account is touched");
            if args.scenario.as_ref().is_some_and(|s| *s != state.scenario) {
                return Err(Error::usage(format!(
                    "a sandbox with the scenario `{}` runs already",
                    state.scenario
                ))
                .hint("end it first: fleet sandbox down"));
            }
            state
        }
        None => {
            let scenario = super::sandbox::scenario_argument(
                context,
                args.scenario.as_deref().unwrap_or(DEMO),
            )?;
            let scale = super::sandbox::time_scale(context, None)?.factor().to_string();
            let mut arguments = vec!["--one-shot", "--scenario", &scenario, "--time-scale", &scale];
            let seed = context.env.seed()?.map(|s| s.to_string());
            if let Some(seed) = &seed {
                arguments.extend(["--seed", seed]);
            }
            let arguments: Vec<&OsStr> = arguments.into_iter().map(OsStr::new).collect();
            let state = context.start_sandbox(home, &arguments).await?;
            p.talk("sandbox: the clouds in a box on this machine; no account, no money");
            state
        }
    };
    if state.scenario == DEMO {
        p.talk("it will take the first spot machine away once, 15 s after the task runs there, so that you see one recovery");
    }
    context.sandbox_account(home, &state)
}
