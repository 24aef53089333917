//! What a delivery rejects, into quarantine, before its good rows go to raw.
//!
//! A run may be killed between the two commits, and the next one may decide otherwise: under
//! another contract, or on a file that was replaced meanwhile. What counts is what was decided
//! when the rows came to raw, so that each row is in one of the two tables.

use std::collections::BTreeSet;

use super::delivery::Delivery;
use super::taking::Decided;
use crate::lake::TableName;
use crate::lake::ids::{self, Ids};
use crate::stages::error::IngestError;
use crate::stages::quarantine::{Quarantine, QuarantinedRow};

/// Digits of the hash of a configuration that fit into a version.
const VERSION_DIGITS: usize = 15;

/// Decisions on files of one arrival date that a table knows.
struct Decisions<'a> {
    ids: &'a Ids,
    deliveries: Vec<ids::Delivery>,
}

impl Delivery<'_> {
    /// Appends the bad rows of each file, once. Those that an ingest left which did not come to
    /// its end are replaced.
    pub(super) async fn quarantine(&self, decided: &[Decided]) -> Result<(), IngestError> {
        let Some(quarantine) = self.open_quarantine(decided).await? else {
            return Ok(());
        };
        let known = self.stage.lake.ids(&quarantine.name, &quarantine.table).await?;
        let (quarantined, in_raw) = (self.decisions(&known), self.decisions(&self.known));
        let mut replaced = BTreeSet::new();
        let mut rows: Vec<QuarantinedRow> = Vec::new();
        let mut commit_ids = Vec::new();
        for file in decided {
            let is_left_over = self.is_left_over(&file.file, &quarantined, &in_raw);
            if is_left_over && in_raw.knows_file(self, &file.file) {
                // Rows of an earlier content of the file cannot be told from those left over.
                if self.is_decided_alike(file, &known) {
                    continue;
                }
                tracing::warn!(
                    file = %file.file, arrival_date = %self.arrival_date,
                    "quarantine also shows rows that an ingest rejected which did not end"
                );
            } else if is_left_over {
                replaced.insert(file.file.as_str());
            } else if file.bad.is_empty() {
                continue;
            }
            rows.extend(file.bad.iter().cloned());
            commit_ids.push(ids::transaction(&file.id, 1));
            commit_ids.push(ids::transaction(self.decided_id(file), self.decided_under()));
        }
        if commit_ids.is_empty() {
            return Ok(());
        }
        let appended = quarantine
            .append_rejected(self.stage, self.arrival_date, &rows, &replaced, commit_ids)
            .await;
        appended.map_err(IngestError::of_quarantine)
    }

    /// The table, where there is something to append to it or it may hold something left over.
    async fn open_quarantine(
        &self,
        decided: &[Decided],
    ) -> Result<Option<Quarantine>, IngestError> {
        if decided.iter().any(|file| !file.bad.is_empty()) {
            return Ok(Some(Quarantine::open(self.stage).await?));
        }
        let name = TableName::Quarantine(self.stage.feed.name.clone());
        let table = self.stage.lake.load(&name).await?;
        Ok(table.map(|table| Quarantine { name, table }))
    }

    fn decisions<'a>(&self, ids: &'a Ids) -> Decisions<'a> {
        Decisions { deliveries: ids.deliveries_of(&self.stage.feed.name, self.arrival_date), ids }
    }

    /// Whether quarantine knows of a decision on the file of which raw does not.
    fn is_left_over(
        &self,
        file: &str,
        quarantined: &Decisions<'_>,
        in_raw: &Decisions<'_>,
    ) -> bool {
        let mut deliveries = quarantined.deliveries.iter().filter(|of| of.file == file);
        deliveries.any(|delivery| !in_raw.ids.contains(&delivery.id))
            || quarantined.rejections(self, file).iter().any(|hash| {
                let feed = &self.stage.feed.name;
                !in_raw.ids.contains(&ids::rejected(feed, self.arrival_date, file, hash))
            })
    }

    fn is_decided_alike(&self, file: &Decided, quarantined: &Ids) -> bool {
        quarantined.contains(&file.id)
            && quarantined.version(&self.decided_id(file)) == Some(self.decided_under())
    }

    fn decided_id(&self, file: &Decided) -> String {
        let feed = &self.stage.feed.name;
        ids::decided(feed, self.arrival_date, &file.file, &file.content_hash)
    }

    /// The configuration, as the version of an id.
    fn decided_under(&self) -> i64 {
        let digits = self.stage.config_hash.get(..VERSION_DIGITS).unwrap_or_default();
        i64::from_str_radix(digits, 16).unwrap_or_default()
    }
}

impl Decisions<'_> {
    fn knows_file(&self, of: &Delivery<'_>, file: &str) -> bool {
        self.deliveries.iter().any(|delivery| delivery.file == file)
            || !self.rejections(of, file).is_empty()
    }

    fn rejections(&self, of: &Delivery<'_>, file: &str) -> Vec<String> {
        self.ids.rejections_of(&of.stage.feed.name, of.arrival_date, file)
    }
}
