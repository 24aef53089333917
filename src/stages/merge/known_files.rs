//! Data files of ODS: opened, and read in key order, whoever wrote them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::{StreamExt as _, TryStreamExt as _};

use super::cursor::{KnownCursor, Source, kept};
use crate::engine::Engine;
use crate::engine::runs::{RunWriter, SortedRun, SpillTarget};
use crate::lake::LakeError;
use crate::lake::files::DataFile;
use crate::lake::sorted_files::{FileAccess, FileReader, OpenFile};
use crate::stages::error::BuildError;

/// Footers read at a time.
const OPEN_FILES: usize = 16;
/// Rows of ODS decoded at a time, of each file.
pub(in crate::stages) const READ_ROWS: usize = 8 * 1024;

/// A file of ODS with its footer.
#[derive(Debug, Clone)]
pub(in crate::stages) struct KnownFile {
    pub(in crate::stages) data: DataFile,
    pub(in crate::stages) open: OpenFile,
}

/// The files of each date, opened, in the order of their paths.
pub(in crate::stages) async fn open_files<'f>(
    access: &FileAccess,
    dates: impl IntoIterator<Item = (i32, &'f Vec<DataFile>)>,
) -> Result<BTreeMap<i32, Vec<KnownFile>>, LakeError> {
    let files =
        dates.into_iter().flat_map(|(date, files)| files.iter().map(move |file| (date, file)));
    let opened: Vec<(i32, KnownFile)> = futures::stream::iter(files)
        .map(async |(date, file)| {
            let bytes = u64::try_from(file.bytes).unwrap_or_default();
            let open = access.open(file.path.clone(), bytes).await?;
            Ok::<_, LakeError>((date, KnownFile { data: file.clone(), open }))
        })
        .buffer_unordered(OPEN_FILES)
        .try_collect()
        .await?;
    let mut by_date: BTreeMap<i32, Vec<KnownFile>> = BTreeMap::new();
    for (date, file) in opened {
        by_date.entry(date).or_default().push(file);
    }
    for files in by_date.values_mut() {
        files.sort_by(|left, right| left.data.path.cmp(&right.data.path));
    }
    Ok(by_date)
}

/// Sorted runs of files that are not sorted, by path.
pub(in crate::stages) type Unsorted = BTreeMap<String, Vec<Arc<SortedRun>>>;

/// Files of other writers as sorted runs, by path.
pub(in crate::stages) async fn sort_unsorted(
    engine: &Engine,
    access: &FileAccess,
    stored: &SchemaRef,
    files: &BTreeMap<i32, Vec<KnownFile>>,
    delivered_before: Option<i32>,
) -> Result<Unsorted, BuildError> {
    let mut runs = BTreeMap::new();
    for file in files.values().flatten().filter(|file| !file.open.is_sorted()) {
        let (access, open, stored) = (access.clone(), file.open.clone(), Arc::clone(stored));
        let table = access.table.clone();
        let target = engine.spill_target();
        let path = file.data.path.to_string();
        tracing::debug!(path, "sorting a file of another writer");
        let task = tokio::task::spawn_blocking(move || {
            sorted_runs(&access, &open, &stored, target, delivered_before)
        });
        runs.insert(path, task.await.unwrap_or(Err(BuildError::Stopped { table }))?);
    }
    Ok(runs)
}

/// The rows of a file of another writer, sorted; on the thread it is called on.
pub(super) fn sorted_runs(
    access: &FileAccess,
    file: &OpenFile,
    stored: &SchemaRef,
    target: SpillTarget,
    delivered_before: Option<i32>,
) -> Result<Vec<Arc<SortedRun>>, BuildError> {
    let mut reader = FileReader::new(access, file, stored, (None, None), READ_ROWS)?;
    let mut writer = RunWriter::new(target);
    while let Some(batch) = reader.next_batch()? {
        let batch = kept(batch, delivered_before)
            .map_err(|source| BuildError::Arrow { table: access.table.clone(), source })?;
        writer.push(batch)?;
    }
    Ok(writer.finish()?.into_iter().map(Arc::new).collect())
}

/// How rows of ODS are read.
pub(in crate::stages) struct KnownRows<'a> {
    /// Where the files are.
    pub(in crate::stages) access: &'a FileAccess,
    /// The columns that are read; the stored ones come first.
    pub(in crate::stages) stored: &'a SchemaRef,
    /// Rows delivered on or after that date, days since 1970, are left out.
    pub(in crate::stages) delivered_before: Option<i32>,
}

impl KnownRows<'_> {
    /// A cursor for each file, or for each run of one that was not sorted, over the users in
    /// `[from, to)`.
    pub(in crate::stages) fn cursors(
        &self,
        files: &[KnownFile],
        unsorted: &Unsorted,
        users: (Option<&str>, Option<&str>),
    ) -> Result<Vec<KnownCursor>, BuildError> {
        let mut cursors = Vec::new();
        for file in files {
            for source in self.sources(file, unsorted, users)? {
                cursors.push(KnownCursor::new(source, users.0, users.1)?);
            }
        }
        Ok(cursors)
    }

    fn sources(
        &self,
        file: &KnownFile,
        unsorted: &Unsorted,
        users: (Option<&str>, Option<&str>),
    ) -> Result<Vec<Source>, BuildError> {
        if let Some(runs) = unsorted.get(file.data.path.as_ref()) {
            let readers = runs
                .iter()
                .map(|run| run.read(users.0, users.1).map(|reader| Source::Run(Box::new(reader))));
            return Ok(readers.collect::<Result<_, _>>()?);
        }
        let reader = FileReader::new(self.access, &file.open, self.stored, users, READ_ROWS)?;
        Ok(vec![Source::File {
            reader: Box::new(reader),
            delivered_before: self.delivered_before,
            table: self.access.table.clone(),
        }])
    }
}
