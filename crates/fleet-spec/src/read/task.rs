//! One document: the keys of the task itself, and the sections in their order.

use super::documents::blank;
use super::{Field, Reader, checkpoint, envs, mounts, recovery, resources, spot};
use crate::keys::TASK;
use crate::node::Kind;
use crate::redact::quote;
use crate::{Task, Work, Workload, scalar};
use fleet_types::accelerator;
use std::collections::BTreeMap;

/// A task, and the values that were given for its secrets.
pub(super) fn task(reader: &mut Reader, root: &Field<'_>) -> (Task, BTreeMap<String, String>) {
    let mut task = blank();
    let Some(section) = reader.section(root, &TASK) else {
        return (task, BTreeMap::new());
    };
    task.name = name(reader, section.get("name"));
    let workloads = [
        ("training", Workload::Training),
        ("finetune", Workload::Finetune),
        ("batch", Workload::Batch),
        ("sweep", Workload::Sweep),
        ("preprocess", Workload::Preprocess),
        ("serving", Workload::Serving),
        ("interactive", Workload::Interactive),
        ("evaluation", Workload::Evaluation),
    ];
    task.workload = reader.choice(section.get("workload"), &workloads);
    task.num_nodes = nodes(reader, section.get("num_nodes"));
    task.envs = envs::envs(reader, &section);
    let (secrets, values) = envs::secrets(reader, &section, &task.envs);
    task.secrets = secrets;
    task.workdir = mounts::workdir(reader, section.get("workdir"), &task.envs);
    task.setup = script(reader, section.get("setup"));
    task.run = script(reader, section.get("run"));
    task.work = work(reader, section.get("work"), section.get("speed"));
    task.max_duration = reader.value(section.get("max_duration"), SPAN, scalar::span);
    task.watch = checkpoint::watch(reader, section.get("watch"));
    let machines = [("same", false), ("any", true)];
    task.machine_any = reader.choice(section.get("machine"), &machines).unwrap_or_default();
    let own = resources::resources(reader, section.get("resources"));
    task.recovery = recovery::recovery(reader, own.job_recovery, section.get("retry"));
    task.resources = own.resources;
    // The cloud of the first place says where a bucket is that is given by name alone.
    task.file_mounts = mounts::mounts(reader, section.get("file_mounts"), &task);
    task.checkpoint = checkpoint::checkpoint(reader, section.get("checkpoint"), &task);
    task.spot = spot::spot(reader, section.get("spot"), own.max_hourly_cost);
    spot::agreement(reader, &section, &task);
    if task.run.is_none() && section.get("run").is_none() {
        match task.setup {
            None => reader.error(
                root.at(),
                &super::join(&root.path, "run"),
                "no task: nothing to run",
                "write a `run` section",
            ),
            Some(_) => reader.warn(
                root.at(),
                &super::join(&root.path, "run"),
                "`run` is missing: the machine is set up and then ended",
                "write a `run` section",
            ),
        }
    }
    (task, values)
}

/// What a span looks like, for hints.
pub(super) const SPAN: &str = "write a number and a unit, such as 90s, 20m, 36h or 2d";

/// A name: it becomes part of paths, tags and commands.
pub(super) fn name(reader: &mut Reader, field: Option<Field<'_>>) -> Option<String> {
    let hint = "a name has letters, digits, `.`, `_` and `-`, begins with a letter or digit, and has at most 63 characters";
    reader.value(field, hint, |text| {
        let good = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if good { Ok(text.to_owned()) } else { Err(format!("{} is no name", quote(text))) }
    })
}

fn nodes(reader: &mut Reader, field: Option<Field<'_>>) -> u32 {
    let Some(field) = field else { return 1 };
    let read = |text: &str| scalar::whole(text, 1, 10_000);
    let count = reader.value(Some(field.clone()), "write num_nodes: 1", read);
    if let Some(count) = count.filter(|count| *count > 1) {
        let message = format!("num_nodes: {count} is not supported yet");
        reader.wrong(&field, message, "ask for one machine with more GPUs, such as A100:8");
    }
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
}

fn script(reader: &mut Reader, field: Option<Field<'_>>) -> Option<String> {
    let field = field?;
    if let Kind::Seq(_) = field.node.kind {
        reader.wrong(&field, "expected a script, found a list", "write it as one text after `|`");
        return None;
    }
    reader.text(&field).map(str::to_owned)
}

fn work(reader: &mut Reader, work: Option<Field<'_>>, speed: Option<Field<'_>>) -> Option<Work> {
    let speeds = speed.as_ref().map(|field| speeds(reader, field)).unwrap_or_default();
    if let (None, Some(field)) = (&work, &speed) {
        let message = "`speed` does nothing without `work`";
        reader.warn(field.at(), &field.path, message, "add `work: 20h`");
    }
    let amount = reader.value(work, SPAN, scalar::span)?;
    Some(Work { amount, speed: speeds })
}

fn speeds(reader: &mut Reader, field: &Field<'_>) -> BTreeMap<String, f64> {
    let mut speeds = BTreeMap::new();
    let Kind::Map(entries) = &field.node.kind else {
        reader.kind(field, "a mapping such as {A100: 1, H100: 2.2}");
        return speeds;
    };
    for entry in entries {
        let hint = "write a factor above 0, such as 2.2";
        if let Some(factor) = reader.value(Some(field.under(entry)), hint, scalar::positive) {
            speeds.insert(accelerator::unify(&entry.key), factor);
        }
    }
    speeds
}
