//! Quarantine follows ODS after a reprocess, in a commit of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::NaiveDate;

use crate::lake::{TableName, ids};
use crate::stages::build::{open_ods, open_raw};
use crate::stages::deliveries::{Files, read_deliveries};
use crate::stages::error::BuildError;
use crate::stages::mapping::CompiledBook;
use crate::stages::quarantine::{Quarantine, withdrawn_files};
use crate::stages::{StageContext, replanning, rules};

/// Quarantine as the last reprocess left it: done again where that was cut short between its
/// commit to ODS and the one to quarantine.
pub async fn finish_quarantine(stage: &StageContext<'_>) -> Result<(), BuildError> {
    replanning(BuildError::is_conflict, async || finish_quarantine_once(stage).await).await
}

async fn finish_quarantine_once(stage: &StageContext<'_>) -> Result<(), BuildError> {
    let feed = &stage.feed.name;
    let ods_name = TableName::Ods(feed.clone());
    let Some(ods) = stage.lake.load(&ods_name).await? else {
        return Ok(());
    };
    let ods_ids = stage.lake.ids(&ods_name, &ods).await?;
    let Some(done) = ods_ids.version(&ids::reprocess(feed)) else {
        return Ok(());
    };
    let quarantine = Quarantine::open(stage).await?;
    let known = stage.lake.ids(&quarantine.name, &quarantine.table).await?;
    if known.version(&ids::reprocess(feed)) == Some(done) {
        return Ok(());
    }
    let (raw_name, raw) = open_raw(stage).await?;
    let raw_ids = stage.lake.ids(&raw_name, &raw).await?;
    let (_, _, book) = open_ods(stage).await?;
    let context = stage.engine.context(rules::zone(&book));
    let stored = rules::stored_attributes(&ods_name, &ods)?;
    let compiled = Arc::new(CompiledBook::compile(&context, feed, &book, &stored)?);
    let removed_through = raw_ids.removed_through(feed);
    let built = ods_ids.built_dates(feed);
    let dates: BTreeSet<NaiveDate> = raw_ids
        .delivery_dates(feed)
        .into_iter()
        .filter(|(date, deliveries)| built.get(date) == Some(deliveries))
        .map(|(date, _)| date)
        .filter(|date| removed_through.is_none_or(|gone| *date > gone))
        .collect();
    let read = read_deliveries(stage, &context, &raw, &book, &compiled, &dates, Files::All).await?;
    let id = ids::transaction(ids::reprocess(feed), done);
    let withdrawn = withdrawn_files(feed, &dates, &raw_ids);
    quarantine.replace_build_rows(stage, &context, &withdrawn, &read.rejected, vec![id]).await
}
