//! Whether `sessions/<feed>` is what ODS makes of it, as it is there: the rows of both come in the
//! one stream by key.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, RecordBatch, UInt8Array, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimestampMicrosecondType};
use datafusion::error::DataFusionError;
use deltalake::DeltaTable;

use super::Check;
use super::error::VerifyError;
use super::keys::{Findings, shown};
use super::rows::{SESSION, schema};
use crate::lake::TableName;
use crate::lake::contracts::{PDATE, SESSION_DATE, distinct_column, timestamp_type};
use crate::lake::files::is_unchanged_since;
use crate::reference::ExpectedSession;
use crate::stages::StageContext;
use crate::stages::events::column;
use crate::stages::marts;

/// Name of the check.
const NAME: &str = "sessions";

/// The table as far as it can be compared.
pub(super) enum Sessions {
    /// There is none yet.
    Absent,
    /// It follows that version of ODS, and the one at hand holds other rows.
    Behind(Option<i64>),
    /// It follows a version with the rows of the one at hand.
    Following(Following),
}

/// A table that follows the ODS at hand.
pub(super) struct Following {
    pub(super) name: TableName,
    pub(super) table: DeltaTable,
    /// The attribute whose values are listed.
    pub(super) distinct: Option<String>,
}

impl Sessions {
    /// Opens the table beside the version of ODS at hand.
    pub(super) async fn open(
        stage: &StageContext<'_>,
        ods_name: &TableName,
        ods: &DeltaTable,
    ) -> Result<Self, VerifyError> {
        let name = TableName::Sessions(stage.feed.name.clone());
        let Some(table) = stage.lake.load(&name).await? else {
            return Ok(Self::Absent);
        };
        let follows = marts::follows(stage, &name, &table).await?;
        let held = follows.and_then(|follows| u64::try_from(follows).ok());
        let (Some(held), Some(definition)) = (held, marts::Definition::read(&table)) else {
            return Ok(Self::Behind(follows));
        };
        if definition.is_of(ods_name, ods)?
            && is_unchanged_since(ods_name, ods, PDATE, held).await?
        {
            let distinct = definition.distinct;
            return Ok(Self::Following(Following { name, table, distinct }));
        }
        Ok(Self::Behind(follows))
    }

    pub(super) fn following(&self) -> Option<&Following> {
        match self {
            Self::Following(following) => Some(following),
            Self::Absent | Self::Behind(_) => None,
        }
    }

    /// What the keys tell of it.
    pub(super) fn check(&self, findings: &Findings) -> Check {
        let Findings { sessions, wrong_sessions, .. } = findings;
        match (self, &wrong_sessions.first) {
            (Self::Absent, _) => {
                Check::passed(NAME, "there is no such table; the next run makes it")
            }
            (Self::Behind(follows), _) => {
                let follows =
                    follows.map_or("no version".to_owned(), |version| format!("version {version}"));
                let detail = format!(
                    "not compared, for they follow {follows} of ods; the next run brings them up to date"
                );
                Check::passed(NAME, detail)
            }
            (Self::Following(_), None) => {
                Check::passed(NAME, format!("{sessions} sessions are what ods makes of them"))
            }
            (Self::Following(_), Some(((user, product), said))) => {
                let wrong = wrong_sessions.rows;
                let detail = format!(
                    "{wrong} differ from ods ({sessions} there), such as that of user {user}, product {product}, {said}"
                );
                Check::failed(NAME, detail)
            }
        }
    }
}

/// Rows of the table in the columns of the stream: the whole row as JSON in place of attributes.
pub(super) fn rows_of(
    sessions: &RecordBatch,
    distinct: Option<&str>,
) -> Result<RecordBatch, DataFusionError> {
    let read = sessions_of(sessions, distinct)?;
    let texts = read.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>();
    let texts = texts.map_err(|source| DataFusionError::External(Box::new(source)))?;
    let schema = schema();
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef, DataFusionError> {
        let given = match field.name().as_str() {
            "timestamp" => column(sessions, "session_start")?,
            "pdate" => column(sessions, SESSION_DATE)?,
            "user_id" | "product_code" => column(sessions, field.name())?,
            "attributes" => {
                return Ok(Arc::new(BinaryArray::from_iter_values(&texts)));
            }
            "role" => return Ok(Arc::new(UInt8Array::from(vec![SESSION; read.len()]))),
            _ => return Ok(new_null_array(field.data_type(), read.len())),
        };
        Ok(cast(given, field.data_type())?)
    });
    let columns = columns.collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
}

fn sessions_of(
    batch: &RecordBatch,
    distinct: Option<&str>,
) -> Result<Vec<ExpectedSession>, DataFusionError> {
    let typed = |name: &str, data_type: &DataType| -> Result<ArrayRef, DataFusionError> {
        Ok(cast(column(batch, name)?, data_type)?)
    };
    let text = |name: &str| {
        Ok::<_, DataFusionError>(typed(name, &DataType::Utf8)?.as_string::<i32>().clone())
    };
    let number = |name: &str| {
        let numbers = typed(name, &DataType::Int64)?;
        Ok::<_, DataFusionError>(numbers.as_primitive::<Int64Type>().clone())
    };
    let time = |name: &str| {
        let times = typed(name, &timestamp_type())?;
        Ok::<_, DataFusionError>(times.as_primitive::<TimestampMicrosecondType>().clone())
    };
    let date = |name: &str| {
        let dates = typed(name, &DataType::Date32)?;
        Ok::<_, DataFusionError>(dates.as_primitive::<Date32Type>().clone())
    };
    let lists = |name: &str| -> Result<Vec<Vec<String>>, DataFusionError> {
        let lists = column(batch, name)?;
        let lists = lists.as_list_opt::<i32>().ok_or_else(|| {
            DataFusionError::Internal(format!("{name} is {}, no list", lists.data_type()))
        })?;
        let list = |list: Option<ArrayRef>| -> Result<Vec<String>, DataFusionError> {
            let Some(list) = list else { return Ok(vec![]) };
            let texts = cast(&list, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            Ok(texts.iter().map(|text| text.unwrap_or_default().to_owned()).collect())
        };
        lists.iter().map(list).collect()
    };
    let (users, products, ids) = (text("user_id")?, text("product_code")?, text("session_id")?);
    let (firsts, lasts) = (text("first_event_id")?, text("last_event_id")?);
    let (starts, ends) = (time("session_start")?, time("session_end")?);
    let (durations, events) = (number("duration_ms")?, number("events")?);
    let actions = number("user_actions")?;
    let (first_arrivals, last_arrivals) = (date("first_arrival_date")?, date("last_arrival_date")?);
    let dates = date(SESSION_DATE)?;
    let mut event_ids = lists("event_ids")?;
    let mut values = match distinct {
        Some(attribute) => lists(&distinct_column(attribute))?,
        None => vec![vec![]; batch.num_rows()],
    };
    let own = |texts: &arrow::array::StringArray, row: usize| texts.value(row).to_owned();
    let rows = (0..batch.num_rows()).map(|row| ExpectedSession {
        user_id: own(&users, row),
        product_code: own(&products, row),
        session_start_micros: starts.value(row),
        session_id: own(&ids, row),
        session_end_micros: ends.value(row),
        duration_ms: durations.value(row),
        events: events.value(row),
        user_actions: actions.value(row),
        first_event_id: own(&firsts, row),
        last_event_id: own(&lasts, row),
        event_ids: std::mem::take(&mut event_ids[row]),
        distinct: std::mem::take(&mut values[row]),
        first_arrival: first_arrivals.value(row),
        last_arrival: last_arrivals.value(row),
        session_date: dates.value(row),
    });
    Ok(rows.collect())
}

/// Each session of a key that is not what it must be, in words.
pub(super) fn differences(expected: &[ExpectedSession], found: &[ExpectedSession]) -> Vec<String> {
    let mut starts: BTreeMap<i64, (Option<&ExpectedSession>, Vec<&ExpectedSession>)> =
        BTreeMap::new();
    for session in expected {
        starts.entry(session.session_start_micros).or_default().0 = Some(session);
    }
    for session in found {
        starts.entry(session.session_start_micros).or_default().1.push(session);
    }
    let said =
        |(start, (expected, found)): (i64, (Option<&ExpectedSession>, Vec<&ExpectedSession>))| {
            let what = match (expected, found.as_slice()) {
                (Some(expected), [found]) if expected == *found => return None,
                (Some(expected), [found]) => columns(expected, found),
                (Some(_), []) => "missing".to_owned(),
                (None, _) => "none of ods".to_owned(),
                (Some(_), _) => "there more than once".to_owned(),
            };
            Some(format!("{}: {what}", shown(start)))
        };
    starts.into_iter().filter_map(said).collect()
}

/// The columns with other values.
fn columns(expected: &ExpectedSession, found: &ExpectedSession) -> String {
    let values = |session| match serde_json::to_value(session) {
        Ok(serde_json::Value::Object(values)) => values,
        _ => serde_json::Map::new(),
    };
    let found = values(found);
    let differing = values(expected).into_iter().filter_map(|(column, expected)| {
        let found = found.get(&column)?;
        (*found != expected).then(|| format!("{column} {found} where it is {expected}"))
    });
    differing.collect::<Vec<_>>().join(", ")
}
