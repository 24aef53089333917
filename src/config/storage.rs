//! `[lake.storage]`: how an object store is reached.

use std::fmt;
use std::ops::RangeInclusive;

use super::file::StorageFile;
use super::problems::Problems;
use super::reason::Reason;
use super::validate::{optional, whole_number};

const RETRIES: RangeInclusive<u32> = 0..=20;
const HIDDEN: &str = "***";

/// How an object store is reached. What is not set comes from the environment (`AWS_*`), and else
/// from the store's own defaults.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StorageSettings {
    /// URL of the server, such as `http://127.0.0.1:9000`; `None` means AWS.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
    /// Whose requests these are. Given with its secret, and then nothing of `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` is taken.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<String>,
    /// The token of temporary credentials.
    pub session_token: Option<String>,
    /// Whether a server without TLS may be talked to.
    pub allow_http: Option<bool>,
    /// Whether the bucket stands in the path (most servers but AWS) or in the name of the host.
    pub path_style: Option<bool>,
    /// How often a request is made again, with a growing wait in between, when the store is busy
    /// or out of reach. `None` means eight times: up to half a minute.
    pub retries: Option<u32>,
}

/// Shows no secret.
impl fmt::Debug for StorageSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown(), formatter)
    }
}

impl StorageSettings {
    /// The settings as written, each secret as `***`.
    pub(crate) fn shown(&self) -> StorageFile {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| HIDDEN.to_owned());
        StorageFile {
            endpoint: self.endpoint.as_deref().map(super::location::redacted),
            region: self.region.clone(),
            access_key_id: hidden(&self.access_key_id),
            secret_access_key: hidden(&self.secret_access_key),
            session_token: hidden(&self.session_token),
            allow_http: self.allow_http,
            path_style: self.path_style,
            retries: self.retries.map(i64::from),
        }
    }

    pub(crate) fn checked(file: StorageFile, problems: &mut Problems) -> Option<Self> {
        let retries = match file.retries {
            None => None,
            written => Some(whole_number(problems, "lake.storage.retries", written, 0, RETRIES)?),
        };
        let access_key_id = optional(file.access_key_id);
        let secret_access_key = optional(file.secret_access_key);
        let session_token = optional(file.session_token);
        if access_key_id.is_some() || secret_access_key.is_some() || session_token.is_some() {
            // The rest of it in the environment would be that of somebody else.
            let keys =
                [("access_key_id", &access_key_id), ("secret_access_key", &secret_access_key)];
            for (key, _) in keys.into_iter().filter(|(_, value)| value.is_none()) {
                problems.add(&format!("lake.storage.{key}"), Reason::Missing);
            }
        }
        Some(Self {
            endpoint: optional(file.endpoint),
            region: optional(file.region),
            access_key_id,
            secret_access_key,
            session_token,
            allow_http: file.allow_http,
            path_style: file.path_style,
            retries,
        })
    }
}
