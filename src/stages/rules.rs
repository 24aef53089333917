//! The rules of a run beside the rules that ODS was built with.

use arrow::datatypes::Field;
use chrono::NaiveDate;
use deltalake::DeltaTable;
use deltalake::kernel::Metadata;
use deltalake::kernel::MetadataExt as _;

use super::error::BuildError;
use super::mapping::CompiledBook;
use super::{StageContext, checks, replanning};
use crate::lake::commits::{self, Change};
use crate::lake::contracts::{self, PDATE, RULES_PROPERTY};
use crate::lake::files::by_date;
use crate::lake::ids;
use crate::lake::rules::RuleBook;
use crate::lake::{LakeError, TableName};

/// What a run does when its configuration is not what ODS was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleChange {
    /// Stop and name each difference.
    Refuse,
    /// Let the new rules hold for what is to come.
    Accept,
}

/// Compiles the feed's configuration, plans its checks, and compares it with the rules recorded in
/// ODS. With [`RuleChange::Accept`] a difference is recorded, in a commit of its own: session rules
/// start after the newest event date, a mapping at `arrival_date`.
pub async fn settle(
    stage: &StageContext<'_>,
    arrival_date: Option<NaiveDate>,
    change: RuleChange,
) -> Result<(), BuildError> {
    let once = async || settle_once(stage, arrival_date, change).await;
    replanning(BuildError::is_conflict, once).await
}

async fn settle_once(
    stage: &StageContext<'_>,
    arrival_date: Option<NaiveDate>,
    change: RuleChange,
) -> Result<(), BuildError> {
    let feed = stage.feed;
    let name = TableName::Ods(feed.name.clone());
    compile(stage, &RuleBook::first(feed), &[])?;
    checks::validate(stage.engine, feed, stage.feeds).await?;
    let Some(table) = stage.lake.load(&name).await? else {
        return Ok(());
    };
    let Some(recorded) = RuleBook::read(&name, &table)? else {
        return Ok(());
    };
    let differences = recorded.differences(feed);
    if differences.is_empty() {
        return Ok(());
    }
    let (RuleChange::Accept, Some(arrival_date)) = (change, arrival_date) else {
        return Err(BuildError::RulesDiffer { feed: feed.name.clone(), differences });
    };
    let ids = stage.lake.ids(&name, &table).await?;
    let newest_built = ids.built_dates(&feed.name).into_keys().next_back();
    if let Some(newest_built) = newest_built.filter(|built| *built >= arrival_date)
        && !recorded.mapping_differences(feed).is_empty()
    {
        return Err(BuildError::MappingTooEarly {
            feed: feed.name.clone(),
            arrival_date,
            newest_built,
        });
    }
    let newest_pdate = newest_pdate(&name, &table)?;
    let book = recorded.accept(feed, newest_pdate, arrival_date);
    let compiled = compile(stage, &book, &stored_attributes(&name, &table)?)?;
    let change = Change {
        metadata: Some(metadata(&name, &table, &book, &compiled)?),
        ids: vec![ids::transaction(ids::ods(&feed.name), ids::days_of_date(arrival_date))],
        ..Change::default()
    };
    commits::commit(&name, &table, change, &stage.provenance("accept-rule-change", vec![])).await?;
    Ok(())
}

/// Compiles every entry of a book, in the feed's zone.
pub fn compile(
    stage: &StageContext<'_>,
    book: &RuleBook,
    stored: &[Field],
) -> Result<CompiledBook, BuildError> {
    let context = stage.engine.context(zone(book));
    CompiledBook::compile(&context, &stage.feed.name, book, stored)
}

/// The attribute columns that an ODS table has.
pub(crate) fn stored_attributes(
    name: &TableName,
    table: &DeltaTable,
) -> Result<Vec<Field>, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let stored = contracts::attributes_of(&state.snapshot().arrow_schema());
    let plain = |field: Field| Field::new(field.name(), field.data_type().clone(), true);
    Ok(stored.into_iter().map(plain).collect())
}

/// The zone of a book; UTC where it does not parse, which compiling reports.
pub(crate) fn zone(book: &RuleBook) -> chrono_tz::Tz {
    let zone = book.mappings.first().and_then(|entry| entry.event.zone.parse().ok());
    zone.unwrap_or(chrono_tz::Tz::UTC)
}

/// The table's metadata with `book` recorded, and a column for each of its attributes.
pub(crate) fn metadata(
    name: &TableName,
    table: &DeltaTable,
    book: &RuleBook,
    compiled: &CompiledBook,
) -> Result<Metadata, BuildError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    let json =
        book.to_json().map_err(|source| BuildError::Record { table: name.clone(), source })?;
    let columns = contracts::kernel_columns(name, &contracts::ods(&compiled.attributes))?;
    let metadata = state.metadata().clone();
    metadata
        .add_config_key(RULES_PROPERTY.to_owned(), json)
        .and_then(|metadata| metadata.with_schema(&columns))
        .map_err(|source| BuildError::Lake(LakeError::write(name, source.into())))
}

/// The newest event date of ODS: its partitions are never empty.
fn newest_pdate(name: &TableName, table: &DeltaTable) -> Result<Option<NaiveDate>, LakeError> {
    Ok(by_date(name, table, PDATE)?.into_keys().next_back())
}
