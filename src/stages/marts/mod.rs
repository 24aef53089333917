//! What follows from ODS alone: `sessions/<feed>`, one row for each session.
//!
//! ```text
//! log of ods, behind the version read last -> event dates on which rows changed
//!   -> dates on which the sessions begin, or began, that have events there
//!   -> all sessions of those dates anew, from the events of ods; one commit
//! ```
//!
//! A row is a function of the events of one session, and a date of the table of the sessions that
//! begin on it. So a date is made anew as a whole, from ODS as it is, wherever one of its sessions may
//! differ: a session that two others have become, or that is gone, needs no care of its own, and
//! neither the rows of the table nor an older version of ODS is read. It costs no more than to
//! replace sessions one by one would: a changed row of a date has its files written anew in any case.
//!
//! The commit carries the version of ODS that was read. Where the log of ODS does not reach back to
//! the one before, or the table is made of something else (another attribute, another ODS), all dates
//! are made anew.

mod columns;
mod pass;
mod scope;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono_tz::Tz;
use deltalake::DeltaTable;
use deltalake::kernel::{Metadata, MetadataExt as _, Remove};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::build::{provenance, record_files};
use super::error::BuildError;
use super::merge::StopOnDrop;
use super::merge::date_of_days;
use super::merge::known_files::{KnownFile, open_files, sort_unsorted};
use super::merge::plan::Slices;
use super::quarantine::date_predicate;
use super::{StageContext, StageOutcome, replanning, rules};
use crate::lake::commits::{self, Change};
use crate::lake::contracts::{self, PDATE, SESSION_DATE, SESSION_END, SESSIONS_PROPERTY};
use crate::lake::files::{self, DataFile, by_date};
use crate::lake::ids;
use crate::lake::rules::RuleBook;
use crate::lake::sorted_files::{FileAccess, days};
use crate::lake::{LakeError, TableName, storage};
use pass::{Slice, Written};
use scope::{Scope, starts_in};

/// Session dates that are written at a time, where memory allows.
const MOST_DATES: usize = 16;
/// Bytes of the row group that is at hand of each event date.
const READER_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a session in a row group that is being written.
const SESSION_BYTES: usize = 256;
const LEAST_GROUP_ROWS: usize = 1024;

/// Brings `sessions/<feed>` up to ODS as it is; `None` where it is that already, or nothing was built
/// yet. A conflict with another run plans the stage again on the newest versions, a bounded number
/// of times.
pub async fn follow(stage: &StageContext<'_>) -> Result<Option<StageOutcome>, BuildError> {
    let once = async || match Attempt::open(stage).await? {
        Some(attempt) => attempt.run().await.map(Some),
        None => Ok(None),
    };
    replanning(BuildError::is_conflict, once).await
}

/// A table of sessions that is older than ODS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// The version of ODS that it was made of; null where there is no such table.
    pub follows: Option<i64>,
    /// The version of ODS.
    pub version: u64,
}

/// How far `sessions/<feed>` is behind ODS; `None` where it shows what ODS holds. A commit of ODS that
/// changes no row leaves nothing to follow.
pub async fn behind(stage: &StageContext<'_>) -> Result<Option<Behind>, LakeError> {
    let feed = &stage.feed.name;
    let (ods_name, name) = (TableName::Ods(feed.clone()), TableName::Sessions(feed.clone()));
    let known = stage.lake.load(&name).await?;
    let Some(ods) = stage.lake.load(&ods_name).await? else {
        return Ok(None);
    };
    let (follows, held) = match &known {
        Some(table) => {
            let follows = follows(stage, &name, table).await?;
            let definition = Definition::of(stage, &ods_name, &ods)?;
            (follows, definition.held(table, follows))
        }
        None => (None, Some(0)),
    };
    let is_even = match held {
        Some(held) => files::is_unchanged_since(&ods_name, &ods, PDATE, held).await?,
        None => false,
    };
    Ok((!is_even).then(|| Behind { follows, version: ods.version().unwrap_or_default() }))
}

/// The version of ODS that the table was made of, as it says.
pub(crate) async fn follows(
    stage: &StageContext<'_>,
    name: &TableName,
    table: &DeltaTable,
) -> Result<Option<i64>, LakeError> {
    let ids = stage.lake.ids(name, table).await?;
    Ok(ids.version(&ids::sessions(&stage.feed.name)))
}

/// What the rows of the table are made of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// The attribute whose values are listed.
    pub(crate) distinct: Option<String>,
    /// The id of the table `ods/<feed>`.
    ods: String,
}

/// One attempt, on one version of both tables.
struct Attempt<'a> {
    stage: &'a StageContext<'a>,
    ods_name: TableName,
    ods: DeltaTable,
    name: TableName,
    table: DeltaTable,
    definition: Definition,
    /// The version of ODS that the table holds; `None` where it is to be made anew.
    held: Option<u64>,
    zone: Tz,
    files: BTreeMap<i32, Vec<DataFile>>,
}

/// What is made anew.
struct Plan {
    scope: Scope,
    removes: Vec<Remove>,
    /// The dates, as a predicate of the Delta log; `None` for all.
    predicate: Option<String>,
}

impl<'a> Attempt<'a> {
    /// Opens both tables; `None` where there is nothing to do.
    async fn open(stage: &'a StageContext<'a>) -> Result<Option<Self>, BuildError> {
        let feed = &stage.feed.name;
        let (ods_name, name) = (TableName::Ods(feed.clone()), TableName::Sessions(feed.clone()));
        // Before ODS: the version that the table holds is then none that is newer than ours.
        let known = stage.lake.load(&name).await?;
        let Some(mut ods) = stage.lake.load(&ods_name).await? else {
            return Ok(None);
        };
        let definition = Definition::of(stage, &ods_name, &ods)?;
        let table = match known {
            Some(table) => table,
            None => {
                let schema = contracts::sessions(definition.distinct.as_deref());
                let properties =
                    HashMap::from([(SESSIONS_PROPERTY.to_owned(), definition.json(&name)?)]);
                let created =
                    stage.lake.load_or_create(&name, &schema, &[SESSION_DATE], properties);
                let created = created.await?;
                // Another run may have created it, and filled it since.
                ods = stage.lake.load(&ods_name).await?.unwrap_or(ods);
                created
            }
        };
        let held = definition.held(&table, follows(stage, &name, &table).await?);
        if held.is_some() && held == ods.version() {
            return Ok(None);
        }
        let book = RuleBook::read(&ods_name, &ods)?;
        let zone = rules::zone(&book.unwrap_or_else(|| RuleBook::first(stage.feed)));
        let files = by_date(&ods_name, &ods, PDATE)?;
        let files = files.into_iter().map(|(date, files)| (days(date), files)).collect();
        Ok(Some(Self { stage, ods_name, ods, name, table, definition, held, zone, files }))
    }

    async fn run(&self) -> Result<StageOutcome, BuildError> {
        let mut outcome =
            StageOutcome { version_before: self.table.version(), ..StageOutcome::default() };
        let plan = self.plan().await?;
        let written = self.write(&plan.scope).await?;
        outcome.rows_changed = Some(written.sessions);
        let feed = &self.stage.feed.name;
        let version = self.ods.version().unwrap_or_default();
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        let change = Change {
            adds: written.adds,
            removes: plan.removes,
            metadata: self.metadata()?,
            ids: vec![ids::transaction(ids::sessions(feed), version)],
            read_predicate: plan.predicate,
            ..Change::default()
        };
        record_files(&change, &mut outcome);
        let inputs = [(&self.ods_name, &self.ods), (&self.name, &self.table)];
        let provenance = provenance(self.stage, "sessions", &inputs);
        fail::fail_point!("sessions_before_commit", |_| std::process::abort());
        let version = commits::commit(&self.name, &self.table, change, &provenance).await?;
        fail::fail_point!("sessions_after_commit", |_| std::process::abort());
        outcome.version_after = Some(version);
        Ok(outcome)
    }

    async fn plan(&self) -> Result<Plan, BuildError> {
        let changed = match self.held {
            Some(held) => files::changed_since(&self.ods_name, &self.ods, PDATE, held).await?,
            None => None,
        };
        let mut removed = by_date(&self.name, &self.table, SESSION_DATE)?;
        let Some(changed) = changed else {
            let all = self.files.keys().copied().collect();
            let scope = Scope::of(&all, &self.starts(&all).await?, &BTreeMap::new(), self.zone);
            return Ok(Plan { scope, removes: removes(removed), predicate: None });
        };
        let changed: BTreeSet<i32> = changed.into_iter().map(days).collect();
        let ends = files::latest_by_date(&self.name, &self.table, SESSION_DATE, SESSION_END)?;
        let ends = ends.into_iter().map(|(date, end)| (days(date), end)).collect();
        let scope = Scope::of(&changed, &self.starts(&changed).await?, &ends, self.zone);
        removed.retain(|date, _| scope.0.contains_key(&days(*date)));
        let dates: BTreeSet<_> = scope.0.keys().filter_map(|date| date_of_days(*date)).collect();
        let predicate = (!dates.is_empty()).then(|| date_predicate(SESSION_DATE, &dates));
        Ok(Plan { scope, removes: removes(removed), predicate })
    }

    /// The dates on which the sessions begin that have events on each of `event_dates`.
    async fn starts(
        &self,
        event_dates: &BTreeSet<i32>,
    ) -> Result<BTreeMap<i32, BTreeSet<i32>>, BuildError> {
        let files = event_dates.iter().filter_map(|date| Some((*date, self.files.get(date)?)));
        let access = self.access(&self.ods_name, &self.ods);
        let opened = open_files(&access, files).await?;
        let files = opened
            .into_iter()
            .flat_map(|(date, files)| files.into_iter().map(move |file| (date, file)));
        let tasks = files.map(|(date, file)| {
            let (access, zone) = (access.clone(), self.zone);
            async move {
                let starts = self.blocking(move || starts_in(&access, &file, date, zone)).await?;
                Ok::<_, BuildError>((date, starts))
            }
        });
        let found: Vec<(i32, BTreeSet<i32>)> = futures::stream::iter(tasks)
            .buffer_unordered(self.stage.engine.threads().max(1))
            .try_collect()
            .await?;
        let mut starts: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
        for (date, of_file) in found {
            starts.entry(date).or_default().extend(of_file);
        }
        Ok(starts)
    }

    /// The sessions of all dates of the scope, as many of them at a time as memory allows.
    async fn write(&self, scope: &Scope) -> Result<Written, BuildError> {
        let engine = self.stage.engine;
        let readers = engine.memory_limit_bytes() / 4 / engine.threads().max(1) / READER_BYTES;
        let dates: Vec<i32> = scope.0.keys().copied().collect();
        let mut written = Written::default();
        for dates in dates.chunks(readers.clamp(1, MOST_DATES)) {
            let dates: BTreeSet<i32> = dates.iter().copied().collect();
            let of_dates = self.write_dates(scope, dates).await?;
            written.adds.extend(of_dates.adds);
            written.sessions += of_dates.sessions;
        }
        Ok(written)
    }

    /// All slices of some dates, as many side by side as there are threads.
    async fn write_dates(
        &self,
        scope: &Scope,
        dates: BTreeSet<i32>,
    ) -> Result<Written, BuildError> {
        let engine = self.stage.engine;
        let ods = self.access(&self.ods_name, &self.ods);
        let event_dates = scope.event_dates(&dates, self.files.keys().copied());
        let files = event_dates.iter().filter_map(|date| Some((*date, self.files.get(date)?)));
        let files = open_files(&ods, files).await?;
        let all: Vec<&KnownFile> = files.values().flatten().collect();
        let slices = Slices::of_files(&all, engine.threads());
        let stored = self.stored();
        let unsorted = Arc::new(sort_unsorted(engine, &ods, &stored, &files, None).await?);
        let distinct = self.definition.distinct.as_deref();
        let file_schema =
            contracts::without_partition(&contracts::sessions(distinct), SESSION_DATE);
        let stop = StopOnDrop::default();
        let groups = dates.len().max(1) * engine.threads().max(1);
        let group_rows = engine.memory_limit_bytes() / 4 / groups / SESSION_BYTES;
        let written = Arc::new(dates);
        let tasks = (0..slices.len()).map(|number| {
            let (from, to) = slices.users(number);
            let slice = Slice {
                ods: ods.clone(),
                sessions: self.access(&self.name, &self.table),
                stored: Arc::clone(&stored),
                file_schema: Arc::clone(&file_schema),
                dates: files_of_slice(&files, &slices, number),
                unsorted: Arc::clone(&unsorted),
                written: Arc::clone(&written),
                users: (from.map(str::to_owned), to.map(str::to_owned)),
                group_rows: group_rows.clamp(LEAST_GROUP_ROWS, storage::ROW_GROUP_ROWS),
                zone: self.zone,
                has_distinct: distinct.is_some(),
                stopped: Arc::clone(&stop.0),
            };
            self.blocking(move || slice.run())
        });
        let results: Vec<Written> =
            futures::stream::iter(tasks).buffered(engine.threads().max(1)).try_collect().await?;
        let mut written = Written::default();
        for result in results {
            written.adds.extend(result.adds);
            written.sessions += result.sessions;
        }
        Ok(written)
    }

    /// Work that waits for the store, on a thread of its own.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
    ) -> Result<T, BuildError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| Err(BuildError::Stopped { table: self.name.clone() }))
    }

    fn access(&self, name: &TableName, table: &DeltaTable) -> FileAccess {
        FileAccess::of(self.stage.lake, name, table)
    }

    /// The columns of ODS that are read. What ODS holds of an attribute is read as text.
    fn stored(&self) -> SchemaRef {
        let distinct = self.definition.distinct.as_ref();
        let attribute = distinct.map(|name| Field::new(name, DataType::Utf8, true));
        let mut fields = contracts::ods_stored(attribute.as_slice());
        fields.push(Field::new("session_start", contracts::timestamp_type(), true));
        Arc::new(Schema::new(fields))
    }

    /// The table's metadata, where it says that the table is made of something else.
    fn metadata(&self) -> Result<Option<Metadata>, BuildError> {
        if Definition::read(&self.table).as_ref() == Some(&self.definition) {
            return Ok(None);
        }
        let name = &self.name;
        let state = self.table.snapshot().map_err(|source| LakeError::read(name, source))?;
        let columns = contracts::sessions(self.definition.distinct.as_deref());
        let columns = contracts::kernel_columns(name, &columns)?;
        let json = self.definition.json(name)?;
        let metadata = state.metadata().clone();
        let metadata = metadata
            .add_config_key(SESSIONS_PROPERTY.to_owned(), json)
            .and_then(|metadata| metadata.with_schema(&columns))
            .map_err(|source| LakeError::write(name, source.into()))?;
        Ok(Some(metadata))
    }
}

impl Definition {
    /// What the rows are to be made of.
    fn of(
        stage: &StageContext<'_>,
        ods_name: &TableName,
        ods: &DeltaTable,
    ) -> Result<Self, LakeError> {
        Ok(Self { distinct: stage.feed.marts.distinct.clone(), ods: id_of(ods_name, ods)? })
    }

    /// The version of ODS that a table holds which says it follows that one; `None` where it is made
    /// of something else.
    fn held(&self, table: &DeltaTable, follows: Option<i64>) -> Option<u64> {
        let is_same = Self::read(table).as_ref() == Some(self);
        follows.filter(|_| is_same).and_then(|follows| u64::try_from(follows).ok())
    }

    /// Whether the rows are made of this ODS, and not of one that was there before.
    pub(crate) fn is_of(&self, name: &TableName, ods: &DeltaTable) -> Result<bool, LakeError> {
        Ok(self.ods == id_of(name, ods)?)
    }

    /// What the loaded version says; `None` where it cannot be read, which makes the table anew.
    pub(crate) fn read(table: &DeltaTable) -> Option<Self> {
        let state = table.snapshot().ok()?;
        serde_json::from_str(state.metadata().configuration().get(SESSIONS_PROPERTY)?).ok()
    }

    fn json(&self, name: &TableName) -> Result<String, BuildError> {
        serde_json::to_string(self)
            .map_err(|source| BuildError::Record { table: name.clone(), source })
    }
}

fn id_of(name: &TableName, table: &DeltaTable) -> Result<String, LakeError> {
    let state = table.snapshot().map_err(|source| LakeError::read(name, source))?;
    Ok(state.metadata().id().to_owned())
}

fn removes<D>(files: BTreeMap<D, Vec<DataFile>>) -> Vec<Remove> {
    files.into_values().flatten().map(|file| file.remove).collect()
}

fn files_of_slice(
    files: &BTreeMap<i32, Vec<KnownFile>>,
    slices: &Slices,
    slice: usize,
) -> Vec<(i32, Vec<KnownFile>)> {
    let of_slice = |file: &&KnownFile| slices.of_file(&file.open).contains(&slice);
    let dates = files.iter();
    dates.map(|(date, files)| (*date, files.iter().filter(of_slice).cloned().collect())).collect()
}
