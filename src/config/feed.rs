//! One `[[feed]]`, from what was written to what the program needs.

use std::ops::RangeInclusive;

use chrono::format::{Item, StrftimeItems};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::attribute::Attribute;
use super::checks::{self, ChecksConfig};
use super::column_names::ColumnsOf;
use super::contract;
use super::file::{ChecksFile, EventFile, FeedFile, MartsFile, SessionFile, WindowFile};
use super::location::{self, Roots};
use super::problems::Problems;
use super::reason::{Reason, nearest};
use super::validate::{accepted, one_of, optional, required, text_or, whole_number};
use super::{
    ARRIVAL_DATE, EventMapping, FeedConfig, MartsConfig, OnMissing, SessionRules, SourceFormat,
    WindowRules, feed_names, units,
};

const DEFAULT_TIMEOUT: &str = "5m";
const DEFAULT_UPDATE_DEPTH_DAYS: u32 = 5;
const UPDATE_DEPTH_DAYS: RangeInclusive<u32> = 0..=400;
const DEFAULT_LOOKBACK_DAYS: u32 = 1;
const LOOKBACK_DAYS: RangeInclusive<u32> = 1..=31;
const DAY_MICROS: i64 = 86_400_000_000;

/// Endings of text files and their formats; one of [`COMPRESSIONS`] may follow each.
const TEXT_ENDINGS: [(&str, SourceFormat); 3] = [
    (".csv", SourceFormat::Csv),
    (".jsonl", SourceFormat::Jsonl),
    (".ndjson", SourceFormat::Jsonl),
];
/// Endings of compressed files.
const COMPRESSIONS: [&str; 2] = [".gz", ".zst"];
/// Ending of Parquet files, which are compressed within.
const PARQUET_ENDING: &str = ".parquet";

/// Every feed, or `None` with the reasons among the problems.
pub(crate) fn feeds(
    files: Vec<FeedFile>,
    roots: &Roots,
    problems: &mut Problems,
) -> Option<Vec<FeedConfig>> {
    if files.is_empty() {
        problems.add("feed", Reason::NoFeed);
    }
    let names: Vec<Option<String>> = files.iter().map(|file| file.name.clone()).collect();
    feed_names::check(&names, problems);
    let feeds: Vec<Option<FeedConfig>> = files
        .into_iter()
        .enumerate()
        .map(|(index, file)| Feed { at: format!("feed[{index}]"), problems, roots }.config(file))
        .collect();
    feeds.into_iter().collect()
}

/// The feed being read: its path `feed[0]` and where its problems go.
struct Feed<'a> {
    at: String,
    problems: &'a mut Problems,
    roots: &'a Roots,
}

impl Feed<'_> {
    fn config(mut self, file: FeedFile) -> Option<FeedConfig> {
        let name_at = self.key("name");
        let name = required(self.problems, &name_at, file.name.as_deref());
        let path = self.path(file.path.as_deref());
        let format = self.format(optional(file.format), path.as_deref());
        let columns = match file.columns {
            Some(columns) => self.columns(columns).map(Some),
            None => Some(None),
        };
        let on_missing = match optional(file.on_missing) {
            Some(value) => self.one_of("on_missing", &value, &OnMissing::ALL, OnMissing::as_str),
            None => Some(OnMissing::Fail),
        };
        let at = self.key("contract");
        let root = self.roots.of(&self.problems.origins.of_value(&format!("{at}.reject_to")));
        let contract = contract::contract(file.contract, &at, root, self.problems);
        let event = self.event(file.event);
        let window = self.window(&file.window);
        let session = self.session(file.session, window.as_ref());
        let marts = self.marts(file.marts, event.as_ref());
        let checks = self.checks(file.checks);
        let rules = checks.as_ref().map(|checks| checks.rules.clone()).unwrap_or_default();
        let event = event.map(|event| EventMapping { checks: rules, ..event });
        Some(FeedConfig {
            name: name?,
            path: path?,
            format: format?,
            columns: columns?,
            on_missing: on_missing?,
            contract: contract?,
            event: event?,
            session: session?,
            window: window?,
            marts: marts?,
            checks: checks?,
        })
    }

    fn checks(&mut self, file: ChecksFile) -> Option<ChecksConfig> {
        let at = self.key("checks");
        let root = self.roots.of(&self.problems.origins.of_value(&format!("{at}.folder")));
        checks::checks(file, &at, root, self.problems)
    }

    fn path(&mut self, written: Option<&str>) -> Option<String> {
        let at = self.key("path");
        let written = required(self.problems, &at, written)?;
        let root = self.roots.of(&self.problems.origins.of_value(&at));
        let path =
            check_placeholders(&written).and_then(|()| location::absolute_template(&written, root));
        accepted(self.problems, &at, path)
    }

    fn format(&mut self, written: Option<String>, path: Option<&str>) -> Option<SourceFormat> {
        if let Some(value) = written {
            return self.one_of("format", &value, &SourceFormat::ALL, SourceFormat::as_str);
        }
        let known = format_of(&path?.to_lowercase());
        if known.is_none() {
            let reason = Reason::FormatNotInferred { path: location::redacted(path?) };
            self.add("format", reason);
        }
        known
    }

    fn columns(&mut self, columns: Vec<String>) -> Option<Vec<String>> {
        if columns.is_empty() {
            self.add("columns", Reason::Empty);
            return None;
        }
        let names: Vec<Option<&str>> = columns.iter().map(|name| Some(name.as_str())).collect();
        let at = self.key("columns");
        let is_usable = ColumnsOf::Raw.check_names(&at, &names, self.problems);
        is_usable.then_some(columns)
    }

    fn event(&mut self, file: EventFile) -> Option<EventMapping> {
        let mut expression = |key: &str, written: Option<String>| {
            let at = self.key(key);
            required(self.problems, &at, written.as_deref())
        };
        let user_id = expression("event.user_id", file.user_id);
        let product_code = expression("event.product_code", file.product_code);
        let event_id = expression("event.event_id", file.event_id);
        let timestamp = expression("event.timestamp", file.timestamp);
        let timestamp_format = match optional(file.timestamp_format) {
            Some(pattern) => self.timestamp_format(pattern).map(Some),
            None => Some(None),
        };
        let zone = self.zone(file.zone.as_deref());
        let attributes = self.attributes(&file.attributes.unwrap_or_default());
        Some(EventMapping {
            user_id: user_id?,
            product_code: product_code?,
            event_id: event_id?,
            timestamp: timestamp?,
            timestamp_format: timestamp_format?,
            zone: zone?,
            attributes: attributes?,
            checks: vec![],
        })
    }

    fn timestamp_format(&mut self, pattern: String) -> Option<String> {
        let is_broken = StrftimeItems::new(&pattern).any(|item| matches!(item, Item::Error));
        if is_broken {
            self.add("event.timestamp_format", Reason::BadTimestampFormat { value: pattern });
            return None;
        }
        Some(pattern)
    }

    fn zone(&mut self, written: Option<&str>) -> Option<String> {
        let at = self.key("event.zone");
        let zone = text_or(self.problems, &at, written, "UTC")?;
        if zone.parse::<Tz>().is_ok() {
            return Some(zone);
        }
        let known = TZ_VARIANTS.iter().map(|zone| zone.name());
        let suggestion = nearest(&zone, known).map(ToOwned::to_owned);
        self.problems.add(&at, Reason::UnknownZone { value: zone, suggestion });
        None
    }

    fn attributes(&mut self, entries: &[String]) -> Option<Vec<Attribute>> {
        let attributes: Vec<Option<Attribute>> =
            entries.iter().map(|entry| Attribute::parse(entry)).collect();
        for (index, entry) in entries.iter().enumerate() {
            if attributes[index].is_none() {
                let reason = if entry.trim().is_empty() {
                    Reason::Empty
                } else {
                    Reason::NamelessAttribute { entry: entry.clone() }
                };
                self.add(&format!("event.attributes[{index}]"), reason);
            }
        }
        let names: Vec<Option<&str>> = attributes
            .iter()
            .map(|attribute| attribute.as_ref().map(|attribute| attribute.name.as_str()))
            .collect();
        let at = self.key("event.attributes");
        let is_usable = ColumnsOf::Ods.check_names(&at, &names, self.problems);
        attributes.into_iter().collect::<Option<Vec<_>>>().filter(|_| is_usable)
    }

    fn session(&mut self, file: SessionFile, window: Option<&WindowRules>) -> Option<SessionRules> {
        let mut rule = |key: &str, written: Option<String>, default: &str| {
            let at = self.key(key);
            text_or(self.problems, &at, written.as_deref(), default)
        };
        let user_action = rule("session.user_action", file.user_action, "true");
        let opens_on = rule("session.opens_on", file.opens_on, "is_user_action");
        let closes_on = rule("session.closes_on", file.closes_on, "false");
        let timeout = rule("session.timeout", file.timeout, DEFAULT_TIMEOUT);
        let timeout_micros = timeout.and_then(|value| self.micros("session.timeout", &value));
        let max_duration_micros = match optional(file.max_duration) {
            Some(value) => self.micros("session.max_duration", &value).map(Some),
            None => Some(None),
        };
        if let (Some(timeout_micros), Some(window)) = (timeout_micros, window) {
            self.check_lookback(timeout_micros, window.lookback_days);
        }
        Some(SessionRules {
            user_action: user_action?,
            opens_on: opens_on?,
            closes_on: closes_on?,
            timeout_micros: timeout_micros?,
            max_duration_micros: max_duration_micros?,
        })
    }

    /// The context of a key reaches `lookback_days` back, so a longer timeout could miss the
    /// session an event continues.
    fn check_lookback(&mut self, timeout_micros: i64, lookback_days: u32) {
        let days_needed = (timeout_micros - 1) / DAY_MICROS + 1;
        if days_needed > i64::from(lookback_days) {
            let reason =
                Reason::TimeoutBeyondLookback { timeout_micros, lookback_days, days_needed };
            self.add("session.timeout", reason);
        }
    }

    fn window(&mut self, file: &WindowFile) -> Option<WindowRules> {
        let mut days = |key: &str, written, default, bounds| {
            let at = self.key(key);
            whole_number(self.problems, &at, written, default, bounds)
        };
        let update_depth_days = days(
            "window.update_depth_days",
            file.update_depth_days,
            DEFAULT_UPDATE_DEPTH_DAYS,
            UPDATE_DEPTH_DAYS,
        );
        let lookback_days =
            days("window.lookback_days", file.lookback_days, DEFAULT_LOOKBACK_DAYS, LOOKBACK_DAYS);
        Some(WindowRules { update_depth_days: update_depth_days?, lookback_days: lookback_days? })
    }

    /// `distinct` names one of the attributes, unless these cannot be read.
    fn marts(&mut self, file: MartsFile, event: Option<&EventMapping>) -> Option<MartsConfig> {
        let distinct = optional(file.distinct);
        if let (Some(name), Some(event)) = (&distinct, event) {
            let known: Vec<String> =
                event.attributes.iter().map(|attribute| attribute.name.clone()).collect();
            if !known.contains(name) {
                let suggestion = nearest(name, known.iter().map(String::as_str));
                let suggestion = suggestion.map(ToOwned::to_owned);
                let reason = Reason::UnknownAttribute { name: name.clone(), suggestion, known };
                self.add("marts.distinct", reason);
                return None;
            }
        }
        Some(MartsConfig { distinct })
    }

    fn micros(&mut self, key: &str, value: &str) -> Option<i64> {
        let at = self.key(key);
        accepted(self.problems, &at, units::parse_micros(value))
    }

    fn one_of<T: Copy>(
        &mut self,
        key: &str,
        value: &str,
        choices: &[T],
        shown: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let at = self.key(key);
        accepted(self.problems, &at, one_of(value, choices, shown))
    }

    fn add(&mut self, key: &str, reason: Reason) {
        let at = self.key(key);
        self.problems.add(&at, reason);
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.at)
    }
}

/// The format that the ending of a path, in lower case, stands for.
fn format_of(path: &str) -> Option<SourceFormat> {
    if path.ends_with(PARQUET_ENDING) {
        return Some(SourceFormat::Parquet);
    }
    let plain = COMPRESSIONS.into_iter().find_map(|ending| path.strip_suffix(ending));
    let file_name = plain.unwrap_or(path);
    let known = TEXT_ENDINGS.into_iter().find(|(ending, _)| file_name.ends_with(ending));
    known.map(|(_, format)| format)
}

/// The only placeholder is `{arrival_date}`, and it must be there.
fn check_placeholders(path: &str) -> Result<(), Reason> {
    for (at, _) in path.match_indices('{') {
        let end = path[at..].find('}').map_or(path.len(), |length| at + length + 1);
        if &path[at..end] != ARRIVAL_DATE {
            return Err(Reason::UnknownPlaceholder { placeholder: path[at..end].to_owned() });
        }
    }
    if path.contains(ARRIVAL_DATE) {
        Ok(())
    } else {
        Err(Reason::NoArrivalDate { path: location::redacted(path) })
    }
}
