//! `fleet sandbox up | down | status | env`, and `run`, which `up` starts in the background.
//!
//! Invariant: no command of `sandbox` ever starts a server.

use crate::args::{Up, UpRun};
use crate::context::Context;
use crate::daemon;
use crate::error::{Error, Result};
use crate::printer::Paint;
use fleet_controller::Home;
use fleet_sandbox::{Config, Scenario, State};
use fleet_types::TimeScale;
use serde_json::json;
use std::ffi::OsStr;

/// `fleet sandbox up`.
pub(crate) fn up(context: &Context, args: &Up) -> Result<u8> {
    let home = context.home()?;
    if let Some(state) = settled(context, &home)? {
        let same = args.scenario.as_ref().is_none_or(|s| *s == state.scenario)
            && args.seed.is_none_or(|s| s == state.seed);
        if !same {
            return Err(fleet_sandbox::Error::AlreadyRunning {
                dir: home.sandbox_dir(),
                pid: state.pid,
            }
            .into());
        }
        context.printer.talk("it runs already");
        return show(context, &state);
    }
    let scale = time_scale(context, args.time_scale)?.factor().to_string();
    let seed = args.seed.or(context.env.seed()?).map(|s| s.to_string());
    let scenario = args.scenario.as_deref().map(|s| scenario_argument(context, s)).transpose()?;
    let mut arguments = vec!["--time-scale", &scale];
    if let Some(seed) = &seed {
        arguments.extend(["--seed", seed]);
    }
    if let Some(scenario) = &scenario {
        arguments.extend(["--scenario", scenario]);
    }
    let arguments: Vec<&OsStr> = arguments.into_iter().map(OsStr::new).collect();
    let state = context.block_on(context.start_sandbox(&home, &arguments))?;
    show(context, &state)
}

/// A scenario as a process elsewhere finds it, after a look whether it is one.
pub(crate) fn scenario_argument(context: &Context, name: &str) -> Result<String> {
    if fleet_sandbox::builtin(name).is_some() {
        return Ok(name.to_owned());
    }
    let path = context.env.absolute(std::path::Path::new(name)).display().to_string();
    match Scenario::load(&path) {
        Ok(_) => Ok(path),
        Err(fleet_sandbox::Error::UnknownScenario(_)) => {
            Err(fleet_sandbox::Error::UnknownScenario(name.to_owned()).into())
        }
        Err(e) => Err(e.into()),
    }
}

/// The flag's time scale, else `FLEET_TIME_SCALE`.
pub(crate) fn time_scale(context: &Context, flag: Option<f64>) -> Result<TimeScale> {
    match flag {
        None => context.env.time_scale(),
        Some(x) => TimeScale::new(x).ok_or_else(|| {
            Error::usage(format!("--time-scale {x} is no factor above 0 and up to 1000"))
        }),
    }
}

/// `fleet sandbox run`: the sandbox itself.
pub(crate) fn run(context: &Context, args: &UpRun) -> Result<u8> {
    if args.detached {
        daemon::leave_terminal()?;
    }
    let home = context.home()?;
    let scenario = args.up.scenario.as_deref().map(Scenario::load).transpose()?;
    let config = Config {
        dir: home.sandbox_dir(),
        seed: args.up.seed.or(context.env.seed()?).unwrap_or(1),
        scenario: scenario.unwrap_or_default(),
        time_scale: time_scale(context, args.up.time_scale)?,
        program: context.env.program().to_owned(),
        one_shot: args.one_shot,
    };
    context.block_on(async { Ok(fleet_sandbox::run(config).await?) })?;
    Ok(0)
}

/// `fleet sandbox down`.
pub(crate) fn down(context: &Context) -> Result<u8> {
    let home = context.home()?;
    let dir = home.sandbox_dir();
    let ran = fleet_sandbox::state(&dir).is_some();
    if ran {
        context.block_on(async { Ok(fleet_sandbox::down(&dir).await?) })?;
    }
    let p = &context.printer;
    match p.json {
        true => p.json(&json!({ "running": false, "was_running": ran }))?,
        false if ran => p.talk("the sandbox and every machine in it have ended"),
        false => p.talk("no sandbox runs"),
    }
    Ok(0)
}

/// `fleet sandbox status`.
pub(crate) fn status(context: &Context) -> Result<u8> {
    let home = context.home()?;
    let shown = match settled(context, &home)? {
        Some(state) => match show(context, &state) {
            // It ended between the look and the question.
            Err(e) if settled(context, &home)?.is_some_and(|s| s.pid == state.pid) => {
                return Err(e);
            }
            Err(_) => None,
            Ok(code) => Some(code),
        },
        None => None,
    };
    match shown {
        Some(code) => Ok(code),
        None if context.printer.json => {
            context.printer.json(&json!({ "running": false, "pid": null, "instances": 0 }))?;
            Ok(0)
        }
        None => {
            context.printer.data("no sandbox runs")?;
            context.printer.talk("start one: fleet sandbox up");
            Ok(0)
        }
    }
}

/// `fleet sandbox env`.
pub(crate) fn env(context: &Context) -> Result<u8> {
    let home = context.home()?;
    let dir = home.sandbox_dir();
    let state = fleet_sandbox::state(&dir).ok_or(fleet_sandbox::Error::NotRunning(dir))?;
    for (name, value) in fleet_sandbox::env(&state) {
        context.printer.data(&format!("export {name}={}", fleet_ssh::quote(&value)))?;
    }
    Ok(0)
}

/// The sandbox of this home; one that is just ending is waited for.
fn settled(context: &Context, home: &Home) -> Result<Option<State>> {
    context.block_on(async { Ok(fleet_sandbox::settled(&home.sandbox_dir()).await) })
}

fn show(context: &Context, state: &State) -> Result<u8> {
    let p = &context.printer;
    let mut document = context.block_on(async { Ok(fleet_sandbox::status(state).await?) })?;
    document["running"] = true.into();
    document["endpoints"] = json!(state.endpoints);
    if p.json {
        p.json(&document)?;
        return Ok(0);
    }
    let instances = document["instances"].as_u64().unwrap_or(0);
    p.data(&format!(
        "sandbox: {} (pid {}, seed {}, scenario {}, {instances} machines)",
        p.out(Paint::Green, "running"),
        state.pid,
        state.seed,
        state.scenario
    ))?;
    if let Some(endpoints) = document["endpoints"].as_object() {
        for (cloud, url) in endpoints {
            p.data(&format!("  {cloud:<8}{}", url.as_str().unwrap_or_default()))?;
        }
    }
    p.talk("point this shell at it: eval \"$(fleet sandbox env)\"");
    Ok(0)
}
