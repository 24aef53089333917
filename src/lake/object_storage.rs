//! S3 and what speaks its language: the options of its client, and what to do about its refusals.

use std::collections::HashMap;
use std::error::Error;

use object_store::Error as StoreError;
use url::Url;

use crate::config::StorageSettings;

const DEFAULT_RETRIES: u32 = 8;
/// No request is repeated after this time, seconds.
const RETRY_SECONDS: u64 = 60;
const DEFAULT_REGION: &str = "us-east-1";
/// The variables that name an endpoint, the first one first.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Where the client looks for credentials last: the machine may be one of AWS that has some.
const INSTANCE_METADATA: &str = "http://169.254.169.254/";

/// The options under the names that the client knows. It adds what the environment says of those
/// that are not here.
pub(super) fn options(storage: &StorageSettings) -> HashMap<String, String> {
    let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string());
    let text = |text: &Option<String>| text.clone();
    let mut options = HashMap::from([
        ("max_retries".to_owned(), storage.retries.unwrap_or(DEFAULT_RETRIES).to_string()),
        ("retry_timeout".to_owned(), format!("{RETRY_SECONDS}s")),
    ]);
    let written = [
        ("aws_endpoint", text(&storage.endpoint)),
        ("aws_region", text(&storage.region)),
        ("aws_access_key_id", text(&storage.access_key_id)),
        ("aws_secret_access_key", text(&storage.secret_access_key)),
        ("aws_session_token", text(&storage.session_token)),
        ("aws_allow_http", flag(storage.allow_http)),
        ("aws_virtual_hosted_style_request", flag(storage.path_style.map(|in_path| !in_path))),
    ];
    for (name, value) in written {
        options.extend(value.map(|value| (name.to_owned(), value)));
    }
    options
}

/// A bucket and the server it is asked of, for messages.
#[derive(Debug, Clone)]
pub(super) struct ObjectStorage {
    bucket: String,
    endpoint: String,
    region: String,
}

/// Why a store refuses, and what to change.
#[derive(Debug, thiserror::Error)]
#[error("the bucket {bucket} at {endpoint} {problem}; {advice}")]
struct Refusal {
    bucket: String,
    endpoint: String,
    problem: &'static str,
    advice: String,
    source: StoreError,
}

impl ObjectStorage {
    /// `None` for a local folder.
    pub(super) fn of(root: &Url, storage: &StorageSettings) -> Option<Self> {
        let bucket = root.host_str().filter(|_| root.scheme() != "file")?;
        let variable = |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok());
        let endpoint = storage.endpoint.clone().or_else(|| variable(ENDPOINT_VARIABLES));
        let region = storage.region.clone().or_else(|| variable(REGION_VARIABLES));
        Some(Self {
            bucket: bucket.to_owned(),
            endpoint: endpoint.unwrap_or_else(|| "AWS".to_owned()),
            region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// An error of the store with what to do about it, where that is known. A missing bucket is no
    /// missing file: it would pass for an empty lake.
    pub(super) fn explained(&self, error: StoreError) -> StoreError {
        let Some((problem, advice)) = self.diagnosis(&error) else {
            return error;
        };
        let refusal = Refusal {
            bucket: self.bucket.clone(),
            endpoint: self.endpoint.clone(),
            problem,
            advice,
            source: error,
        };
        StoreError::Generic { store: "S3", source: Box::new(refusal) }
    }

    fn diagnosis(&self, error: &StoreError) -> Option<(&'static str, String)> {
        match error {
            StoreError::AlreadyExists { .. }
            | StoreError::Precondition { .. }
            | StoreError::NotModified { .. } => return None,
            StoreError::NotFound { .. } | StoreError::Generic { .. } => {}
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {}
            _ => return None,
        }
        let text = chain(error);
        let says = |marks: &[&str]| marks.iter().any(|mark| text.contains(mark));
        if says(&["NoSuchBucket"]) {
            let advice = "create it, or change lake.url or the path of the feed".to_owned();
            return Some(("does not exist", advice));
        }
        if matches!(error, StoreError::NotFound { .. }) {
            return None;
        }
        let keys = "[lake.storage] access_key_id and secret_access_key, or AWS_ACCESS_KEY_ID and \
                    AWS_SECRET_ACCESS_KEY";
        if says(&[INSTANCE_METADATA]) {
            return Some(("is asked without credentials, none were found", format!("set {keys}")));
        }
        if says(&["AuthorizationHeaderMalformed", "PermanentRedirect", "without LOCATION"]) {
            let advice = format!(
                "change the region, now {}: [lake.storage] region or AWS_REGION",
                self.region
            );
            return Some(("lies in another region", advice));
        }
        if says(&["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"]) {
            return Some(("refuses the credentials", format!("change {keys}")));
        }
        if says(&["AccessDenied", "403 Forbidden", "401 Unauthorized"]) {
            let advice = format!("grant them access to the bucket, or change {keys}");
            return Some(("does not let these credentials in", advice));
        }
        if says(&["URL scheme is not allowed"]) {
            let advice = "set [lake.storage] allow_http = true or AWS_ALLOW_HTTP=true, or an \
                          endpoint with https";
            return Some(("is asked over http, without TLS", advice.to_owned()));
        }
        if says(&["error sending request", "dns error", "tcp connect error", "onnection refused"]) {
            let advice = "is the server up, and [lake.storage] endpoint or AWS_ENDPOINT_URL right?";
            return Some(("cannot be reached", advice.to_owned()));
        }
        if says(&["SlowDown", "503 Service Unavailable"]) {
            let advice = "run again later, or raise [lake.storage] retries".to_owned();
            return Some(("is too busy", advice));
        }
        None
    }
}

/// The messages of an error and of all that caused it.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        text.push_str(&error.to_string());
        text.push('\n');
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(answer: &str) -> String {
        let root = Url::parse("s3://bucket/lake/").unwrap();
        let endpoint = Some("http://127.0.0.1:9000".to_owned());
        let settings = StorageSettings { endpoint, ..StorageSettings::default() };
        let storage = ObjectStorage::of(&root, &settings).unwrap();
        let error = StoreError::Generic { store: "S3", source: answer.into() };
        chain(&storage.explained(error))
    }

    #[test]
    fn missing_credentials_are_not_taken_for_wrong_ones() {
        let text = explained("PUT http://169.254.169.254/latest/api/token: 403 Forbidden");
        assert!(text.contains("none were found; set [lake.storage] access_key_id"), "{text}");
    }

    #[test]
    fn another_region_is_named_as_the_setting_to_change() {
        let text = explained("<Code>AuthorizationHeaderMalformed</Code>");
        assert!(text.contains("bucket at http://127.0.0.1:9000 lies in another region"), "{text}");
        assert!(text.contains("[lake.storage] region or AWS_REGION"), "{text}");
    }

    #[test]
    fn what_is_not_known_stays_as_it_is() {
        assert_eq!(explained("a strange answer").lines().count(), 2);
    }
}
