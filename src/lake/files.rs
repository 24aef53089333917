//! The data files of one version of a table.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDate;
use delta_kernel::expressions::Scalar;
use deltalake::DeltaTable;
use deltalake::kernel::{Add, Remove};

use super::committed::Committed;
use super::{LakeError, TableName};

/// One data file of the loaded version.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// The date of its partition.
    pub date: NaiveDate,
    /// Where it is, from the root of the table.
    pub path: object_store::path::Path,
    /// Bytes on the store.
    pub bytes: i64,
    /// Rows, where the writer recorded them.
    pub rows: Option<usize>,
    /// The action that takes it out of the table.
    pub remove: Remove,
}

/// Count and size of a set of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct FileTotals {
    /// Number of files.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
}

impl FileTotals {
    /// Totals of files to be added.
    pub fn of_adds(adds: &[Add]) -> Self {
        adds.iter().fold(Self::default(), |total, add| total.plus(add.size))
    }

    /// Totals of existing files.
    pub fn of_files<'f>(files: impl IntoIterator<Item = &'f DataFile>) -> Self {
        files.into_iter().fold(Self::default(), |total, file| total.plus(file.bytes))
    }

    /// Totals of this set and another one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { files: self.files + other.files, bytes: self.bytes + other.bytes }
    }

    pub(crate) fn plus(self, bytes: i64) -> Self {
        Self { files: self.files + 1, bytes: self.bytes + bytes }
    }
}

/// All files of `table` by the date in `column`, its only partition column.
pub fn by_date(
    name: &TableName,
    table: &DeltaTable,
    column: &'static str,
) -> Result<BTreeMap<NaiveDate, Vec<DataFile>>, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let mut dates: BTreeMap<NaiveDate, Vec<DataFile>> = BTreeMap::new();
    for view in state.log_data().iter() {
        let date = partition_of(name, &view.partition_values_map(), column)?;
        dates.entry(date).or_default().push(DataFile {
            date,
            path: view.object_store_path(),
            bytes: view.size(),
            rows: view.num_records(),
            remove: view.remove_action(true),
        });
    }
    Ok(dates)
}

fn partition_of(
    name: &TableName,
    values: &HashMap<String, Option<String>>,
    column: &'static str,
) -> Result<NaiveDate, LakeError> {
    date_of(values, column).ok_or_else(|| {
        let value = values.get(column).cloned().flatten().unwrap_or_default();
        LakeError::Partition { table: name.clone(), column, value }
    })
}

/// The dates in `column`, the only partition column of `table`, in which a commit behind `version`
/// changed rows; `None` where the log does not tell: it does not go back that far, or a commit of
/// another program left the date out.
pub async fn changed_since(
    name: &TableName,
    table: &DeltaTable,
    column: &'static str,
    version: u64,
) -> Result<Option<BTreeSet<NaiveDate>>, LakeError> {
    let mut dates = BTreeSet::new();
    let Some(newest) = table.version().filter(|newest| *newest >= version) else {
        return Ok(None);
    };
    for version in version + 1..=newest {
        let Some(commit) = Committed::read(name, table, version, column).await? else {
            return Ok(None);
        };
        for file in commit.added.iter().chain(&commit.removed).filter(|file| file.is_change) {
            let Some(date) = file.date else {
                return Ok(None);
            };
            dates.insert(date);
        }
    }
    Ok(Some(dates))
}

/// Whether no commit behind `version` changed a row, as far as the log tells.
pub async fn is_unchanged_since(
    name: &TableName,
    table: &DeltaTable,
    column: &'static str,
    version: u64,
) -> Result<bool, LakeError> {
    let changed = changed_since(name, table, column, version).await?;
    Ok(changed.is_some_and(|dates| dates.is_empty()))
}

pub(super) fn date_of(values: &HashMap<String, Option<String>>, column: &str) -> Option<NaiveDate> {
    values.get(column)?.as_ref()?.parse().ok()
}

/// The greatest value of `column`, microseconds since 1970, in each partition, as the statistics of
/// its files say; [`i64::MAX`] where one of them does not.
pub fn latest_by_date(
    name: &TableName,
    table: &DeltaTable,
    partition: &'static str,
    column: &str,
) -> Result<BTreeMap<NaiveDate, i64>, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let mut latest: BTreeMap<NaiveDate, i64> = BTreeMap::new();
    for view in state.log_data().iter() {
        let date = partition_of(name, &view.partition_values_map(), partition)?;
        let micros = match view.max_values() {
            Some(Scalar::Struct(values)) => {
                let at = values.fields().iter().position(|field| field.name() == column);
                match at.and_then(|at| values.values().get(at)) {
                    Some(Scalar::Timestamp(micros)) => *micros,
                    _ => i64::MAX,
                }
            }
            _ => i64::MAX,
        };
        let of_date = latest.entry(date).or_insert(micros);
        *of_date = micros.max(*of_date);
    }
    Ok(latest)
}
