//! Why a configuration cannot be used: where it was written, what is wrong, what to do next.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::reason::Reason;

/// Why no configuration came out of [`load`](super::load).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The process stands in a folder that is gone or closed to it.
    #[error(
        "cannot tell the current directory, where relative paths start; \
         run again from a folder that exists"
    )]
    CurrentDirectory {
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no file where one was looked for.
    #[error(
        "no configuration file: looked for {}; write one there or name another with --config FILE",
        looked_for.display()
    )]
    NotFound {
        /// The absolute path that does not exist.
        looked_for: PathBuf,
    },
    /// There is no file for the environment that was asked for.
    #[error(
        "no configuration for the environment {environment}: looked for {}; write what differs \
         there, or leave out --env and SESSIONLAKE_ENV",
        looked_for.display()
    )]
    NoOverlay {
        /// The environment.
        environment: String,
        /// The absolute path that does not exist.
        looked_for: PathBuf,
    },
    /// The name of an environment is a part of a file's name.
    #[error("`{name}` cannot name an environment; use a-z, 0-9, `_` and `-`")]
    BadEnvironment {
        /// What was asked for.
        name: String,
    },
    /// The file is there but could not be read as text.
    #[error(
        "cannot read the configuration file {}; make it a readable UTF-8 text file \
         or name another with --config FILE",
        file.display()
    )]
    Unreadable {
        /// The absolute path of the file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Tables have text for locations, so a folder's name must be UTF-8.
    #[error(
        "the path {} is not UTF-8, so no location can be written from it; \
         move the configuration to a folder whose name is",
        folder.display()
    )]
    NotUnicode {
        /// The folder relative paths would start at.
        folder: PathBuf,
    },
    /// The file is not TOML.
    #[error(
        "{}, {position}: not valid TOML: {}; mend that line and run again",
        file.display(),
        cause.message()
    )]
    Syntax {
        /// The file, as named by the user.
        file: PathBuf,
        /// Where the parser stopped.
        position: Position,
        /// The parser's own error, which can show the line.
        cause: Box<toml::de::Error>,
    },
    /// The layers were read, and some values cannot be used.
    #[error("{}", listed(problems))]
    Invalid {
        /// Every problem found, at least one: those of the file from top to bottom, then those of
        /// the environment, `--set` and `--lake`.
        problems: Vec<Problem>,
    },
}

/// One value that cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The key's path, such as `feed[0] (events).session.timeout`.
    pub key: String,
    /// Where the value was written, or would have been.
    pub origin: Origin,
    /// What is wrong.
    pub(crate) reason: Reason,
    /// How the key is written, such as `timeout = "5m"`; empty for a key that does not exist.
    pub example: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, origin, reason, example } = self;
        write!(formatter, "{key}: {reason} ({origin}), {}", reason.next_step(example))
    }
}

/// Where a value was written. Ordered as problems are listed: by layer, then from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the configuration file.
    File {
        /// The file, as named by the user.
        file: PathBuf,
        /// Where in the file; `None` for what the file does not mention.
        position: Option<Position>,
    },
    /// In an environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// In a `--set` argument.
    Set {
        /// The argument up to its `=`: the value could be a secret.
        key: String,
    },
    /// In the `--lake` argument.
    Lake,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, position: Some(position) } => {
                write!(formatter, "{}, {position}", file.display())
            }
            Self::File { file, position: None } => write!(formatter, "{}", file.display()),
            Self::Environment { variable } => write!(formatter, "environment variable {variable}"),
            Self::Set { key } => write!(formatter, "--set {key}"),
            Self::Lake => formatter.write_str("--lake"),
        }
    }
}

/// A place in a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

impl Position {
    /// The place of a byte offset; one beyond the end is the end.
    pub(crate) fn at(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)
    }
}

fn listed(problems: &[Problem]) -> String {
    if let [problem] = problems {
        return problem.to_string();
    }
    let lines: Vec<String> = problems.iter().map(|problem| format!("\n  - {problem}")).collect();
    format!("{} problems in the configuration:{}", problems.len(), lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_one_in_characters() {
        assert_eq!(Position::at("ab\ncdé = 1", 0), Position { line: 1, column: 1 });
        assert_eq!(Position::at("ab\ncdé = 1", 3), Position { line: 2, column: 1 });
        assert_eq!(Position::at("ab\ncdé = 1", 8), Position { line: 2, column: 5 });
        assert_eq!(Position::at("ab", 99), Position { line: 1, column: 3 });
    }
}
