//! The files that a path template stands for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use chrono::NaiveDate;
use futures::TryStreamExt as _;
use glob::{MatchOptions, Pattern};
use object_store::ObjectStore;
use object_store::path::Path as Key;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use super::SourceError;
use super::input::Input;
use super::limits::Limits;
use super::location::{Location, StoredObject};
use crate::config::{ARRIVAL_DATE, redacted};

/// Length of `2026-01-08`.
const DATE_CHARACTERS: usize = 10;
/// Matches any date where the template has the placeholder.
const ANY_DATE: &str = "????-??-??";

/// A glob character stands for no `/`.
const GLOB: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

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
    /// The store does not list the objects of the template.
    #[error("cannot list the files of `{template}`; check the bucket and its permissions")]
    Store {
        /// The template.
        template: String,
        /// The store's reason.
        source: object_store::Error,
    },
}

/// One delivered file as it stands on a disk or in a store.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Where it is: a path, or the URL of an object.
    pub path: PathBuf,
    /// Its path below the fixed part of the template: its name in delivery ids and `_file`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// What changes with the content: the modification time, or the ETag of an object.
    version: String,
    is_folder: bool,
    object: Option<StoredObject>,
}

impl SourceFile {
    fn stat_at(path: PathBuf, root: &Path) -> Result<Option<Self>, std::io::Error> {
        let metadata = fs::metadata(&path)?;
        let is_folder = metadata.is_dir();
        if !metadata.is_file() && !is_folder {
            return Ok(None);
        }
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let modified_nanos =
            metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let version = modified_nanos.to_string();
        let bytes = if is_folder { 0 } else { metadata.len() };
        Ok(Some(Self { bytes, version, name, path, is_folder, object: None }))
    }

    /// Size and version: while they stay, the file is not hashed again.
    pub fn stat(&self) -> String {
        format!("{}-{}", self.bytes, self.version)
    }

    /// What changes with the content: the ETag of an object, or the modification time of a file,
    /// nanoseconds since 1970.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where its bytes are.
    pub fn location(&self) -> Location {
        match &self.object {
            Some(object) => Location::in_store(self.path.clone(), object.clone()),
            None => Location::from(&self.path),
        }
    }

    /// Whether a folder is where a file should be.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// SHA-256 of its bytes as delivered (compressed, where it is), in hexadecimal; that of no byte
    /// for a folder.
    pub fn content_hash(&self) -> Result<String, SourceError> {
        if self.is_folder {
            return Ok(format!("{:x}", Sha256::digest(b"")));
        }
        Input::open(self.location(), Limits::default())?.content_hash()
    }

    /// Removes it, if it is still what it was when it was listed.
    pub async fn remove(&self) -> Result<(), SourceError> {
        let failed = |source| SourceError::Removal { path: self.path.clone(), source };
        match &self.object {
            Some(object) if object.is_unchanged().await.map_err(failed)? => {
                object.remove().await.map_err(failed)
            }
            None if self.is_unchanged()? => fs::remove_file(&self.path).map_err(failed),
            _ => Err(SourceError::Changed { path: self.path.clone() }),
        }
    }

    /// Whether size and time are still what they were when the file was listed.
    pub fn is_unchanged(&self) -> Result<bool, SourceError> {
        if self.object.is_some() {
            // Every part of an object was asked for in the version that was listed.
            return Ok(true);
        }
        let now = Self::stat_at(self.path.clone(), Path::new(""))
            .map_err(|source| SourceError::Open { path: self.path.clone(), source })?;
        Ok(now.is_some_and(|now| now.stat() == self.stat()))
    }
}

/// Where the files of a feed are.
#[derive(Debug)]
pub struct Source<'t> {
    template: &'t str,
    /// None on a disk.
    store: Option<Arc<dyn ObjectStore>>,
}

impl<'t> Source<'t> {
    /// The files of `template` on this machine.
    pub fn on_disk(template: &'t str) -> Self {
        Self { template, store: None }
    }

    /// The objects of `template`, an URL as `s3://bucket/a/{arrival_date}.csv`, in the store of
    /// its bucket.
    pub fn in_store(template: &'t str, store: Arc<dyn ObjectStore>) -> Self {
        Self { template, store: Some(store) }
    }

    /// The URL of the bucket of `template`, or `None` when it is a path.
    pub fn bucket(template: &str) -> Option<&str> {
        let authority = template.find("://")? + "://".len();
        let end = template[authority..].find('/').map_or(template.len(), |at| authority + at);
        Some(&template[..end])
    }

    /// The files of one arrival date, by name.
    pub async fn files_of(
        &self,
        arrival_date: NaiveDate,
    ) -> Result<Vec<SourceFile>, DiscoveryError> {
        let pattern = self.pattern().replace(ARRIVAL_DATE, &arrival_date.to_string());
        let mut files: Vec<SourceFile> =
            self.matching(&pattern).await?.into_iter().map(|(_, file)| file).collect();
        files.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(files)
    }

    /// Every file of the template, by arrival date.
    pub async fn all_files(&self) -> Result<BTreeMap<NaiveDate, Vec<SourceFile>>, DiscoveryError> {
        let mut dates: BTreeMap<NaiveDate, Vec<SourceFile>> = BTreeMap::new();
        for (path, file) in self.matching(&self.pattern().replace(ARRIVAL_DATE, ANY_DATE)).await? {
            if let Some(date) = date_of(self.pattern(), &path) {
                dates.entry(date).or_default().push(file);
            }
        }
        for files in dates.values_mut() {
            files.sort_by(|left, right| left.name.cmp(&right.name));
        }
        Ok(dates)
    }

    /// The template of a path, or of a key below the bucket.
    fn pattern(&self) -> &'t str {
        let bucket = self.store.as_ref().and_then(|_| Self::bucket(self.template));
        let below = bucket.and_then(|bucket| self.template.strip_prefix(bucket));
        below.map_or(self.template, |key| key.trim_start_matches('/'))
    }

    /// The files of a pattern, each with its path or key.
    async fn matching(&self, pattern: &str) -> Result<Vec<(String, SourceFile)>, DiscoveryError> {
        match &self.store {
            Some(store) => self.objects(store, pattern).await,
            None => files(self.template, pattern),
        }
    }

    async fn objects(
        &self,
        store: &Arc<dyn ObjectStore>,
        pattern: &str,
    ) -> Result<Vec<(String, SourceFile)>, DiscoveryError> {
        let template = || redacted(self.template);
        let matcher = Pattern::new(pattern)
            .map_err(|source| DiscoveryError::Pattern { template: template(), source })?;
        let folder = fixed_part(pattern).to_string_lossy().into_owned();
        let root = fixed_part(self.pattern()).to_string_lossy().into_owned();
        let refused = |source| DiscoveryError::Store { template: template(), source };
        let folder = Key::parse(folder).map_err(|source| refused(source.into()))?;
        let bucket = Self::bucket(self.template).unwrap_or_default();
        let runtime = Handle::current();
        let mut objects = store.list(Some(&folder));
        let mut found = Vec::new();
        while let Some(meta) = objects.try_next().await.map_err(refused)? {
            let key = meta.location.to_string();
            if !matcher.matches_with(&key, GLOB) {
                continue;
            }
            let object = StoredObject::new(Arc::clone(store), meta, runtime.clone());
            let file = SourceFile {
                path: PathBuf::from(redacted(&format!("{bucket}/{key}"))),
                name: key.strip_prefix(&root).unwrap_or(&key).to_owned(),
                bytes: object.bytes(),
                version: object.version(),
                is_folder: false,
                object: Some(object),
            };
            found.push((key, file));
        }
        Ok(found)
    }
}

fn files(template: &str, pattern: &str) -> Result<Vec<(String, SourceFile)>, DiscoveryError> {
    let root = fixed_part(template);
    // A template without an ending may well match folders that are none of the feed's business.
    let wants_files = Path::new(template).extension().is_some();
    let mut files = Vec::new();
    for path in matching(template, pattern)? {
        let text = path.to_string_lossy().into_owned();
        let file = SourceFile::stat_at(path, &root)
            .map_err(|source| DiscoveryError::Listing { template: template.to_owned(), source })?;
        let file = file.filter(|file| wants_files || !file.is_folder);
        files.extend(file.map(|file| (text, file)));
    }
    Ok(files)
}

fn matching(template: &str, pattern: &str) -> Result<Vec<PathBuf>, DiscoveryError> {
    let paths = glob::glob_with(pattern, GLOB)
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
mod tests;
