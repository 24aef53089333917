//! Is everything there that tonight's run needs? Each check by itself, so that one failure hides no
//! other.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{Config, FeedConfig, redacted};
use crate::job::{error_chain, source_of};
use crate::lake::probe::CLOCK_TOLERANCE;
use crate::lake::{Lake, TableName};

/// With less than this free, a spill or a local lake may fail tonight.
const LEAST_FREE_BYTES: u64 = 1 << 30;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty where all is well.
    pub advice: String,
}

impl Check {
    fn passed(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { check: check.into(), ok: true, detail: detail.into(), advice: String::new() }
    }

    fn failed(
        check: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { check: check.into(), ok: false, detail: detail.into(), advice: advice.into() }
    }
}

/// Looks at everything around a configuration that could be loaded; of its feeds at `feeds`.
pub async fn examine(config: &Config, feeds: &[&FeedConfig]) -> Vec<Check> {
    let mut checks = Vec::new();
    for feed in feeds {
        checks.push(source(config, feed).await);
    }
    checks.push(spill(config));
    match Lake::of(&config.lake) {
        Ok(lake) => checks.extend(self::lake(config, feeds, &lake).await),
        Err(error) => checks.push(Check::failed(
            "lake",
            error_chain(&error),
            "change [lake] url or [lake.storage]",
        )),
    }
    checks
}

async fn source(config: &Config, feed: &FeedConfig) -> Check {
    let check = format!("source of {}", feed.name);
    let source = match source_of(feed, &config.lake.storage) {
        Ok(source) => source,
        Err(error) => return Check::failed(check, error_chain(&error), "change the feed's path"),
    };
    match source.all_files().await {
        Ok(dates) => match (dates.keys().next(), dates.keys().next_back()) {
            (Some(first), Some(last)) => {
                let files: usize = dates.values().map(Vec::len).sum();
                let detail = format!("{files} files, arrival dates {first} to {last}");
                Check::passed(check, detail)
            }
            _ => Check::failed(
                check,
                format!("no file matches {}", redacted(&feed.path)),
                "put a batch there, or change the feed's path",
            ),
        },
        Err(error) => {
            Check::failed(check, error_chain(&error), "is the folder there, and may we read it?")
        }
    }
}

fn spill(config: &Config) -> Check {
    let folder = config.engine.spill_dir.clone().unwrap_or_else(std::env::temp_dir);
    let check = format!("spill folder {}", folder.display());
    let advice = "free some space, or change [engine] spill_dir";
    match tempfile::tempfile_in(&folder).and_then(|_| free_bytes(&folder)) {
        Ok(free) if free < LEAST_FREE_BYTES => {
            Check::failed(check, format!("{} free", bytesize::ByteSize(free)), advice)
        }
        Ok(free) => Check::passed(check, format!("{} free", bytesize::ByteSize(free))),
        Err(error) => {
            Check::failed(check, error.to_string(), "make it, or change [engine] spill_dir")
        }
    }
}

fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

async fn lake(config: &Config, feeds: &[&FeedConfig], lake: &Lake) -> Vec<Check> {
    let location = config.lake.redacted_url();
    let was_there = Path::new(&config.lake.url).exists();
    let mut checks = Vec::new();
    match lake.probe_access().await {
        Ok(ahead_millis) => {
            checks.push(Check::passed("lake", format!("{location} can be written and read")));
            checks.push(clock(ahead_millis));
            checks.push(match lake.probe_conditional_put().await {
                Ok(()) => Check::passed(
                    "conditional PUT",
                    "of several writers of one new object, one succeeds",
                ),
                Err(error) => Check::failed(
                    "conditional PUT",
                    error_chain(&error),
                    "commits would be lost without a word: take another store, or a newer version",
                ),
            });
            checks.extend(tables(feeds, lake).await);
        }
        Err(error) => checks.push(Check::failed(
            "lake",
            format!("{location}: {}", error_chain(&error)),
            "change [lake] url or [lake.storage], or make the folder writable",
        )),
    }
    clear(&config.lake.url, was_there);
    checks
}

/// The folders that the probe made on a local disk; one that holds anything stays.
fn clear(url: &str, was_there: bool) {
    let folder = PathBuf::from(url);
    drop(std::fs::remove_dir(folder.join(".sessionlake")));
    if !was_there {
        drop(std::fs::remove_dir(folder));
    }
}

fn clock(ahead_millis: i64) -> Check {
    let detail = format!("the store's clock is {ahead_millis} ms from ours");
    if u128::from(ahead_millis.unsigned_abs()) <= CLOCK_TOLERANCE.as_millis() {
        Check::passed("clock", detail)
    } else {
        Check::failed("clock", detail, "set the clock of this machine, or that of the store")
    }
}

async fn tables(feeds: &[&FeedConfig], lake: &Lake) -> Vec<Check> {
    let mut names = vec![TableName::Files, TableName::Runs];
    for feed in feeds {
        names.extend(TableName::of_feed(&feed.name));
    }
    let mut checks = Vec::new();
    for name in names {
        let check = format!("table {name}");
        checks.push(match lake.protocol(&name).await {
            Ok(Some(protocol)) => Check::passed(check, protocol),
            Ok(None) => Check::passed(check, "not there yet; the first run creates it"),
            Err(error) => Check::failed(check, error_chain(&error), "see the detail"),
        });
    }
    checks
}
