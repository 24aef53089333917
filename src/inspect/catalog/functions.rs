//! `at_version`, `at_time` and `history`.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::history;
use super::tables::{Moment, Tables, external};
use crate::lake::TableName;
use crate::lake::contracts::timestamp_type;

/// Which functions lead into the past.
#[derive(Debug, Clone, Copy)]
pub(super) enum TimeTravel {
    AtVersion,
    AtTime,
}

impl TimeTravel {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AtVersion => "at_version",
            Self::AtTime => "at_time",
        }
    }

    pub(super) fn of(self, tables: &Arc<Tables>) -> Travel {
        Travel { function: self, tables: Arc::clone(tables) }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::AtVersion => "at_version('ods.events', 12)",
            Self::AtTime => "at_time('ods.events', '2026-01-03T00:00:00Z')",
        }
    }

    fn moment(self, value: &ScalarValue) -> Option<Moment> {
        match self {
            Self::AtVersion => match value.cast_to(&DataType::UInt64).ok()? {
                ScalarValue::UInt64(Some(version)) => Some(Moment::Version(version)),
                _ => None,
            },
            Self::AtTime => match value.cast_to(&timestamp_type()).ok()? {
                ScalarValue::TimestampMicrosecond(Some(micros), _) => Some(Moment::Time(micros)),
                _ => None,
            },
        }
    }
}

#[derive(Debug)]
pub(super) struct Travel {
    function: TimeTravel,
    tables: Arc<Tables>,
}

impl TableFunctionImpl for Travel {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let usage = self.function.usage();
        let [Expr::Literal(table, _), Expr::Literal(moment, _)] = args.exprs() else {
            return plan_err!("call it as {usage}");
        };
        let name = named(&self.tables, table, usage)?;
        let Some(moment) = self.function.moment(moment) else {
            return plan_err!("{moment} is no point in the past of a table; call it as {usage}");
        };
        // A plan needs the columns, and a function of a plan cannot wait for the log.
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(self.tables.past(&name, moment))
        })
    }
}

#[derive(Debug)]
pub(super) struct History(Arc<Tables>);

impl History {
    pub(super) fn of(tables: &Arc<Tables>) -> Self {
        Self(Arc::clone(tables))
    }
}

impl TableFunctionImpl for History {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let usage = "history('ods.events')";
        let [Expr::Literal(table, _)] = args.exprs() else {
            return plan_err!("call it as {usage}");
        };
        let name = named(&self.0, table, usage)?;
        Ok(Arc::new(Commits { tables: Arc::clone(&self.0), name, schema: history::schema() }))
    }
}

fn named(tables: &Tables, table: &ScalarValue, usage: &str) -> Result<TableName> {
    let Some(Some(text)) = table.try_as_str() else {
        return plan_err!("{table} is no name of a table; call it as {usage}");
    };
    match tables.named(text) {
        Some(name) => Ok(name.clone()),
        None => {
            let known: Vec<String> =
                tables.all().map(|(reference, _)| reference.to_string()).collect();
            plan_err!("there is no table '{text}'; there are {}", known.join(", "))
        }
    }
}

/// The commits of one table, read when they are asked for.
#[derive(Debug)]
struct Commits {
    tables: Arc<Tables>,
    name: TableName,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for Commits {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let commits = self.tables.lake().commits(&self.name).await.map_err(external)?;
        let batch = history::batch(&commits)?;
        let schema = Arc::clone(&self.schema);
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], schema, projection.cloned())?)
    }
}
