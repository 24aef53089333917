//! Values that nobody may read: where they come from, when they are read, and how they stay out of
//! everything that is printed.
//!
//! A text of the configuration may name its value instead of holding it: `env:NAME`, `file:PATH` or
//! `age:...`. The credentials of a store are looked up when the store is opened; every other value is
//! needed to check the configuration, and looked up then. What was looked up is replaced by the
//! reference wherever the program prints.

mod concealed;
pub mod encrypted;
mod reference;
mod references;

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

pub(crate) use concealed::{conceal, concealed};
pub(crate) use reference::{BadReference, Unresolved};
pub use reference::{IDENTITY_FILE, Reference};
pub use references::References;
pub(crate) use references::{is_credential, resolve};

use super::error::{ConfigError, Origin, Problem};
use super::reason::Reason;
use super::schema;

const HIDDEN: &str = "***";

/// A credential. It cannot be printed; [`Secret::reveal`] reads it.
#[derive(Clone)]
pub struct Secret(Source);

#[derive(Clone)]
enum Source {
    Written(SecretString),
    Referenced(Box<Referenced>),
}

/// A credential that was not looked up yet.
#[derive(Clone)]
struct Referenced {
    reference: Reference,
    /// Path of its key, such as `lake.storage.session_token`.
    key: String,
    origin: Origin,
}

impl Secret {
    /// A credential to be looked up; `origin` is where its reference was written.
    pub(crate) fn referenced(reference: Reference, key: &str, origin: Origin) -> Self {
        let key = key.to_owned();
        Self(Source::Referenced(Box::new(Referenced { reference, key, origin })))
    }

    /// The value. From here on it is concealed in all that is printed.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when what the reference names is not there or cannot be used.
    pub fn reveal(&self) -> Result<SecretString, ConfigError> {
        match &self.0 {
            Source::Written(value) => {
                conceal(value, HIDDEN);
                Ok(value.clone())
            }
            Source::Referenced(referenced) => referenced.reveal(),
        }
    }

    /// As in the configuration, the value itself as `***`.
    pub(crate) fn shown(&self) -> String {
        match &self.0 {
            Source::Written(_) => HIDDEN.to_owned(),
            Source::Referenced(referenced) => referenced.reference.to_string(),
        }
    }
}

impl Referenced {
    fn reveal(&self) -> Result<SecretString, ConfigError> {
        let looked_up = self.reference.value(&|name| std::env::var(name).ok());
        let checked = looked_up.and_then(|value| {
            if is_credential_text(value.expose_secret()) {
                Ok(value)
            } else {
                Err(Unresolved::NoCredential { reference: self.reference.in_messages() })
            }
        });
        let value = checked.map_err(|unresolved| {
            let reason = Reason::Unresolved(unresolved);
            let (key, origin) = (self.key.clone(), self.origin.clone());
            let example = schema::example(&key);
            ConfigError::Invalid { problems: vec![Problem { key, origin, reason, example }] }
        })?;
        conceal(&value, &self.reference.in_messages());
        Ok(value)
    }
}

/// Whether a text can be sent in the header of a request.
pub(crate) fn is_credential_text(value: &str) -> bool {
    value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(Source::Written(value.into()))
    }
}

/// Two that are written are the same when their values are, two that are not when they name the
/// same: nothing is looked up.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Source::Written(left), Source::Written(right)) => {
                left.expose_secret() == right.expose_secret()
            }
            (Source::Referenced(left), Source::Referenced(right)) => {
                left.reference == right.reference
            }
            _ => false,
        }
    }
}

impl Eq for Secret {}

/// Shows no value.
impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret({})", self.shown())
    }
}
