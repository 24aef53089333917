//! Results on standard output: a table for people, or one JSON document.

use std::io::{self, Write as _};
use std::path::PathBuf;

use bytesize::ByteSize;
use chrono::SecondsFormat;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::args::OutputFormat;
use crate::clock;
use crate::config::encrypted::Recipient;
use crate::config::{Config, Reference, concealed};
use crate::error::JobError;
use crate::generate::GenerateSummary;
use crate::inspect::doctor::Check;
use crate::inspect::quarantine::{Count, Entry};
use crate::inspect::sql::StatementError;
use crate::job::error_chain;
use crate::record::file_facts::FileFact;
use crate::record::{Outcome, RunLog, StageRecord};
use crate::stages::checks::CheckResult;
use crate::stages::maintain::Maintained;
use crate::stages::merge::DateChange;
use crate::stages::reprocess::Forecast;
use crate::stages::retention::RetentionPlan;
use crate::stages::withdraw::Withdrawn;
use crate::telemetry::LogFormat;

/// Examples of conflicting duplicates that a run shows.
const SHOWN_CONFLICTS: usize = 3;
/// Characters of a content hash that tell deliveries apart.
const SHORT_HASH: usize = 12;

/// Prints an error with its causes to standard error, in the form of the log lines but whatever
/// their filter: a collector that reads JSON finds why the command failed among them.
pub(super) fn error(format: LogFormat, error: &JobError) {
    told(format, error, error.stage());
}

/// As [`error`], of a statement that does not end the command.
pub(super) fn failure(format: LogFormat, error: &StatementError) {
    told(format, error, "sql");
}

fn told(format: LogFormat, error: &dyn std::error::Error, stage: &str) {
    let chain = error_chain(error);
    let text = match format {
        LogFormat::Text => format!("error: {chain}"),
        LogFormat::Json => json!({
            "timestamp": clock::now().to_rfc3339_opts(SecondsFormat::Micros, true),
            "level": "ERROR",
            "fields": { "message": chain, "stage": stage },
            "target": "sessionlake",
        })
        .to_string(),
    };
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Errors behind the first, which the caller prints.
pub(super) fn later_errors(format: LogFormat, errors: &[JobError]) {
    errors.iter().skip(1).for_each(|later| error(format, later));
}

/// Prints to standard output, any secret replaced.
pub(super) fn text(text: &str) -> Result<(), JobError> {
    write(io::stdout().lock(), text)
}

/// Prints a text with colours to standard output; without them where that is no terminal, or
/// `NO_COLOR` is set.
pub(super) fn coloured(text: &str) -> Result<(), JobError> {
    write(anstream::AutoStream::auto(io::stdout().lock()), text)
}

fn write(mut stdout: impl io::Write, text: &str) -> Result<(), JobError> {
    let text = concealed(text);
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { stdout.write_all(b"\n") });
    to_stdout(written.and_then(|()| stdout.flush()))
}

/// What becomes of a write to standard output: a reader that has gone is no error.
pub(super) fn to_stdout(written: io::Result<()>) -> Result<(), JobError> {
    match written {
        Err(source) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(source) => Err(JobError::Output { target: PathBuf::from("standard output"), source }),
        Ok(()) => Ok(()),
    }
}

/// Bytes as people read them.
pub(super) fn size(bytes: i64) -> String {
    ByteSize(u64::try_from(bytes).unwrap_or_default()).to_string()
}

/// Prints one JSON document to standard output.
pub(super) fn document(value: &Value) -> Result<(), JobError> {
    text(&format!("{value:#}"))
}

/// The stages of a run.
pub(super) fn run(format: OutputFormat, log: &RunLog) -> Result<(), JobError> {
    let records = log.records();
    match format {
        OutputFormat::Json => document(&json!({ "run_id": log.run_id(), "stages": records })),
        OutputFormat::Table if records.is_empty() => text("nothing to do"),
        OutputFormat::Table => {
            let withdrawn = records.iter().filter_map(|record| record.did.withdrawn.as_ref());
            let lines: String =
                withdrawn.map(|withdrawn| withdrawn_line(withdrawn) + "\n").collect();
            text(&format!("{lines}{}{}", stages_table(&records), conflict_lines(&records)))
        }
    }
}

/// A table whose columns from one on are numbers.
pub(super) fn table(header: &[&str], numbers_from: usize) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for column in table.column_iter_mut().skip(numbers_from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Some of the conflicting duplicates of all builds.
fn conflict_lines(records: &[StageRecord]) -> String {
    let examples = records.iter().flat_map(|record| {
        record.did.conflicting_examples.iter().map(move |example| (record, example))
    });
    let lines: Vec<String> = examples
        .take(SHOWN_CONFLICTS)
        .map(|(record, example)| format!("\n  {}: {}", record.feed, example.line()))
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("\nconflicting duplicates, for example:{}", lines.concat())
}

fn stages_table(records: &[StageRecord]) -> Table {
    let header = [
        "feed",
        "date",
        "stage",
        "outcome",
        "read",
        "new",
        "identical",
        "conflicting",
        "quarantined",
        "changed",
        "seconds",
    ];
    let mut table = table(&header, 4);
    let is_quiet =
        |record: &&StageRecord| record.stage == "retention" && record.outcome == Outcome::UpToDate;
    for record in records.iter().filter(|record| !is_quiet(record)) {
        let did = &record.did;
        let count = |value: Option<i64>| value.map_or_else(String::new, |value| value.to_string());
        let quarantined = did.rows_read.map(|_| did.rows_quarantined());
        table.add_row([
            record.feed.clone(),
            record.arrival_date.map(|date| date.to_string()).unwrap_or_default(),
            record.stage.to_owned(),
            record.outcome.as_str().to_owned(),
            count(did.rows_read),
            count(did.rows_new),
            count(did.rows_identical_duplicates),
            count(did.rows_conflicting_duplicates),
            count(quarantined),
            count(did.rows_changed),
            format!("{:.2}", record.seconds),
        ]);
    }
    table
}

/// What retention would remove.
pub(super) fn retention_plan(
    format: OutputFormat,
    plans: &[(String, RetentionPlan)],
) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        let feeds: Vec<Value> =
            plans.iter().map(|(feed, plan)| json!({ "feed": feed, "plan": plan })).collect();
        return document(&json!({ "dry_run": true, "feeds": feeds }));
    }
    let mut shown = table(&["table", "arrival date", "files", "size"], 2);
    for partition in plans.iter().flat_map(|(_, plan)| &plan.partitions) {
        shown.add_row([
            partition.table.clone(),
            partition.arrival_date.to_string(),
            partition.totals.files.to_string(),
            size(partition.totals.bytes),
        ]);
    }
    for removed in plans.iter().flat_map(|(_, plan)| &plan.removed_files) {
        shown.add_row([
            removed.table.clone(),
            "left the table".to_owned(),
            removed.totals.files.to_string(),
            size(removed.totals.bytes),
        ]);
    }
    let mut lines =
        if shown.is_empty() { "nothing to remove".to_owned() } else { shown.to_string() };
    for (feed, date) in
        plans.iter().flat_map(|(feed, plan)| plan.kept_unbuilt.iter().map(move |date| (feed, date)))
    {
        let waits = format!("\n{feed}: {date} is old enough but not fully built; run build");
        lines.push_str(&waits);
    }
    text(&lines)
}

/// What a reprocess would change.
pub(super) fn forecasts(
    format: OutputFormat,
    forecasts: &[(String, Forecast)],
) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        let feeds =
            forecasts.iter().map(|(feed, forecast)| json!({ "feed": feed, "forecast": forecast }));
        return document(&json!({ "dry_run": true, "feeds": feeds.collect::<Vec<Value>>() }));
    }
    text(&forecast_table(forecasts))
}

fn forecast_table(forecasts: &[(String, Forecast)]) -> String {
    let header = [
        "feed",
        "event date",
        "events new",
        "changed",
        "removed",
        "sessions before",
        "after",
        "changed",
    ];
    let mut shown = table(&header, 2);
    for (feed, forecast) in forecasts {
        let dates = forecast.dates.iter().map(|(date, change)| (date.to_string(), change));
        for (date, change) in dates.chain([("total".to_owned(), &forecast.total)]) {
            let DateChange {
                events_new,
                events_changed,
                events_removed,
                sessions_before,
                sessions_after,
                sessions_changed,
            } = change;
            let counts = [
                events_new,
                events_changed,
                events_removed,
                sessions_before,
                sessions_after,
                sessions_changed,
            ];
            let counts = counts.map(ToString::to_string);
            shown.add_row([feed.clone(), date].into_iter().chain(counts));
        }
    }
    let changes = forecasts.iter().any(|(_, forecast)| !forecast.dates.is_empty());
    if changes { shown.to_string() } else { "nothing would change".to_owned() }
}

/// What a withdrawal would take back and change.
pub(super) fn withdrawal(
    format: OutputFormat,
    feed: &str,
    withdrawn: Option<&Withdrawn>,
    forecast: Forecast,
) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        let feeds = json!([{ "feed": feed, "withdrawn": withdrawn, "forecast": forecast }]);
        return document(&json!({ "dry_run": true, "feeds": feeds }));
    }
    let Some(withdrawn) = withdrawn else {
        return text("nothing to withdraw: it was withdrawn before");
    };
    let changes = forecast_table(&[(feed.to_owned(), forecast)]);
    text(&format!("{}\n{changes}", withdrawn_line(withdrawn)))
}

fn withdrawn_line(withdrawn: &Withdrawn) -> String {
    let Withdrawn { file, contents, rows, from } = withdrawn;
    let contents: Vec<&str> =
        contents.iter().map(|hash| hash.get(..SHORT_HASH).unwrap_or(hash)).collect();
    let deliveries = match contents.as_slice() {
        [one] => format!("1 delivery ({one})"),
        several => format!("{} deliveries of that name ({})", several.len(), several.join(", ")),
    };
    let (name, date) = (&file.file, file.arrival_date);
    format!(
        "withdrawn: {name} of {date}, {deliveries}, {rows} rows of raw; from event date {from} on"
    )
}

/// What `maintain` did to each table; would do, without a run.
pub(super) fn maintained(
    format: OutputFormat,
    run: Option<&RunLog>,
    tables: &[Maintained],
) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        let run_id = run.map(RunLog::run_id);
        return document(&json!({ "dry_run": run.is_none(), "run_id": run_id, "tables": tables }));
    }
    let header = ["table", "what", "files", "size"];
    let mut shown = table(&header, 2);
    for of_table in tables {
        let upkept = &of_table.upkept;
        let rows = [
            ("left the table", upkept.removed_files),
            ("named by no commit", upkept.orphans),
            ("old log", upkept.log_files),
            ("joined", of_table.compacted.joined),
        ];
        for (what, totals) in rows.iter().filter(|(_, totals)| totals.files > 0) {
            let (files, bytes) = (totals.files.to_string(), size(totals.bytes));
            shown.add_row([of_table.table.clone(), (*what).to_owned(), files, bytes]);
        }
        if upkept.checkpoint {
            let what = "checkpoint".to_owned();
            shown.add_row([of_table.table.clone(), what, "1".to_owned(), String::new()]);
        }
    }
    if shown.is_empty() { text("nothing to do") } else { text(&shown.to_string()) }
}

/// What `doctor` found.
pub(super) fn checks(format: OutputFormat, checks: &[Check]) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        return document(&json!({ "checks": checks }));
    }
    let mut shown = table(&["check", "result", "detail", "what to do"], 4);
    for check in checks {
        let result = if check.ok { "ok" } else { "FAILED" };
        let row = [check.check.as_str(), result, &check.detail, &check.advice];
        shown.add_row(row);
    }
    text(&shown.to_string())
}

/// Files that runs have seen.
pub(super) fn files(format: OutputFormat, facts: &[FileFact]) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        return document(&json!({ "files": facts }));
    }
    if facts.is_empty() {
        return text("no file");
    }
    let header =
        ["feed", "date", "file", "status", "updated", "why", "rows", "rejected", "size", "run"];
    let mut shown = table(&header, 6);
    for FileFact { feed, outcome, run_id, updated, .. } in facts {
        let count = |count: Option<i64>| count.map_or_else(String::new, |count| count.to_string());
        let reasons = outcome.reasons.iter().map(|(reason, rows)| format!("{reason} {rows}"));
        let why = outcome.error.clone().into_iter().chain(reasons).collect::<Vec<_>>().join(", ");
        shown.add_row([
            feed.clone(),
            outcome.arrival_date.to_string(),
            outcome.file.clone(),
            outcome.status.as_str().to_owned(),
            updated.to_rfc3339_opts(SecondsFormat::Secs, true),
            why,
            count(outcome.rows),
            count(outcome.rows_rejected),
            size(outcome.bytes),
            run_id.clone(),
        ]);
    }
    text(&shown.to_string())
}

/// What is in quarantine, by reason.
pub(super) fn quarantine_counts(format: OutputFormat, counts: &[Count]) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        return document(&json!({ "counts": counts }));
    }
    let mut shown = table(&["feed", "date", "stage", "reason", "entries", "files"], 4);
    for Count { feed, arrival_date, stage, reason, entries, files } in counts {
        let (entries, files) = (entries.to_string(), files.to_string());
        shown.add_row([feed, arrival_date, stage, reason, &entries, &files]);
    }
    text(&if counts.is_empty() { "nothing in quarantine".to_owned() } else { shown.to_string() })
}

/// Rows that are in quarantine.
pub(super) fn quarantine_entries(format: OutputFormat, entries: &[Entry]) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        return document(&json!({ "entries": entries }));
    }
    let header = ["feed", "date", "file", "line", "stage", "reason", "detail", "text"];
    let mut shown = table(&header, header.len());
    for entry in entries {
        let Entry { feed, arrival_date, stage, reason, file, line, detail, text } = entry;
        let (line, text) = (line.to_string(), text.as_deref().unwrap_or_default());
        shown.add_row([feed, arrival_date, file, &line, stage, reason, detail, text]);
    }
    text(&if entries.is_empty() { "nothing in quarantine".to_owned() } else { shown.to_string() })
}

/// What `check` found in each feed.
pub(super) fn check_results(
    format: OutputFormat,
    results: &[(String, CheckResult)],
) -> Result<(), JobError> {
    if format == OutputFormat::Json {
        let with_feed = |(feed, result): &(String, CheckResult)| {
            let mut shown = json!(result);
            shown["feed"] = json!(feed);
            shown
        };
        let results: Vec<Value> = results.iter().map(with_feed).collect();
        return document(&json!({ "checks": results }));
    }
    if results.is_empty() {
        return text("there is no check");
    }
    let mut shown = table(&["feed", "check", "severity", "on", "rows", "message"], 6);
    if let Some(rows) = shown.column_mut(4) {
        rows.set_cell_alignment(CellAlignment::Right);
    }
    let mut examples = String::new();
    for (feed, result) in results {
        let (severity, on, rows) = (result.severity, result.on, result.rows.to_string());
        let row = [feed, &result.check, severity.as_str(), on.as_str(), &rows, &result.message];
        shown.add_row(row);
        examples.extend(result.example_lines().map(|line| format!("\n{feed}: {line}")));
    }
    text(&format!("{shown}{examples}"))
}

/// What `generate` wrote.
pub(super) fn generated(format: OutputFormat, summary: &GenerateSummary) -> Result<(), JobError> {
    match format {
        OutputFormat::Json => document(&json!(summary)),
        OutputFormat::Table => text(&format!(
            "{} files, {} rows ({} late, {} repeated, {} of them conflicting), {}",
            summary.files,
            summary.rows,
            summary.late_rows,
            summary.duplicate_rows,
            summary.conflicting_rows,
            ByteSize(summary.bytes)
        )),
    }
}

/// A value as the configuration takes it.
pub(super) fn encrypted(format: OutputFormat, value: &Reference) -> Result<(), JobError> {
    match format {
        OutputFormat::Json => document(&json!({ "value": value.to_string() })),
        OutputFormat::Table => text(&value.to_string()),
    }
}

/// For whom values are to be encrypted.
pub(super) fn recipient(format: OutputFormat, recipient: &Recipient) -> Result<(), JobError> {
    match format {
        OutputFormat::Json => document(&json!({ "recipient": recipient.to_string() })),
        OutputFormat::Table => text(&recipient.to_string()),
    }
}

/// A new identity that goes to no file; `file` is what that file would hold.
pub(super) fn identity(
    format: OutputFormat,
    recipient: &Recipient,
    identity: &SecretString,
    file: &str,
) -> Result<(), JobError> {
    match format {
        OutputFormat::Json => document(&json!({
            "recipient": recipient.to_string(),
            "identity": identity.expose_secret(),
        })),
        OutputFormat::Table => text(file),
    }
}

/// The configuration is good.
pub(super) fn checked(format: OutputFormat, config: &Config) -> Result<(), JobError> {
    let feeds: Vec<&str> = config.feeds.iter().map(|feed| feed.name.as_str()).collect();
    match format {
        OutputFormat::Json => document(&json!({ "ok": true, "feeds": feeds })),
        OutputFormat::Table => text(&format!(
            "ok: {} ({}), lake {}",
            feeds.len(),
            feeds.join(", "),
            config.lake.redacted_url()
        )),
    }
}
