//! Rejected rows into `quarantine/<feed>`: those of a build replace those of its arrival date.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use chrono::NaiveDate;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, lit, not};
use datafusion::prelude::{SessionContext, ident};
use deltalake::DeltaTable;
use deltalake::kernel::Transaction;

use super::StageContext;
use super::error::BuildError;
use super::events::{date_literal, date32};
use super::raw_rows::{rows_of, scan};
use crate::lake::commits::{self, Change};
use crate::lake::contracts::{self, UPDATED_AT};
use crate::lake::files::by_date;
use crate::lake::ids::Ids;
use crate::lake::storage::FileWriter;
use crate::lake::{LakeError, TableName};

/// Which stage rejected a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectedBy {
    /// The record could not be read; it is not in raw.
    Ingest,
    /// The row is in raw but does not count.
    Build,
}

impl RejectedBy {
    /// The name in the table `quarantine/<feed>`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Build => "build",
        }
    }
}

/// One rejected row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedRow {
    /// Why, as a name.
    pub reason: Cow<'static, str>,
    /// Why, in words.
    pub detail: String,
    /// The file that delivered it.
    pub file: String,
    /// Its first physical line.
    pub line: i64,
    /// The row itself.
    pub text: Option<String>,
}

/// Rows of the table `quarantine/<feed>`.
pub fn to_batch(
    rows: &[QuarantinedRow],
    arrival_date: NaiveDate,
    by: RejectedBy,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let texts = |value: &dyn Fn(&QuarantinedRow) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<StringArray>())
    };
    RecordBatch::try_new(
        contracts::quarantine(),
        vec![
            Arc::new(StringArray::from(vec![by.as_str(); rows.len()])),
            texts(&|row| Some(row.reason.clone().into_owned())),
            texts(&|row| Some(row.detail.clone())),
            texts(&|row| Some(row.file.clone())),
            Arc::new(rows.iter().map(|row| Some(row.line)).collect::<Int64Array>()),
            texts(&|row| row.text.clone()),
            Arc::new(Date32Array::from(vec![date32(arrival_date); rows.len()])),
        ],
    )
}

/// For each of some arrival dates the files that were withdrawn, mostly none.
pub(crate) type WithdrawnFiles = BTreeMap<NaiveDate, BTreeSet<String>>;

/// The files withdrawn of `dates`.
pub(crate) fn withdrawn_files(
    feed: &str,
    dates: &BTreeSet<NaiveDate>,
    raw_ids: &Ids,
) -> WithdrawnFiles {
    dates.iter().map(|date| (*date, raw_ids.withdrawn_files(feed, *date))).collect()
}

/// The table `quarantine/<feed>` as of one version.
pub struct Quarantine {
    /// Its name.
    pub name: TableName,
    /// The version that changes are committed on.
    pub table: DeltaTable,
}

impl Quarantine {
    /// Opens the table, creating it the first time.
    pub async fn open(stage: &StageContext<'_>) -> Result<Self, LakeError> {
        let name = TableName::Quarantine(stage.feed.name.clone());
        let schema = contracts::quarantine();
        let table = stage
            .lake
            .load_or_create(&name, &schema, &[UPDATED_AT], stage.table_properties())
            .await?;
        Ok(Self { name, table })
    }

    /// Appends what `ingest` rejects of one arrival date, in one commit. The rows of the files
    /// `replaced` that an ingest wrote before leave the table.
    pub async fn append_rejected(
        &self,
        stage: &StageContext<'_>,
        arrival_date: NaiveDate,
        rows: &[QuarantinedRow],
        replaced: &BTreeSet<&str>,
        commit_ids: Vec<Transaction>,
    ) -> Result<(), BuildError> {
        let of_table = |source| LakeError::Rows { table: self.name.clone(), source };
        let mut writer = FileWriter::new(&self.name, &self.table, &contracts::quarantine())?;
        let mut removes = Vec::new();
        if !replaced.is_empty() {
            let files = replaced.iter().map(|file| lit(*file)).collect();
            let by_ingest = ident("stage").eq(lit(RejectedBy::Ingest.as_str()));
            let kept = ident(UPDATED_AT)
                .eq(date_literal(arrival_date))
                .and(not(by_ingest.and(ident("_file").in_list(files, false))));
            let context = stage.engine.context(chrono_tz::Tz::UTC);
            for batch in rows_where(&context, &self.name, &self.table, kept).await? {
                writer.write(&batch).await?;
            }
            let files = by_date(&self.name, &self.table, UPDATED_AT)?;
            let of_date = files.get(&arrival_date).into_iter().flatten();
            removes.extend(of_date.map(|file| file.remove.clone()));
        }
        if !rows.is_empty() {
            writer
                .write(&to_batch(rows, arrival_date, RejectedBy::Ingest).map_err(of_table)?)
                .await?;
        }
        let change = Change {
            adds: writer.close().await?,
            removes,
            ids: commit_ids,
            read_predicate: Some(date_predicate(UPDATED_AT, &BTreeSet::from([arrival_date]))),
            ..Change::default()
        };
        let provenance = stage.provenance("ingest", vec![]);
        fail::fail_point!("raw_quarantine_before_commit", |_| std::process::abort());
        commits::commit(&self.name, &self.table, change, &provenance).await?;
        fail::fail_point!("raw_quarantine_after_commit", |_| std::process::abort());
        Ok(())
    }

    /// Replaces the build's rows of the arrival dates of `withdrawn` by `rejected`, in one commit.
    /// The rows of `ingest` stay, but for those of the files withdrawn. Commits nothing when there were none, are none, and no id is given.
    pub async fn replace_build_rows(
        &self,
        stage: &StageContext<'_>,
        context: &SessionContext,
        withdrawn: &WithdrawnFiles,
        rejected: &BTreeMap<NaiveDate, Vec<RecordBatch>>,
        commit_ids: Vec<Transaction>,
    ) -> Result<(), BuildError> {
        let dates: BTreeSet<NaiveDate> = withdrawn.keys().copied().collect();
        let kept = ingest_rows(context, &self.name, &self.table, withdrawn).await?;
        let files = by_date(&self.name, &self.table, UPDATED_AT)?;
        let replaced: Vec<_> = dates.iter().filter_map(|date| files.get(date)).flatten().collect();
        let rows_before: usize = replaced.iter().filter_map(|file| file.rows).sum();
        let has_build_rows = i64::try_from(rows_before).unwrap_or(i64::MAX) > rows_of(&kept);
        let has_rejected = rejected.values().any(|batches| rows_of(batches) > 0);
        if !has_build_rows && !has_rejected && commit_ids.is_empty() {
            return Ok(());
        }
        let mut writer = FileWriter::new(&self.name, &self.table, &contracts::quarantine())?;
        for batch in kept.iter().chain(rejected.values().flatten()) {
            writer.write(batch).await?;
        }
        let change = Change {
            adds: writer.close().await?,
            removes: replaced.iter().map(|file| file.remove.clone()).collect(),
            read_predicate: (!dates.is_empty()).then(|| date_predicate(UPDATED_AT, &dates)),
            ids: commit_ids,
            ..Change::default()
        };
        fail::fail_point!("quarantine_before_commit", |_| std::process::abort());
        let provenance = stage.provenance("build", vec![]);
        commits::commit(&self.name, &self.table, change, &provenance).await?;
        fail::fail_point!("quarantine_after_commit", |_| std::process::abort());
        Ok(())
    }
}

async fn ingest_rows(
    context: &SessionContext,
    name: &TableName,
    table: &DeltaTable,
    withdrawn: &WithdrawnFiles,
) -> Result<Vec<RecordBatch>, BuildError> {
    let literals = withdrawn.keys().map(|date| date_literal(*date)).collect();
    let mut kept = ident(UPDATED_AT)
        .in_list(literals, false)
        .and(ident("stage").eq(lit(RejectedBy::Ingest.as_str())));
    for (of, files) in withdrawn.iter().filter(|(_, files)| !files.is_empty()) {
        let files = files.iter().map(|file| lit(file.as_str())).collect();
        let is_withdrawn =
            ident(UPDATED_AT).eq(date_literal(*of)).and(ident("_file").in_list(files, false));
        kept = kept.and(not(is_withdrawn));
    }
    rows_where(context, name, table, kept).await
}

async fn rows_where(
    context: &SessionContext,
    name: &TableName,
    table: &DeltaTable,
    kept: Expr,
) -> Result<Vec<RecordBatch>, BuildError> {
    let schema = contracts::quarantine();
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let rows = |source: DataFusionError| BuildError::Rows {
        table: name.clone(),
        source: Box::new(source),
    };
    let frame = scan(context, name, table).await?;
    let batches = frame
        .filter(kept)
        .and_then(|frame| frame.select_columns(&columns))
        .map_err(rows)?
        .collect()
        .await
        .map_err(rows)?;
    let cast = |batch: &RecordBatch| super::raw_rows::conform(batch, &schema);
    batches
        .iter()
        .map(cast)
        .collect::<Result<_, _>>()
        .map_err(|source| BuildError::Lake(LakeError::Rows { table: name.clone(), source }))
}

/// Arrival dates as a predicate of the Delta log, for its conflict check.
pub(crate) fn date_predicate(column: &str, dates: &BTreeSet<NaiveDate>) -> String {
    let literals: Vec<String> = dates.iter().map(|date| format!("'{date}'")).collect();
    format!("{column} in ({})", literals.join(", "))
}
