//! From what was written to what the program needs: defaults, units, bounds, absolute paths.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::feed;
use super::file::{EngineFile, File, LakeFile, RetentionFile};
use super::location::{self, Roots};
use super::problems::Problems;
use super::reason::{Reason, nearest};
use super::{
    Compression, Config, EngineConfig, LakeConfig, RetentionConfig, StorageSettings, machine, units,
};

const DEFAULT_LAKE: &str = "./lake";
const DEFAULT_RAW_DAYS: u32 = 14;
const DEFAULT_REMOVED_FILES_DAYS: u32 = 7;
const DEFAULT_LOG_DAYS: u32 = 30;
const KEPT_DAYS: RangeInclusive<u32> = 0..=36_500;
const THREADS: RangeInclusive<u32> = 1..=1_024;

/// Less than this is a forgotten unit: `512` is 512 bytes.
const LEAST_MEMORY_BYTES: u64 = 1 << 20;

/// The configuration, or `None` with the reasons among the problems.
pub(crate) fn config(file: File, roots: &Roots, problems: &mut Problems) -> Option<Config> {
    let lake = lake(file.lake, roots, problems);
    let engine = engine(file.engine, roots, problems);
    let retention = retention(&file.retention, problems);
    let feeds = feed::feeds(file.feed, roots, problems);
    let references = std::mem::take(&mut problems.references);
    Some(Config {
        references,
        base_dir: roots.base.clone(),
        lake: lake?,
        engine: engine?,
        retention: retention?,
        feeds: feeds?,
    })
}

fn lake(file: LakeFile, roots: &Roots, problems: &mut Problems) -> Option<LakeConfig> {
    let url = located(problems, roots, "lake.url", file.url.as_deref(), DEFAULT_LAKE);
    let compression = match optional(file.compression) {
        Some(value) => {
            let chosen = one_of(&value, &Compression::ALL, Compression::as_str);
            accepted(problems, "lake.compression", chosen)
        }
        None => Some(Compression::default()),
    };
    let storage = StorageSettings::checked(file.storage, roots, problems);
    Some(LakeConfig { url: url?, compression: compression?, storage: storage? })
}

fn engine(file: EngineFile, roots: &Roots, problems: &mut Problems) -> Option<EngineConfig> {
    let memory = memory_limit_bytes(problems, file.memory_limit);
    let spill_dir = match optional(file.spill_dir) {
        Some(written) => located(problems, roots, "engine.spill_dir", Some(&written), "").map(Some),
        None => Some(None),
    };
    let threads = match file.threads {
        Some(_) => whole_number(problems, "engine.threads", file.threads, 1, THREADS).map(Some),
        None => Some(None),
    };
    Some(EngineConfig {
        memory_limit_bytes: memory?,
        spill_dir: spill_dir?.map(PathBuf::from),
        threads: threads?.and_then(|threads| usize::try_from(threads).ok()),
    })
}

fn retention(file: &RetentionFile, problems: &mut Problems) -> Option<RetentionConfig> {
    let mut days =
        |path, written, default| whole_number(problems, path, written, default, KEPT_DAYS);
    let raw = days("retention.raw_days", file.raw_days, DEFAULT_RAW_DAYS);
    let removed_files =
        days("retention.removed_files_days", file.removed_files_days, DEFAULT_REMOVED_FILES_DAYS);
    let log = days("retention.log_days", file.log_days, DEFAULT_LOG_DAYS);
    Some(RetentionConfig { raw_days: raw?, removed_files_days: removed_files?, log_days: log? })
}

fn memory_limit_bytes(problems: &mut Problems, written: Option<String>) -> Option<u64> {
    let Some(value) = optional(written) else {
        return Some(machine::default_memory_limit_bytes());
    };
    let bytes = units::parse_bytes(&value).and_then(|bytes| {
        if bytes < LEAST_MEMORY_BYTES {
            Err(Reason::TooSmall { value, least_bytes: LEAST_MEMORY_BYTES })
        } else {
            Ok(bytes)
        }
    });
    accepted(problems, "engine.memory_limit", bytes)
}

/// A location made absolute from the folder its layer starts at.
fn located(
    problems: &mut Problems,
    roots: &Roots,
    path: &str,
    written: Option<&str>,
    default: &str,
) -> Option<String> {
    let written = text_or(problems, path, written, default)?;
    let root = roots.of(&problems.origins.of_value(path));
    let location = location::absolute(&written, root);
    accepted(problems, path, location)
}

/// The value, or `None` with the reason among the problems.
pub(crate) fn accepted<T>(
    problems: &mut Problems,
    path: &str,
    value: Result<T, Reason>,
) -> Option<T> {
    value.map_err(|reason| problems.add(path, reason)).ok()
}

/// Text without the white space around it; not empty once written, the default when not.
pub(crate) fn text_or(
    problems: &mut Problems,
    path: &str,
    written: Option<&str>,
    default: &str,
) -> Option<String> {
    required(problems, path, Some(written.unwrap_or(default)))
}

/// Text without the white space around it, that must be written and not be empty.
pub(crate) fn required(
    problems: &mut Problems,
    path: &str,
    written: Option<&str>,
) -> Option<String> {
    let value = match written.map(str::trim) {
        None => Err(Reason::Missing),
        Some("") => Err(Reason::Empty),
        Some(text) => Ok(text.to_owned()),
    };
    accepted(problems, path, value)
}

/// Text of a key that may stay unset, which `""` says too.
pub(crate) fn optional(written: Option<String>) -> Option<String> {
    written.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The choice of that name.
pub(crate) fn one_of<T: Copy>(
    value: &str,
    choices: &[T],
    shown: impl Fn(T) -> &'static str,
) -> Result<T, Reason> {
    choices.iter().copied().find(|choice| shown(*choice) == value).ok_or_else(|| {
        let allowed: Vec<&'static str> = choices.iter().copied().map(shown).collect();
        let suggestion = nearest(value, allowed.iter().copied()).map(ToOwned::to_owned);
        Reason::NotOneOf { value: value.to_owned(), allowed, suggestion }
    })
}

/// A whole number within bounds, or the default when not written.
pub(crate) fn whole_number(
    problems: &mut Problems,
    path: &str,
    written: Option<i64>,
    default: u32,
    bounds: RangeInclusive<u32>,
) -> Option<u32> {
    let Some(value) = written else {
        return Some(default);
    };
    let number =
        u32::try_from(value).ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
            Reason::OutOfRange {
                value,
                least: i64::from(*bounds.start()),
                most: i64::from(*bounds.end()),
            }
        });
    accepted(problems, path, number)
}
