//! `fleet get`: the newest checkpoint and the outputs of a job, from the store in the home.
//!
//! Works without the job's machine. Invariant: only what a published document names is written, into
//! folders that held nothing before.

use crate::args::Get;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::follow::show_bytes;
use crate::printer::{Printer, clean};
use fleet_storage::{CheckpointStore, LocalCheckpoints};
use fleet_types::{JobId, JobView, Tree, TreeKind};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(crate) fn run(context: &Context, args: &Get) -> Result<u8> {
    let home = context.home()?;
    context.block_on(async {
        let job = context.server(&home).await?.job(&args.job).await?;
        let store = LocalCheckpoints::look(&home.checkpoints_dir()).map_err(failed)?;
        let checkpoint = store.newest(&job.id).await.map_err(failed)?;
        let output = store.output(&job.id).await.map_err(failed)?;
        let mut found = Vec::new();
        if let Some(manifest) = checkpoint {
            let title = format!("checkpoint {}", manifest.id);
            found.push(Part { folder: "checkpoint", title, tree: manifest.tree });
        }
        if let Some(output) = output {
            found.push(Part { folder: "output", title: "output".to_owned(), tree: output.tree });
        }
        if found.is_empty() {
            return Err(Error::not_found(format!("job {} has saved nothing yet", job.id))
                .hint("a task saves into $FLEET_CHECKPOINT_DIR and $FLEET_OUTPUT_DIR"));
        }
        match args.list {
            true => list(&context.printer, &job, &found)?,
            false => bring(context, args, &store, &job, &found)?,
        }
        Ok(0)
    })
}

/// A thing to bring home.
struct Part {
    folder: &'static str,
    title: String,
    tree: Tree,
}

fn failed(error: fleet_storage::Error) -> Error {
    match error {
        fleet_storage::Error::Occupied(_) => Error::usage(error.to_string()),
        _ => Error::internal(error.to_string()),
    }
}

fn list(p: &Printer, job: &JobView, parts: &[Part]) -> Result<()> {
    if p.json {
        let documents: Vec<Value> = parts
            .iter()
            .map(|part| json!({ "kind": part.folder, "title": part.title, "files": part.tree }))
            .collect();
        return p.json(&json!({ "job_id": job.id, "parts": documents }));
    }
    for part in parts {
        p.talk(&format!("{} ({})", part.title, show_bytes(part.tree.size())));
        for entry in &part.tree.entries {
            let size = match &entry.kind {
                TreeKind::File { size, .. } => show_bytes(*size),
                TreeKind::Link { .. } => "link".to_owned(),
                TreeKind::Dir => "folder".to_owned(),
            };
            p.data(&format!("{size:>10}  {}/{}", part.folder, clean(&entry.path)))?;
        }
    }
    Ok(())
}

fn bring(
    context: &Context,
    args: &Get,
    store: &LocalCheckpoints,
    job: &JobView,
    parts: &[Part],
) -> Result<()> {
    let dir = target(context, args, &job.id);
    let mut written = Vec::new();
    for part in parts {
        let dest = dir.join(part.folder);
        store.export_tree(&job.id, &part.tree, &dest).map_err(failed)?;
        written.push(json!({ "kind": part.folder, "dir": dest, "bytes": part.tree.size() }));
        let size = show_bytes(part.tree.size());
        context.printer.talk(&format!("{} ({size}) -> {}", part.title, dest.display()));
    }
    match context.printer.json {
        true => context.printer.json(&json!({ "job_id": job.id, "parts": written })),
        false => context.printer.data(&dir.display().to_string()),
    }
}

fn target(context: &Context, args: &Get, id: &JobId) -> PathBuf {
    context.env.absolute(args.dir.as_deref().unwrap_or(Path::new(id.as_str())))
}
