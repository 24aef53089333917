//! What a reprocess would change, found without changing it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use super::Attempt;
use crate::stages::StageContext;
use crate::stages::deliveries::Deliveries;
use crate::stages::error::BuildError;
use crate::stages::merge::{DateChange, Merged, SessionChanges, date_of_days};
use crate::stages::reprocess::Request;

/// How ODS would differ after a reprocess.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Rows read again: of raw, or of ODS.
    pub rows_read: i64,
    /// Those of raw that do not count, by reason.
    pub quarantined: BTreeMap<String, i64>,
    /// Event dates that would differ.
    pub dates: BTreeMap<NaiveDate, DateChange>,
    /// All of them together.
    pub total: DateChange,
}

/// Runs the pass of a reprocess without its outputs. Nothing is written to the lake.
pub async fn forecast(
    stage: &StageContext<'_>,
    request: Request<'_>,
) -> Result<Forecast, BuildError> {
    let (facts, merged) = compared(stage, request).await?;
    let changes = merged.changes.into_iter().filter(|(_, change)| change.is_any());
    let dates: BTreeMap<NaiveDate, DateChange> =
        changes.filter_map(|(days, change)| Some((date_of_days(days)?, change))).collect();
    let total = dates.values().fold(DateChange::default(), |total, change| total.plus(*change));
    Ok(Forecast { rows_read: facts.rows_read, quarantined: facts.reasons, dates, total })
}

/// How the sessions of the events that a reprocess recomputes would differ. Nothing is written to
/// the lake.
pub async fn session_changes(
    stage: &StageContext<'_>,
    request: Request<'_>,
) -> Result<SessionChanges, BuildError> {
    Ok(compared(stage, request).await?.1.sessions)
}

async fn compared(
    stage: &StageContext<'_>,
    request: Request<'_>,
) -> Result<(Deliveries, Merged), BuildError> {
    let attempt = Attempt::on_built(stage, request).await?;
    let facts = attempt.facts().await?;
    let merged = attempt.merge(&facts.candidates)?.comparing().run().await?;
    Ok((facts, merged))
}
