//! Files of one event date of ODS as one, in key order and row by row what they were.

use arrow::datatypes::Field;
use deltalake::kernel::Add;

use super::cursor::{KnownCursor, Source};
use super::known_files::{READ_ROWS, sorted_runs};
use super::output::{DateOutput, FileOutput};
use super::slice::{DateInput, known_columns};
use crate::engine::runs::SpillTarget;
use crate::lake::contracts::{self, ODS_FILES};
use crate::lake::files::DataFile;
use crate::lake::sorted_files::{FileAccess, FileReader, OpenFile, days};
use crate::lake::sorted_writer::SortedWriter;
use crate::stages::error::BuildError;

/// Writes the rows of `files`, all of one event date, anew: in one file, or in as few as the size
/// of a file allows. Files of other writers are sorted first.
pub(crate) async fn join(
    access: &FileAccess,
    attributes: Vec<Field>,
    files: &[&DataFile],
    target: SpillTarget,
    group_rows: usize,
) -> Result<Vec<Add>, BuildError> {
    let Some(first) = files.first() else {
        return Ok(vec![]);
    };
    let pdate = days(first.date);
    let mut opened = Vec::new();
    for file in files {
        let bytes = u64::try_from(file.bytes).unwrap_or_default();
        opened.push(access.open(file.path.clone(), bytes).await?);
    }
    let access = access.clone();
    let table = access.table.clone();
    let joined = tokio::task::spawn_blocking(move || {
        let known = cursors(&access, &attributes, &opened, &target)?;
        let schema = contracts::ods_file(&attributes);
        // The first of them tells which users cannot be in the file, if all of them tell it.
        let slices = opened.iter().map(OpenFile::slice_from).collect::<Option<Vec<_>>>();
        let slice_from = slices.and_then(|slices| slices.into_iter().min());
        let writer =
            SortedWriter::new(&access, &ODS_FILES, &schema, pdate, slice_from, group_rows)?;
        let output = FileOutput::new(access.table.clone(), schema, writer);
        let output = DateOutput::Files(Box::new(output));
        let mut date = DateInput { pdate, known, output: Some(output) };
        let copied = date.copy_before(None);
        match (copied, date.output) {
            (Ok(()), Some(output)) => Ok(output.close()?),
            (Ok(()), None) => Ok(vec![]),
            (Err(error), output) => {
                if let Some(output) = output {
                    output.abort();
                }
                Err(error)
            }
        }
    });
    joined.await.unwrap_or(Err(BuildError::Stopped { table }))
}

fn cursors(
    access: &FileAccess,
    attributes: &[Field],
    files: &[OpenFile],
    target: &SpillTarget,
) -> Result<Vec<KnownCursor>, BuildError> {
    let stored = known_columns(attributes);
    let mut cursors = Vec::new();
    for file in files {
        if !file.is_sorted() {
            for run in sorted_runs(access, file, &stored, target.clone(), None)? {
                let reader = run.read(None, None)?;
                cursors.push(KnownCursor::new(Source::Run(Box::new(reader)), None, None)?);
            }
            continue;
        }
        let reader = FileReader::new(access, file, &stored, (None, None), READ_ROWS)?;
        let (reader, table) = (Box::new(reader), access.table.clone());
        let source = Source::File { reader, delivered_before: None, table };
        cursors.push(KnownCursor::new(source, None, None)?);
    }
    Ok(cursors)
}
