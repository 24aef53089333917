//! One commit of new files: their rows into raw, what of them is rejected into quarantine.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use deltalake::DeltaTable;
use deltalake::kernel::{Add, Transaction};

use super::Plan;
use super::contract::HeldTo;
use super::reject_folder::RejectFolder;
use super::rejection::RejectedFile;
use super::taking::Decided;
use crate::lake::TableName;
use crate::lake::commits::{self, Change};
use crate::lake::contracts::UPDATED_AT;
use crate::lake::ids::{self, Ids, LatePolicy};
use crate::stages::error::IngestError;
use crate::stages::quarantine::date_predicate;
use crate::stages::{StageContext, StageOutcome};

/// One commit of new files.
pub(super) struct Delivery<'a> {
    pub(super) stage: &'a StageContext<'a>,
    pub(super) name: TableName,
    pub(super) table: DeltaTable,
    pub(super) arrival_date: NaiveDate,
    pub(super) late: LatePolicy,
    pub(super) held_to: HeldTo,
    /// The ids of raw.
    pub(super) known: Ids,
    pub(super) reject_folder: Option<&'a RejectFolder>,
}

impl Delivery<'_> {
    pub(super) async fn append(
        &self,
        plan: &Plan<'_>,
        outcome: &mut StageOutcome,
    ) -> Result<(), IngestError> {
        let mut taken = self.take(&plan.new).await?;
        taken.account(outcome);
        let feed = &self.stage.feed.name;
        self.keep_rejected(plan, &mut taken.rejected_files).await?;
        taken.decided.extend(taken.rejected_files.iter().map(|file| Decided {
            id: ids::rejected(feed, self.arrival_date, &file.file, &file.content_hash),
            file: file.file.clone(),
            content_hash: file.content_hash.clone(),
            bad: vec![file.quarantined()],
        }));
        outcome.rejected_files = taken.rejected_files;
        self.quarantine(&taken.decided).await?;
        let ids = taken.decided.iter().map(|decided| &decided.id).chain(&plan.seen);
        let ids = ids.map(|id| ids::transaction(id, 1)).collect();
        outcome.version_after = Some(self.commit(taken.adds, ids).await?);
        Ok(())
    }

    /// Copies rejected files before their rejection is committed: what is rejected is not looked at
    /// again.
    async fn keep_rejected(
        &self,
        plan: &Plan<'_>,
        rejected: &mut [RejectedFile],
    ) -> Result<(), IngestError> {
        let Some(folder) = self.reject_folder else {
            return Ok(());
        };
        for rejected in rejected {
            let new = plan.new.iter().find(|new| new.file.name == rejected.file);
            if let Some(new) = new.filter(|new| !new.file.is_folder()) {
                let feed = &self.stage.feed.name;
                let copy =
                    RejectFolder::place(feed, self.arrival_date, new.file, &rejected.content_hash);
                folder.keep(new.file, &rejected.content_hash, &copy).await?;
                rejected.copy = Some(folder.shown(&copy));
            }
        }
        Ok(())
    }

    pub(super) async fn commit(
        &self,
        adds: Vec<Add>,
        ids: Vec<Transaction>,
    ) -> Result<u64, IngestError> {
        let read_predicate = Some(date_predicate(UPDATED_AT, &BTreeSet::from([self.arrival_date])));
        let change = Change { adds, ids, read_predicate, ..Change::default() };
        fail::fail_point!("raw_before_commit", |_| std::process::abort());
        let provenance = self.stage.provenance("ingest", vec![]);
        let version = commits::commit(&self.name, &self.table, change, &provenance).await?;
        fail::fail_point!("raw_after_commit", |_| std::process::abort());
        Ok(version)
    }
}
