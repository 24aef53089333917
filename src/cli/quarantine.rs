//! The commands `quarantine list`, `show` and `replay`.

use super::args::{EntryArgs, Global, QuarantineCommand, ReplayArgs, ShowArgs};
use super::commands::{Action, Ended, dates, load, on_feeds, select, settings};
use super::output;
use super::progress::Bar;
use crate::config::Config;
use crate::error::JobError;
use crate::inspect::quarantine::{counts, entries};
use crate::job::{Dates, Job};
use crate::record::RunLog;
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
        dates: range(dates(&args.dates)?),
        reasons: args.reason.clone(),
        file: args.file.clone(),
    };
    if !args.dry_run {
        return on_feeds(global, &args.feeds, Action::Replay(&selection)).await;
    }
    let config = load(global, settings(&args.feeds))?;
    let selected = select(&config, &args.feeds.feed)?;
    let bar = Bar::new();
    let job = Job::new(&config, RunLog::new(), &bar)?;
    let mut forecasts = Vec::new();
    for feed in selected {
        forecasts.push((feed.name.clone(), job.replay_forecast(feed, &selection).await?));
    }
    bar.finish();
    output::forecasts(global.output, &forecasts)?;
    Ok(Ended::Done)
}

fn asked(global: &Global, args: &EntryArgs) -> Result<(Config, Vec<String>), JobError> {
    let config = load(global, args.set.clone())?;
    let feeds = select(&config, &args.feed)?.iter().map(|feed| feed.name.clone()).collect();
    Ok((config, feeds))
}

fn selection(args: &EntryArgs) -> Result<Selection, JobError> {
    let dates = range(dates(&args.dates)?);
    Ok(Selection { dates, reasons: args.reason.clone(), file: None })
}

fn range(dates: Dates) -> Option<(chrono::NaiveDate, chrono::NaiveDate)> {
    match dates {
        Dates::CatchUp => None,
        Dates::One(date) => Some((date, date)),
        Dates::Range(from, to) => Some((from, to)),
    }
}
