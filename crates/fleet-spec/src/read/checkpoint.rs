//! `checkpoint` and `watch`: how a task saves, and what a silent one leads to.

use super::envs::fill;
use super::task::SPAN;
use super::{Field, Reader, remote, storage};
use crate::keys::{CHECKPOINT, SIGNAL_TO, WATCH};
use crate::node::Kind;
use crate::redact::quote;
use crate::{CheckpointSection, SignalTo, StallAction, Task, WatchSection, scalar};
use fleet_types::BucketUri;
use std::time::Duration;

/// Signals that a task can handle. KILL and STOP cannot be caught, so nothing could be saved.
const SIGNALS: &[&str] = &["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"];

/// `checkpoint:`; what is not said keeps its default.
pub(super) fn checkpoint(
    reader: &mut Reader,
    field: Option<Field<'_>>,
    task: &Task,
) -> CheckpointSection {
    let mut own = CheckpointSection::default();
    let Some(section) = field.and_then(|f| reader.section(&f, &CHECKPOINT)) else { return own };
    own.store = section.get("store").and_then(|f| store(reader, &f, task));
    own.away = reader.value(section.get("away"), SPAN, scalar::span).unwrap_or(own.away);
    if let (Some(away), None) = (section.get("away"), section.get("store")) {
        let message = "`away` does nothing without `store`";
        reader.warn(away.at(), &away.path, message, "add `store: s3://BUCKET/PREFIX`");
    }
    own.interval = reader.value(section.get("interval"), SPAN, scalar::span);
    let read = |text: &str| scalar::whole(text, 1, 1000);
    let keep = reader.value(section.get("keep"), "at least one checkpoint stays", read);
    own.keep = keep.and_then(|n| u32::try_from(n).ok()).unwrap_or(own.keep);
    let hint = format!("one of {}", SIGNALS.join(", "));
    if let Some(signal) = reader.value(section.get("signal"), &hint, signal) {
        own.signal = signal;
    }
    if let Some(to) = section.get("signal_to") {
        own.signal_to = signal_to(reader, &to);
    }
    own.grace = reader.value(section.get("grace"), SPAN, scalar::span).unwrap_or(own.grace);
    own.quiet = reader.value(section.get("quiet"), SPAN, scalar::span).unwrap_or(own.quiet);
    own
}

fn store(reader: &mut Reader, field: &Field<'_>, task: &Task) -> Option<BucketUri> {
    let text = fill(reader.text(field)?, &task.envs);
    let uri = remote::bucket(reader, field, &text)?;
    storage::apart(reader, field, &uri, task);
    Some(uri)
}

fn signal(text: &str) -> Result<String, String> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    match SIGNALS.iter().find(|signal| **signal == name) {
        Some(signal) => Ok((*signal).to_owned()),
        None => Err(format!("{} is no signal that a task can handle", quote(text))),
    }
}

fn signal_to(reader: &mut Reader, field: &Field<'_>) -> SignalTo {
    if matches!(field.node.kind, Kind::Map(_)) {
        let section = reader.section(field, &SIGNAL_TO);
        let command = section.and_then(|s| s.get("command"));
        return match command.and_then(|c| reader.text(&c).map(str::to_owned)) {
            Some(command) if !command.trim().is_empty() => SignalTo::Command(command),
            _ => {
                reader.wrong(field, "`signal_to` names no command", "write {command: ./save.sh}");
                SignalTo::Main
            }
        };
    }
    if field.node.text() == Some("command") {
        let hint = "write `signal_to: {command: ./save.sh}`";
        reader.wrong(field, "`signal_to: command` names no command", hint);
        return SignalTo::Main;
    }
    match reader.choice(Some(field.clone()), &[("main", false), ("group", true)]) {
        Some(true) => SignalTo::Group,
        _ => SignalTo::Main,
    }
}

/// `watch:`; ten minutes and an alarm unless said otherwise.
pub(super) fn watch(reader: &mut Reader, field: Option<Field<'_>>) -> Option<WatchSection> {
    let section = reader.section(&field?, &WATCH)?;
    let stalled = reader.value(section.get("stalled"), SPAN, scalar::span);
    let actions = [
        ("alarm", StallAction::Alarm),
        ("restart", StallAction::Restart),
        ("stop", StallAction::Stop),
    ];
    let action = reader.choice(section.get("action"), &actions).unwrap_or(StallAction::Alarm);
    Some(WatchSection { stalled: stalled.unwrap_or(Duration::from_secs(600)), action })
}
