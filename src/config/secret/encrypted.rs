//! Values encrypted for one or several recipients, as the tool `age` does it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use age::x25519::Identity;
pub use age::x25519::Recipient;
use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::reference::{IDENTITY_FILE, MOST_BYTES, Reference, read, without_line_break};

/// With what every age file begins.
const HEADER: &[u8] = b"age-encryption.org/";

/// Why a value cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum NotEncrypted {
    /// There is nothing to encrypt.
    #[error(
        "there is no value on standard input; give it as `sessionlake secret encrypt ... < FILE`"
    )]
    Empty,
    /// It would be refused where it is used.
    #[error(
        "the value on standard input is not one line of at most {MOST_BYTES} bytes of UTF-8 text; \
         give the value and nothing else"
    )]
    NotALine,
    /// The value cannot be read.
    #[error("cannot read the value from standard input")]
    Unreadable(#[source] io::Error),
    /// The library refuses.
    #[error("the value cannot be encrypted for these recipients")]
    Refused(#[source] EncryptError),
    /// The encrypted value cannot be put together.
    #[error("the value cannot be encrypted")]
    Unwritable(#[source] io::Error),
}

impl NotEncrypted {
    /// Whether the value is to be given otherwise.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Empty | Self::NotALine)
    }
}

/// Why a value cannot be decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecipherable {
    #[error("{IDENTITY_FILE} is not set")]
    NoIdentityFile,
    #[error("cannot read the identity file {}: {kind}", path.display())]
    UnreadableIdentities { path: PathBuf, kind: io::ErrorKind },
    #[error("line {line} of the identity file {} is no identity", path.display())]
    NoIdentity { path: PathBuf, line: usize },
    #[error("there is no identity in the file {}", path.display())]
    NoIdentities { path: PathBuf },
    #[error("it was encrypted for none of the identities in {}", path.display())]
    OtherRecipient { path: PathBuf },
    #[error("it is damaged")]
    Damaged,
}

impl Undecipherable {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> String {
        match self {
            Self::NoIdentityFile | Self::UnreadableIdentities { .. } => format!(
                "let {IDENTITY_FILE} name a file that this user may read, with the identity \
                 (AGE-SECRET-KEY-1...) the value was encrypted for"
            ),
            Self::NoIdentity { .. } | Self::NoIdentities { .. } => {
                "put one AGE-SECRET-KEY-1... on each line, as `sessionlake secret keygen` writes it; \
                 plugins and passphrases are not known here"
                    .to_owned()
            }
            Self::OtherRecipient { .. } => format!(
                "let {IDENTITY_FILE} name the right file, or encrypt the value again with \
                 `sessionlake secret encrypt`"
            ),
            Self::Damaged => {
                "copy the whole line that `sessionlake secret encrypt` prints".to_owned()
            }
        }
    }
}

/// Whether these are the bytes of an age file, as far as its beginning tells.
pub(super) fn has_header(bytes: &[u8]) -> bool {
    bytes.starts_with(HEADER)
}

/// Reads a value, at most [`MOST_BYTES`] long, and encrypts it for each of the recipients. One line
/// break at its end is no part of it. Gives `age:...`, as the configuration takes it.
///
/// # Errors
/// The value cannot be read or is not one line of text, or there is no recipient.
pub fn encrypt(value: impl io::Read, recipients: &[Recipient]) -> Result<Reference, NotEncrypted> {
    let bytes = read(value).map_err(NotEncrypted::Unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| NotEncrypted::NotALine)?;
    let text = without_line_break(text);
    if text.trim().is_empty() {
        return Err(NotEncrypted::Empty);
    }
    if bytes.len() > MOST_BYTES || text.contains(char::is_control) {
        return Err(NotEncrypted::NotALine);
    }
    let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(NotEncrypted::Refused)?;
    let written = || {
        let mut output = encryptor.wrap_output(Vec::new())?;
        output.write_all(text.as_bytes())?;
        output.finish()
    };
    let encrypted = written().map_err(NotEncrypted::Unwritable)?;
    Ok(Reference::to_encrypted(&encrypted))
}

/// A new identity: the text of its file, and the recipient to encrypt values for.
pub fn generate() -> (SecretString, Recipient) {
    let identity = Identity::generate();
    (identity.to_string(), identity.to_public())
}

/// Decrypts with the identities of the file that [`IDENTITY_FILE`] names.
pub(super) fn decrypt(
    encrypted: &[u8],
    identity_file: Option<String>,
) -> Result<Zeroizing<Vec<u8>>, Undecipherable> {
    let named = identity_file.filter(|path| !path.is_empty());
    let path = named.map(PathBuf::from).ok_or(Undecipherable::NoIdentityFile)?;
    let identities = identities(&path)?;
    let decryptor = Decryptor::new_buffered(encrypted).map_err(|_| Undecipherable::Damaged)?;
    let identities = identities.iter().map(|identity| identity as &dyn age::Identity);
    let value = decryptor.decrypt(identities).map_err(|error| match error {
        DecryptError::NoMatchingKeys => Undecipherable::OtherRecipient { path },
        _ => Undecipherable::Damaged,
    })?;
    read(value).map_err(|_| Undecipherable::Damaged)
}

fn identities(path: &Path) -> Result<Vec<Identity>, Undecipherable> {
    let bytes = File::open(path).and_then(read).map_err(|error| {
        Undecipherable::UnreadableIdentities { path: path.to_owned(), kind: error.kind() }
    })?;
    let no_identity = |line| Undecipherable::NoIdentity { path: path.to_owned(), line };
    let text = std::str::from_utf8(&bytes).map_err(|_| no_identity(1))?;
    let mut identities = Vec::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if !line.is_empty() && !line.starts_with('#') {
            identities.push(line.parse::<Identity>().map_err(|_| no_identity(index + 1))?);
        }
    }
    if identities.is_empty() {
        return Err(Undecipherable::NoIdentities { path: path.to_owned() });
    }
    Ok(identities)
}
