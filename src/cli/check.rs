//! The command `check`.

use super::args::{CheckArgs, Global};
use super::commands::{Ended, dates, load, settings, validate};
use super::output;
use super::progress::Bar;
use super::selection::select;
use crate::config::FeedConfig;
use crate::error::JobError;
use crate::job::Job;
use crate::record::RunLog;

/// Asks every check of every feed, whatever one of them finds.
pub(super) async fn check(global: &Global, args: &CheckArgs) -> Result<Ended, JobError> {
    let config = load(global, settings(&args.feeds))?;
    let selected = select(&config, &args.feeds.which)?;
    let dates = dates(&args.dates)?;
    known(&selected, &args.check)?;
    validate(&config).await?;
    let bar = Bar::new();
    let job = Job::new(&config, RunLog::new(), &bar)?;
    let mut results = Vec::new();
    for feed in selected {
        let is_asked = |name: &String| args.check.is_empty() || args.check.contains(name);
        let found = job.check(feed, |check| is_asked(&check.name), dates).await?;
        results.extend(found.into_iter().map(|result| (feed.name.clone(), result)));
    }
    bar.finish();
    output::check_results(global.output, &results)?;
    let failed = results.iter().filter(|(_, result)| result.is_failure());
    let checks: Vec<String> =
        failed.map(|(feed, result)| format!("{feed}: {}", result.check)).collect();
    if checks.is_empty() { Ok(Ended::Done) } else { Err(JobError::ChecksFailed { checks }) }
}

fn known(feeds: &[&FeedConfig], names: &[String]) -> Result<(), JobError> {
    let known = || feeds.iter().flat_map(|feed| &feed.checks.checks);
    match names.iter().find(|name| known().all(|check| check.name != **name)) {
        None => Ok(()),
        Some(name) => {
            let mut known: Vec<&str> = known().map(|check| check.name.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            Err(JobError::UnknownCheck { name: name.clone(), known: known.join(", ") })
        }
    }
}
