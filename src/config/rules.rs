//! The rules that are part of the lake's function: recorded in it as JSON, and compared with the
//! configuration at each run.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::attribute::Attribute;
use super::check_rule::RowCheck;
use super::units;

/// How a delivered row becomes an event (`[feed.event]`). Every field but `zone` and
/// `timestamp_format` is an SQL expression over the delivered columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMapping {
    /// Whose event it is.
    pub user_id: String,
    /// Where it happened; a literal such as `'web'` where the feed has none.
    pub product_code: String,
    /// What happened.
    pub event_id: String,
    /// When it happened: a timestamp, or text that reads as RFC 3339, SQL or `timestamp_format`.
    pub timestamp: String,
    /// Pattern of `timestamp`'s text, in the syntax of chrono's `strftime`; `None` means RFC 3339
    /// or SQL.
    pub timestamp_format: Option<String>,
    /// IANA time zone of timestamps that carry none, and of the event date. Default: `UTC`.
    pub zone: String,
    /// Further columns to carry through, in the order declared (which breaks ties between
    /// duplicates).
    pub attributes: Vec<Attribute>,
    /// Checks of severity quarantine, by name: rows for which one is true do not become events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<RowCheck>,
}

/// How events become sessions (`[feed.session]`). Rules are SQL expressions over ODS columns,
/// attributes included; a rule that yields null is false.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRules {
    /// Which events are the user's own doing. Default: `true`.
    pub user_action: String,
    /// Which events open a session. Default: `is_user_action`.
    pub opens_on: String,
    /// Which events end their session. Default: `false`.
    pub closes_on: String,
    /// Longest silence inside a session, in microseconds, greater than 0 and at most
    /// `lookback_days` x 24 h. Default: 5 minutes.
    pub timeout_micros: i64,
    /// Longest session, in microseconds, greater than 0; `None` means without a limit.
    pub max_duration_micros: Option<i64>,
}

/// Which dates a delivery may change (`[feed.window]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowRules {
    /// Oldest event date a delivery may bring, in days before its arrival date, 0 to 400.
    /// Default: 5.
    pub update_depth_days: u32,
    /// How far back the previous event of a key is looked for, in days of 24 h, 1 to 31.
    /// Default: 1.
    pub lookback_days: u32,
}

/// One key whose recorded value is not the configured one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key as a feed writes it, such as `session.timeout`.
    pub key: String,
    /// The value recorded in the lake, as it would be written; `(none)` when not set.
    pub recorded: String,
    /// The value of the configuration, as it would be written; `(none)` when not set.
    pub configured: String,
}

impl EventMapping {
    /// The keys in which this recorded mapping differs from the `configured` one, in the order
    /// of the file; empty when they are equal.
    pub fn differences(&self, configured: &Self) -> Vec<Difference> {
        let mut found = differences(
            "event",
            [
                ("user_id", self.user_id.clone(), configured.user_id.clone()),
                ("product_code", self.product_code.clone(), configured.product_code.clone()),
                ("event_id", self.event_id.clone(), configured.event_id.clone()),
                ("timestamp", self.timestamp.clone(), configured.timestamp.clone()),
                (
                    "timestamp_format",
                    or_none(self.timestamp_format.clone()),
                    or_none(configured.timestamp_format.clone()),
                ),
                ("zone", self.zone.clone(), configured.zone.clone()),
                ("attributes", list(&self.attributes), list(&configured.attributes)),
            ],
        );
        found.extend(self.check_differences(configured));
        found
    }

    /// Checks by their names; a message is no part of the rule.
    fn check_differences(&self, configured: &Self) -> Vec<Difference> {
        let names: BTreeSet<&str> =
            self.checks.iter().chain(&configured.checks).map(|check| check.name.as_str()).collect();
        let shown = |mapping: &Self, name: &str| {
            let check = mapping.checks.iter().find(|check| check.name == name);
            or_none(check.map(RowCheck::shown))
        };
        let differences = names.into_iter().map(|name| Difference {
            key: format!("checks.{name}"),
            recorded: shown(self, name),
            configured: shown(configured, name),
        });
        differences.filter(|difference| difference.recorded != difference.configured).collect()
    }
}

impl SessionRules {
    /// The keys in which these recorded rules differ from the `configured` ones, in the order of
    /// the file; empty when they are equal.
    pub fn differences(&self, configured: &Self) -> Vec<Difference> {
        let duration = |micros: Option<i64>| or_none(micros.map(units::format_micros));
        differences(
            "session",
            [
                ("user_action", self.user_action.clone(), configured.user_action.clone()),
                ("opens_on", self.opens_on.clone(), configured.opens_on.clone()),
                ("closes_on", self.closes_on.clone(), configured.closes_on.clone()),
                (
                    "timeout",
                    duration(Some(self.timeout_micros)),
                    duration(Some(configured.timeout_micros)),
                ),
                (
                    "max_duration",
                    duration(self.max_duration_micros),
                    duration(configured.max_duration_micros),
                ),
            ],
        )
    }
}

impl WindowRules {
    /// The keys in which these recorded rules differ from the `configured` ones, in the order of
    /// the file; empty when they are equal.
    pub fn differences(&self, configured: &Self) -> Vec<Difference> {
        differences(
            "window",
            [
                (
                    "update_depth_days",
                    self.update_depth_days.to_string(),
                    configured.update_depth_days.to_string(),
                ),
                (
                    "lookback_days",
                    self.lookback_days.to_string(),
                    configured.lookback_days.to_string(),
                ),
            ],
        )
    }
}

fn differences<const N: usize>(
    section: &str,
    values: [(&str, String, String); N],
) -> Vec<Difference> {
    values
        .into_iter()
        .filter(|(_, recorded, configured)| recorded != configured)
        .map(|(key, recorded, configured)| Difference {
            key: format!("{section}.{key}"),
            recorded,
            configured,
        })
        .collect()
}

fn or_none(value: Option<String>) -> String {
    value.unwrap_or_else(|| "(none)".to_owned())
}

fn list(attributes: &[Attribute]) -> String {
    let entries: Vec<String> = attributes.iter().map(ToString::to_string).collect();
    format!("[{}]", entries.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionRules {
        SessionRules {
            user_action: "true".to_owned(),
            opens_on: "is_user_action".to_owned(),
            closes_on: "false".to_owned(),
            timeout_micros: 300_000_000,
            max_duration_micros: None,
        }
    }

    fn mapping() -> EventMapping {
        EventMapping {
            user_id: "user_id".to_owned(),
            product_code: "'web'".to_owned(),
            event_id: "event_id".to_owned(),
            timestamp: "ts".to_owned(),
            timestamp_format: None,
            zone: "UTC".to_owned(),
            attributes: vec![],
            checks: vec![],
        }
    }

    fn triple(difference: &Difference) -> (&str, &str, &str) {
        (&difference.key, &difference.recorded, &difference.configured)
    }

    #[test]
    fn equal_rules_have_no_differences() {
        assert!(session().differences(&session()).is_empty());
        assert!(mapping().differences(&mapping()).is_empty());
    }

    #[test]
    fn session_differences_name_the_key_and_show_durations_as_written() {
        let configured = SessionRules {
            timeout_micros: 600_000_000,
            max_duration_micros: Some(5_400_000_000),
            ..session()
        };
        let found = session().differences(&configured);
        let found: Vec<_> = found.iter().map(triple).collect();
        assert_eq!(
            found,
            [("session.timeout", "5m", "10m"), ("session.max_duration", "(none)", "1h 30m")]
        );
    }

    #[test]
    fn mapping_differences_show_attributes_as_written() {
        let price =
            Attribute { expression: "cast(price as double)".to_owned(), name: "price".to_owned() };
        let page = Attribute { expression: "page".to_owned(), name: "page".to_owned() };
        let configured = EventMapping { attributes: vec![page, price], ..mapping() };
        let found = mapping().differences(&configured);
        let found: Vec<_> = found.iter().map(triple).collect();
        assert_eq!(found, [("event.attributes", "[]", "[page, cast(price as double) as price]")]);
    }

    #[test]
    fn window_differences_name_the_key() {
        let recorded = WindowRules { update_depth_days: 5, lookback_days: 1 };
        let configured = WindowRules { update_depth_days: 7, lookback_days: 1 };
        let found = recorded.differences(&configured);
        let found: Vec<_> = found.iter().map(triple).collect();
        assert_eq!(found, [("window.update_depth_days", "5", "7")]);
    }

    #[test]
    fn a_mapping_without_checks_is_recorded_as_before_there_were_any() {
        let text = serde_json::to_string(&mapping()).unwrap();
        assert!(!text.contains("checks"), "{text}");
        assert_eq!(serde_json::from_str::<EventMapping>(&text).unwrap(), mapping());
    }

    #[test]
    fn recorded_rules_read_back_as_they_were() {
        let text = toml::to_string(&mapping()).unwrap();
        assert_eq!(toml::from_str::<EventMapping>(&text).unwrap(), mapping());
        let text = toml::to_string(&session()).unwrap();
        assert_eq!(toml::from_str::<SessionRules>(&text).unwrap(), session());
    }
}
