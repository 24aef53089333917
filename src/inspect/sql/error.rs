//! What can go wrong with statements and scripts.

use std::fmt;
use std::io;
use std::path::PathBuf;

use datafusion::error::DataFusionError;

use super::guard::Refusal;
use crate::error::JobError;
use crate::lake::TableName;

/// Why `sql` ended.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// A file of statements cannot be read.
    #[error(
        "cannot read {}; is it there, and is it UTF-8? (`sql --list` shows the ready questions, \
         which --question asks)",
        file.display()
    )]
    Script {
        /// The file.
        file: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// `--question` names none.
    #[error("no question is named `{name}`; there are {known}")]
    UnknownQuestion {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A statement failed; those before it are done, those behind it were not tried.
    #[error("{place} failed")]
    Statement {
        /// Which one.
        place: Place,
        /// Why.
        source: Box<StatementError>,
    },
    /// The terminal cannot be read.
    #[error("cannot read from the terminal")]
    Terminal(#[source] rustyline::error::ReadlineError),
}

impl SqlError {
    /// Whether the command line or a statement asks for what is not allowed or not there.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Script { .. } | Self::UnknownQuestion { .. } => true,
            Self::Statement { source, .. } => match &**source {
                StatementError::Refused(_) => true,
                StatementError::Included(included) => included.is_usage(),
                _ => false,
            },
            Self::Terminal(_) => false,
        }
    }
}

/// Where a statement stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, or what else it came from.
    pub script: String,
    /// Which one of the script, from 1.
    pub statement: usize,
    /// The line on which it begins, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: statement {} (line {})", self.script, self.statement, self.line)
    }
}

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// It is not let through.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It names a table that is not there.
    #[error("there is no table `{name}`{}; there are {known}", meant(suggestion.as_deref()))]
    UnknownTable {
        /// The table, as written.
        name: String,
        /// What was probably meant.
        suggestion: Option<String>,
        /// Every table.
        known: String,
    },
    /// It names a layer, and several feeds have it.
    #[error("`{layer}` alone is a table of one feed; say of which with --feed ({feeds})")]
    WhichFeed {
        /// The layer.
        layer: String,
        /// The feeds.
        feeds: String,
    },
    /// A table of the lake cannot be read.
    #[error(transparent)]
    Lake(Box<JobError>),
    /// Data of an older version has left the store.
    #[error(
        "version {version} of {table} is not kept whole any more: data files of it have left the \
         store ([retention] removed_files_days says how long they stay)"
    )]
    Removed {
        /// The table.
        table: TableName,
        /// The version.
        version: u64,
        /// The engine's reason.
        source: Box<DataFusionError>,
    },
    /// A table for people needs all rows before the first.
    #[error(
        "the result is too large for a table; take --format csv, a limit, or a greater \
         --memory-limit"
    )]
    TooLarge(#[source] Box<DataFusionError>),
    /// The engine.
    #[error(transparent)]
    Query(Box<DataFusionError>),
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[source] io::Error),
    /// Nobody reads the result any more, as behind `head`.
    #[error("nobody reads the result any more")]
    ReaderGone,
    /// A command such as `\d` that is none.
    #[error("`{command}` is no command; \\? lists them")]
    UnknownCommand {
        /// What was typed.
        command: String,
    },
    /// `\pset format` with another word.
    #[error("`{format}` is no format; there are {known}")]
    UnknownFormat {
        /// What was typed.
        format: String,
        /// What there is.
        known: String,
    },
    /// Files include files, further than is allowed.
    #[error(
        "{file} is not read, as {most} files include one another already; does it include itself?"
    )]
    TooManyIncludes {
        /// The file.
        file: String,
        /// How many may.
        most: usize,
    },
    /// A script that a command includes.
    #[error(transparent)]
    Included(#[from] Box<SqlError>),
}

fn meant(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}
