//! Candidate events into `ods/<feed>`: one pass over the dates they touch, file by file, and the
//! actions of one commit.
//!
//! ```text
//! candidates (sorted runs) ┐
//! ods files of each date   ┴-> slices of users, side by side -> successors of the files
//! ```
//!
//! Both sides are in key order, so a slice needs no join and holds one batch of each file: keys
//! without a candidate are copied, a key with candidates is computed anew ([`super::sessions`]).
//! A pass knows which dates its candidates fall on and writes their successors as it reads; where
//! it finds that another date changes, it is repeated with that date. A date that does not change
//! after all keeps its files.
//!
//! A slice is described by values alone (files, bounds, rules) and gives back `Add` actions, and
//! one caller commits.

mod candidates;
mod comparison;
mod conflicts;
pub(in crate::stages) mod cursor;
mod joining;
pub(in crate::stages) mod known_files;
mod output;
pub(in crate::stages) mod plan;
mod session_changes;
mod slice;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{Date32Type, SchemaRef};
use chrono::NaiveDate;
use deltalake::DeltaTable;
use deltalake::kernel::{Add, Remove};
use futures::{StreamExt as _, TryStreamExt as _};

use candidates::CandidateReader;
pub use candidates::candidate_schema;
pub(crate) use candidates::{CLOSES, OPENS, PDATE_OF_CANDIDATE};
pub use comparison::DateChange;
use comparison::{Comparison, OldDate};
pub use conflicts::ConflictExample;
use conflicts::MOST_EXAMPLES;
pub(crate) use joining::join;
use known_files::{KnownFile, KnownRows, Unsorted, open_files, sort_unsorted};
use output::{DateOutput, FileOutput};
use plan::{Slices, groups};
pub use session_changes::{KeyChange, SessionChange, SessionChanges};
use slice::{DateInput, DateResult, SliceInput, SlicePass, SliceResult, SliceRules, known_columns};

use super::StageContext;
use super::error::BuildError;
use super::mapping::CompiledBook;
use super::sessions::DeliveryCounts;
use super::timestamps::date_in;
use crate::engine::Engine;
use crate::engine::runs::SortedRun;
use crate::lake::commits::MergedRows;
use crate::lake::contracts::{self, ODS_FILES, PDATE};
use crate::lake::files::by_date;
use crate::lake::rules::RuleBook;
use crate::lake::sorted_files::{FileAccess, days};
use crate::lake::sorted_writer::SortedWriter;
use crate::lake::{TableName, storage};

/// Candidate events of one build, sorted, and what is known of all of them.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Sorted runs in the columns of [`candidate_schema`].
    pub runs: Vec<Arc<SortedRun>>,
    /// Their event dates, days since 1970.
    pub dates: BTreeSet<i32>,
    /// The earliest and the latest instant, microseconds since 1970.
    pub instants: Option<(i64, i64)>,
}

/// The part of ODS that a reprocess throws away before it begins.
#[derive(Debug, Clone, Copy)]
pub struct Discard {
    /// Event dates from here on are written anew, whatever they hold.
    pub from: NaiveDate,
    /// Rows delivered on or after this arrival date leave ODS wherever they are.
    pub delivered_from: Option<NaiveDate>,
}

/// What a pass came to.
#[derive(Debug, Default)]
pub struct Merged {
    /// Files that enter ODS.
    pub adds: Vec<Add>,
    /// Files that leave it.
    pub removes: Vec<Remove>,
    /// How the delivered rows relate to events.
    pub counts: DeliveryCounts,
    /// The first conflicting duplicates among them, in the order of the keys.
    pub conflicts: Vec<ConflictExample>,
    /// Rows of ODS that are new or differ.
    pub changed_rows: i64,
    /// Those of them that ODS held before.
    pub updated_rows: i64,
    /// Event dates with such a row.
    pub changed_dates: BTreeMap<i32, i64>,
    /// Bytes of the files of ODS that were read.
    pub read_bytes: i64,
    /// Number of them.
    pub read_files: i64,
    /// Of a pass that compares: how each event date differs, days since 1970.
    pub changes: BTreeMap<i32, DateChange>,
    /// Of a pass that compares: how the sessions of recomputed events differ.
    pub sessions: SessionChanges,
}

impl Merged {
    /// The event dates that the merge depends on, as a predicate of the Delta log.
    pub fn predicate(&self) -> Option<String> {
        let dates = self.changed_dates.keys().filter_map(|days| date_of_days(*days));
        let literals: Vec<String> = dates.map(|date| format!("'{date}'")).collect();
        (!literals.is_empty()).then(|| format!("{PDATE} in ({})", literals.join(", ")))
    }

    /// Removes the files of a merge that is not committed.
    pub(crate) async fn discard(&self, ods: &DeltaTable) {
        storage::discard_files(&ods.log_store().object_store(None), &self.adds).await;
    }

    /// What the history of the table says of the merge.
    pub fn counts_of_rows(&self) -> MergedRows {
        MergedRows { inserted: self.changed_rows - self.updated_rows, updated: self.updated_rows }
    }
}

/// One merge into one version of `ods/<feed>`.
pub struct Merge<'a> {
    access: FileAccess,
    rules: Arc<SliceRules>,
    candidates: &'a Candidates,
    discard: Option<Discard>,
    purpose: Purpose,
    engine: &'a Engine,
    /// Files of every date, of which those from `discard.from` on are never read.
    files: BTreeMap<i32, Vec<crate::lake::files::DataFile>>,
    stored: SchemaRef,
    file_schema: SchemaRef,
}

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Files that a commit adds.
    Write,
    /// To tell how ODS would differ; nothing is written.
    Compare,
}

/// Event dates of one attempt.
struct Reach {
    /// Dates of ODS that are read.
    read: BTreeSet<i32>,
    /// Dates whose successor is written.
    written: BTreeSet<i32>,
    first_unread: Option<i32>,
}

impl<'a> Merge<'a> {
    /// A merge of `candidates` into the loaded version of `ods`.
    pub fn new(
        stage: &StageContext<'a>,
        name: &TableName,
        ods: &DeltaTable,
        book: &Arc<CompiledBook>,
        rule_book: &RuleBook,
        candidates: &'a Candidates,
        discard: Option<Discard>,
    ) -> Result<Self, BuildError> {
        let files = by_date(name, ods, PDATE)?;
        let files = files.into_iter().map(|(date, files)| (days(date), files)).collect();
        let start = |from: Option<NaiveDate>| from.map(days);
        Ok(Self {
            access: FileAccess::of(stage.lake, name, ods),
            stored: known_columns(&book.attributes),
            file_schema: contracts::ods_file(&book.attributes),
            rules: Arc::new(SliceRules {
                table: name.clone(),
                book: Arc::clone(book),
                session_starts: rule_book.sessions.iter().map(|entry| start(entry.from)).collect(),
                mapping_starts: rule_book.mappings.iter().map(|entry| start(entry.from)).collect(),
            }),
            candidates,
            discard,
            purpose: Purpose::Write,
            engine: stage.engine,
            files,
        })
    }

    /// The same merge, which compares instead of writing: its files are none, and it says how every
    /// date would differ.
    #[must_use]
    pub fn comparing(self) -> Self {
        Self { purpose: Purpose::Compare, ..self }
    }

    /// Runs the pass, again with more dates where a change reaches further than its candidates.
    pub async fn run(self) -> Result<Merged, BuildError> {
        let mut missing: BTreeSet<i32> = BTreeSet::new();
        let mut more_dates = 0;
        loop {
            let reach = self.reach(&missing, more_dates);
            let files = self.open(&reach.read).await?;
            let all: Vec<&KnownFile> = files.values().flatten().collect();
            let slices = Slices::plan(&all, &self.candidates.runs, self.engine.threads());
            let old = self.open(&self.compared(&reach)).await?;
            let results = self.slices(&reach, &files, &old, &slices).await?;
            let grows = results.iter().any(|result| !result.missing_outputs.is_empty());
            let reads_on = results.iter().any(|result| result.reaches_unread);
            if !grows && !reads_on {
                return self.finish(&files, &slices, results).await;
            }
            for result in results {
                missing.extend(result.missing_outputs);
                self.discard_files(result.dates.iter().flat_map(|date| &date.adds)).await;
            }
            more_dates = if reads_on { more_dates * 2 + 2 } else { more_dates };
            tracing::debug!(?missing, more_dates, "a change reaches further, repeating the pass");
        }
    }

    /// Dates from the first at which context may lie to the last that a change can reach at once.
    fn reach(&self, missing: &BTreeSet<i32>, more_dates: i32) -> Reach {
        let mut written = self.candidates.dates.clone();
        written.extend(missing);
        let margin = self.rules.book.margin_micros();
        let repeated = self.rules.repeated_dates();
        let date = |micros: i64, or: i32| date_in(micros, self.rules.book.zone).unwrap_or(or);
        let (first, last) = match self.candidates.instants {
            None => (0, -1),
            Some((first, last)) => (
                date(first.saturating_sub(margin), i32::MIN).saturating_sub(repeated),
                date(last.saturating_add(margin), i32::MAX)
                    .saturating_add(repeated)
                    .saturating_add(more_dates),
            ),
        };
        let end = self.discard.map_or(i32::MAX, |discard| days(discard.from));
        let known = || self.files.keys().copied().filter(|date| *date < end);
        let read: BTreeSet<i32> = known()
            .filter(|date| (first..=last).contains(date) || written.contains(date))
            .collect();
        // A session that goes on across midnight changes the date behind its candidates.
        let behind: Vec<i32> = written.iter().map(|date| date + 1).collect();
        written.extend(behind.into_iter().filter(|date| read.contains(date)));
        Reach { first_unread: known().find(|date| *date > last), read, written }
    }

    /// Dates of ODS that are compared: whatever is read or thrown away.
    fn compared(&self, reach: &Reach) -> BTreeSet<i32> {
        if self.purpose == Purpose::Write {
            return BTreeSet::new();
        }
        let discarded = self.files.keys().copied().filter(|date| self.is_discarded(*date));
        discarded.chain(reach.read.iter().copied()).collect()
    }

    fn is_discarded(&self, date: i32) -> bool {
        self.discard.is_some_and(|discard| date >= days(discard.from))
    }

    async fn open(
        &self,
        dates: &BTreeSet<i32>,
    ) -> Result<BTreeMap<i32, Vec<KnownFile>>, BuildError> {
        let files = dates.iter().filter_map(|date| Some((*date, self.files.get(date)?)));
        Ok(open_files(&self.access, files).await?)
    }

    /// All slices, as many side by side as there are threads.
    async fn slices(
        &self,
        reach: &Reach,
        files: &BTreeMap<i32, Vec<KnownFile>>,
        old: &BTreeMap<i32, Vec<KnownFile>>,
        slices: &Slices,
    ) -> Result<Vec<SliceResult>, BuildError> {
        let stop = StopOnDrop::default();
        let sorted = async |files, delivered_before| {
            sort_unsorted(self.engine, &self.access, &self.stored, files, delivered_before).await
        };
        let unsorted = Arc::new(sorted(files, self.delivered_before()).await?);
        let unsorted_old = Arc::new(sorted(old, None).await?);
        let unread = self.files.keys().copied().filter(|date| !old.contains_key(date));
        let unread: BTreeSet<i32> = unread.collect();
        let tasks = (0..slices.len()).map(|slice| {
            let description = SliceFiles {
                access: self.access.clone(),
                rules: Arc::clone(&self.rules),
                stored: Arc::clone(&self.stored),
                file_schema: Arc::clone(&self.file_schema),
                delivered_before: self.delivered_before(),
                runs: self.candidates.runs.clone(),
                dates: dates_of_slice(reach, files, slices, slice),
                unsorted: Arc::clone(&unsorted),
                compared: (self.purpose == Purpose::Compare).then(|| ComparedFiles {
                    dates: self.old_dates_of_slice(old, slices, slice),
                    unsorted: Arc::clone(&unsorted_old),
                    unread: unread.clone(),
                }),
                users: own(slices.users(slice)),
                first_unread: reach.first_unread,
                group_rows: self.group_rows(reach.written.len()),
                stopped: Arc::clone(&stop.0),
            };
            async move {
                let task = tokio::task::spawn_blocking(move || description.run());
                task.await.unwrap_or_else(|_| {
                    Err(BuildError::Stopped { table: self.access.table.clone() })
                })
            }
        });
        let results: Vec<SliceResult> = futures::stream::iter(tasks)
            .buffered(self.engine.threads().max(1))
            .try_collect()
            .await?;
        Ok(results)
    }

    fn old_dates_of_slice(
        &self,
        old: &BTreeMap<i32, Vec<KnownFile>>,
        slices: &Slices,
        slice: usize,
    ) -> Vec<OldFiles> {
        let dates = old.iter().map(|(pdate, files)| {
            let of_slice = |file: &&KnownFile| slices.of_file(&file.open).contains(&slice);
            OldFiles {
                pdate: *pdate,
                is_discarded: self.is_discarded(*pdate),
                files: files.iter().filter(of_slice).cloned().collect(),
            }
        });
        dates.collect()
    }

    fn delivered_before(&self) -> Option<i32> {
        self.discard.and_then(|discard| discard.delivered_from).map(days)
    }

    /// Rows of a row group, fewer where many dates are written at once: a quarter of the memory
    /// limit holds the row groups of all of them.
    fn group_rows(&self, outputs: usize) -> usize {
        const ENCODED_ROW_BYTES: usize = 64;
        let groups = outputs.max(1) * self.engine.threads().max(1);
        let rows = self.engine.memory_limit_bytes() / 4 / groups / ENCODED_ROW_BYTES;
        rows.clamp(8 * 1024, storage::ROW_GROUP_ROWS)
    }

    async fn finish(
        &self,
        files: &BTreeMap<i32, Vec<KnownFile>>,
        slices: &Slices,
        results: Vec<SliceResult>,
    ) -> Result<Merged, BuildError> {
        let mut merged = Merged::default();
        let mut outputs: BTreeMap<i32, Vec<DateResult>> = BTreeMap::new();
        for result in results {
            merged.counts.new += result.counts.new;
            merged.counts.identical += result.counts.identical;
            merged.counts.conflicting += result.counts.conflicting;
            merged.updated_rows += result.updated_rows;
            let wanted = MOST_EXAMPLES.saturating_sub(merged.conflicts.len());
            merged.conflicts.extend(result.conflicts.into_iter().take(wanted));
            for (date, change) in result.changes {
                let of_date: &mut DateChange = merged.changes.entry(date).or_default();
                *of_date = of_date.plus(change);
            }
            merged.sessions = merged.sessions.and(result.sessions);
            for date in result.dates {
                outputs.entry(date.pdate).or_default().push(date);
            }
        }
        for file in files.values().flatten() {
            merged.read_files += 1;
            merged.read_bytes += file.data.bytes;
        }
        let mut unneeded = Vec::new();
        for (pdate, of_slices) in outputs {
            let known = files.get(&pdate).map_or(&[][..], Vec::as_slice);
            // Rows that left the date are no rows of it that changed.
            let is_forced = self.delivered_before().is_some();
            for group in groups(slices, known) {
                let parts = &of_slices[group.clone()];
                let changed: i64 = parts.iter().map(|part| part.changed_rows).sum();
                let adds = parts.iter().flat_map(|part| part.adds.iter().cloned());
                if changed == 0 && !is_forced {
                    unneeded.extend(adds);
                    continue;
                }
                merged.adds.extend(adds);
                let replaced =
                    known.iter().filter(|file| group.contains(&slices.of_file(&file.open).start));
                merged.removes.extend(replaced.map(|file| file.data.remove.clone()));
                merged.changed_rows += changed;
                if changed > 0 {
                    *merged.changed_dates.entry(pdate).or_default() += changed;
                }
            }
        }
        self.discard_files(&unneeded).await;
        if let Some(discard) = self.discard {
            let gone = self.files.range(days(discard.from)..).flat_map(|(_, files)| files);
            merged.removes.extend(gone.map(|file| file.remove.clone()));
        }
        Ok(merged)
    }

    async fn discard_files<'f>(&self, adds: impl IntoIterator<Item = &'f Add>) {
        storage::discard_files(&self.access.store, adds).await;
    }
}

/// A slice as values: what it reads, what it writes and the rules.
struct SliceFiles {
    access: FileAccess,
    rules: Arc<SliceRules>,
    stored: SchemaRef,
    file_schema: SchemaRef,
    delivered_before: Option<i32>,
    runs: Vec<Arc<SortedRun>>,
    dates: Vec<DateFiles>,
    unsorted: Arc<Unsorted>,
    /// Set where the pass compares instead of writing.
    compared: Option<ComparedFiles>,
    users: (Option<String>, Option<String>),
    first_unread: Option<i32>,
    group_rows: usize,
    stopped: Arc<AtomicBool>,
}

struct ComparedFiles {
    dates: Vec<OldFiles>,
    unsorted: Arc<Unsorted>,
    unread: BTreeSet<i32>,
}

struct OldFiles {
    pdate: i32,
    is_discarded: bool,
    files: Vec<KnownFile>,
}

struct DateFiles {
    pdate: i32,
    known: Vec<KnownFile>,
    is_written: bool,
}

fn dates_of_slice(
    reach: &Reach,
    files: &BTreeMap<i32, Vec<KnownFile>>,
    slices: &Slices,
    slice: usize,
) -> Vec<DateFiles> {
    reach
        .read
        .union(&reach.written)
        .map(|pdate| {
            let known = files.get(pdate).into_iter().flatten();
            let known = known.filter(|file| slices.of_file(&file.open).contains(&slice));
            DateFiles {
                pdate: *pdate,
                known: known.cloned().collect(),
                is_written: reach.written.contains(pdate),
            }
        })
        .collect()
}

fn own((from, to): (Option<&str>, Option<&str>)) -> (Option<String>, Option<String>) {
    (from.map(str::to_owned), to.map(str::to_owned))
}

impl SliceFiles {
    /// Opens everything and goes through it, on the thread it is called on.
    fn run(self) -> Result<SliceResult, BuildError> {
        let users = (self.users.0.as_deref(), self.users.1.as_deref());
        let dates =
            self.dates.iter().map(|date| self.date(date, users)).collect::<Result<Vec<_>, _>>()?;
        let input = SliceInput {
            candidates: CandidateReader::new(&self.runs, users.0, users.1)?,
            rules: Arc::clone(&self.rules),
            dates,
            first_unread: self.first_unread,
            comparison: self.comparison(users)?,
            stopped: Arc::clone(&self.stopped),
        };
        SlicePass::new(input).run()
    }

    fn date(
        &self,
        date: &DateFiles,
        users: (Option<&str>, Option<&str>),
    ) -> Result<DateInput, BuildError> {
        let known = self.known(self.delivered_before);
        let known = known.cursors(&date.known, &self.unsorted, users)?;
        let output = if date.is_written && self.compared.is_some() {
            Some(DateOutput::Nowhere)
        } else if date.is_written {
            let writer = SortedWriter::new(
                &self.access,
                &ODS_FILES,
                &self.file_schema,
                date.pdate,
                users.0,
                self.group_rows,
            )?;
            let table = self.access.table.clone();
            let writer = FileOutput::new(table, Arc::clone(&self.file_schema), writer);
            Some(DateOutput::Files(Box::new(writer)))
        } else {
            None
        };
        Ok(DateInput { pdate: date.pdate, known, output })
    }

    fn known(&self, delivered_before: Option<i32>) -> KnownRows<'_> {
        KnownRows { access: &self.access, stored: &self.stored, delivered_before }
    }

    fn comparison(
        &self,
        users: (Option<&str>, Option<&str>),
    ) -> Result<Option<Comparison>, BuildError> {
        let Some(compared) = &self.compared else {
            return Ok(None);
        };
        let dates = compared.dates.iter().map(|OldFiles { pdate, is_discarded, files }| {
            let rows = self.known(None).cursors(files, &compared.unsorted, users)?;
            Ok(OldDate { pdate: *pdate, is_discarded: *is_discarded, rows })
        });
        let dates = dates.collect::<Result<_, BuildError>>()?;
        let (attributes, zone) = (self.rules.book.attributes.len(), self.rules.book.zone);
        Ok(Some(Comparison::new(dates, compared.unread.clone(), attributes, zone)))
    }
}

/// Tells the threads of a pass to stop when it is dropped, as a signal does.
#[derive(Default)]
pub(in crate::stages) struct StopOnDrop(pub(in crate::stages) Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The date of a number of days since 1970.
pub fn date_of_days(days: i32) -> Option<NaiveDate> {
    Date32Type::to_naive_date_opt(days)
}
