//! `fleet attach`: the same stream, end and exit code as `launch`.

use crate::args::Attach;
use crate::context::Context;
use crate::error::Result;
use crate::follow;

pub(crate) fn run(context: &Context, args: &Attach) -> Result<u8> {
    let home = context.home()?;
    context.block_on(async {
        let client = context.server(&home).await?;
        let job = client.job(&args.job).await?;
        follow::follow(context, &home, &client, &[job]).await
    })
}
