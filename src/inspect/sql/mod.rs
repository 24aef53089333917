//! SQL on a lake: statements in, rows out.

mod error;
mod guard;
mod rows;
pub mod script;

use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::common::utils::quote_identifier;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion_cli::exec::exec_from_commands;
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use datafusion_cli::print_options::{MaxRows, PrintOptions};

pub use error::{Place, SqlError, StatementError};
pub use guard::{Access, Refusal};
pub use rows::{Format, Printed, Rows};

use super::catalog::{Catalog, LAYERS, ROOT_CATALOG, ROOT_SCHEMA};
use crate::config::{Config, FeedConfig, client_and_name, nearest};
use crate::error::JobError;

/// How the DataFusion CLI prints what is left to it.
pub fn cli_options(format: Format) -> PrintOptions {
    PrintOptions {
        format: format.of_cli(),
        quiet: true,
        maxrows: MaxRows::Unlimited,
        color: false,
        instrumented_registry: Arc::new(InstrumentedObjectStoreRegistry::new()),
    }
}

/// The statements of one process.
pub struct Session {
    catalog: Catalog,
    access: Access,
    feeds: Vec<String>,
}

impl Session {
    /// A session on the lake of a configuration; the tables of `own` are known by their layer
    /// alone. Nothing is read before a statement needs it.
    pub fn open(
        config: &Config,
        own: Option<&FeedConfig>,
        access: Access,
    ) -> Result<Self, JobError> {
        let feeds = config.feeds.iter().map(|feed| feed.name.clone()).collect();
        Ok(Self { catalog: Catalog::open(config, own)?, access, feeds })
    }

    /// Every table as a statement names it, those that this session made included.
    pub fn tables(&self) -> Vec<String> {
        let mut names: Vec<String> = self.catalog.tables().map(|(name, _)| name).collect();
        let root = self.context().catalog(ROOT_CATALOG).and_then(|root| root.schema(ROOT_SCHEMA));
        let of_root = root.map(|schema| schema.table_names()).unwrap_or_default();
        names.extend(of_root.iter().map(|name| quote_identifier(name).into_owned()));
        names.sort();
        names.dedup();
        names
    }

    /// Where statements are asked.
    pub fn context(&self) -> &SessionContext {
        self.catalog.context()
    }

    /// Runs one statement on the newest versions of what it names. Its rows come as they are
    /// found; dropping them ends the work. What the DataFusion CLI prints by itself, the count of
    /// rows copied, is printed in `format`.
    pub async fn ask(&self, sql: &str, format: Format) -> Result<Rows, StatementError> {
        self.catalog.begin();
        let state = self.context().state();
        let dialect = state.config().options().sql_parser.dialect;
        let statement =
            state.sql_to_statement(sql, &dialect).map_err(|source| self.failed(source))?;
        let plan = match state.statement_to_plan(statement.clone()).await {
            Ok(plan) => plan,
            Err(source) => return Err(self.unplannable(&statement, source)),
        };
        let refusal = guard::refusal(&plan, &self.catalog, self.access);
        if let Some(refusal) = refusal.map_err(|source| self.failed(source))? {
            return Err(refusal.into());
        }
        match plan {
            LogicalPlan::Copy(_) | LogicalPlan::Ddl(DdlStatement::CreateExternalTable(_)) => {
                self.reach_out(sql, format).await.map_err(|source| self.failed(source))
            }
            plan => self.run(plan).await.map_err(|source| self.failed(source)),
        }
    }

    async fn run(&self, plan: LogicalPlan) -> Result<Rows, DataFusionError> {
        let frame = self.context().execute_logical_plan(plan).await?;
        Ok(Rows::of(frame.execute_stream().await?))
    }

    /// A statement that names another store; the DataFusion CLI opens it, and prints the count.
    async fn reach_out(&self, sql: &str, format: Format) -> Result<Rows, DataFusionError> {
        let options = cli_options(format);
        exec_from_commands(self.context(), vec![sql.to_owned()], &options).await?;
        Ok(Rows::none())
    }

    /// Why a statement failed, in the words of the lake where the lake is why.
    pub fn failed(&self, source: DataFusionError) -> StatementError {
        let source = match source {
            DataFusionError::External(inner) => match inner.downcast::<JobError>() {
                Ok(error) => return StatementError::Lake(error),
                Err(inner) => DataFusionError::External(inner),
            },
            DataFusionError::Context(_, inner) if matches!(&*inner, DataFusionError::External(of) if of.is::<JobError>()) =>
            {
                return self.failed(*inner);
            }
            source => source,
        };
        // The reader of files passes on no more than what the store said.
        let message = source.to_string();
        let lost = message.contains("not found").then(|| self.catalog.travelled(&message));
        match lost.flatten() {
            Some((table, version)) => {
                StatementError::Removed { table, version, source: Box::new(source) }
            }
            None => StatementError::Query(Box::new(source)),
        }
    }

    fn unplannable(&self, statement: &Statement, source: DataFusionError) -> StatementError {
        let state = self.context().state();
        let references = state.resolve_table_references(statement).unwrap_or_default();
        let is_function =
            |reference: &TableReference| state.table_functions().contains_key(reference.table());
        let is_unknown = |reference: &&TableReference| {
            !is_function(reference)
                && !matches!(self.context().table_exist((*reference).clone()), Ok(true))
        };
        match references.iter().find(is_unknown) {
            Some(unknown) if source.to_string().contains("not found") => self.unknown(unknown),
            _ => self.failed(source),
        }
    }

    fn unknown(&self, reference: &TableReference) -> StatementError {
        let name = reference.to_string();
        if LAYERS.contains(&&*name) {
            let feeds = self.feeds.iter().filter(|feed| client_and_name(feed).1 != name);
            let feeds = feeds.cloned().collect::<Vec<_>>().join(", ");
            return StatementError::WhichFeed { layer: name, feeds };
        }
        let known: Vec<String> = self.catalog.tables().map(|(name, _)| name).collect();
        let suggestion = nearest(&name, known.iter().map(String::as_str)).map(ToOwned::to_owned);
        StatementError::UnknownTable { name, suggestion, known: known.join(", ") }
    }
}
