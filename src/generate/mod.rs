//! Believable sample batches: one file per arrival date, as a nightly export would leave them.
//!
//! ```text
//! visits      what users did on a date: a pure function of (seed, date)
//!   -> arrivals   what one file holds: on time, late, delivered again, in order of arrival
//!   -> rows       a row as CSV or JSONL
//! ```
//!
//! | column | example | may be missing |
//! |---|---|---|
//! | `user_id` | `u000123` | no |
//! | `product_code` | `web`, `ios`, `android`, `tv` | no |
//! | `event_id` | `view`, `click`, `add_to_cart`, `purchase`; `heartbeat` and `scroll` are no user actions | no |
//! | `timestamp` | `2026-01-01T08:15:30.123Z` | no |
//! | `page` | `/home`, `/search?q="red, blue"` | yes |
//! | `price` | `19.90`, on `add_to_cart` and `purchase` only | yes |
//!
//! The same options give the same bytes on any machine: every draw is integer arithmetic on a
//! `ChaCha8` stream seeded by the seed, the date and what is drawn, and no wall clock is read. A
//! file depends on the dates before it, not on how many follow. What earlier files held is
//! produced again instead of being kept, so memory does not grow with rows or days.

mod arrivals;
mod random;
mod rows;
mod visits;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use chrono::{Datelike, Days, NaiveDate};
use serde::Serialize;

use arrivals::{Batch, BatchCounts, Quotas};
use rows::RowSink;
use visits::World;

/// The last year a four-digit RFC 3339 timestamp can name.
const LAST_YEAR: i32 = 9999;
/// The first year whose batches can be generated.
const FIRST_YEAR: i32 = 1970;
/// `NaiveDate::num_days_from_ce` of 1970-01-01.
const EPOCH_FROM_CE: i32 = 719_163;
const WRITE_BUFFER_BYTES: usize = 1 << 18;

/// What to generate, and where.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Folder of the batch files; created when missing.
    pub out: PathBuf,
    /// How many arrival dates, hence files.
    pub days: u32,
    /// Rows of every file, late rows and duplicates included.
    pub events_per_day: u64,
    /// How many distinct users there may be; at least one.
    pub users: u64,
    /// Another seed gives other events.
    pub seed: u64,
    /// Share of a file's rows, 0 to 1, whose event date is 1 to 5 days before the arrival date.
    pub late_share: f64,
    /// Share of a file's rows, 0 to 1, that deliver an event again; about a fifth of them with
    /// another page or price.
    pub duplicate_share: f64,
    /// What a row looks like.
    pub format: GenerateFormat,
    /// Arrival date of the first file.
    pub start_date: NaiveDate,
}

/// What a row of a batch looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GenerateFormat {
    /// A header, then one line per row (RFC 4180, lines end in `\n`); a missing value is blank.
    Csv,
    /// One JSON object per line; a missing value has no key.
    Jsonl,
}

impl GenerateFormat {
    /// The file name extension, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// What was written, over all files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GenerateSummary {
    /// Files written, one per arrival date.
    pub files: u64,
    /// Rows in them, without CSV headers.
    pub rows: u64,
    /// Their size.
    pub bytes: u64,
    /// Rows delivered for the first time 1 to 5 days after their event date.
    pub late_rows: u64,
    /// Rows that deliver an event of this or an earlier file again.
    pub duplicate_rows: u64,
    /// Those of `duplicate_rows` that carry another page or price than the first delivery.
    pub conflicting_rows: u64,
}

/// Why no, or not every, batch was written. Files already complete stay.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// There is nobody to produce events.
    #[error("cannot generate events of 0 users: ask for at least 1 user")]
    NoUsers,
    /// A share is not a number from 0 to 1.
    #[error("{name} is {value}: give a share from 0 to 1, such as 0.05")]
    InvalidShare {
        /// The option.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// No row would be left that arrives on time.
    #[error(
        "late_share {late_share} and duplicate_share {duplicate_share} add up to 1 or more, which \
         leaves no row that arrives on time: lower one of them"
    )]
    SharesTooLarge {
        /// The late share that was given.
        late_share: f64,
        /// The duplicate share that was given.
        duplicate_share: f64,
    },
    /// A date that a four-digit year cannot name, or one before 1970.
    #[error(
        "{days} days from {start_date} do not lie in the years {FIRST_YEAR} to {LAST_YEAR}: choose \
         another start date or fewer days"
    )]
    DatesOutOfRange {
        /// Arrival date of the first file.
        start_date: NaiveDate,
        /// How many arrival dates were asked for.
        days: u32,
    },
    /// The folder is missing and cannot be created, or cannot be looked into.
    #[error("cannot use the folder {}: check the path and its permissions", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A batch of that date is there already; nothing was written.
    #[error("{} exists already: choose an empty folder, or remove the file", path.display())]
    FileExists {
        /// The file.
        path: PathBuf,
    },
    /// A batch could not be written; what there was of it is removed.
    #[error("cannot write {}: check the free space and permissions of its folder", path.display())]
    Write {
        /// The batch file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl GenerateError {
    /// Whether the options are at fault, not the disk.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Folder { .. } | Self::FileExists { .. } | Self::Write { .. })
    }
}

/// Writes one file `YYYY-MM-DD.csv` or `.jsonl` per arrival date into `options.out`.
///
/// Each file holds exactly `events_per_day` rows, roughly in order of arrival. Event dates lie
/// from 5 days before the arrival date (also before `start_date`, so the first files are like all
/// others) to the day after it, which visits that run past midnight reach. A file gets its name
/// when it is complete.
///
/// # Errors
///
/// Options without a meaning, any target file that exists before the first is written, and
/// failures of the file system.
pub fn generate(options: &GenerateOptions) -> Result<GenerateSummary, GenerateError> {
    let quotas = validate(options)?;
    let targets = targets(options)?;
    fs::create_dir_all(&options.out)
        .map_err(|source| GenerateError::Folder { path: options.out.clone(), source })?;
    refuse_existing(&options.out, &targets)?;

    let world = World::new(options.seed, options.users, quotas.on_time);
    let first_day = epoch_day(options.start_date);
    let mut summary = GenerateSummary::default();
    for (date, target) in &targets {
        let batch = Batch::new(&world, options.seed, quotas, first_day, epoch_day(*date));
        let (counts, bytes) = write_file(batch, options.format, target)
            .map_err(|source| GenerateError::Write { path: target.clone(), source })?;
        summary.add(counts, bytes);
    }
    Ok(summary)
}

impl GenerateSummary {
    fn add(&mut self, counts: BatchCounts, bytes: u64) {
        self.files += 1;
        self.rows += counts.rows;
        self.bytes += bytes;
        self.late_rows += counts.late;
        self.duplicate_rows += counts.duplicate;
        self.conflicting_rows += counts.conflicting;
    }
}

fn validate(options: &GenerateOptions) -> Result<Quotas, GenerateError> {
    if options.users == 0 {
        return Err(GenerateError::NoUsers);
    }
    let shares = [("late_share", options.late_share), ("duplicate_share", options.duplicate_share)];
    for (name, value) in shares {
        if !(0.0..=1.0).contains(&value) {
            return Err(GenerateError::InvalidShare { name, value });
        }
    }
    Quotas::new(options.events_per_day, options.late_share, options.duplicate_share).ok_or(
        GenerateError::SharesTooLarge {
            late_share: options.late_share,
            duplicate_share: options.duplicate_share,
        },
    )
}

/// Every arrival date with the file it becomes.
fn targets(options: &GenerateOptions) -> Result<Vec<(NaiveDate, PathBuf)>, GenerateError> {
    let named = |offset: u32| {
        let date = options.start_date.checked_add_days(Days::new(u64::from(offset)))?;
        let file = format!("{date}.{}", options.format.extension());
        // A visit past midnight needs the following date to have a name too.
        let nameable = date.year() >= FIRST_YEAR && date.succ_opt()?.year() <= LAST_YEAR;
        nameable.then(|| (date, options.out.join(file)))
    };
    let out_of_range =
        || GenerateError::DatesOutOfRange { start_date: options.start_date, days: options.days };
    // The last date first, so that an absurd number of days allocates nothing.
    if let Some(last) = options.days.checked_sub(1) {
        named(last).ok_or_else(out_of_range)?;
    }
    (0..options.days).map(|offset| named(offset).ok_or_else(out_of_range)).collect()
}

fn refuse_existing(out: &Path, targets: &[(NaiveDate, PathBuf)]) -> Result<(), GenerateError> {
    for (_, path) in targets {
        match fs::symlink_metadata(path) {
            Ok(_) => return Err(GenerateError::FileExists { path: path.clone() }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(GenerateError::Folder { path: out.to_owned(), source });
            }
        }
    }
    Ok(())
}

/// Writes under a hidden name that no pattern for batches matches, then renames.
fn write_file(
    batch: Batch<'_>,
    format: GenerateFormat,
    target: &Path,
) -> io::Result<(BatchCounts, u64)> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let partial = target.with_file_name(format!(".{name}.partial"));
    let written = write_partial(batch, format, &partial)
        .and_then(|written| fs::rename(&partial, target).map(|()| written));
    if written.is_err() {
        // The error of the write is the one to report; a left-over is overwritten next time.
        let _ = fs::remove_file(&partial);
    }
    written
}

fn write_partial(
    batch: Batch<'_>,
    format: GenerateFormat,
    partial: &Path,
) -> io::Result<(BatchCounts, u64)> {
    let file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, File::create(partial)?);
    let mut sink = RowSink::new(file, format)?;
    let counts = batch.write(&mut sink)?;
    Ok((counts, sink.finish()?))
}

/// Days since 1970-01-01.
fn epoch_day(date: NaiveDate) -> i64 {
    i64::from(date.num_days_from_ce() - EPOCH_FROM_CE)
}
