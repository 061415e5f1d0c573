//! From flags and a task file to what the server accepts: overrides, secrets and frozen folders.
//!
//! Invariants: a secret's value goes into the sealed part of the submission and nowhere else; what a
//! folder holds is settled here, once, so that an edit after `launch` reaches no attempt.

use crate::args::{Launch, Placement};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::printer::clean;
use crate::progress::Progress;
use crate::task_file::{TaskFile, plain};
use fleet_controller::Home;
use fleet_controller::api::{Account, MountSnapshot, Submission, TaskSubmission};
use fleet_spec::{MountSource, Overrides, Task};
use fleet_storage::{FreezeOptions, Frozen, SnapshotStore};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the flags add to the file.
pub(crate) fn overrides(context: &Context, args: &Launch) -> Result<Overrides> {
    let mut envs = BTreeMap::new();
    for file in &args.env_file {
        envs.extend(env_file(&context.env.absolute(file))?);
    }
    for pair in &args.env {
        let (name, value) = given(context, "--env", pair)?;
        envs.insert(name, value);
    }
    let secrets = args
        .secret
        .iter()
        .map(|pair| given(context, "--secret", pair))
        .collect::<Result<BTreeMap<_, _>>>()?;
    Ok(Overrides {
        envs,
        secrets,
        name: args.name.clone(),
        num_nodes: args.num_nodes,
        work: args.work.clone(),
        max_duration: args.max_duration.clone(),
        deadline: args.deadline.clone(),
        budget: args.budget.clone(),
        max_price: args.max_price.clone(),
        fallback: args.fallback.clone(),
        ..placement(&args.placement)
    })
}

/// What the placement flags add to a file.
pub(crate) fn placement(args: &Placement) -> Overrides {
    Overrides {
        accelerator: args.gpus.clone(),
        places: args.infra.clone(),
        use_spot: args.spot(),
        ..Overrides::default()
    }
}

/// `K=V`, or `K` with its value from this shell.
fn given(context: &Context, flag: &str, pair: &str) -> Result<(String, String)> {
    let (name, value) = match pair.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (pair, context.env.vars().get(pair).map(String::as_str)),
    };
    let value = value.ok_or_else(|| {
        Error::usage(format!(
            "{flag} {name}: no value was given and {name} is not set in this shell"
        ))
        .hint(format!("write {flag} {name}=VALUE"))
    })?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads `K=V` lines; `#` begins a comment line, `export ` and quotes around a value are allowed.
fn env_file(path: &Path) -> Result<BTreeMap<String, String>> {
    let shown = path.display();
    let refuse = |why: String| Error::usage(format!("--env-file {shown}: {why}"));
    let meta = std::fs::metadata(path).map_err(|e| refuse(plain(&e)))?;
    if !meta.is_file() || meta.len() > 16 << 20 {
        return Err(refuse("it is no ordinary file of at most 16 MiB".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| refuse(plain(&e)))?;
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) =
            line.split_once('=').ok_or_else(|| refuse(format!("line {} is no K=V", number + 1)))?;
        found.insert(name.trim().to_owned(), unquoted(value.trim()).to_owned());
    }
    Ok(found)
}

fn unquoted(value: &str) -> &str {
    ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(value)
}

/// Freezes what the tasks bring along and puts everything together.
pub(crate) fn build(
    context: &Context,
    home: &Home,
    account: Account,
    file: &TaskFile,
    path: &Path,
    secrets: &BTreeMap<String, String>,
) -> Result<Submission> {
    let folder = context.env.absolute(path);
    let folder = folder.parent().unwrap_or(Path::new("/"));
    let freezer = Freezer { context, home, folder };
    let tasks = file
        .parsed
        .tasks
        .iter()
        .enumerate()
        .map(|(i, task)| {
            let written = file.parsed.secret_values.get(i).cloned().unwrap_or_default();
            let mut values = written;
            let asked = secrets.iter().filter(|(k, _)| task.secrets.contains_key(*k));
            values.extend(asked.map(|(k, v)| (k.clone(), v.clone())));
            check_store(task)?;
            freezer.task(task, values)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Submission {
        client_key: uuid::Uuid::new_v4().simple().to_string(),
        account,
        group: file.parsed.group.clone(),
        execution: file.parsed.execution,
        tasks,
    })
}

/// A store is not taken until saving into one was shown end to end: nobody pays for a task whose
/// checkpoints may go nowhere.
fn check_store(task: &Task) -> Result<()> {
    match &task.checkpoint.store {
        Some(uri) => Err(Error::not_supported(&format!("`checkpoint.store: {uri}`"))
            .hint("leave it out: checkpoints are kept in the fleet home on this machine")),
        None => Ok(()),
    }
}

/// Puts local folders and files into the home's snapshot store.
struct Freezer<'a> {
    context: &'a Context,
    home: &'a Home,
    /// The task file's folder: what relative paths are relative to.
    folder: &'a Path,
}

impl Freezer<'_> {
    fn task(&self, task: &Task, secrets: BTreeMap<String, String>) -> Result<TaskSubmission> {
        let workdir =
            task.workdir.as_deref().map(|w| self.freeze("workdir", w, true)).transpose()?;
        let mut mounts = Vec::new();
        for mount in &task.file_mounts {
            match &mount.source {
                MountSource::Local(source) => mounts.push(MountSnapshot {
                    target: mount.target.clone(),
                    digest: self.freeze(
                        &format!("file_mounts `{}`", mount.target),
                        source,
                        false,
                    )?,
                }),
                MountSource::Git(_) | MountSource::Bucket(_) => {
                    return Err(Error::not_supported(&format!(
                        "a bucket or repository in file_mounts (`{}`)",
                        mount.target
                    ))
                    .hint("mount a local file or folder, or fetch it in `setup`"));
                }
            }
        }
        Ok(TaskSubmission { task: task.clone(), secrets, workdir, mounts })
    }

    /// The digest of a frozen folder or file.
    fn freeze(&self, what: &str, written: &str, folder_only: bool) -> Result<String> {
        let refuse = |e: fleet_storage::Error| Error::usage(format!("{what} `{written}`: {e}"));
        let path = self.resolve(what, written, folder_only)?;
        let store = SnapshotStore::open(&self.home.snapshots_dir()).map_err(refuse)?;
        let progress = Progress::new(&self.context.printer);
        progress.say(format!("freezing {what} {written}"));
        let frozen = match path.is_dir() {
            true => self.freeze_folder(&store, &path, &progress),
            false => store.freeze_file(&path),
        };
        drop(progress);
        let frozen = frozen.map_err(refuse)?;
        for warning in &frozen.warnings {
            self.context.printer.warn(&clean(&format!("{what} `{written}`: {warning}")));
        }
        Ok(frozen.digest)
    }

    /// Freezes a folder; a whole disk or home only after somebody said that it is meant.
    fn freeze_folder(
        &self,
        store: &SnapshotStore,
        path: &Path,
        progress: &Progress,
    ) -> std::result::Result<Frozen, fleet_storage::Error> {
        let mut options = FreezeOptions {
            home: self.context.env.user_home(),
            exclude: vec![self.home.dir().to_owned()],
            ..FreezeOptions::default()
        };
        match store.freeze(path, &options) {
            Err(fleet_storage::Error::Confirm(wide)) if self.context.printer.can_ask() => {
                let question = format!(
                    "`{}` holds far more than one project; freeze all of it?",
                    wide.display()
                );
                let yes = progress.around(|| self.context.printer.confirm(&question));
                if !yes.unwrap_or(false) {
                    return Err(fleet_storage::Error::Confirm(wide));
                }
                options.confirmed_wide = true;
                store.freeze(path, &options)
            }
            done => done,
        }
    }

    fn resolve(&self, what: &str, written: &str, folder_only: bool) -> Result<PathBuf> {
        let home = self.context.env.user_home();
        let path = match (written.strip_prefix("~/"), written, &home) {
            (Some(rest), _, Some(home)) => home.join(rest),
            (None, "~", Some(home)) => home.clone(),
            _ => self.folder.join(written),
        };
        let refuse = |why: String| Error::usage(format!("{what} `{written}`: {why}"));
        let meta = std::fs::metadata(&path)
            .map_err(|e| refuse(plain(&e)).hint("paths are relative to the task file's folder"))?;
        match (meta.is_dir(), meta.is_file() && !folder_only) {
            (false, false) => Err(refuse("it is no folder".to_owned())),
            _ => Ok(path),
        }
    }
}
