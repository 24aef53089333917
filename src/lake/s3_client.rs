//! The client of an S3 store: what `[lake.storage]` says, and beside it the `AWS_*` variables.

use std::collections::HashMap;
use std::str::FromStr as _;
use std::time::Duration;

use deltalake::logstore::StorageConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey as Key};
use object_store::{ClientConfigKey, RetryConfig};
use url::Url;

use crate::config::StorageSettings;

const DEFAULT_RETRIES: u32 = 8;
/// No request is repeated after this time.
const RETRY_TIMEOUT: Duration = Duration::from_mins(1);
/// What the environment may say of whose requests these are. It is another identity than that of
/// the configuration: a part of it there would make a third one, which no store knows.
const IDENTITY: [Key; 3] = [Key::AccessKeyId, Key::SecretAccessKey, Key::Token];

/// What is known of a store before anybody asks it.
#[derive(Debug)]
pub(super) struct Known {
    settings: HashMap<Key, String>,
    is_identity_written: bool,
    retry: RetryConfig,
}

impl Known {
    /// As [`Known::of`], with the environment of this process.
    pub(super) fn here(storage: &StorageSettings) -> Self {
        let variables = std::env::vars_os();
        let texts =
            variables.filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::of(storage, texts)
    }

    /// The settings of `storage`, and the variables of the environment that say more.
    pub(super) fn of(
        storage: &StorageSettings,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut settings: HashMap<Key, String> = written(storage).collect();
        let is_identity_written = settings.contains_key(&Key::AccessKeyId);
        let mut variables: Vec<(String, String)> = environment
            .into_iter()
            .filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty())
            .collect();
        // Where two name one thing, the longer wins: AWS_ENDPOINT_URL.
        variables.sort_by(|left, right| right.cmp(left));
        for (name, value) in variables {
            match Key::from_str(&name.to_ascii_lowercase()) {
                Ok(key) if is_identity_written && IDENTITY.contains(&key) => {}
                Ok(key) => drop(settings.entry(key).or_insert(value)),
                Err(_) => {}
            }
        }
        let retry = RetryConfig {
            max_retries: storage.retries.unwrap_or(DEFAULT_RETRIES) as usize,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        };
        Self { settings, is_identity_written, retry }
    }

    /// URL of the server; `None` means AWS.
    pub(super) fn endpoint(&self) -> Option<&str> {
        let named =
            self.settings.get(&Key::S3Endpoint).or_else(|| self.settings.get(&Key::Endpoint));
        named.map(String::as_str)
    }

    pub(super) fn region(&self) -> Option<&str> {
        let named =
            self.settings.get(&Key::Region).or_else(|| self.settings.get(&Key::DefaultRegion));
        named.map(String::as_str)
    }

    /// The client of the bucket of `root`; `None` for a local folder, and where credentials have
    /// to be found as the tools of AWS find them, in profiles and sign-ons: the library's own
    /// factory does that, with [`Known::options`].
    pub(super) fn client(&self, root: &Url) -> Option<object_store::Result<AmazonS3>> {
        let is_known = self.is_identity_written || self.endpoint().is_some();
        if root.scheme() == "file" || !is_known {
            return None;
        }
        let builder = AmazonS3Builder::new().with_url(root.as_str());
        let builder = self.settings.iter().fold(builder.with_retry(self.retry.clone()), with);
        Some(builder.build())
    }

    /// The settings under the names that the library's factory knows.
    pub(super) fn options(&self) -> StorageConfig {
        let named = |(key, value): (&Key, &String)| (key.as_ref().to_owned(), value.clone());
        StorageConfig {
            raw: self.settings.iter().map(named).collect(),
            retry: self.retry.clone(),
            ..StorageConfig::default()
        }
    }
}

fn with(builder: AmazonS3Builder, (key, value): (&Key, &String)) -> AmazonS3Builder {
    builder.with_config(*key, value)
}

fn written(storage: &StorageSettings) -> impl Iterator<Item = (Key, String)> {
    let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string());
    let text = |text: &Option<String>| text.clone();
    let written = [
        (Key::Endpoint, text(&storage.endpoint)),
        (Key::Region, text(&storage.region)),
        (Key::AccessKeyId, text(&storage.access_key_id)),
        (Key::SecretAccessKey, text(&storage.secret_access_key)),
        (Key::Token, text(&storage.session_token)),
        (Key::Client(ClientConfigKey::AllowHttp), flag(storage.allow_http)),
        (Key::VirtualHostedStyleRequest, flag(storage.path_style.map(|in_path| !in_path))),
    ];
    written.into_iter().filter_map(|(key, value)| Some((key, value?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVIRONMENT: [(&str, &str); 7] = [
        ("AWS_ACCESS_KEY_ID", "theirs"),
        ("AWS_SECRET_ACCESS_KEY", "their secret"),
        ("AWS_SESSION_TOKEN", "their token"),
        ("AWS_ENDPOINT", "http://short"),
        ("AWS_ENDPOINT_URL", "http://long"),
        ("TOKEN", "of something else"),
        ("REGION", "of something else"),
    ];

    fn known(storage: &StorageSettings) -> Known {
        let variables = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Known::of(storage, variables)
    }

    #[test]
    fn credentials_of_the_configuration_take_nothing_from_the_environment() {
        let storage = StorageSettings {
            access_key_id: Some("mine".to_owned()),
            secret_access_key: Some("my secret".to_owned()),
            ..StorageSettings::default()
        };
        let Known { settings, .. } = known(&storage);
        assert_eq!(settings[&Key::AccessKeyId], "mine");
        assert_eq!(settings[&Key::SecretAccessKey], "my secret");
        assert_eq!(settings.get(&Key::Token), None);
        assert_eq!(settings[&Key::Endpoint], "http://long");
    }

    #[test]
    fn only_variables_of_aws_are_looked_at() {
        let known = known(&StorageSettings::default());
        assert_eq!(known.endpoint(), Some("http://long"));
        assert_eq!(known.region(), None);
        assert_eq!(known.settings[&Key::Token], "their token");
    }
}
