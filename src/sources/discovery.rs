//! The files that a path template stands for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use chrono::NaiveDate;
use glob::{MatchOptions, Pattern};

use super::SourceError;
use super::input::Input;
use super::reader::Limits;
use crate::config::ARRIVAL_DATE;

/// Length of `2026-01-08`.
const DATE_CHARACTERS: usize = 10;
/// Matches any date where the template has the placeholder.
const ANY_DATE: &str = "????-??-??";

/// Why the files of a feed cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The template is not a valid glob.
    #[error("the path `{template}` is not a valid pattern; check its brackets")]
    Pattern {
        /// The template.
        template: String,
        /// The parser's reason.
        source: glob::PatternError,
    },
    /// A folder or file of the template cannot be read.
    #[error("cannot list the files of `{template}`; check the permissions")]
    Listing {
        /// The template.
        template: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

/// One delivered file as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its path below the fixed part of the template: its name in delivery ids and `_file`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    modified_nanos: u128,
}

impl SourceFile {
    fn stat_at(path: PathBuf, root: &Path) -> Result<Option<Self>, std::io::Error> {
        let metadata = fs::metadata(&path)?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let modified_nanos =
            metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Ok(Some(Self { bytes: metadata.len(), modified_nanos, name, path }))
    }

    /// Size and modification time: while they stay, the file is not hashed again.
    pub fn stat(&self) -> String {
        format!("{}-{}", self.bytes, self.modified_nanos)
    }

    /// SHA-256 of its bytes as delivered (compressed, where it is), in hexadecimal.
    pub fn content_hash(&self) -> Result<String, SourceError> {
        Input::open(&self.path, Limits::default().block_bytes)?.content_hash()
    }

    /// Whether size and time are still what they were when the file was listed.
    pub fn is_unchanged(&self) -> Result<bool, SourceError> {
        let now = Self::stat_at(self.path.clone(), Path::new(""))
            .map_err(|source| SourceError::Open { path: self.path.clone(), source })?;
        Ok(now.is_some_and(|now| now.stat() == self.stat()))
    }
}

/// The files of one arrival date, by name.
pub fn files_of(
    template: &str,
    arrival_date: NaiveDate,
) -> Result<Vec<SourceFile>, DiscoveryError> {
    let root = fixed_part(template);
    let pattern = template.replace(ARRIVAL_DATE, &arrival_date.to_string());
    let mut files = Vec::new();
    for path in matching(template, &pattern)? {
        let file = SourceFile::stat_at(path, &root)
            .map_err(|source| DiscoveryError::Listing { template: template.to_owned(), source })?;
        files.extend(file);
    }
    files.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(files)
}

/// Every file of the template, by arrival date.
pub fn all_files(template: &str) -> Result<BTreeMap<NaiveDate, Vec<SourceFile>>, DiscoveryError> {
    let root = fixed_part(template);
    let mut dates: BTreeMap<NaiveDate, Vec<SourceFile>> = BTreeMap::new();
    for path in matching(template, &template.replace(ARRIVAL_DATE, ANY_DATE))? {
        let Some(date) = date_of(template, &path.to_string_lossy()) else {
            continue;
        };
        let file = SourceFile::stat_at(path, &root)
            .map_err(|source| DiscoveryError::Listing { template: template.to_owned(), source })?;
        if let Some(file) = file {
            dates.entry(date).or_default().push(file);
        }
    }
    for files in dates.values_mut() {
        files.sort_by(|left, right| left.name.cmp(&right.name));
    }
    Ok(dates)
}

fn matching(template: &str, pattern: &str) -> Result<Vec<PathBuf>, DiscoveryError> {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    let paths = glob::glob_with(pattern, options)
        .map_err(|source| DiscoveryError::Pattern { template: template.to_owned(), source })?;
    paths.collect::<Result<_, _>>().map_err(|error: glob::GlobError| DiscoveryError::Listing {
        template: template.to_owned(),
        source: error.into(),
    })
}

/// The date that, put into the template, matches the path.
fn date_of(template: &str, path: &str) -> Option<NaiveDate> {
    path.char_indices()
        .filter_map(|(at, _)| path.get(at..at + DATE_CHARACTERS)?.parse::<NaiveDate>().ok())
        .find(|date| {
            let pattern = template.replace(ARRIVAL_DATE, &date.to_string());
            Pattern::new(&pattern).is_ok_and(|pattern| pattern.matches(path))
        })
}

/// The folder above the first placeholder or glob character.
fn fixed_part(template: &str) -> PathBuf {
    let first = template.find(['{', '*', '?', '[']).unwrap_or(template.len());
    let fixed = &template[..first];
    PathBuf::from(fixed.rfind('/').map_or("", |slash| &fixed[..=slash]))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn several_files_of_a_date_are_listed_by_name() {
        let folder = folder_with(&["2026-01-02/b.csv", "2026-01-02/a.csv", "2026-01-03/a.csv"]);
        let template = format!("{}/{{arrival_date}}/*.csv", folder.path().display());
        let names: Vec<String> = files_of(&template, date("2026-01-02"))
            .unwrap()
            .into_iter()
            .map(|file| file.name)
            .collect();
        assert_eq!(names, ["2026-01-02/a.csv", "2026-01-02/b.csv"]);
    }

    #[test]
    fn arrival_dates_are_read_from_the_paths() {
        let folder =
            folder_with(&["x-2026-01-02.csv", "x-2026-01-05.csv", "x-notadate1.csv", "y.csv"]);
        let template = format!("{}/x-{{arrival_date}}.csv", folder.path().display());
        assert_eq!(
            all_files(&template).unwrap().into_keys().collect::<Vec<_>>(),
            [date("2026-01-02"), date("2026-01-05")]
        );
    }

    #[test]
    fn a_touched_file_has_another_stat_and_the_same_hash() {
        let folder = folder_with(&["2026-01-02.csv"]);
        let template = format!("{}/{{arrival_date}}.csv", folder.path().display());
        let before = files_of(&template, date("2026-01-02")).unwrap().remove(0);
        let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5);
        File::options().write(true).open(&before.path).unwrap().set_modified(later).unwrap();
        let after = files_of(&template, date("2026-01-02")).unwrap().remove(0);
        assert_ne!(before.stat(), after.stat());
        assert_eq!(before.content_hash().unwrap(), after.content_hash().unwrap());
        assert!(!before.is_unchanged().unwrap());
    }
}
