//! The command `history`.

use chrono::{NaiveDate, SecondsFormat};
use clap::Args;
use serde_json::json;

use super::args::{Global, OutputFormat, WhichFeeds};
use super::commands::{Ended, load};
use super::output;
use super::selection::select;
use crate::error::JobError;
use crate::inspect::runs::{self, Asked, Run, StageOfRun};

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// At most so many runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Only runs that began on this date (UTC) or later
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// Only runs that began on this date (UTC) or earlier
    #[arg(long, value_name = "DATE")]
    to: Option<NaiveDate>,
    /// Only runs of which a stage failed, was interrupted, or rejected files
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    which: WhichFeeds,
    /// Override a setting, as for run
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Lists runs.
pub(super) async fn history(global: &Global, args: &HistoryArgs) -> Result<Ended, JobError> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(JobError::EmptyRange { from, to });
    }
    let config = load(global, args.set.clone())?;
    let selected = select(&config, &args.which)?;
    // Without a choice, runs of feeds that the configuration no longer has are listed, too.
    let feeds = if args.which.is_all() { &[][..] } else { &selected[..] };
    let asked = Asked {
        feeds: feeds.iter().map(|feed| feed.name.clone()).collect(),
        from: args.from,
        to: args.to,
        only_bad: args.failed,
        limit: Some(args.limit),
    };
    let runs = runs::history(&config, &asked).await?;
    match global.output {
        OutputFormat::Json => output::document(&json!({ "runs": runs }))?,
        OutputFormat::Table if runs.is_empty() => output::text("no run")?,
        OutputFormat::Table => output::text(&shown(&runs))?,
    }
    Ok(Ended::Done)
}

fn shown(runs: &[Run]) -> String {
    let header = [
        "started",
        "run",
        "feeds",
        "dates",
        "stages",
        "outcome",
        "read",
        "new",
        "changed",
        "quarantined",
        "seconds",
    ];
    let mut table = output::table(&header, 6);
    for run in runs {
        // Every row is read twice, by ingest and by build; sessions are no events.
        let is_build = |stage: &StageOfRun| !["ingest", "sessions"].contains(&&*stage.stage);
        let is_any = |_: &StageOfRun| true;
        let count = |count: Option<i64>| count.map_or_else(String::new, |count| count.to_string());
        table.add_row([
            run.started.to_rfc3339_opts(SecondsFormat::Secs, true),
            run.run_id.clone(),
            listed(run.feeds.iter().cloned()),
            dates(run),
            listed(run.stages.iter().map(|stage| stage.stage.clone())),
            run.outcome.clone(),
            count(run.total(|stage| stage.stage == "ingest", |stage| stage.rows_read)),
            count(run.total(is_build, |stage| stage.rows_new)),
            count(run.total(is_build, |stage| stage.rows_changed)),
            count(run.total(is_any, |stage| stage.rows_quarantined)),
            format!("{:.2}", run.seconds),
        ]);
    }
    let errors = runs.iter().flat_map(|run| {
        let errors = run.stages.iter().filter_map(move |stage| {
            let error = stage.error.as_ref()?;
            let date = stage.arrival_date.map(|date| format!(", {date}")).unwrap_or_default();
            Some(format!("\n{}: {} of {}{date}: {error}", run.run_id, stage.stage, stage.feed))
        });
        errors.collect::<Vec<_>>()
    });
    format!("{table}{}", errors.collect::<String>())
}

/// `2026-01-05`, `2026-01-05 to 2026-01-08`.
fn dates(run: &Run) -> String {
    let dates = || run.stages.iter().filter_map(|stage| stage.arrival_date);
    match (dates().min(), dates().max()) {
        (Some(first), Some(last)) if first == last => first.to_string(),
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => String::new(),
    }
}

/// Names without repetition, in the order in which they come.
fn listed(names: impl Iterator<Item = String>) -> String {
    let mut listed: Vec<String> = Vec::new();
    for name in names {
        if !listed.contains(&name) {
            listed.push(name);
        }
    }
    listed.join(", ")
}
