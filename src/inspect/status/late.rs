//! How many events come after their date.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};
use chrono::{Days, NaiveDate};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use serde::Serialize;
use std::sync::Arc;

use super::super::columns::Columns;
use super::super::rows_of;
use crate::config::FeedConfig;
use crate::engine::{Engine, queries};
use crate::lake::contracts::UPDATED_AT;
use crate::lake::{Lake, LakeError, TableName};
use crate::stages::events::date32;

/// Arrival dates that are looked at.
const LAST_DATES: usize = 7;

/// Events that an arrival date brought.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LateShare {
    /// The arrival date.
    pub arrival_date: NaiveDate,
    /// Events of it, of dates within the update depth.
    pub events: i64,
    /// Those of an earlier event date.
    pub late: i64,
    /// Their share, 0 to 1.
    pub share: f64,
}

/// The late events of the last arrival dates built. Only the event dates that they may have brought
/// are read.
pub(super) async fn shares(
    lake: &Lake,
    engine: &Engine,
    feed: &FeedConfig,
    built: &BTreeMap<NaiveDate, i64>,
) -> Result<Vec<LateShare>, LakeError> {
    let name = TableName::Ods(feed.name.clone());
    let dates: Vec<NaiveDate> = built.keys().rev().take(LAST_DATES).copied().collect();
    let (Some(last), Some(first)) = (dates.first(), dates.last()) else {
        return Ok(vec![]);
    };
    let context = engine.context(chrono_tz::Tz::UTC);
    let Some(ods) = rows_of(lake, &context, &name).await? else {
        return Ok(vec![]);
    };
    let depth = Days::new(feed.window.update_depth_days.into());
    let from_pdate = first.checked_sub_days(depth).unwrap_or(*first);
    let date = |date: NaiveDate| ScalarValue::Date32(Some(date32(date)));
    let rows = async {
        context.register_table("ods", ods.into_view())?;
        let parameters =
            vec![("from_pdate", date(from_pdate)), ("first", date(*first)), ("last", date(*last))];
        let frame = context.sql(queries::LATE_EVENTS).await?;
        frame.with_param_values(parameters)?.collect().await
    };
    let batches =
        rows.await.map_err(|source: DataFusionError| LakeError::read(&name, source.into()))?;
    let schema = Arc::new(Schema::new(vec![
        Field::new(UPDATED_AT, DataType::Date32, true),
        Field::new("events", DataType::Int64, true),
        Field::new("late", DataType::Int64, true),
    ]));
    let mut shares = Vec::new();
    for batch in &batches {
        let columns = Columns::of(&name, batch, &schema)?;
        shares.extend((0..batch.num_rows()).filter_map(|row| {
            let (events, late) = (columns.integer("events", row)?, columns.integer("late", row)?);
            let arrival_date = columns.date(UPDATED_AT, row)?;
            Some(LateShare { arrival_date, events, late, share: share(late, events) })
        }));
    }
    Ok(shares)
}

#[expect(clippy::cast_precision_loss, reason = "a share of fewer than 2^52 events")]
fn share(late: i64, events: i64) -> f64 {
    late as f64 / events.max(1) as f64
}
