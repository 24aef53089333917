//! What can go wrong in a stage.

use std::path::PathBuf;

use arrow::datatypes::DataType;
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::config::Difference;
use crate::engine::expressions::ExpressionError;
use crate::engine::runs::RunError;
use crate::lake::error::file_way_out;
use crate::lake::{LakeError, TableName};
use crate::sources::{DiscoveryError, SourceError};
use crate::stages::checks::{CheckError, CheckResult};
use crate::stages::deliveries::DeliveredFile;

/// A failure of `ingest`: nothing of the date's new files was appended.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The files of a date cannot be listed.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A file cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file changed while it was read.
    #[error(
        "{} changed while it was read; deliver files by writing to another name and renaming, \
         then run again", path.display()
    )]
    ChangedWhileRead {
        /// The file.
        path: PathBuf,
    },
    /// A table of the lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The mapping does not parse.
    #[error(transparent)]
    Build(#[from] Box<BuildError>),
    /// Arrow rows do not fit together.
    #[error("cannot lay out the rows of {} for raw", path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// Arrow's reason.
        source: arrow::error::ArrowError,
    },
    /// The columns that the contract looks at cannot be read.
    #[error("cannot hold the rows of {} to the contract of the feed", path.display())]
    Contract {
        /// The file.
        path: PathBuf,
        /// DataFusion's reason.
        source: Box<DataFusionError>,
    },
    /// A file of which something is to be replayed is not there.
    #[error(
        "{file}, arrival date {arrival_date}, is not where the path of the feed finds files, so what \
         was refused of it cannot be read again; put it back and replay again (a copy that \
         reject_to made is named by `quarantine show`), or deliver a corrected file and `run`"
    )]
    Gone {
        /// The file.
        file: String,
        /// The arrival date.
        arrival_date: NaiveDate,
    },
    /// A file of which something is to be replayed holds something else by now.
    #[error(
        "{} holds other content than what was refused of it under arrival date {arrival_date}; \
         `run` takes in the new content", path.display()
    )]
    OtherContent {
        /// The file.
        path: PathBuf,
        /// The arrival date.
        arrival_date: NaiveDate,
    },
    /// A rejected file cannot be copied.
    #[error(
        "cannot copy {} to {copy}, which reject_to asks for; check that it can be written, then \
         run again", path.display()
    )]
    Copy {
        /// The file.
        path: PathBuf,
        /// Where it was to be.
        copy: String,
        /// The reason of the operating system or the store.
        source: std::io::Error,
    },
    /// A copy of a rejected file is not what was copied.
    #[error(
        "{copy}, the copy of {}, does not hold the same bytes; the file was left where it is, run \
         again", path.display()
    )]
    CopyDiffers {
        /// The file.
        path: PathBuf,
        /// The copy.
        copy: String,
    },
    /// Rows of quarantine.
    #[error(transparent)]
    Quarantine(Box<BuildError>),
    /// A bad row, where the contract says that it fails the run.
    #[error(
        "{}, line {line}: {reason}: {detail}; on_bad_row is \"fail\": correct the file, then run \
         again", path.display()
    )]
    BadRow {
        /// The file.
        path: PathBuf,
        /// The physical line, from 1.
        line: i64,
        /// Why, as a name.
        reason: String,
        /// Why, in words.
        detail: String,
    },
    /// The reading thread ended without a result.
    #[error("reading {} was interrupted; run again", path.display())]
    Interrupted {
        /// The file.
        path: PathBuf,
    },
}

/// A failure of `build`, `reprocess` or the check of rules: ODS is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An expression does not parse.
    #[error("feed {feed}: {key} = \"{sql}\" is not an SQL expression")]
    Unparsable {
        /// The feed.
        feed: String,
        /// The configuration key.
        key: String,
        /// The expression.
        sql: String,
        /// The parser's reason.
        source: ParserError,
    },
    /// A mapping looks at how a row was delivered.
    #[error(
        "feed {feed}: \"{sql}\" names {name}, a column that the lake adds; an event must depend \
         on what the row holds alone"
    )]
    ReservedColumn {
        /// The feed.
        feed: String,
        /// The expression.
        sql: String,
        /// The column.
        name: String,
    },
    /// An expression cannot be used.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// The recorded zone is unknown to this build.
    #[error("feed {feed}: the zone \"{zone}\" is unknown")]
    UnknownZone {
        /// The feed.
        feed: String,
        /// The zone.
        zone: String,
        /// The parser's reason.
        source: chrono_tz::ParseError,
    },
    /// The zone decides the partition of every event.
    #[error(
        "feed {feed}: event.zone is \"{configured}\", but its ODS was built with \"{recorded}\"; \
         a zone moves event dates and cannot change, give the feed another name"
    )]
    ZoneChanged {
        /// The feed.
        feed: String,
        /// In ODS.
        recorded: String,
        /// In the configuration.
        configured: String,
    },
    /// An attribute column keeps its type.
    #[error(
        "feed {feed}: the attribute {name} would be {configured}, but ODS holds {recorded}; \
         cast it, or give it another name"
    )]
    AttributeTypeChanged {
        /// The feed.
        feed: String,
        /// The attribute.
        name: String,
        /// In ODS.
        recorded: DataType,
        /// In the configuration.
        configured: DataType,
    },
    /// The configuration is not what ODS was built with.
    #[error("{}", differences_message(feed, differences))]
    RulesDiffer {
        /// The feed.
        feed: String,
        /// Each differing key.
        differences: Vec<Difference>,
    },
    /// A mapping cannot start in the past of what is built.
    #[error(
        "feed {feed}: a new mapping cannot start at arrival date {arrival_date}, because \
         {newest_built} is built already; accept it with an arrival date after {newest_built}, \
         or rebuild with `sessionlake reprocess --from {arrival_date}`"
    )]
    MappingTooEarly {
        /// The feed.
        feed: String,
        /// Where it should start.
        arrival_date: NaiveDate,
        /// The newest built date.
        newest_built: NaiveDate,
    },
    /// Retention removed what a reprocess would need.
    #[error(
        "feed {feed}: cannot reprocess from {from}, raw rows up to {removed_through} were removed \
         by retention; the earliest possible date is {earliest} (for a changed session rule, \
         `--source ods` recomputes any date)"
    )]
    NotCovered {
        /// The feed.
        feed: String,
        /// Asked for.
        from: NaiveDate,
        /// W of the design: the newest removed arrival date.
        removed_through: NaiveDate,
        /// W + 2 days.
        earliest: NaiveDate,
    },
    /// Facts of ODS were mapped already.
    #[error("{}", mapping_message(feed, *from, differences))]
    MappingNeedsRaw {
        /// The feed.
        feed: String,
        /// Asked for.
        from: NaiveDate,
        /// Each differing key of the mapping or the window.
        differences: Vec<Difference>,
    },
    /// A session rule cannot be applied to an event that ODS holds.
    #[error(
        "a session rule fails on the event {event_id} of user {user_id} in {table}: {detail}; \
         nothing was committed; write the rule so that it holds for every event, or reprocess from \
         raw, where such rows go to quarantine"
    )]
    FactRefused {
        /// The table.
        table: TableName,
        /// Whose event.
        user_id: String,
        /// Which event.
        event_id: String,
        /// The rule, and the engine's reason.
        detail: String,
    },
    /// No such file was delivered.
    #[error(
        "feed {feed}: no file named {} was delivered under arrival date {}; {}",
        file.file, file.arrival_date, known_message(known)
    )]
    UnknownDelivery {
        /// The feed.
        feed: String,
        /// What was asked for.
        file: DeliveredFile,
        /// The names that were delivered under that date.
        known: Vec<String>,
    },
    /// Retention removed the rows of a delivery.
    #[error(
        "feed {feed}: {} of arrival date {} cannot be withdrawn, raw rows up to {removed_through} \
         were removed by retention; its events stay in ODS", file.file, file.arrival_date
    )]
    DeliveryExpired {
        /// The feed.
        feed: String,
        /// What was asked for.
        file: DeliveredFile,
        /// The newest removed arrival date.
        removed_through: NaiveDate,
    },
    /// There is nothing to recompute, or to compare with.
    #[error("feed {feed}: nothing was built yet; run `sessionlake build` first")]
    NothingBuilt {
        /// The feed.
        feed: String,
    },
    /// There is nothing to build from.
    #[error("feed {feed}: nothing was ingested yet; run `sessionlake ingest` first")]
    NothingIngested {
        /// The feed.
        feed: String,
    },
    /// Rows went missing, or appeared.
    #[error(
        "feed {feed}, arrival date {arrival_date}: {read} rows read, but {accounted} accounted \
         for ({detail}); nothing was committed, please report this with the run id"
    )]
    Imbalance {
        /// The feed.
        feed: String,
        /// The arrival date.
        arrival_date: NaiveDate,
        /// Rows read.
        read: i64,
        /// Sum of the terms.
        accounted: i64,
        /// The terms.
        detail: String,
    },
    /// Checks of severity error found rows.
    #[error("{}", checks_message(feed, results))]
    ChecksFailed {
        /// The feed.
        feed: String,
        /// What every check found.
        results: Vec<CheckResult>,
    },
    /// A check cannot be used, or failed.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A table of the lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A stored rule book cannot be written.
    #[error("cannot record the rules of {table}")]
    Record {
        /// The table.
        table: TableName,
        /// The serialiser's reason.
        source: serde_json::Error,
    },
    /// Rows of the lake that do not fit together.
    #[error("the rows of {table} do not have the columns they should have")]
    Arrow {
        /// The table.
        table: TableName,
        /// Arrow's reason.
        source: arrow::error::ArrowError,
    },
    /// Candidates cannot be sorted.
    #[error(transparent)]
    Runs(#[from] RunError),
    /// A thread of the stage was stopped, or ended without a result.
    #[error("the merge into {table} was stopped; nothing was committed, run again")]
    Stopped {
        /// The table.
        table: TableName,
    },
    /// Reading rows of the lake, or evaluating over them.
    #[error("cannot read the rows of {table}{}", hint(table, source))]
    Rows {
        /// The table.
        table: TableName,
        /// DataFusion's reason.
        source: Box<DataFusionError>,
    },
}

impl IngestError {
    /// What went wrong with the table of quarantine.
    pub(crate) fn of_quarantine(error: BuildError) -> Self {
        match error {
            BuildError::Lake(error) => Self::Lake(error),
            other => Self::Quarantine(Box::new(other)),
        }
    }

    /// Whether planning the stage again on the newest version may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Lake(source) if source.is_conflict())
    }
}

impl BuildError {
    /// Whether planning the stage again on the newest version may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Lake(source) if source.is_conflict())
    }
}

fn checks_message(feed: &str, results: &[CheckResult]) -> String {
    use std::fmt::Write as _;
    let mut message = format!("feed {feed}: checks of severity error found rows:");
    for result in results.iter().filter(|result| result.is_failure()) {
        let rows = if result.rows == 1 { "row" } else { "rows" };
        let _ = write!(message, "\n  {}: {} {rows}, {}", result.check, result.rows, result.message);
        for example in result.example_lines() {
            let _ = write!(message, "\n    {example}");
        }
    }
    message.push_str(
        "\nNothing was published. Mend the rows (`sessionlake withdraw` takes a file back), or the \
         check; `skip` in [feed.checks] leaves it out.",
    );
    message
}

fn known_message(known: &[String]) -> String {
    if known.is_empty() {
        return "nothing was delivered under that date".to_owned();
    }
    format!("delivered were {}", known.join(", "))
}

fn mapping_message(feed: &str, from: NaiveDate, differences: &[Difference]) -> String {
    use std::fmt::Write as _;
    let mut message = format!(
        "feed {feed}: `--source ods` keeps events as they were mapped, but the configured mapping \
         differs:"
    );
    for difference in differences {
        let _ = write!(
            message,
            "\n  {}: {} in ODS, {} configured",
            difference.key, difference.recorded, difference.configured
        );
    }
    let _ = write!(
        message,
        "\nEither reprocess from raw with `sessionlake reprocess --from {from}`, or let the mapping \
         hold for what is to come with `sessionlake run --accept-rule-change`, or undo that change."
    );
    message
}

/// What to do when it is a file that cannot be read, and no expression that failed.
fn hint(table: &TableName, error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::ParquetError(_) | DataFusionError::ObjectStore(_) => {
            format!("; if the file is not there or not whole, {}", file_way_out(table))
        }
        _ => String::new(),
    }
}

fn differences_message(feed: &str, differences: &[Difference]) -> String {
    use std::fmt::Write as _;
    let mut message =
        format!("feed {feed}: the configuration differs from the rules ODS was built with:");
    for difference in differences {
        let _ = write!(
            message,
            "\n  {}: {} in ODS, {} configured",
            difference.key, difference.recorded, difference.configured
        );
    }
    message.push_str(
        "\nEither recompute with `sessionlake reprocess --from DATE`, or let the new rules hold \
         for what is to come with `sessionlake run --accept-rule-change`, or undo the change.",
    );
    message
}
