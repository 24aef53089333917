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
use super::problems::Problems;
use super::reason::Reason;
use super::{Config, schema, secret, validate, written};

const DEFAULT_FILE: &str = "sessionlake.toml";

/// What the command line and the environment say about the configuration.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The file, relative to the current directory; `None` means `sessionlake.toml`.
    pub file: Option<PathBuf>,
    /// `--lake`: a path relative to the current directory, or `s3://bucket/prefix`.
    pub lake: Option<String>,
    /// The environment; only variables that start with `SESSIONLAKE__` are looked at, and those
    /// that a value refers to.
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

impl LoadOptions {
    fn variable(&self, name: &str) -> Option<String> {
        let (_, value) = self.environment.iter().find(|(variable, _)| variable == name)?;
        Some(value.clone())
    }
}

/// Reads the configuration from its four layers and checks it.
///
/// # Errors
/// The file cannot be found, read or parsed, or values are unknown or unusable: then every problem
/// found is reported at once.
pub fn load(options: &LoadOptions) -> Result<Config, ConfigError> {
    let current =
        std::env::current_dir().map_err(|source| ConfigError::CurrentDirectory { source })?;
    let named = options.file.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let file = location::tidy(&current.join(&named));
    let text = fs::read_to_string(&file).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::NotFound { looked_for: file.clone() },
        _ => ConfigError::Unreadable { file: file.clone(), source },
    })?;
    let base = file.parent().unwrap_or(&file).to_owned();
    from_text(&text, &named, &Roots { base, current }, options)
}

/// As [`load`], with the file's text already read; `named` is its name in messages.
pub(crate) fn from_text(
    text: &str,
    named: &Path,
    roots: &Roots,
    options: &LoadOptions,
) -> Result<Config, ConfigError> {
    for folder in [&roots.base, &roots.current] {
        if folder.to_str().is_none() {
            return Err(ConfigError::NotUnicode { folder: folder.clone() });
        }
    }
    let (mut table, origins) = written::read(named, text)?;
    let mut problems = Problems::new(origins, feed_names(&table));
    written::check(&mut table, "", schema::ROOT, &mut problems);
    let mut layers = Layers { table: &mut table, problems: &mut problems };
    layers.environment(&options.environment);
    layers.set_arguments(&options.set);
    if let Some(lake) = &options.lake {
        layers.lake(lake);
    }
    let environment = |name: &str| options.variable(name);
    secret::resolve(&mut table, roots, &environment, &mut problems);
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
