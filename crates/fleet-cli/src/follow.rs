//! Following jobs to their end: the streams of several jobs as one, through restarts of the server.
//!
//! Invariants: a line is shown once, also when the server died in between and was started again;
//! a server that was stopped on purpose is not started again; Ctrl-C leaves the jobs alone.

mod human;
mod summary;

pub(crate) use human::{Human, cause_words, describe, show_bytes};
pub(crate) use summary::lasted;

use crate::context::Context;
use crate::error::{Error, Result, code};
use crate::exit;
use crate::printer::Paint;
use fleet_api::Client;
use fleet_controller::Home;
use fleet_types::{Event, EventBody, JobId, JobView};
use std::time::Duration;
use tokio::sync::mpsc;

/// What the reader of one job's stream passes on.
enum Heard {
    Line(usize, String),
    /// The server was stopped on purpose.
    Left,
    Failed(Error),
}

/// How often a view may refresh what depends on the time alone.
const TICK: Duration = Duration::from_secs(1);

/// Follows `jobs` to their end and returns the exit code. Shows events as the printer says.
pub(crate) async fn follow(
    context: &Context,
    home: &Home,
    client: &Client,
    jobs: &[JobView],
) -> Result<u8> {
    let (heard, mut lines) = mpsc::channel(256);
    for (i, job) in jobs.iter().enumerate() {
        let reader = Reader {
            context: context.clone(),
            home: home.clone(),
            client: client.clone(),
            id: job.id.clone(),
            index: i,
            passed: 0,
        };
        tokio::spawn(reader.run(heard.clone()));
    }
    drop(heard);
    let mut view = View::new(context, jobs);
    let mut ends: Vec<Option<JobView>> = jobs.iter().map(|_| None).collect();
    let mut tick = tokio::time::interval(TICK);
    while ends.iter().any(Option::is_none) {
        tokio::select! {
            line = lines.recv() => match line {
                Some(Heard::Line(i, line)) => {
                    if let Some(end) = view.line(i, &line)? {
                        // What lies where is known to the server, not to the event.
                        view.summary(client.job(end.id.as_str()).await.as_ref().unwrap_or(&end));
                        ends[i] = Some(end);
                    }
                }
                Some(Heard::Left) | None => return Err(server_left(jobs)),
                Some(Heard::Failed(e)) => return Err(e),
            },
            _ = tick.tick() => view.tick(),
            pressed = tokio::signal::ctrl_c() => {
                drop(view);
                pressed.map_err(|e| Error::internal(format!("signals cannot be read: {e}")))?;
                return Ok(interrupted(context, jobs));
            }
        }
    }
    drop(view);
    Ok(exit::of_jobs(ends.iter().flatten()))
}

fn interrupted(context: &Context, jobs: &[JobView]) -> u8 {
    let p = &context.printer;
    for job in jobs {
        let id = job.id.as_str();
        p.talk(&format!(
            "\n{} goes on without this terminal\n  follow it again:  fleet attach {id}\n  end it:           fleet cancel {id}",
            p.err(Paint::Bold, id)
        ));
    }
    code::INTERRUPTED
}

fn server_left(jobs: &[JobView]) -> Error {
    let ids: Vec<&str> = jobs.iter().map(|j| j.id.as_str()).collect();
    Error::internal("the server was stopped; the task runs on, and recovery waits for the server")
        .hint(format!("start it and follow again: fleet attach {}", ids.join(" ")))
}

/// Reads one job's stream.
struct Reader {
    context: Context,
    home: Home,
    client: Client,
    id: JobId,
    index: usize,
    /// Lines passed on so far: what a stream begun anew skips.
    passed: usize,
}

impl Reader {
    async fn run(mut self, heard: mpsc::Sender<Heard>) {
        loop {
            let ended = self.read(&heard).await;
            let last = match ended {
                Ok(()) => Heard::Left,
                Err(Error::Api(
                    fleet_api::Error::Lost { .. } | fleet_api::Error::Unreachable { .. },
                )) => match self.context.server(&self.home).await {
                    Ok(client) => {
                        self.client = client;
                        continue;
                    }
                    Err(e) => Heard::Failed(e),
                },
                Err(e) => Heard::Failed(e),
            };
            // Nobody listens once the jobs have ended or Ctrl-C was pressed.
            let _gone = heard.send(last).await;
            return;
        }
    }

    async fn read(&mut self, heard: &mpsc::Sender<Heard>) -> Result<()> {
        let mut lines = self.client.stream(self.id.as_str(), true).await?;
        let mut skip = self.passed;
        while let Some(line) = lines.next().await? {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            self.passed += 1;
            let done = is_end(&line);
            if heard.send(Heard::Line(self.index, line)).await.is_err() || done {
                // The view has what it needs: wait until it lets go.
                heard.closed().await;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whether a line is a job's last, without reading all of it.
fn is_end(line: &str) -> bool {
    line.contains("\"job.finished\"") && finished(line).is_some()
}

/// The job, if the line is its `job.finished`.
fn finished(line: &str) -> Option<JobView> {
    match serde_json::from_str::<Event>(line).ok()?.body {
        EventBody::Finished { job } => Some(*job),
        _ => None,
    }
}

/// How events reach the user.
enum View<'a> {
    /// The stream as it is.
    Lines(&'a Context),
    People(Human),
}

impl<'a> View<'a> {
    fn new(context: &'a Context, jobs: &[JobView]) -> Self {
        match context.printer.json {
            true => Self::Lines(context),
            false => Self::People(Human::new(context.printer, jobs)),
        }
    }
    /// Shows a line; the job, if it was the last of it.
    fn line(&mut self, index: usize, line: &str) -> Result<Option<JobView>> {
        match self {
            Self::Lines(context) => context.printer.data(line)?,
            Self::People(human) => {
                // An event that this build does not know is for a newer one.
                if let Ok(event) = serde_json::from_str::<Event>(line) {
                    human.event(index, &event)?;
                }
            }
        }
        Ok(if line.contains("\"job.finished\"") { finished(line) } else { None })
    }
    fn summary(&self, job: &JobView) {
        if let Self::People(human) = self {
            human.summary(job);
        }
    }
    fn tick(&mut self) {
        if let Self::People(human) = self {
            human.tick();
        }
    }
}
