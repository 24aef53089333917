//! The command `files`.

use super::args::{FilesArgs, Global};
use super::commands::{Ended, dates, load};
use super::output;
use super::selection::select;
use crate::error::JobError;
use crate::inspect;
use crate::inspect::files::Asked;

/// Lists files that runs have seen.
pub(super) async fn files(global: &Global, args: &FilesArgs) -> Result<Ended, JobError> {
    let config = load(global, args.set.clone())?;
    let feeds = select(&config, &args.which)?.iter().map(|feed| feed.name.clone()).collect();
    let statuses = args.status.iter().map(|status| (*status).into()).collect();
    let asked = Asked { feeds, dates: dates(&args.dates)?, statuses };
    let facts = inspect::files::files(&config, &asked).await?;
    output::files(global.output, &facts)?;
    Ok(Ended::Done)
}
