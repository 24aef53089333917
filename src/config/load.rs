//! The way of the configuration: find the file, lay the other layers over it, check the whole.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::error::ConfigError;
use super::file::File;
use super::layers::Layers;
use super::location::{self, Roots};
use super::overlay::Graft;
use super::problems::Problems;
use super::reason::Reason;
use super::{Config, clients, feed_names, overlay, schema, validate, written};

const DEFAULT_FILE: &str = "sessionlake.toml";

/// What the command line and the environment say about the configuration.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The file, relative to the current directory; `None` means `sessionlake.toml`.
    pub file: Option<PathBuf>,
    /// `--env`: the environment whose file, such as `sessionlake.prod.toml`, is laid over `file`.
    pub overlay: Option<String>,
    /// `--lake`: a path relative to the current directory, or `s3://bucket/prefix`.
    pub lake: Option<String>,
    /// The environment; only variables that start with `SESSIONLAKE__` are looked at.
    pub environment: Vec<(String, String)>,
    /// `--set` arguments such as `session.timeout=10m` or `events:session.timeout=10m`; of two
    /// for the same key the later counts.
    pub set: Vec<String>,
}

/// Shows the file only: the other layers may hold secrets.
impl fmt::Debug for LoadOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LoadOptions").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Reads the configuration from its layers and checks it.
///
/// # Errors
/// The file cannot be found, read or parsed, or values are unknown or unusable: then every problem
/// found is reported at once.
pub fn load(options: &LoadOptions) -> Result<Config, ConfigError> {
    let current =
        std::env::current_dir().map_err(|source| ConfigError::CurrentDirectory { source })?;
    let named = options.file.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let file = location::tidy(&current.join(&named));
    let text = text_of(&file)?.ok_or_else(|| ConfigError::NotFound { looked_for: file.clone() })?;
    let over = match &options.overlay {
        Some(environment) => Some(overlay_text(&file, &named, environment)?),
        None => None,
    };
    let over = over.as_ref().map(|(named, text)| (named.as_path(), text.as_str()));
    let base = file.parent().unwrap_or(&file).to_owned();
    from_text(&text, &named, over, &Roots { base, current }, options)
}

/// The text of a file, `None` where there is none.
fn text_of(file: &Path) -> Result<Option<String>, ConfigError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { file: file.to_owned(), source }),
    }
}

/// The file of an environment: its name in messages, and its text.
fn overlay_text(
    file: &Path,
    named: &Path,
    environment: &str,
) -> Result<(PathBuf, String), ConfigError> {
    if !feed_names::is_segment(environment) {
        return Err(ConfigError::BadEnvironment { name: environment.to_owned() });
    }
    let looked_for = overlay::file_of(file, environment);
    match text_of(&looked_for)? {
        Some(text) => Ok((overlay::file_of(named, environment), text)),
        None => {
            let environment = environment.to_owned();
            Err(ConfigError::NoOverlay { environment, looked_for })
        }
    }
}

/// As [`load`], with the files' texts already read; `named` is the name of one in messages, `over`
/// name and text of the one that is laid over it.
pub(crate) fn from_text(
    text: &str,
    named: &Path,
    over: Option<(&Path, &str)>,
    roots: &Roots,
    options: &LoadOptions,
) -> Result<Config, ConfigError> {
    for folder in [&roots.base, &roots.current] {
        if folder.to_str().is_none() {
            return Err(ConfigError::NotUnicode { folder: folder.clone() });
        }
    }
    let (mut table, mut origins) = written::read(named, text)?;
    if let Some((named, text)) = over {
        let (over, from) = written::read(named, text)?;
        let graft = Graft { from: &from, shown: false };
        overlay::lay(&mut table, "", &over, "", &graft, &mut origins);
    }
    let mut problems = Problems::new(origins, feed_names(&table));
    written::check(&mut table, "", schema::ROOT, &mut problems);
    clients::expand(&mut table, &mut problems);
    problems.name_feeds(feed_names(&table));
    let mut layers = Layers { table: &mut table, problems: &mut problems };
    layers.environment(&options.environment);
    layers.set_arguments(&options.set);
    if let Some(lake) = &options.lake {
        layers.lake(lake);
    }
    let config = deserialized(table, &mut problems)
        .and_then(|file| validate::config(file, roots, &mut problems));
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems.into_error()),
    }
}

/// The values as structs. They have the shapes asked for by now, so this fails only if the schema
/// and the structs disagree.
fn deserialized(table: Table, problems: &mut Problems) -> Option<File> {
    serde_path_to_error::deserialize(Value::Table(table))
        .map_err(|error| {
            let path = error.path().to_string();
            let cause = Box::new(error.into_inner());
            problems.add(&path, Reason::DoesNotFit { cause });
        })
        .ok()
}

fn feed_names(table: &Table) -> Vec<Option<String>> {
    let feeds = table.get("feed").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    feeds
        .iter()
        .map(|feed| feed.get("name").and_then(Value::as_str).map(ToOwned::to_owned))
        .collect()
}
