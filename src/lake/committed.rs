//! The files that one commit of a table moved.

use chrono::NaiveDate;
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::logstore::get_actions;

use super::files::date_of;
use super::history::Commit;
use super::{LakeError, TableName};

/// A commit, and the files that it moved.
#[derive(Debug, Clone)]
pub struct Committed {
    /// What the log says of it.
    pub commit: Commit,
    /// Data files that entered the table.
    pub added: Vec<MovedFile>,
    /// Data files that left it.
    pub removed: Vec<MovedFile>,
}

/// A data file that entered or left a table of which dates are the partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedFile {
    /// Path within the table.
    pub path: String,
    /// The date of its partition; `None` where the commit does not say.
    pub date: Option<NaiveDate>,
    /// Whether rows changed with it; not where the same rows stand in other files afterwards.
    pub is_change: bool,
}

impl Committed {
    /// Reads a commit of a table partitioned by the date in `column`; `None` where it is not, or no
    /// longer, in the log.
    pub async fn read(
        name: &TableName,
        table: &DeltaTable,
        version: u64,
        column: &str,
    ) -> Result<Option<Self>, LakeError> {
        let failed = |source| LakeError::read(name, source);
        let entry = table.log_store().read_commit_entry(version).await.map_err(failed)?;
        let Some(entry) = entry else {
            return Ok(None);
        };
        let actions = get_actions(version, &entry).map_err(failed)?;
        let commit = Commit::of(version, &actions);
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Add(add) => added.push(MovedFile {
                    date: date_of(&add.partition_values, column),
                    is_change: add.data_change,
                    path: add.path,
                }),
                Action::Remove(remove) => removed.push(MovedFile {
                    date: remove
                        .partition_values
                        .as_ref()
                        .and_then(|values| date_of(values, column)),
                    is_change: remove.data_change,
                    path: remove.path,
                }),
                _ => {}
            }
        }
        Ok(Some(Self { commit, added, removed }))
    }
}
