//! The data files of one version of a table.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use deltalake::DeltaTable;
use deltalake::kernel::{Add, Remove};

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
        let values = view.partition_values_map();
        let value = values.get(column).cloned().flatten().unwrap_or_default();
        let Ok(date) = value.parse::<NaiveDate>() else {
            return Err(LakeError::Partition { table: name.clone(), column, value });
        };
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
