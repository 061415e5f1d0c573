//! The stream for people: log lines with their job's name, events in plain words, one live line.
//!
//! Log lines are data and go to stdout; all else is talk and goes to stderr.

use super::summary;
use crate::error::Result;
use crate::fit;
use crate::offer_table::Side;
use crate::printer::{Paint, Printer, clean};
use crate::progress::Progress;
use fleet_types::{
    EndCause, Epoch, Event, EventBody, JobView, LogLine, Place, ProviderId, RankedPlace, Usd,
    show_duration,
};
use std::time::Instant;

/// The view.
pub(crate) struct Human {
    printer: Printer,
    progress: Progress,
    jobs: Vec<Shown>,
}

/// What is shown of one job.
struct Shown {
    /// `(name) ` before each of its lines.
    prefix: String,
    phase: String,
    /// Cloud of the attempt in hand: who gives notice.
    provider: Option<ProviderId>,
    since: Instant,
    checkpoint: String,
}

impl Human {
    /// A view of these jobs.
    pub(crate) fn new(printer: Printer, jobs: &[JobView]) -> Self {
        let jobs = jobs
            .iter()
            .map(|job| Shown {
                prefix: format!("({}) ", clean(job.name.as_deref().unwrap_or(job.id.as_str()))),
                phase: job.phase.to_string(),
                provider: None,
                since: Instant::now(),
                checkpoint: String::new(),
            })
            .collect();
        Self { printer, progress: Progress::new(&printer), jobs }
    }

    /// Shows one event of job `index`.
    pub(crate) fn event(&mut self, index: usize, event: &Event) -> Result<()> {
        let several = self.jobs.len() > 1;
        let Some(shown) = self.jobs.get_mut(index) else { return Ok(()) };
        if let EventBody::Log(line) = &event.body {
            let printer = self.printer;
            let text = log_line(&printer, &shown.prefix, line);
            return self.progress.around(|| printer.data(&text));
        }
        shown.note(&event.body);
        // One job needs no prefix on what is said about it.
        let prefix = if several { shown.prefix.clone() } else { String::new() };
        let lines = match &event.body {
            // Told when the job was submitted, and by the summary.
            EventBody::Accepted { .. } | EventBody::Finished { .. } => Vec::new(),
            EventBody::Saved { .. } if !self.printer.verbose => Vec::new(),
            body => {
                let room = self.printer.width(Side::Err);
                let room = room.map(|w| w.saturating_sub(prefix.chars().count()));
                describe(&self.printer, Side::Err, body, shown.provider, room)
            }
        };
        self.progress.around(|| {
            for line in lines {
                self.printer.talk(&format!("{prefix}{line}"));
            }
        });
        self.tick();
        Ok(())
    }

    /// The last words about a job.
    pub(crate) fn summary(&self, job: &JobView) {
        self.progress.around(|| {
            for line in summary::lines(&self.printer, job) {
                self.printer.talk(&line);
            }
        });
    }

    /// Brings the live line up to date.
    pub(crate) fn tick(&mut self) {
        let lively = self.jobs.iter().map(|s| {
            let elapsed = show_duration(s.since.elapsed());
            format!("{}{} {elapsed}{}", s.prefix, s.phase, s.checkpoint)
        });
        self.progress.say(lively.collect::<Vec<_>>().join("   "));
    }
}

impl Shown {
    /// What the live line says from this event on.
    fn note(&mut self, body: &EventBody) {
        let phase = match body {
            EventBody::Launching { place, instance_type, .. } => {
                self.provider = Some(place.provider);
                format!("launching {instance_type} in {place}")
            }
            // The reason was told; one line cannot hold the places of a whole plan.
            EventBody::Waiting { .. } => "waiting for a place".to_owned(),
            EventBody::Ranked { .. } => "planning".to_owned(),
            EventBody::Launched { .. } => "connecting".to_owned(),
            EventBody::Connected { host, .. } => format!("preparing {host}"),
            EventBody::Running { epoch } => format!("running, attempt {epoch}"),
            EventBody::Notice { .. } => "saving before the machine goes".to_owned(),
            EventBody::Recovering { .. } => "recovering".to_owned(),
            EventBody::Cancelling { .. } => "stopping".to_owned(),
            EventBody::Finished { .. } => "finished".to_owned(),
            EventBody::Saved { epoch, number, bytes, .. } => {
                self.checkpoint = format!(", checkpoint {epoch}/{number} ({})", show_bytes(*bytes));
                return;
            }
            _ => return,
        };
        self.phase = clean(&phase).into_owned();
        self.since = Instant::now();
    }
}

/// A line of the task's output with its prefix.
pub(crate) fn log_line(printer: &Printer, prefix: &str, line: &LogLine) -> String {
    format!("{}{}", printer.out(Paint::Cyan, prefix), printer.foreign(&line.line))
}

/// An event in words, fitted to `width`; no line for what only the live line shows.
pub(crate) fn describe(
    printer: &Printer,
    side: Side,
    body: &EventBody,
    provider: Option<ProviderId>,
    width: Option<usize>,
) -> Vec<String> {
    let paint = |p: Paint, text: String| match side {
        Side::Out => printer.out(p, &text),
        Side::Err => printer.err(p, &text),
    };
    let text = match body {
        EventBody::Accepted { expires_at, .. } => {
            format!("accepted; the task ends at the latest at {expires_at}")
        }
        EventBody::Waiting { reason } => {
            return fit::reasons("waiting", &clean(reason), "", width);
        }
        EventBody::Ranked { candidates, rejected, .. } => ranked(candidates, *rejected),
        EventBody::Refused { place, instance_type, fault, code, message, .. } => {
            let text = format!(
                "{place} {instance_type} said no: {} ({code}) {message}; on to the next place",
                fault.label()
            );
            // A plan may be refused everywhere: one line each, the cloud's words as far as they go.
            return vec![fit::cut(&clean(&text), width)];
        }
        EventBody::FellBack { reason, .. } => {
            let reason = clean(reason);
            let (before, why) = reason.split_once(": ").unwrap_or(("no spot", &reason));
            let lines = fit::reasons(before, why, "; buying on-demand", width);
            return lines.into_iter().map(|l| paint(Paint::Yellow, l)).collect();
        }
        EventBody::Launching { epoch, place, instance_type, market, price_usd_per_hour } => {
            format!(
                "attempt {epoch}: launching {instance_type} ({market}) in {place} at {price_usd_per_hour}/h"
            )
        }
        EventBody::Launched { epoch, instance_id } => {
            format!("attempt {epoch}: machine {instance_id}")
        }
        EventBody::Connected { epoch, host } => format!("attempt {epoch}: connected to {host}"),
        EventBody::Running { epoch } => {
            return vec![paint(Paint::Green, format!("attempt {epoch}: running"))];
        }
        EventBody::Saved { epoch, number, bytes, .. } => {
            format!("checkpoint {epoch}/{number} saved ({})", show_bytes(*bytes))
        }
        EventBody::Restored { epoch, from_epoch, number, bytes } => {
            format!(
                "attempt {epoch}: restored checkpoint {from_epoch}/{number} ({})",
                show_bytes(*bytes)
            )
        }
        EventBody::CheckpointRefused { reason, .. } => {
            format!("a checkpoint was refused: {reason}")
        }
        EventBody::Notice { epoch, warning_seconds, .. } => {
            let who = provider.map_or("the cloud", ProviderId::title);
            let left = warning_seconds.max(0.0);
            let text = format!(
                "notice from {who}, {left:.0} s left: attempt {epoch} saves its work; replacement starting now"
            );
            return vec![paint(Paint::Yellow, text)];
        }
        EventBody::Unreachable { epoch, since } => {
            format!(
                "attempt {epoch} does not answer since {since}; the cloud says that its machine runs"
            )
        }
        EventBody::Reachable { epoch } => format!("attempt {epoch} answers again"),
        EventBody::Ended { epoch, end_cause, exit_code, lost_work_seconds, cost_usd } => {
            ended(*epoch, *end_cause, *exit_code, *lost_work_seconds, *cost_usd)
        }
        EventBody::Recovering { next_epoch, cause, .. } => {
            format!("recovering: attempt {next_epoch} takes over ({})", cause_words(*cause))
        }
        EventBody::Cancelling { reason } => format!("stopping: {reason}"),
        EventBody::Alarm { message } => {
            return vec![paint(Paint::Yellow, clean(message).into_owned())];
        }
        EventBody::Finished { job } => {
            format!("finished: {}", job.outcome.map_or_else(String::new, |o| o.to_string()))
        }
        EventBody::Log(line) => printer.foreign(&line.line).into_owned(),
    };
    fit::wrap(&clean(&text), width, 2)
}

fn ranked(candidates: &[RankedPlace], rejected: usize) -> String {
    let Some(best) = candidates.first() else {
        return format!("plan: no place within the limits ({rejected} not taken)");
    };
    let price = best.price_usd_per_hour;
    let place: &Place = &best.place;
    format!(
        "plan: best is {place} {} ({}) at {price}/h, effectively {}/h; {rejected} not taken",
        best.instance_type, best.market, best.effective_usd_per_hour
    )
}

fn ended(epoch: Epoch, cause: EndCause, exit: Option<i32>, lost: f64, cost: Usd) -> String {
    let exit = match exit {
        Some(code) if cause == EndCause::UserError => format!(" with exit code {code}"),
        _ => String::new(),
    };
    let lost = match lost {
        s if s > 0.0 => format!(", {s:.1} s of work to repeat"),
        _ => String::new(),
    };
    format!("attempt {epoch} ended: {}{exit}; {cost}{lost}", cause_words(cause))
}

/// A cause as people say it.
pub(crate) fn cause_words(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Done => "done",
        EndCause::UserError => "the task failed",
        EndCause::Preempted => "preempted",
        EndCause::HostLost => "machine lost",
        EndCause::LaunchFailed => "launch failed",
        EndCause::Cancelled => "cancelled",
        EndCause::Budget => "budget spent",
        EndCause::Deadline => "deadline reached",
    }
}

/// Bytes as people say them.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests;
