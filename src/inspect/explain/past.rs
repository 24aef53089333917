//! What events were in earlier versions of ODS, and which runs changed them: the commits of the log
//! from the newest back, each with the rows of the key in the files that it took out and put in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, NaiveDate};
use datafusion::prelude::{ParquetReadOptions, ident};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::derivation::Fact;
use super::error::ExplainError;
use super::explanation::{Before, Change, Gone, Past};
use super::facts::{Key, Ods};
use crate::lake::LakeError;
use crate::lake::committed::{Committed, MovedFile};
use crate::lake::contracts::{PDATE, UPDATED_AT, timestamp_type};
use crate::lake::history::Commit;

/// An event of a key: its time and id.
type EventKey = (i64, String);

/// What a version holds of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    session_start_micros: Option<i64>,
    session_id: Option<String>,
    updated_at: NaiveDate,
}

/// Follows `facts` of a key back to the runs that brought them; of each, what was done to it.
pub(super) async fn follow(
    ods: &Ods,
    key: Key<'_>,
    facts: &[&Fact],
) -> Result<(Past, Vec<Vec<Change>>), ExplainError> {
    let version = ods.table.version().unwrap_or_default();
    let mut changes = vec![Vec::new(); facts.len()];
    let mut open: BTreeMap<EventKey, usize> =
        facts.iter().enumerate().map(|(at, fact)| (event_key(fact), at)).collect();
    let mut gone = None;
    for version in (0..=version).rev() {
        if open.is_empty() {
            break;
        }
        let Some(committed) = Committed::read(&ods.name, &ods.table, version, PDATE).await? else {
            gone = Some(Gone::Log { through: version });
            break;
        };
        let dates: BTreeSet<NaiveDate> = open.values().map(|at| facts[*at].pdate).collect();
        let moved = |files: &[MovedFile]| -> Vec<String> {
            let concerns = |file: &&MovedFile| {
                file.is_change && file.date.is_none_or(|date| dates.contains(&date))
            };
            files.iter().filter(concerns).map(|file| file.path.clone()).collect()
        };
        let (added, removed) = (moved(&committed.added), moved(&committed.removed));
        if added.is_empty() && removed.is_empty() {
            continue;
        }
        let Some(after) = states(ods, key, &added).await? else {
            gone = Some(Gone::Files { before: version + 1 });
            break;
        };
        let Some(before) = states(ods, key, &removed).await? else {
            gone = Some(Gone::Files { before: version });
            break;
        };
        open.retain(|event, at| {
            let (after, before) = (after.get(event), before.get(event));
            if after.is_some() && after != before {
                changes[*at].push(change(&committed.commit, before));
            }
            after.is_none() || before.is_some()
        });
    }
    let is_complete = open.is_empty();
    Ok((Past { version, is_complete, gone }, changes))
}

fn event_key(fact: &Fact) -> EventKey {
    (fact.timestamp_micros, fact.event_id.clone())
}

fn change(commit: &Commit, before: Option<&State>) -> Change {
    Change {
        version: commit.version,
        stage: commit.stage.clone().or(commit.operation.clone()).unwrap_or_default(),
        run_id: commit.run_id.clone(),
        time: commit.timestamp_micros.and_then(DateTime::from_timestamp_micros),
        before: before.map(|state| Before {
            session_id: state.session_id.clone(),
            session_start: state.session_start_micros.and_then(DateTime::from_timestamp_micros),
            arrival_date: state.updated_at,
        }),
    }
}

/// The events of a key in data files of the table; `None` when one of the files is gone.
async fn states(
    ods: &Ods,
    key: Key<'_>,
    files: &[String],
) -> Result<Option<HashMap<EventKey, State>>, ExplainError> {
    let mut states = HashMap::new();
    if files.is_empty() {
        return Ok(Some(states));
    }
    let store = ods.table.log_store().object_store(None);
    let mut urls = Vec::new();
    for file in files {
        if !is_there(ods, store.as_ref(), file).await? {
            return Ok(None);
        }
        urls.push(format!("{}/{file}", ods.table.table_url().as_str().trim_end_matches('/')));
    }
    let rows = async {
        let frame = ods.context.read_parquet(urls, ParquetReadOptions::default()).await?;
        let columns = columns_of_state();
        let columns = columns.fields().iter().map(|field| ident(field.name()));
        frame.filter(key.condition())?.select(columns.collect::<Vec<_>>())?.collect().await
    };
    for batch in &rows.await.map_err(|source| ods.unread(source))? {
        let columns = ods.columns(batch, &columns_of_state())?;
        states.extend((0..batch.num_rows()).filter_map(|row| {
            let key = (columns.micros("timestamp", row)?, columns.text("event_id", row)?);
            let state = State {
                session_start_micros: columns.micros("session_start", row),
                session_id: columns.text("session_id", row),
                updated_at: columns.date(UPDATED_AT, row)?,
            };
            Some((key, state))
        }));
    }
    Ok(Some(states))
}

async fn is_there(ods: &Ods, store: &dyn ObjectStore, file: &str) -> Result<bool, ExplainError> {
    let found = match Path::parse(file) {
        Ok(path) => store.head(&path).await,
        // Another tool may name a file that lies outside of the table's folder.
        Err(_) => return Ok(false),
    };
    match found {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(source) => Err(LakeError::read(&ods.name, source.into()).into()),
    }
}

fn columns_of_state() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("timestamp", timestamp_type(), true),
        Field::new("event_id", DataType::Utf8, true),
        Field::new("session_start", timestamp_type(), true),
        Field::new("session_id", DataType::Utf8, true),
        Field::new(UPDATED_AT, DataType::Date32, true),
    ]))
}
