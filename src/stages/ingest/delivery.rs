//! One commit of new files: their rows into raw, what of them is rejected into quarantine.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use deltalake::DeltaTable;
use deltalake::kernel::{Add, Transaction};

use super::Plan;
use super::taking::Rejected;
use crate::lake::commits::{self, Change};
use crate::lake::contracts;
use crate::lake::files::FileTotals;
use crate::lake::ids::{self, LatePolicy};
use crate::lake::storage::FileWriter;
use crate::lake::{LakeError, TableName};
use crate::stages::error::IngestError;
use crate::stages::quarantine::{Quarantine, QuarantinedRow, RejectedBy, date_predicate, to_batch};
use crate::stages::{StageContext, StageOutcome};

/// One commit of new files.
pub(super) struct Delivery<'a> {
    pub(super) stage: &'a StageContext<'a>,
    pub(super) name: TableName,
    pub(super) table: DeltaTable,
    pub(super) arrival_date: NaiveDate,
    pub(super) late: LatePolicy,
    pub(super) required: BTreeSet<String>,
}

impl Delivery<'_> {
    pub(super) async fn append(
        &self,
        plan: &Plan<'_>,
        outcome: &mut StageOutcome,
    ) -> Result<(), IngestError> {
        let mut taken = self.take(&plan.new).await?;
        for rejected in &taken.rejected {
            *outcome.quarantined.entry(rejected.row.reason.clone().into_owned()).or_default() += 1;
        }
        outcome.read = taken.read;
        outcome.files.extend(taken.files);
        outcome.rows_new = Some(taken.rows);
        outcome.rows_read = Some(taken.rows + outcome.rows_quarantined());
        outcome.added = FileTotals::of_adds(&taken.adds);
        let feed = &self.stage.feed.name;
        for file in &taken.rejected_files {
            let id = ids::rejected(feed, self.arrival_date, &file.file, &file.content_hash);
            taken.rejected.push(Rejected { id: id.clone(), row: file.quarantined() });
            taken.ids.push(id);
        }
        outcome.rejected_files = taken.rejected_files;
        self.quarantine(&taken.rejected).await?;
        let ids = taken.ids.iter().chain(&plan.seen);
        let ids = ids.map(|id| ids::transaction(id, 1)).collect();
        outcome.version_after = Some(self.commit(taken.adds, ids).await?);
        Ok(())
    }

    async fn commit(&self, adds: Vec<Add>, ids: Vec<Transaction>) -> Result<u64, IngestError> {
        let read_predicate = Some(date_predicate(&BTreeSet::from([self.arrival_date])));
        let change = Change { adds, ids, read_predicate, ..Change::default() };
        fail::fail_point!("raw_before_commit", |_| std::process::abort());
        let provenance = self.stage.provenance("ingest", vec![]);
        let version = commits::commit(&self.name, &self.table, change, &provenance).await?;
        fail::fail_point!("raw_after_commit", |_| std::process::abort());
        Ok(version)
    }

    /// What is rejected goes first, each file's once: a crash before the commit to raw repeats
    /// nothing.
    async fn quarantine(&self, rejected: &[Rejected]) -> Result<(), IngestError> {
        if rejected.is_empty() {
            return Ok(());
        }
        let Quarantine { name, table } = Quarantine::open(self.stage).await?;
        let known = self.stage.lake.ids(&name, &table).await?;
        let missing: Vec<&Rejected> =
            rejected.iter().filter(|record| !known.contains(&record.id)).collect();
        let deliveries: BTreeSet<&str> = missing.iter().map(|record| record.id.as_str()).collect();
        let rows: Vec<QuarantinedRow> = missing.iter().map(|record| record.row.clone()).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let batch = to_batch(&rows, self.arrival_date, RejectedBy::Ingest)
            .map_err(|source| LakeError::Rows { table: name.clone(), source })?;
        let mut writer = FileWriter::new(&name, &table, &contracts::quarantine())?;
        writer.write(&batch).await?;
        let change = Change {
            adds: writer.close().await?,
            ids: deliveries.into_iter().map(|id| ids::transaction(id, 1)).collect(),
            read_predicate: Some(date_predicate(&BTreeSet::from([self.arrival_date]))),
            ..Change::default()
        };
        let provenance = self.stage.provenance("ingest", vec![]);
        fail::fail_point!("raw_quarantine_before_commit", |_| std::process::abort());
        commits::commit(&name, &table, change, &provenance).await?;
        fail::fail_point!("raw_quarantine_after_commit", |_| std::process::abort());
        Ok(())
    }
}
