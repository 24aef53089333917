//! Columns that nothing names become columns of raw, where the contract says so.
//!
//! It changes where raw keeps a value, not what the value is: expressions find it in the column and
//! in `_extra` alike, where it is for rows that came before the column.

use std::num::NonZeroUsize;

use deltalake::DeltaTable;
use deltalake::kernel::MetadataExt as _;
use tokio::task::spawn_blocking;

use super::NewFile;
use crate::config::SourceFormat;
use crate::lake::commits::{self, Change};
use crate::lake::{LakeError, TableName, contracts};
use crate::sources::{FileReader, Location, ReadLimits};
use crate::stages::StageContext;
use crate::stages::error::IngestError;

/// What the name of a column of Parquet cannot hold, and what makes a name a path.
const REFUSED: [char; 12] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '\r', '=', '.'];

/// The table with a column for every name of the new files that it has none for; in a commit of its
/// own.
pub(super) async fn add(
    stage: &StageContext<'_>,
    name: &TableName,
    table: DeltaTable,
    new: &[NewFile<'_>],
) -> Result<DeltaTable, IngestError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let mut columns = contracts::delivered_columns(&state.snapshot().arrow_schema());
    let before = columns.len();
    for new in new.iter().filter(|new| !new.file.is_folder()) {
        for named in names(new.file.location(), stage.feed.format).await {
            if can_be_added(&named, &columns) {
                columns.push(named);
            }
        }
    }
    if columns.len() == before {
        return Ok(table);
    }
    let added = columns[before..].join(", ");
    let schema = contracts::kernel_columns(name, &contracts::raw(&columns))?;
    let metadata = state
        .metadata()
        .clone()
        .with_schema(&schema)
        .map_err(|source| LakeError::write(name, source.into()))?;
    let change = Change { metadata: Some(metadata), ..Change::default() };
    commits::commit(name, &table, change, &stage.provenance("add-column", vec![])).await?;
    tracing::info!(table = %name, columns = added, "added columns that nothing names");
    Ok(stage.lake.load(name).await?.unwrap_or(table))
}

/// What the header or schema of a file names; nothing of one that cannot be read, which is found
/// when it is taken in.
async fn names(location: Location, format: SourceFormat) -> Vec<String> {
    let read = move || {
        let limits = ReadLimits::default();
        let reader = FileReader::open(&location, format, &[], &[], NonZeroUsize::MIN, limits);
        reader.ok().and_then(|reader| reader.names()).unwrap_or_default()
    };
    spawn_blocking(read).await.unwrap_or_default()
}

/// Names that differ in case alone are one to Delta.
fn can_be_added(name: &str, columns: &[String]) -> bool {
    let is_same = |column: &String| column.to_lowercase() == name.to_lowercase();
    !name.is_empty()
        && !name.starts_with('_')
        && !name.contains(REFUSED)
        && !columns.iter().any(is_same)
}
