//! The table `sessions/<feed>` of a workspace.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};
use sessionlake::lake::{TableName, contracts};
use sessionlake::reference::{ExpectedSession, expected_sessions};

use super::workspace::{Workspace, texts};

fn table() -> TableName {
    TableName::Sessions("events".to_owned())
}

impl Workspace {
    /// Sessions of the feed `events`, in the order of the reference.
    pub fn sessions(&self, distinct: Option<&str>) -> Vec<ExpectedSession> {
        let batches = self.rows(&table());
        let rows = batches.iter().flat_map(|batch| session_rows(batch, distinct));
        let mut rows: Vec<ExpectedSession> = rows.collect();
        rows.sort();
        rows
    }

    /// Sessions of the feed `events` are what the reference makes of ODS as it is.
    pub fn assert_sessions_follow(&self) {
        let found = self.sessions(None);
        let expected = expected_sessions(&self.ods(&[]), None);
        assert!(found == expected, "expected:\n{expected:#?}\nfound:\n{found:#?}");
        if !found.is_empty() {
            self.assert_sessions_sorted();
        }
    }

    /// Every data file of sessions says that it is sorted by key, and is.
    pub fn assert_sessions_sorted(&self) {
        self.assert_files_sorted(&table(), &contracts::SESSION_SORT_KEY);
    }
}

/// Rows of sessions as the reference gives them.
pub fn session_rows(batch: &RecordBatch, distinct: Option<&str>) -> Vec<ExpectedSession> {
    let text = |name: &str| -> Vec<String> {
        texts(batch, name).into_iter().map(Option::unwrap).collect()
    };
    let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}"));
    let micros = |name: &str| column(name).as_primitive::<TimestampMicrosecondType>();
    let number = |name: &str| column(name).as_primitive::<Int64Type>();
    let day = |name: &str| column(name).as_primitive::<Date32Type>();
    let list = |name: &str, row: usize| -> Vec<String> {
        let values = column(name).as_list::<i32>().value(row);
        values.as_string::<i32>().iter().map(|value| value.unwrap().to_owned()).collect()
    };
    let (users, products, ids) = (text("user_id"), text("product_code"), text("session_id"));
    let (firsts, lasts) = (text("first_event_id"), text("last_event_id"));
    (0..batch.num_rows())
        .map(|row| ExpectedSession {
            user_id: users[row].clone(),
            product_code: products[row].clone(),
            session_start_micros: micros("session_start").value(row),
            session_id: ids[row].clone(),
            session_end_micros: micros("session_end").value(row),
            duration_ms: number("duration_ms").value(row),
            events: number("events").value(row),
            user_actions: number("user_actions").value(row),
            first_event_id: firsts[row].clone(),
            last_event_id: lasts[row].clone(),
            event_ids: list("event_ids", row),
            distinct: distinct
                .map(|name| list(&contracts::distinct_column(name), row))
                .unwrap_or_default(),
            first_arrival: day("first_arrival_date").value(row),
            last_arrival: day("last_arrival_date").value(row),
            session_date: day("session_date").value(row),
        })
        .collect()
}
