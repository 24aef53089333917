//! The keys of the session browser, and their events as the page unfolds them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::catalog::MemTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{DataFrame, ident};
use futures::StreamExt as _;
use serde::Serialize;

use super::feed::Source;
use super::timeline::{KeyTimeline, Rows, Timelines};
use super::{Asked, MOST_KEYS_OF_USERS, ReportError};
use crate::engine::report_queries;

/// Keys with their events, the users asked for first, then the most active.
#[derive(Debug, Serialize)]
pub(super) struct Browser {
    /// The texts that `event_ids` of a key point to.
    event_ids: Vec<String>,
    keys: Vec<KeyTimeline>,
    /// Keys that were chosen and are not embedded, for want of room.
    keys_left_out: usize,
    /// Users asked for who have no event on these dates.
    unknown_users: Vec<String>,
}

/// A key and how active it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) user_id: String,
    pub(super) product_code: String,
    pub(super) events: i64,
    pub(super) sessions: i64,
}

/// Chooses the keys and reads their events.
pub(super) async fn read(source: &Source<'_>, asked: &Asked) -> Result<Browser, ReportError> {
    let chosen = choose(source, asked).await?;
    let is_known = |user: &&String| chosen.iter().any(|key| key.user_id == **user);
    let unknown_users = asked.users.iter().filter(|user| !is_known(user)).cloned().collect();
    let number_of_keys = chosen.len();
    let failed = |error| source.failed("events_of_keys", error);
    source.register("chosen", Arc::new(relation(&chosen).map_err(failed)?))?;
    let frame = source.query("events_of_keys", report_queries::EVENTS_OF_KEYS).await?;
    let mut timelines = Timelines::new(chosen);
    let mut events = frame.execute_stream().await.map_err(failed)?;
    while let Some(batch) = events.next().await {
        let rows = batch.and_then(|batch| Rows::of(&batch)).map_err(failed)?;
        timelines.push(&rows);
    }
    let (event_ids, keys) = timelines.finish();
    let keys_left_out = number_of_keys - keys.len();
    Ok(Browser { event_ids, keys, keys_left_out, unknown_users })
}

/// The keys of the users asked for, then the most active ones; each once.
async fn choose(source: &Source<'_>, asked: &Asked) -> Result<Vec<Key>, ReportError> {
    let of_users = if asked.users.is_empty() {
        vec![]
    } else {
        let users: Vec<Expr> = asked.users.iter().map(|user| lit(user.as_str())).collect();
        let of_users = ident("user_id").in_list(users, false);
        most_active(source, Some(of_users), MOST_KEYS_OF_USERS).await?
    };
    let mut seen = BTreeSet::new();
    let mut chosen = of_users;
    chosen.extend(most_active(source, None, asked.keys).await?);
    chosen.retain(|key| seen.insert((key.user_id.clone(), key.product_code.clone())));
    Ok(chosen)
}

async fn most_active(
    source: &Source<'_>,
    condition: Option<Expr>,
    limit: usize,
) -> Result<Vec<Key>, ReportError> {
    let failed = |error| source.failed("keys", error);
    let keys = source.context().table("keys").await.map_err(failed)?;
    let asked = |keys: DataFrame| -> Result<DataFrame, DataFusionError> {
        let keys = match condition {
            Some(condition) => keys.filter(condition)?,
            None => keys,
        };
        let by_key = ["user_id", "product_code"].map(|column| ident(column).sort(true, false));
        let order = std::iter::once(ident("events").sort(false, false)).chain(by_key).collect();
        keys.sort(order)?.limit(0, Some(limit))
    };
    let batches = asked(keys).map_err(failed)?.collect().await.map_err(failed)?;
    let keys: Result<Vec<Vec<Key>>, DataFusionError> = batches.iter().map(keys_of).collect();
    keys.map(|keys| keys.concat()).map_err(failed)
}

fn keys_of(batch: &RecordBatch) -> Result<Vec<Key>, DataFusionError> {
    let column = |name: &str, kind: &DataType| -> Result<_, DataFusionError> {
        Ok(cast(batch.column_by_name(name).unwrap_or(batch.column(0)), kind)?)
    };
    let (users, products) =
        (column("user_id", &DataType::Utf8)?, column("product_code", &DataType::Utf8)?);
    let (events, sessions) =
        (column("events", &DataType::Int64)?, column("sessions", &DataType::Int64)?);
    let key = |row: usize| Key {
        user_id: users.as_string::<i32>().value(row).to_owned(),
        product_code: products.as_string::<i32>().value(row).to_owned(),
        events: events.as_primitive::<Int64Type>().value(row),
        sessions: sessions.as_primitive::<Int64Type>().value(row),
    };
    Ok((0..batch.num_rows()).map(key).collect())
}

/// `chosen` of `sql/report/events_of_keys.sql`: the rank is the place among the keys, from 0.
fn relation(keys: &[Key]) -> Result<MemTable, DataFusionError> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("rank", DataType::Int64, false),
        Field::new("user_id", DataType::Utf8, false),
        Field::new("product_code", DataType::Utf8, false),
    ]));
    let users: StringArray = keys.iter().map(|key| Some(key.user_id.as_str())).collect();
    let products: StringArray = keys.iter().map(|key| Some(key.product_code.as_str())).collect();
    let ranks: Int64Array = (0_i64..).take(keys.len()).collect();
    let columns = vec![Arc::new(ranks) as _, Arc::new(users) as _, Arc::new(products) as _];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    MemTable::try_new(schema, vec![vec![batch]])
}
