//! The relations that a check may read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Date32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::NaiveDate;
use datafusion::catalog::{MemTable, MemoryCatalogProvider, MemorySchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use super::error::CheckError;
use crate::config::checks::{Check, CheckedLayer};
use crate::config::{FeedConfig, client_and_name};
use crate::lake::contracts;
use crate::lake::rules::RuleBook;
use crate::lake::{Lake, TableName};
use crate::stages::StageContext;
use crate::stages::error::BuildError;
use crate::stages::events::date32;
use crate::stages::mapping::{CompiledBook, named_columns};

/// A relation, as the engine reads it.
pub(crate) type Relation = Arc<dyn TableProvider>;

/// What a check of one feed reads.
pub(crate) struct Relations<'a> {
    pub(crate) feed: &'a FeedConfig,
    /// Every feed of the configuration.
    pub(crate) feeds: &'a [FeedConfig],
    /// Where the tables are; without one they are empty, for a check that is only planned.
    pub(crate) lake: Option<&'a Lake>,
    /// `rows`, `raw` and `ods` where they are other than the newest versions in the lake.
    pub(crate) own: BTreeMap<&'static str, Relation>,
    /// The session rules, for `session_rules`.
    pub(crate) book: &'a RuleBook,
}

/// Layers and feeds as a query names them: `ods.orders`, `acme.ods.orders`.
struct LayerOf<'n> {
    client: Option<&'n str>,
    layer: &'n str,
    feed: &'n str,
}

impl<'a> Relations<'a> {
    /// The newest versions of the tables in the lake.
    pub(crate) fn of(stage: &StageContext<'a>, book: &'a RuleBook) -> Self {
        let own = BTreeMap::new();
        Self { feed: stage.feed, feeds: stage.feeds, lake: Some(stage.lake), own, book }
    }

    /// Makes every relation that the check reads known to `context`.
    pub(crate) async fn register(
        &self,
        context: &SessionContext,
        check: &Check,
    ) -> Result<(), BuildError> {
        let unplannable = |source| self.unplannable(check, source);
        for reference in self.references(context, check)? {
            let Some(relation) = self.relation(context, check, &reference).await? else {
                return Err(self.unknown(check, &reference).into());
            };
            make_room(context, &reference).map_err(unplannable)?;
            context.register_table(reference, relation).map_err(unplannable)?;
        }
        Ok(())
    }

    fn references(
        &self,
        context: &SessionContext,
        check: &Check,
    ) -> Result<Vec<TableReference>, BuildError> {
        let statement =
            datafusion::sql::parser::Statement::Statement(Box::new(check.query.clone()));
        let references = context.state().resolve_table_references(&statement);
        references.map_err(|source| self.unplannable(check, source))
    }

    /// The feeds whose tables the check reads, by name.
    pub(crate) fn feeds(
        &self,
        context: &SessionContext,
        check: &Check,
    ) -> Result<BTreeSet<String>, BuildError> {
        let references = self.references(context, check)?;
        let layers = references.iter().filter_map(|reference| self.layer(check, reference));
        let feeds = layers.filter_map(|layer| self.feed_of(&layer));
        Ok(feeds.map(|feed| feed.name.clone()).collect())
    }

    async fn relation(
        &self,
        context: &SessionContext,
        check: &Check,
        reference: &TableReference,
    ) -> Result<Option<Relation>, BuildError> {
        if let TableReference::Bare { table } = reference {
            if &**table == "session_rules" {
                return self.session_rules(check).map(Some);
            }
            if let Some(own) = self.own.get(&**table) {
                return Ok(Some(Arc::clone(own)));
            }
        }
        match self.layer(check, reference) {
            Some(layer) => self.of_layer(context, &layer).await,
            None => Ok(None),
        }
    }

    /// What a reference names, if that is a layer of a feed.
    fn layer<'n>(&'n self, check: &'n Check, reference: &'n TableReference) -> Option<LayerOf<'n>> {
        let own = |layer| {
            let (client, feed) = client_and_name(&self.feed.name);
            LayerOf { client, layer, feed }
        };
        Some(match reference {
            TableReference::Bare { table } => match &**table {
                "rows" => own(check.on.as_str()),
                name @ ("raw" | "ods") => own(name),
                other => match check.tables.get(other).map(Vec::as_slice) {
                    Some([layer, feed]) => LayerOf { client: None, layer, feed },
                    Some([client, layer, feed]) => LayerOf { client: Some(client), layer, feed },
                    _ => return None,
                },
            },
            TableReference::Partial { schema, table } => {
                LayerOf { client: None, layer: schema, feed: table }
            }
            TableReference::Full { catalog, schema, table } => {
                LayerOf { client: Some(catalog), layer: schema, feed: table }
            }
        })
    }

    /// The feed's own table in the lake.
    pub(crate) async fn own_table(
        &self,
        context: &SessionContext,
        layer: CheckedLayer,
    ) -> Result<Relation, BuildError> {
        let name = self.feed.name.clone();
        let table = match layer {
            CheckedLayer::Raw => TableName::Raw(name),
            CheckedLayer::Ods => TableName::Ods(name),
        };
        self.table(context, self.feed, table).await
    }

    /// A table of this feed or of another; of a feed that was never built an empty one.
    async fn of_layer(
        &self,
        context: &SessionContext,
        wanted: &LayerOf<'_>,
    ) -> Result<Option<Relation>, BuildError> {
        let Some(feed) = self.feed_of(wanted) else {
            return Ok(None);
        };
        let name = feed.name.clone();
        let table = match wanted.layer {
            "raw" => TableName::Raw(name),
            "ods" => TableName::Ods(name),
            _ => return Ok(None),
        };
        self.table(context, feed, table).await.map(Some)
    }

    async fn table(
        &self,
        context: &SessionContext,
        feed: &FeedConfig,
        name: TableName,
    ) -> Result<Relation, BuildError> {
        let table = match self.lake {
            Some(lake) => lake.load(&name).await?,
            None => None,
        };
        let Some(table) = table else {
            return Ok(Arc::new(EmptyTable::new(columns_of(context, feed, &name)?)));
        };
        let provider = table.table_provider().with_session(Arc::new(context.state())).await;
        provider.map_err(|source| BuildError::Rows { table: name, source: Box::new(source) })
    }

    /// Without a client, the feed of that name of the own client comes first.
    fn feed_of(&self, wanted: &LayerOf<'_>) -> Option<&FeedConfig> {
        let named = |client: Option<&str>| {
            self.feeds.iter().find(|feed| client_and_name(&feed.name) == (client, wanted.feed))
        };
        match wanted.client {
            Some(client) => named(Some(client)),
            None => named(client_and_name(&self.feed.name).0).or_else(|| named(None)),
        }
    }

    /// One row for each entry of the session rules, in force for `from_pdate <= pdate <
    /// before_pdate`.
    fn session_rules(&self, check: &Check) -> Result<Relation, BuildError> {
        let entries = &self.book.sessions;
        let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap_or(NaiveDate::MIN);
        let last = NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or(NaiveDate::MAX);
        let starts = || entries.iter().map(|entry| entry.from.unwrap_or(first));
        let ends = starts().skip(1).chain([last]);
        let rules = || entries.iter().map(|entry| &entry.rules);
        let fields = vec![
            Field::new("from_pdate", DataType::Date32, false),
            Field::new("before_pdate", DataType::Date32, false),
            Field::new("timeout_micros", DataType::Int64, false),
            Field::new("max_duration_micros", DataType::Int64, true),
        ];
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(starts().map(|date| Some(date32(date))).collect::<Date32Array>()),
                Arc::new(ends.map(|date| Some(date32(date))).collect::<Date32Array>()),
                Arc::new(rules().map(|rules| Some(rules.timeout_micros)).collect::<Int64Array>()),
                Arc::new(rules().map(|rules| rules.max_duration_micros).collect::<Int64Array>()),
            ],
        );
        let table = batch
            .map_err(DataFusionError::from)
            .and_then(|batch| MemTable::try_new(schema, vec![vec![batch]]))
            .map_err(|source| self.unplannable(check, source))?;
        Ok(Arc::new(table))
    }

    pub(crate) fn unplannable(&self, check: &Check, source: DataFusionError) -> BuildError {
        let span = source.diagnostic().and_then(|diagnostic| diagnostic.span);
        let line = span.and_then(|span| usize::try_from(span.start.line).ok());
        CheckError::Unplannable {
            feed: self.feed.name.clone(),
            check: check.name.clone(),
            file: check.file.clone(),
            line: line.filter(|line| *line > 0).unwrap_or(check.line),
            source: Box::new(source),
        }
        .into()
    }

    fn unknown(&self, check: &Check, reference: &TableReference) -> CheckError {
        let mut known = vec!["rows".to_owned(), "raw".to_owned(), "ods".to_owned()];
        known.push("session_rules".to_owned());
        for feed in self.feeds {
            let (client, name) = client_and_name(&feed.name);
            let client = client.map(|client| format!("{client}.")).unwrap_or_default();
            known.extend(["raw", "ods"].map(|layer| format!("{client}{layer}.{name}")));
        }
        let relation = match reference.table() {
            name if check.tables.contains_key(name) => check.tables[name].join("."),
            _ => reference.to_string(),
        };
        CheckError::UnknownRelation {
            feed: self.feed.name.clone(),
            check: check.name.clone(),
            relation,
            file: check.file.clone(),
            line: check.line,
            known: known.join(", "),
        }
    }
}

/// The columns of a table of a feed, where it is not there yet.
pub(crate) fn columns_of(
    context: &SessionContext,
    feed: &FeedConfig,
    name: &TableName,
) -> Result<SchemaRef, BuildError> {
    match name {
        TableName::Raw(_) => raw_schema(feed),
        TableName::Ods(_) => ods_schema(context, feed),
        TableName::Quarantine(_) => Ok(contracts::quarantine()),
        TableName::Sessions(_) => Ok(contracts::sessions(feed.marts.distinct.as_deref())),
        TableName::Files => Ok(contracts::files()),
        TableName::Runs => Ok(contracts::runs()),
    }
}

/// The columns of raw, where it is not there yet.
fn raw_schema(feed: &FeedConfig) -> Result<SchemaRef, BuildError> {
    let columns = match &feed.columns {
        Some(columns) => columns.clone(),
        None => named_columns(&feed.name, &feed.event)?.into_iter().collect(),
    };
    Ok(contracts::raw(&columns))
}

/// The columns of ODS, where it is not there yet.
fn ods_schema(context: &SessionContext, feed: &FeedConfig) -> Result<SchemaRef, BuildError> {
    let book = CompiledBook::compile(context, &feed.name, &RuleBook::first(feed), &[])?;
    Ok(contracts::ods(&book.attributes))
}

/// The catalog and the schema of a reference.
fn make_room(context: &SessionContext, reference: &TableReference) -> Result<(), DataFusionError> {
    let Some(schema) = reference.schema() else {
        return Ok(());
    };
    let default = context.copied_config().options().catalog.default_catalog.clone();
    let catalog_name = reference.catalog().unwrap_or(&default);
    let catalog = match context.catalog(catalog_name) {
        Some(catalog) => catalog,
        None => {
            context.register_catalog(catalog_name, Arc::new(MemoryCatalogProvider::new()));
            match context.catalog(catalog_name) {
                Some(catalog) => catalog,
                None => return Ok(()),
            }
        }
    };
    if catalog.schema(schema).is_none() {
        catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new()))?;
    }
    Ok(())
}
