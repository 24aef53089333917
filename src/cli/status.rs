//! The command `status`.

use std::fmt::Write as _;

use chrono::SecondsFormat;
use clap::Args;
use serde_json::json;

use super::args::{Global, OutputFormat, WhichFeeds};
use super::commands::{Ended, load};
use super::output;
use super::selection::select;
use crate::error::JobError;
use crate::inspect::status::{self, Dates, FeedStatus, Sources, Status, TableStatus};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// List the sources, too, for files that no run has seen
    #[arg(long)]
    sources: bool,
    #[command(flatten)]
    which: WhichFeeds,
    /// Override a setting, as for run
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Shows how the lake is; an error where somebody should look at it.
pub(super) async fn status(global: &Global, args: &StatusArgs) -> Result<Ended, JobError> {
    let config = load(global, args.set.clone())?;
    let selected = select(&config, &args.which)?;
    let sources = if args.sources { Sources::Listed } else { Sources::Left };
    let status = status::status(&config, &selected, sources).await?;
    match global.output {
        OutputFormat::Json => output::document(&json!(status))?,
        OutputFormat::Table => output::text(&shown(&status))?,
    }
    if status.healthy {
        return Ok(Ended::Done);
    }
    let reasons = status.reasons.iter().map(ToString::to_string).collect();
    Err(JobError::NeedsALook { reasons })
}

fn shown(status: &Status) -> String {
    let mut text = format!("{}\n{}\n", feeds(status), tables(status));
    for feed in &status.feeds {
        text.push_str(&details(feed));
    }
    if status.healthy {
        text.push_str("nothing to look at\n");
    }
    text
}

fn feeds(status: &Status) -> String {
    let header = [
        "feed",
        "built through",
        "pending",
        "last run",
        "outcome",
        "ODS dates",
        "events",
        "late",
        "raw dates",
        "quarantined",
    ];
    let mut shown = output::table(&header, 6);
    for feed in &status.feeds {
        let run = feed.last_run.as_ref();
        shown.add_row([
            feed.feed.clone(),
            feed.built_through.map(|date| date.to_string()).unwrap_or_default(),
            feed.pending.len().to_string(),
            run.map(|run| run.started.to_rfc3339_opts(SecondsFormat::Secs, true))
                .unwrap_or_default(),
            run.map(|run| run.outcome.clone()).unwrap_or_default(),
            dates(&feed.ods),
            feed.ods.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string()),
            late(feed),
            dates(&feed.raw),
            feed.quarantine.iter().map(|refused| refused.entries).sum::<i64>().to_string(),
        ]);
    }
    shown.to_string()
}

/// `2026-01-01 to 2026-01-12 (12)`.
fn dates(dates: &Dates) -> String {
    match (dates.first, dates.last) {
        (Some(first), Some(last)) => format!("{first} to {last} ({})", dates.dates),
        _ => String::new(),
    }
}

/// Of all arrival dates looked at together.
fn late(feed: &FeedStatus) -> String {
    let events: i64 = feed.late.iter().map(|date| date.events).sum();
    let late: i64 = feed.late.iter().map(|date| date.late).sum();
    match (late * 1000).checked_div(events) {
        Some(permille) => format!("{}.{} %", permille / 10, permille % 10),
        None => String::new(),
    }
}

fn tables(status: &Status) -> String {
    let mut shown = output::table(&["table", "version", "files", "size", "rows"], 1);
    for table in status.feeds.iter().flat_map(|feed| &feed.tables).chain(&status.tables) {
        let TableStatus { table, version, files, bytes, rows } = table;
        shown.add_row([
            table.clone(),
            version.to_string(),
            files.to_string(),
            output::size(*bytes),
            rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string()),
        ]);
    }
    shown.to_string()
}

/// What does not fit into a table, each on its line.
fn details(status: &FeedStatus) -> String {
    let mut text = String::new();
    let feed = &status.feed;
    if let Some(removed) = status.removed_through {
        let _ = writeln!(text, "{feed}: arrival dates through {removed} have left raw");
    }
    if !status.quarantine.is_empty() {
        let reasons = status.quarantine.iter();
        let reasons = reasons.map(|of| format!("{} {} ({})", of.reason, of.entries, of.stage));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "{feed}: in quarantine: {reasons}");
    }
    for expiring in &status.expiring {
        let (date, by) = (expiring.arrival_date, expiring.removed_by);
        let _ = writeln!(text, "{feed}: arrival date {date} leaves raw with that of {by}");
    }
    for file in &status.unfinished_files {
        let (name, date) = (&file.file, file.arrival_date);
        let since = file.since.to_rfc3339_opts(SecondsFormat::Secs, true);
        let _ = writeln!(
            text,
            "{feed}: {name} of {date} was found by a run at {since} that has not ended"
        );
    }
    for failure in &status.failures {
        let at = failure.started.to_rfc3339_opts(SecondsFormat::Secs, true);
        let date = failure.arrival_date.map(|date| format!(" of {date}")).unwrap_or_default();
        let error = failure.error.lines().next().unwrap_or_default();
        let _ = writeln!(text, "{feed}: {}{date} failed at {at}: {error}", failure.stage);
    }
    text
}
