//! `fleet cp`: files of a running job, through the server's connection to its machine.

use crate::args::Copy;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::follow::show_bytes;
use crate::progress::Progress;
use serde_json::json;

pub(crate) fn run(context: &Context, args: &Copy) -> Result<u8> {
    let (job, path) = match args.source.split_once(':') {
        Some((job, path)) if !job.is_empty() && !path.is_empty() => (job, path),
        _ => {
            let shown = args.source.escape_debug();
            return Err(Error::usage(format!("`{shown}` does not name a file of a job"))
                .hint("write JOB:PATH, such as j-0123456789ab:workdir/log.csv"));
        }
    };
    let dest = context.env.absolute(&args.dir);
    std::fs::create_dir_all(&dest).map_err(|e| {
        Error::usage(format!("`{}` is no folder to copy into: {e}", dest.display()))
    })?;
    let home = context.home()?;
    let progress = Progress::new(&context.printer);
    progress.say(format!("copying {path}"));
    let bytes = context
        .block_on(async { Ok(context.server(&home).await?.pull(job, path, &dest).await?) })?;
    drop(progress);
    match context.printer.json {
        true => context.printer.json(&json!({ "bytes": bytes, "dir": dest }))?,
        false => context.printer.talk(&format!("{} into {}", show_bytes(bytes), dest.display())),
    }
    Ok(0)
}
