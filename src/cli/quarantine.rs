//! The commands `quarantine list`, `show` and `replay`.

use super::args::{EntryArgs, Global, QuarantineCommand, ReplayArgs, ShowArgs};
use super::commands::{Action, Ended, dates, load, on_feeds, plans};
use super::output;
use super::selection::select;
use crate::config::{Config, FeedConfig};
use crate::error::JobError;
use crate::inspect::quarantine::{counts, entries};
use crate::job::Job;
use crate::stages::replay::Selection;

pub(super) async fn quarantine(
    global: &Global,
    command: QuarantineCommand,
) -> Result<Ended, JobError> {
    match command {
        QuarantineCommand::List(args) => list(global, &args).await,
        QuarantineCommand::Show(args) => show(global, &args).await,
        QuarantineCommand::Replay(args) => replay(global, &args).await,
    }
}

async fn list(global: &Global, args: &EntryArgs) -> Result<Ended, JobError> {
    let (config, feeds) = asked(global, args)?;
    // A file is no part of what is counted.
    let counts = counts(&config, &feeds, &selection(args)?).await?;
    output::quarantine_counts(global.output, &counts)?;
    Ok(Ended::Done)
}

async fn show(global: &Global, args: &ShowArgs) -> Result<Ended, JobError> {
    let (config, feeds) = asked(global, &args.entries)?;
    let selection = Selection { file: args.file.clone(), ..selection(&args.entries)? };
    let entries = entries(&config, &feeds, &selection, args.limit).await?;
    output::quarantine_entries(global.output, &entries)?;
    Ok(Ended::Done)
}

/// Rows that the build refused, from their first arrival date on.
async fn replay(global: &Global, args: &ReplayArgs) -> Result<Ended, JobError> {
    let selection = Selection {
        dates: dates(&args.dates)?.range(),
        reasons: args.reason.clone(),
        file: args.file.clone(),
    };
    if !args.dry_run {
        return on_feeds(global, &args.feeds, Action::Replay(&selection)).await;
    }
    let forecast =
        async |job: &Job<'_>, feed: &FeedConfig| job.replay_forecast(feed, &selection).await;
    output::forecasts(global.output, &plans(global, &args.feeds, forecast).await?)?;
    Ok(Ended::Done)
}

fn asked(global: &Global, args: &EntryArgs) -> Result<(Config, Vec<String>), JobError> {
    let config = load(global, args.set.clone())?;
    let feeds = select(&config, &args.which)?.iter().map(|feed| feed.name.clone()).collect();
    Ok((config, feeds))
}

fn selection(args: &EntryArgs) -> Result<Selection, JobError> {
    let dates = dates(&args.dates)?.range();
    Ok(Selection { dates, reasons: args.reason.clone(), file: None })
}
