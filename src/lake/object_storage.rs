//! S3 and what speaks its language: what to do about its refusals.

use std::error::Error;

use object_store::Error as StoreError;
use url::Url;

use super::s3_client::Known;

const DEFAULT_REGION: &str = "us-east-1";

/// Where the client looks for credentials last: the machine may be one of AWS that has some.
const INSTANCE_METADATA: &str = "http://169.254.169.254/";

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
    pub(super) fn of(root: &Url, known: &Known) -> Option<Self> {
        let bucket = root.host_str().filter(|_| root.scheme() != "file")?;
        Some(Self {
            bucket: bucket.to_owned(),
            endpoint: known.endpoint().unwrap_or("AWS").to_owned(),
            region: known.region().unwrap_or(DEFAULT_REGION).to_owned(),
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
            let to = region_in(&text).map(|named| format!(" to {named}")).unwrap_or_default();
            let asked = &self.region;
            let advice = format!("change lake.storage.region (or AWS_REGION), now {asked},{to}");
            return Some(("lies in another region", advice.trim_end_matches(',').to_owned()));
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

/// The region that a server says it is in.
fn region_in(answer: &str) -> Option<&str> {
    let (_, rest) = answer.split_once("<Region>")?;
    let (region, _) = rest.split_once("</Region>")?;
    (!region.is_empty()).then_some(region)
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
    use crate::config::StorageSettings;

    fn explained(answer: &str) -> String {
        let root = Url::parse("s3://bucket/lake/").unwrap();
        let endpoint = Some("http://127.0.0.1:9000".to_owned());
        let settings = StorageSettings { endpoint, ..StorageSettings::default() };
        let storage = ObjectStorage::of(&root, &Known::of(&settings, [])).unwrap();
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
        let unnamed = explained("<Code>AuthorizationHeaderMalformed</Code>");
        let lies = "bucket at http://127.0.0.1:9000 lies in another region";
        assert!(unnamed.contains(lies), "{unnamed}");
        let change = "change lake.storage.region (or AWS_REGION), now us-east-1";
        assert!(unnamed.contains(&format!("{change}\n")), "{unnamed}");
        let named = explained("<Code>PermanentRedirect</Code><Region>eu-west-1</Region>");
        assert!(named.contains(&format!("{change}, to eu-west-1")), "{named}");
    }

    #[test]
    fn what_is_not_known_stays_as_it_is() {
        assert_eq!(explained("a strange answer").lines().count(), 2);
    }
}
