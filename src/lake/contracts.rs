//! The columns of every table: names, types, grain, key and units.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;

use super::{LakeError, TableName};

/// The partition column of `raw` and `quarantine`: the arrival date.
pub const UPDATED_AT: &str = "_updated_at";
/// The partition column of `ods`: the event date in the feed's zone.
pub const PDATE: &str = "pdate";
/// The partition column of `sessions`: the event date of a session's first event.
pub const SESSION_DATE: &str = "session_date";
/// The column of `sessions` with the time of a session's last event.
pub const SESSION_END: &str = "session_end";
/// The table property of `ods/<feed>` that holds the rules.
pub const RULES_PROPERTY: &str = "sessionlake.rules";

/// Columns of every `ods/<feed>` before the feed's attributes, in order.
pub const ODS_COLUMNS: [&str; 10] = [
    "user_id",
    "product_code",
    "event_id",
    "timestamp",
    "is_user_action",
    "time_diff_ms",
    "session_start",
    "session_id",
    PDATE,
    UPDATED_AT,
];

/// The order of rows in every data file of `ods/<feed>`; total, for it is the key.
pub const SORT_KEY: [&str; 4] = ["user_id", "product_code", "timestamp", "event_id"];

/// The table property of `sessions/<feed>` that holds what its rows are made of.
pub const SESSIONS_PROPERTY: &str = "sessionlake.sessions";

/// The order of rows in every data file of `sessions/<feed>`; total, for it is the key.
pub const SESSION_SORT_KEY: [&str; 3] = ["user_id", "product_code", "session_start"];

/// How the data files of a table lie whose rows are in key order.
#[derive(Debug)]
pub struct SortedFiles {
    /// The only partition column, a date.
    pub partition: &'static str,
    /// The order of the rows.
    pub key: &'static [&'static str],
    /// Columns whose bounds files and row groups record.
    pub bounded: &'static [&'static str],
}

/// The data files of `ods/<feed>`.
pub const ODS_FILES: SortedFiles =
    SortedFiles { partition: PDATE, key: &SORT_KEY, bounded: &SORT_KEY };

/// The data files of `sessions/<feed>`. How far the sessions of a date reach is known without
/// reading them.
pub const SESSION_FILES: SortedFiles = SortedFiles {
    partition: SESSION_DATE,
    key: &SESSION_SORT_KEY,
    bounded: &["user_id", "product_code", "session_start", SESSION_END],
};

/// Columns of every `raw/<feed>` behind the feed's own, in order.
pub const RAW_COLUMNS: [&str; 6] =
    ["_extra", "_file", "_line", "_accept_late", "_ingested_at", UPDATED_AT];

/// Microseconds since 1970-01-01, UTC. A timestamp without a zone would force the table's
/// protocol to (3, 7).
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn nullable(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

/// The columns of `schema` as the log of a table has them.
pub(crate) fn kernel_columns(name: &TableName, schema: &Schema) -> Result<StructType, LakeError> {
    schema.try_into_kernel().map_err(|source| LakeError::Contract { table: name.clone(), source })
}

/// `raw/<feed>`: grain one delivered row, as delivered. Every column of `columns` is text; what
/// else the row held is one JSON text in `_extra`. `_line` is the first physical line of the
/// record in `_file`. `_accept_late` marks a row of a load of history.
pub fn raw(columns: &[String]) -> SchemaRef {
    let mut fields: Vec<Field> =
        columns.iter().map(|name| nullable(name, DataType::Utf8)).collect();
    fields.extend([
        nullable("_extra", DataType::Utf8),
        required("_file", DataType::Utf8),
        required("_line", DataType::Int64),
        required("_accept_late", DataType::Boolean),
        required("_ingested_at", timestamp_type()),
        required(UPDATED_AT, DataType::Date32),
    ]);
    Arc::new(Schema::new(fields))
}

/// The feed's own columns of an existing `raw/<feed>`.
pub fn delivered_columns(raw: &Schema) -> Vec<String> {
    raw.fields()
        .iter()
        .map(|field| field.name().clone())
        .filter(|name| !RAW_COLUMNS.contains(&name.as_str()))
        .collect()
}

/// `quarantine/<feed>`: grain one rejected record (`stage` = `ingest`, never in raw) or one
/// delivered row that does not count (`stage` = `build`). Key: (`_updated_at`, `_file`, `_line`,
/// `stage`), but for repeated deliveries of one file.
pub fn quarantine() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("stage", DataType::Utf8),
        required("reason", DataType::Utf8),
        required("detail", DataType::Utf8),
        required("_file", DataType::Utf8),
        required("_line", DataType::Int64),
        nullable("row_text", DataType::Utf8),
        required(UPDATED_AT, DataType::Date32),
    ]))
}

/// `ods/<feed>`: grain one distinct event; key (`user_id`, `product_code`, `timestamp`,
/// `event_id`). `time_diff_ms` and the two session columns are null as DESIGN section 2 says.
pub fn ods(attributes: &[Field]) -> SchemaRef {
    let mut fields = vec![
        required("user_id", DataType::Utf8),
        required("product_code", DataType::Utf8),
        required("event_id", DataType::Utf8),
        required("timestamp", timestamp_type()),
        required("is_user_action", DataType::Boolean),
        nullable("time_diff_ms", DataType::Int64),
        nullable("session_start", timestamp_type()),
        nullable("session_id", DataType::Utf8),
        required(PDATE, DataType::Date32),
        required(UPDATED_AT, DataType::Date32),
    ];
    fields.extend(attributes.iter().cloned());
    Arc::new(Schema::new(fields))
}

/// The columns of a data file of `ods/<feed>`: those of the table without its partition column.
pub fn ods_file(attributes: &[Field]) -> SchemaRef {
    without_partition(&ods(attributes), PDATE)
}

/// The columns of a table that stand in its data files.
pub fn without_partition(table: &Schema, partition: &str) -> SchemaRef {
    let fields = table.fields().iter().filter(|field| field.name() != partition);
    Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
}

/// What an event is, without what follows from its neighbours: the stored columns in the order in
/// which everything sorted by key begins with them.
pub fn ods_stored(attributes: &[Field]) -> Vec<Field> {
    let mut fields = vec![
        required("user_id", DataType::Utf8),
        required("product_code", DataType::Utf8),
        required("event_id", DataType::Utf8),
        required("timestamp", timestamp_type()),
        required("is_user_action", DataType::Boolean),
        required(UPDATED_AT, DataType::Date32),
    ];
    fields.extend(attributes.iter().cloned());
    fields
}

/// The attribute columns of an existing `ods/<feed>`: whatever follows the fixed columns.
pub fn attributes_of(ods: &Schema) -> Vec<Field> {
    ods.fields()
        .iter()
        .filter(|field| !ODS_COLUMNS.contains(&field.name().as_str()))
        .map(|field| field.as_ref().clone())
        .collect()
}

/// `sessions/<feed>`: grain one session, the events of `ods/<feed>` with that `session_id`; key
/// (`user_id`, `product_code`, `session_start`). `session_end` is the time of its last event and
/// `duration_ms` the floor of the milliseconds between the two. Its events are in the order
/// (`timestamp`, `event_id`): `event_ids` are the distinct ones in the order of their first visit.
/// `first_arrival_date` and `last_arrival_date` are those of the deliveries that brought its
/// events. With an attribute, `distinct_<attribute>` are its distinct values as text, in the same
/// order; a missing value is none.
pub fn sessions(distinct: Option<&str>) -> SchemaRef {
    let texts = || {
        let element = required("element", DataType::Utf8);
        DataType::List(Arc::new(element))
    };
    let mut fields = vec![
        required("user_id", DataType::Utf8),
        required("product_code", DataType::Utf8),
        required("session_id", DataType::Utf8),
        required("session_start", timestamp_type()),
        required(SESSION_END, timestamp_type()),
        required("duration_ms", DataType::Int64),
        required("events", DataType::Int64),
        required("user_actions", DataType::Int64),
        required("first_event_id", DataType::Utf8),
        required("last_event_id", DataType::Utf8),
        required("event_ids", texts()),
    ];
    fields.extend(distinct.map(|attribute| required(&distinct_column(attribute), texts())));
    fields.extend([
        required("first_arrival_date", DataType::Date32),
        required("last_arrival_date", DataType::Date32),
        required(SESSION_DATE, DataType::Date32),
    ]);
    Arc::new(Schema::new(fields))
}

/// The column of `sessions/<feed>` that holds the distinct values of an attribute.
pub fn distinct_column(attribute: &str) -> String {
    format!("distinct_{attribute}")
}

/// `files`: grain one fact about a file as it was seen under one arrival date: found by a run, or
/// what became of it. The newest fact of a key (`feed`, `arrival_date`, `file`, `bytes`, `version`)
/// holds. `version` is the ETag, or the modification time in nanoseconds since 1970; `reasons` a
/// JSON object of the rows refused, by reason; `error` why the run that saw the file did not take
/// it in, null as long as that run has not ended. Counts are null while they are not known.
pub fn files() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("feed", DataType::Utf8),
        required("arrival_date", DataType::Date32),
        required("file", DataType::Utf8),
        required("url", DataType::Utf8),
        required("bytes", DataType::Int64),
        required("version", DataType::Utf8),
        nullable("content_hash", DataType::Utf8),
        required("accept_late", DataType::Boolean),
        required("status", DataType::Utf8),
        nullable("rows", DataType::Int64),
        nullable("rows_rejected", DataType::Int64),
        nullable("reasons", DataType::Utf8),
        nullable("error", DataType::Utf8),
        required("run_id", DataType::Utf8),
        required("first_seen", timestamp_type()),
        required("updated", timestamp_type()),
    ]))
}

/// `runs`: grain one stage of one run for one feed and arrival date; key (`run_id`, `feed`,
/// `arrival_date`, `stage`). Counts of rows are null where a stage has no such term.
pub fn runs() -> SchemaRef {
    let count = |name: &str| nullable(name, DataType::Int64);
    Arc::new(Schema::new(vec![
        required("run_id", DataType::Utf8),
        required("feed", DataType::Utf8),
        nullable("arrival_date", DataType::Date32),
        required("stage", DataType::Utf8),
        required("started", timestamp_type()),
        required("seconds", DataType::Float64),
        required("outcome", DataType::Utf8),
        nullable("error", DataType::Utf8),
        required("config_hash", DataType::Utf8),
        count("rows_read"),
        count("rows_new"),
        count("rows_identical_duplicates"),
        count("rows_conflicting_duplicates"),
        count("rows_quarantined"),
        nullable("quarantined_by_reason", DataType::Utf8),
        count("rows_changed"),
        count("files_read"),
        count("bytes_read"),
        count("files_added"),
        count("bytes_added"),
        count("files_removed"),
        count("bytes_removed"),
        count("version_before"),
        count("version_after"),
    ]))
}
