//! Texts that name a value instead of holding it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::encrypted::{self, Undecipherable};
use crate::config::location;

/// The environment variable that names the file with the identities.
pub const IDENTITY_FILE: &str = "SESSIONLAKE_IDENTITY_FILE";
/// Bytes that a value may have.
pub(super) const MOST_BYTES: usize = 64 << 10;

const ENVIRONMENT: &str = "env:";
const FILE: &str = "file:";
const ENCRYPTED: &str = "age:";
/// Characters of an encrypted value that tell it from others in a message.
const SHORT_CHARACTERS: usize = 12;

/// What stands in the configuration in place of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `env:NAME`: the value of an environment variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// `file:PATH`: the text of a file, but for a line break at its end.
    File {
        /// Its absolute path.
        path: PathBuf,
    },
    /// `age:...`: the value itself, encrypted.
    Encrypted {
        /// The age file in base64.
        text: String,
    },
}

/// A text that begins as a reference does and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadReference {
    #[error("`env:` without a name")]
    NoName,
    #[error("`file:` without a path")]
    NoPath,
    #[error("what follows `age:` is not an encrypted value")]
    NotEncrypted,
}

impl BadReference {
    /// What to do about it.
    pub(crate) const fn next_step(self) -> &'static str {
        match self {
            Self::NoName => "write `env:NAME`, the name of an environment variable",
            Self::NoPath => "write `file:PATH`, the path of a file",
            Self::NotEncrypted => "copy the whole line that `sessionlake secret encrypt` prints",
        }
    }
}

/// Why there is no value behind a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unresolved {
    #[error("the environment variable {name} is not set (or is not UTF-8)")]
    NotSet { name: String },
    #[error("cannot read the file {}: {kind}", path.display())]
    Unreadable { path: PathBuf, kind: io::ErrorKind },
    #[error("the value of {reference} is empty")]
    Empty { reference: String },
    #[error("the value of {reference} is not UTF-8 text")]
    NotText { reference: String },
    #[error("the value of {reference} is longer than {MOST_BYTES} bytes")]
    TooLong { reference: String },
    #[error("the value of {reference} has a line break or another control character in it")]
    ControlCharacter { reference: String },
    #[error("the value of {reference} is no credential: it has more than printable ASCII in it")]
    NoCredential { reference: String },
    #[error("cannot decrypt the value: {0}")]
    Undecipherable(Undecipherable),
}

impl Unresolved {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> String {
        match self {
            Self::NotSet { name } => format!("set {name} where the program is started"),
            Self::Unreadable { .. } => {
                "make it a file that this user may read, or change the path".to_owned()
            }
            Self::Empty { .. } | Self::NotText { .. } | Self::TooLong { .. } => {
                "put the value there, and nothing else".to_owned()
            }
            Self::NoCredential { .. } => "put the right value there, and nothing else".to_owned(),
            Self::ControlCharacter { .. } => {
                "put the value there on one line, and nothing else".to_owned()
            }
            Self::Undecipherable(cause) => cause.next_step(),
        }
    }
}

impl Reference {
    /// What a written text refers to; `None` for a text that is itself the value. A relative path
    /// starts at `root`.
    pub(crate) fn parse(written: &str, root: &Path) -> Option<Result<Self, BadReference>> {
        let written = written.trim();
        if let Some(name) = written.strip_prefix(ENVIRONMENT) {
            let is_name = !name.is_empty() && !name.contains(['=', '\0']);
            let name = is_name.then(|| Self::Environment { name: name.to_owned() });
            return Some(name.ok_or(BadReference::NoName));
        }
        if let Some(path) = written.strip_prefix(FILE) {
            // A URL, which the key it stands at takes or refuses.
            if path.starts_with("//") {
                return None;
            }
            let is_path = !path.is_empty() && !path.contains('\0');
            let path = is_path.then(|| Self::File { path: location::tidy(&root.join(path)) });
            return Some(path.ok_or(BadReference::NoPath));
        }
        let text = written.strip_prefix(ENCRYPTED)?;
        let bytes = STANDARD.decode(text).unwrap_or_default();
        let is_encrypted = encrypted::has_header(&bytes);
        Some(if is_encrypted {
            Ok(Self::Encrypted { text: text.to_owned() })
        } else {
            Err(BadReference::NotEncrypted)
        })
    }

    /// The reference to an age file.
    pub(crate) fn to_encrypted(bytes: &[u8]) -> Self {
        Self::Encrypted { text: STANDARD.encode(bytes) }
    }

    /// Looks the value up. `environment` gives the value of a variable.
    pub(crate) fn value(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<SecretString, Unresolved> {
        let bytes = match self {
            Self::Environment { name } => {
                let value = environment(name).map(|value| Zeroizing::new(value.into_bytes()));
                value.ok_or_else(|| Unresolved::NotSet { name: name.clone() })?
            }
            Self::File { path } => {
                let unreadable = |error: io::Error| Unresolved::Unreadable {
                    path: path.clone(),
                    kind: error.kind(),
                };
                File::open(path).and_then(read).map_err(unreadable)?
            }
            Self::Encrypted { text } => {
                let bytes = STANDARD.decode(text).unwrap_or_default();
                encrypted::decrypt(&bytes, environment(IDENTITY_FILE))
                    .map_err(Unresolved::Undecipherable)?
            }
        };
        self.checked(&bytes)
    }

    fn checked(&self, bytes: &[u8]) -> Result<SecretString, Unresolved> {
        let reference = || self.in_messages();
        if bytes.len() > MOST_BYTES {
            return Err(Unresolved::TooLong { reference: reference() });
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(Unresolved::NotText { reference: reference() });
        };
        let text = match self {
            Self::File { .. } => without_line_break(text),
            Self::Environment { .. } | Self::Encrypted { .. } => text,
        };
        if text.trim().is_empty() {
            return Err(Unresolved::Empty { reference: reference() });
        }
        if text.contains(char::is_control) {
            return Err(Unresolved::ControlCharacter { reference: reference() });
        }
        Ok(text.into())
    }

    /// The reference for messages: an encrypted value by its beginning.
    pub(crate) fn in_messages(&self) -> String {
        match self {
            Self::Encrypted { text } => {
                // All begin with the same header; the end is what differs.
                let start = text.len().saturating_sub(SHORT_CHARACTERS);
                format!("{ENCRYPTED}...{}", text.get(start..).unwrap_or_default())
            }
            Self::Environment { .. } | Self::File { .. } => self.to_string(),
        }
    }
}

/// As it is written in the configuration.
impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment { name } => write!(formatter, "{ENVIRONMENT}{name}"),
            Self::File { path } => write!(formatter, "{FILE}{}", path.display()),
            Self::Encrypted { text } => write!(formatter, "{ENCRYPTED}{text}"),
        }
    }
}

/// Reads a value, at most one byte beyond what it may have, without leaving copies behind.
pub(super) fn read(source: impl io::Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 1));
    source.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text without one line break at its end, which editors and `echo` leave there.
pub(super) fn without_line_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}
