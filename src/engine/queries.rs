//! The SQL of the flow, one relation per file under `sql/`, and how it is run.

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::prelude::{DataFrame, SessionContext};

use super::EngineError;

/// One relation under `sql/`.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    /// Path of its file.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! query {
    ($constant:ident, $path:literal, $doc:literal) => {
        #[doc = $doc]
        pub const $constant: Query = Query {
            name: concat!("sql/", $path),
            text: include_str!(concat!("../../sql/", $path)),
        };
    };
}

query!(DELIVERED, "sessions/delivered.sql", "Delivered rows beside what ODS knows of them.");
query!(DELIVERY_COUNTS, "sessions/delivery_counts.sql", "New events and duplicates, counted.");
query!(CHANGED_EVENTS, "sessions/changed_events.sql", "New events and better winners.");
query!(SCOPE, "sessions/scope.sql", "Keys to be recomputed, each with its earliest change.");
query!(SCOPE_DATES, "sessions/scope_dates.sql", "Where the context of the whole scope begins.");
query!(CHANGED_ROWS, "sessions/changed_rows.sql", "Rows of ODS that are new or differ.");

impl Query {
    /// Plans the query with its parameters.
    pub async fn plan(
        self,
        context: &SessionContext,
        parameters: Vec<(&str, ScalarValue)>,
    ) -> Result<DataFrame, EngineError> {
        let frame = context.sql(self.text).await.map_err(EngineError::query(self.name))?;
        if parameters.is_empty() {
            return Ok(frame);
        }
        frame.with_param_values(parameters).map_err(EngineError::query(self.name))
    }

    /// Runs the query to its end.
    pub async fn collect(
        self,
        context: &SessionContext,
        parameters: Vec<(&str, ScalarValue)>,
    ) -> Result<Vec<RecordBatch>, EngineError> {
        let frame = self.plan(context, parameters).await?;
        frame.collect().await.map_err(EngineError::query(self.name))
    }
}
