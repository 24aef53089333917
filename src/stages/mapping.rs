//! A feed's mapping and session rules, compiled: every expression parsed and type-checked
//! against the columns it may name, before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono_tz::Tz;
use datafusion::prelude::SessionContext;

use super::error::BuildError;
use crate::config::checks::CheckedLayer;
use crate::config::{EventMapping, RowCheck, SessionRules};
use crate::engine::expressions::{Expression, ExpressionError, Origin};
use crate::engine::identifiers::columns_of;
use crate::lake::contracts::{RAW_COLUMNS, timestamp_type};
use crate::lake::rules::{MappingEntry, RuleBook};

/// Every entry of a rule book, ready to run.
#[derive(Debug)]
pub struct CompiledBook {
    /// The zone of event dates, the same for all entries.
    pub zone: Tz,
    /// By arrival date, as in [`RuleBook::mappings`].
    pub mappings: Vec<CompiledMapping>,
    /// By event date, as in [`RuleBook::sessions`].
    pub sessions: Vec<CompiledRules>,
    /// Attribute columns of ODS, in the order in which the mappings first named them.
    pub attributes: Vec<Field>,
}

/// One way of reading deliveries.
#[derive(Debug)]
pub struct CompiledMapping {
    /// Columns its expressions name, the input of each of them, as text.
    pub input: SchemaRef,
    pub(crate) user_id: Expression,
    pub(crate) product_code: Expression,
    pub(crate) event_id: Expression,
    pub(crate) timestamp: Expression,
    pub(crate) timestamp_format: Option<String>,
    pub(crate) attributes: BTreeMap<String, Expression>,
    /// Checks on the delivered columns.
    pub(crate) raw_checks: Vec<CompiledCheck>,
    /// Checks on the columns of the event.
    pub(crate) event_checks: Vec<CompiledCheck>,
    /// How many days after its event date a row may arrive.
    pub update_depth_days: u32,
    /// How far back a gap between two events is measured, microseconds.
    pub lookback_micros: i64,
}

/// A check that keeps rows out of ODS.
#[derive(Debug)]
pub(crate) struct CompiledCheck {
    pub(crate) reason: Arc<str>,
    pub(crate) message: String,
    pub(crate) predicate: Expression,
}

impl CompiledCheck {
    fn compile(
        context: &SessionContext,
        feed: &str,
        check: &RowCheck,
        columns: &SchemaRef,
    ) -> Result<Self, BuildError> {
        let (key, sql) = (format!("checks.{}", check.name), check.predicate.as_str());
        let predicate = Expression::compile(context, Origin { feed, key: &key, sql }, columns)?;
        match predicate.data_type() {
            DataType::Boolean | DataType::Null => {}
            other => return Err(wrong_type(feed, &key, sql, other, "a boolean")),
        }
        let reason = Arc::from(format!("check_{}", check.name));
        Ok(Self { reason, message: check.message.clone(), predicate })
    }

    /// Those of a mapping that are about `layer`.
    fn all(
        context: &SessionContext,
        feed: &str,
        event: &EventMapping,
        layer: CheckedLayer,
        columns: &SchemaRef,
    ) -> Result<Vec<Self>, BuildError> {
        let of_layer = event.checks.iter().filter(|check| check.on == layer);
        of_layer.map(|check| Self::compile(context, feed, check, columns)).collect()
    }
}

/// One set of session rules.
#[derive(Debug)]
pub struct CompiledRules {
    pub(crate) user_action: Expression,
    pub(crate) opens_on: Expression,
    pub(crate) closes_on: Expression,
    /// As written, for rows that are judged again from ODS.
    pub written: SessionRules,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

impl CompiledBook {
    /// Compiles every entry of `book`. `stored` are the attribute columns that ODS has already:
    /// they stay, in their order, also when no mapping names them any more.
    pub fn compile(
        context: &SessionContext,
        feed: &str,
        book: &RuleBook,
        stored: &[Field],
    ) -> Result<Self, BuildError> {
        let zone = zone_of(feed, book)?;
        let mut attributes = stored.to_vec();
        let mut mappings = Vec::new();
        for entry in &book.mappings {
            let mapping = CompiledMapping::compile(context, feed, entry)?;
            merge_attributes(feed, entry, &mapping, &mut attributes)?;
            mappings.push(mapping);
        }
        let columns = judged_columns(&attributes, false);
        let with_action = judged_columns(&attributes, true);
        for (entry, mapping) in book.mappings.iter().zip(&mut mappings) {
            let on = CheckedLayer::Ods;
            mapping.event_checks = CompiledCheck::all(context, feed, &entry.event, on, &columns)?;
        }
        let sessions = book
            .sessions
            .iter()
            .map(|entry| {
                CompiledRules::compile(context, feed, &entry.rules, &columns, &with_action)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { zone, mappings, sessions, attributes })
    }

    /// The longest lookback of any entry, microseconds.
    pub fn longest_lookback_micros(&self) -> i64 {
        self.mappings.iter().map(|mapping| mapping.lookback_micros).max().unwrap_or_default()
    }

    /// How far before its earliest changed event a key must be read, microseconds.
    pub fn margin_micros(&self) -> i64 {
        let timeouts = self.sessions.iter().map(|rules| rules.written.timeout_micros);
        timeouts.max().unwrap_or_default().max(self.longest_lookback_micros())
    }
}

/// Columns that the expressions of a mapping name, in alphabetical order.
pub fn named_columns(feed: &str, event: &EventMapping) -> Result<BTreeSet<String>, BuildError> {
    let mut columns = BTreeSet::new();
    for (key, sql) in expressions_of(event) {
        columns.extend(columns_of(sql).map_err(|source| BuildError::Unparsable {
            feed: feed.to_owned(),
            key,
            sql: sql.to_owned(),
            source,
        })?);
        // Their values depend on how a delivery was cut into files and runs.
        if let Some(name) = columns.iter().find(|name| RAW_COLUMNS.contains(&name.as_str())) {
            return Err(BuildError::ReservedColumn {
                feed: feed.to_owned(),
                sql: sql.to_owned(),
                name: name.clone(),
            });
        }
    }
    Ok(columns)
}

fn expressions_of(event: &EventMapping) -> Vec<(String, &str)> {
    let mut expressions = vec![
        ("event.user_id".to_owned(), event.user_id.as_str()),
        ("event.product_code".to_owned(), event.product_code.as_str()),
        ("event.event_id".to_owned(), event.event_id.as_str()),
        ("event.timestamp".to_owned(), event.timestamp.as_str()),
    ];
    expressions.extend(event.attributes.iter().map(|attribute| {
        (format!("event.attributes ({})", attribute.name), attribute.expression.as_str())
    }));
    let raw_checks = event.checks.iter().filter(|check| check.on == CheckedLayer::Raw);
    expressions.extend(
        raw_checks.map(|check| (format!("checks.{}", check.name), check.predicate.as_str())),
    );
    expressions
}

fn zone_of(feed: &str, book: &RuleBook) -> Result<Tz, BuildError> {
    let mut zones = book.mappings.iter().map(|entry| entry.event.zone.as_str());
    let first = zones.next().unwrap_or("UTC");
    if let Some(other) = zones.find(|zone| *zone != first) {
        return Err(BuildError::ZoneChanged {
            feed: feed.to_owned(),
            recorded: first.to_owned(),
            configured: other.to_owned(),
        });
    }
    first.parse().map_err(|source| BuildError::UnknownZone {
        feed: feed.to_owned(),
        zone: first.to_owned(),
        source,
    })
}

/// Columns that session rules may name; `opens_on` and `closes_on` see `is_user_action` too.
pub(crate) fn judged_columns(attributes: &[Field], with_user_action: bool) -> SchemaRef {
    let mut fields = vec![
        Field::new("user_id", DataType::Utf8, false),
        Field::new("product_code", DataType::Utf8, false),
        Field::new("event_id", DataType::Utf8, false),
        Field::new("timestamp", timestamp_type(), false),
        Field::new("pdate", DataType::Date32, false),
    ];
    if with_user_action {
        fields.push(Field::new("is_user_action", DataType::Boolean, false));
    }
    fields.extend(attributes.iter().cloned());
    Arc::new(Schema::new(fields))
}

impl CompiledMapping {
    fn compile(
        context: &SessionContext,
        feed: &str,
        entry: &MappingEntry,
    ) -> Result<Self, BuildError> {
        let event = &entry.event;
        let names = named_columns(feed, event)?;
        let fields: Vec<Field> =
            names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        let input: SchemaRef = Arc::new(Schema::new(fields));
        let compile = |key: &str, sql: &str| -> Result<Expression, ExpressionError> {
            Expression::compile(context, Origin { feed, key, sql }, &input)
        };
        let mut attributes = BTreeMap::new();
        for attribute in &event.attributes {
            let key = format!("event.attributes ({})", attribute.name);
            attributes.insert(attribute.name.clone(), compile(&key, &attribute.expression)?);
        }
        let timestamp = compile("event.timestamp", &event.timestamp)?;
        let raw_checks = CompiledCheck::all(context, feed, event, CheckedLayer::Raw, &input)?;
        require_timestamp(feed, event, timestamp.data_type())?;
        Ok(Self {
            user_id: text(feed, "event.user_id", &event.user_id, &compile)?,
            product_code: text(feed, "event.product_code", &event.product_code, &compile)?,
            event_id: text(feed, "event.event_id", &event.event_id, &compile)?,
            timestamp,
            timestamp_format: event.timestamp_format.clone(),
            attributes,
            raw_checks,
            event_checks: vec![],
            update_depth_days: entry.window.update_depth_days,
            lookback_micros: i64::from(entry.window.lookback_days) * MICROS_PER_DAY,
            input,
        })
    }
}

fn text(
    feed: &str,
    key: &str,
    sql: &str,
    compile: &impl Fn(&str, &str) -> Result<Expression, ExpressionError>,
) -> Result<Expression, BuildError> {
    let expression = compile(key, sql)?;
    let expected = "a text, number, boolean or date";
    if expression.data_type().is_nested() || expression.data_type().is_null() {
        return Err(wrong_type(feed, key, sql, expression.data_type(), expected));
    }
    Ok(expression)
}

fn wrong_type(
    feed: &str,
    key: &str,
    sql: &str,
    found: &DataType,
    expected: &'static str,
) -> BuildError {
    BuildError::Expression(ExpressionError::WrongType {
        feed: feed.to_owned(),
        key: key.to_owned(),
        sql: sql.to_owned(),
        found: found.clone(),
        expected,
    })
}

fn require_timestamp(feed: &str, event: &EventMapping, found: &DataType) -> Result<(), BuildError> {
    let fits = match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Timestamp(..) | DataType::Date32 => event.timestamp_format.is_none(),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let expected = match event.timestamp_format {
        Some(_) => "a text to be read with event.timestamp_format",
        None => "a text or a timestamp (for epochs: to_timestamp_seconds(cast(x as bigint)))",
    };
    Err(wrong_type(feed, "event.timestamp", &event.timestamp, found, expected))
}

impl CompiledRules {
    fn compile(
        context: &SessionContext,
        feed: &str,
        rules: &SessionRules,
        columns: &SchemaRef,
        with_action: &SchemaRef,
    ) -> Result<Self, BuildError> {
        let flag = |key: &str, sql: &str, schema: &SchemaRef| -> Result<Expression, BuildError> {
            let compiled = Expression::compile(context, Origin { feed, key, sql }, schema)?;
            match compiled.data_type() {
                DataType::Boolean | DataType::Null => Ok(compiled),
                other => Err(wrong_type(feed, key, sql, other, "a boolean")),
            }
        };
        Ok(Self {
            user_action: flag("session.user_action", &rules.user_action, columns)?,
            opens_on: flag("session.opens_on", &rules.opens_on, with_action)?,
            closes_on: flag("session.closes_on", &rules.closes_on, with_action)?,
            written: rules.clone(),
        })
    }
}

/// Adds the attributes of one mapping to the columns of ODS.
fn merge_attributes(
    feed: &str,
    entry: &MappingEntry,
    mapping: &CompiledMapping,
    attributes: &mut Vec<Field>,
) -> Result<(), BuildError> {
    for attribute in &entry.event.attributes {
        let Some(expression) = mapping.attributes.get(&attribute.name) else {
            continue;
        };
        let key = format!("event.attributes ({})", attribute.name);
        let stored = stored_type(expression.data_type()).ok_or_else(|| {
            let expected = "a text, number, boolean, date or timestamp";
            wrong_type(feed, &key, &attribute.expression, expression.data_type(), expected)
        })?;
        match attributes.iter().find(|field| *field.name() == attribute.name) {
            None => attributes.push(Field::new(&attribute.name, stored, true)),
            Some(known) if *known.data_type() == stored => {}
            Some(known) => {
                return Err(BuildError::AttributeTypeChanged {
                    feed: feed.to_owned(),
                    name: attribute.name.clone(),
                    recorded: known.data_type().clone(),
                    configured: stored,
                });
            }
        }
    }
    Ok(())
}

/// The type in which a value is stored in a Delta table, or `None` where it cannot be.
fn stored_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Boolean => DataType::Boolean,
        DataType::Int8 => DataType::Int8,
        DataType::Int16 | DataType::UInt8 => DataType::Int16,
        DataType::Int32 | DataType::UInt16 => DataType::Int32,
        DataType::Int64 | DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 | DataType::Float32 => DataType::Float32,
        DataType::Float64 => DataType::Float64,
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Date32 => DataType::Date32,
        DataType::Timestamp(_, Some(_)) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        _ => return None,
    })
}
