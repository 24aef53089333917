//! The command `maintain`.

use super::args::{Global, MaintainArgs};
use super::commands::{Ended, StopSignals, load, settings};
use super::output;
use super::progress::Bar;
use super::selection::select;
use crate::config::FeedConfig;
use crate::error::JobError;
use crate::job::Job;
use crate::record::RunLog;
use crate::stages::maintain::Maintained;

/// Tidies up the tables of each feed, several at once, then `files` and `runs`; a feed that fails
/// does not stop the others. The record is written before the command ends, however it ends.
pub(super) async fn maintain(global: &Global, args: &MaintainArgs) -> Result<Ended, JobError> {
    let config = load(global, settings(&args.feeds))?;
    let selected = select(&config, &args.feeds.which)?;
    let log = RunLog::new();
    let bar = Bar::new();
    let job = Job::new(&config, log.clone(), &bar)?;
    if args.dry_run {
        let plan = plan(&job, &selected, args).await?;
        output::maintained(global.output, None, &plan)?;
        return Ok(Ended::Done);
    }
    let mut stop = StopSignals::listen().map_err(JobError::Runtime)?;
    let mut reports = Vec::new();
    let mut errors = Vec::new();
    job.lake().require_safe_commits().await?;
    let perform = async |feed: &FeedConfig| job.maintain(feed, args.orphans_older_than).await;
    let done = job.side_by_side(&selected, stop.received(), perform)?;
    let mut ended = done.stopped.unwrap_or(Ended::Done);
    for result in done.results.into_iter().flatten() {
        match result {
            Ok(report) => reports.extend(report),
            Err(error) => errors.push(error),
        }
    }
    if ended == Ended::Done && args.feeds.which.is_all() {
        tokio::select! {
            result = job.maintain_records(args.orphans_older_than) => match result {
                Ok(report) => reports.extend(report),
                Err(error) => errors.push(error),
            },
            signal = stop.received() => {
                job.interrupted(None);
                ended = signal;
            }
        }
    }
    bar.finish();
    let recorded = log.write(job.lake()).await;
    output::maintained(global.output, Some(&log), &reports)?;
    output::later_errors(global.log_format, &errors);
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => recorded.map(|()| ended).map_err(JobError::Record),
    }
}

async fn plan(
    job: &Job<'_>,
    feeds: &[&FeedConfig],
    args: &MaintainArgs,
) -> Result<Vec<Maintained>, JobError> {
    let mut plan = Vec::new();
    for feed in feeds {
        plan.extend(job.maintain_plan(feed, args.orphans_older_than).await?);
    }
    if args.feeds.which.is_all() {
        plan.extend(job.maintain_records_plan(args.orphans_older_than).await?);
    }
    Ok(plan)
}
