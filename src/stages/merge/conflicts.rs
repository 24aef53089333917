//! Examples of conflicting duplicates: which row stays, which does not, and where they differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Field;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, NaiveDate, SecondsFormat};
use serde::Serialize;

use super::date_of_days;
use crate::engine::keyed::{ATTRIBUTES, Key, KeyedBatch};
use crate::stages::sessions::{Conflict, KeyEvent};

/// Examples that one build keeps.
pub(super) const MOST_EXAMPLES: usize = 5;

/// A row that repeats an event with other attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConflictExample {
    /// Whose event.
    pub user_id: String,
    /// Where.
    pub product_code: String,
    /// Which.
    pub event_id: String,
    /// When, RFC 3339 in UTC.
    pub timestamp: String,
    /// Arrival date of the row that ODS holds.
    pub kept_arrival_date: Option<NaiveDate>,
    /// Arrival date of the other.
    pub other_arrival_date: Option<NaiveDate>,
    /// The attributes that differ, as text: what is kept, and what is not; null where missing.
    pub attributes: BTreeMap<String, (Option<String>, Option<String>)>,
}

impl ConflictExample {
    /// In one line, for people.
    pub fn line(&self) -> String {
        let date = |date: Option<NaiveDate>| date.map(|date| date.to_string()).unwrap_or_default();
        let text = |text: &Option<String>| {
            text.as_ref().map_or_else(|| "nothing".to_owned(), |text| format!("{text:?}"))
        };
        let attributes: Vec<String> = self
            .attributes
            .iter()
            .map(|(name, (kept, other))| format!("{name} {} not {}", text(kept), text(other)))
            .collect();
        format!(
            "{} {} {} {}: of {} and {} the first is kept: {}",
            self.user_id,
            self.product_code,
            self.event_id,
            self.timestamp,
            date(self.kept_arrival_date),
            date(self.other_arrival_date),
            attributes.join(", ")
        )
    }

    /// The two rows of `conflict`, which stand in `sources`; nothing where the other row repeats
    /// the kept one behind a third.
    pub(super) fn of(
        key: Key<'_>,
        conflict: &Conflict,
        sources: &[Arc<KeyedBatch>],
        attributes: &[Field],
    ) -> Result<Option<Self>, ArrowError> {
        let text = |event: &KeyEvent, at: usize| -> Result<Option<String>, ArrowError> {
            let column = sources[event.origin.batch].column(ATTRIBUTES + at);
            if column.is_null(event.origin.row) {
                return Ok(None);
            }
            let shown = ArrayFormatter::try_new(column, &FormatOptions::default())?;
            Ok(Some(shown.value(event.origin.row).try_to_string()?))
        };
        let (kept, other) = (&conflict.kept, &conflict.other);
        let mut differing = BTreeMap::new();
        for (at, field) in attributes.iter().enumerate() {
            let values = (text(kept, at)?, text(other, at)?);
            if values.0 != values.1 {
                differing.insert(field.name().clone(), values);
            }
        }
        if differing.is_empty() {
            return Ok(None);
        }
        let instant = DateTime::from_timestamp_micros(kept.timestamp_micros).unwrap_or_default();
        Ok(Some(Self {
            user_id: key.user.to_owned(),
            product_code: key.product.to_owned(),
            event_id: sources[kept.origin.batch].event_id(kept.origin.row).to_owned(),
            timestamp: instant.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            kept_arrival_date: date_of_days(kept.updated_at),
            other_arrival_date: date_of_days(other.updated_at),
            attributes: differing,
        }))
    }
}
