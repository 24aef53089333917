//! The recorded rules and the deliveries of a history, read as DESIGN section 4 says.

use sessionlake::reference::{Delivered, Expected, Limits, expected_ods};

use super::{DAY, HOUR, MINUTE};

/// A timeout under which a session outlasts all that is read again of its key, minutes.
pub const LONG_TIMEOUT_MINUTES: i64 = 20 * 60;
/// Maximal durations for [`LONG_TIMEOUT_MINUTES`], minutes.
pub const LONG_MAX_DURATIONS_MINUTES: [Option<i64>; 4] = [None, None, Some(30 * 60), Some(45 * 60)];
/// Gaps at which rules of these times turn, as often as they are to come: up to the timeout and a
/// microsecond beyond it; sums of them reach both durations and a microsecond beyond.
pub const LONG_GAPS: [i64; 12] = [
    0,
    1,
    5 * HOUR,
    10 * HOUR,
    10 * HOUR,
    13 * HOUR,
    13 * HOUR,
    13 * HOUR,
    20 * HOUR,
    20 * HOUR,
    20 * HOUR,
    20 * HOUR + 1,
];

/// Which events are the user's own doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `event_id in ('a', 'b')`
    ByEvent,
    /// `kind <> 'bg'`, null for a row without a kind, and so false.
    ByAttribute,
}

/// Which events end their session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closes {
    Never,
    /// `event_id = 'x'`
    ByEvent,
    /// `kind = 'end'`
    ByAttribute,
}

/// One set of session rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub action: Action,
    pub any_event_opens: bool,
    pub closes: Closes,
    pub timeout_minutes: i64,
    pub max_duration_minutes: Option<i64>,
}

/// One way of reading deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Rows of kind `z` become the event `c`, whatever they were.
    pub z_becomes_c: bool,
    pub update_depth_days: i32,
    pub lookback_days: i64,
}

/// The feed's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    pub rules: Rules,
    pub mapping: Mapping,
    pub raw_days: u32,
    /// Offset of the feed's zone; it has no summer time.
    pub kolkata: bool,
    pub jsonl: bool,
}

impl Configuration {
    /// The zone's offset, microseconds.
    pub fn offset(&self) -> i64 {
        if self.kolkata { 5 * HOUR + 30 * MINUTE } else { 0 }
    }

    pub fn toml(&self) -> String {
        let Rules { action, any_event_opens, closes, timeout_minutes, max_duration_minutes } =
            self.rules;
        let Mapping { z_becomes_c, update_depth_days, lookback_days } = self.mapping;
        let event_id = if z_becomes_c {
            "case when kind = 'z' then 'c' else event_id end"
        } else {
            "event_id"
        };
        let action = match action {
            Action::ByEvent => "event_id in ('a', 'b')",
            Action::ByAttribute => "kind <> 'bg'",
        };
        let closes = match closes {
            Closes::Never => "false",
            Closes::ByEvent => "event_id = 'x'",
            Closes::ByAttribute => "kind = 'end'",
        };
        let opens = if any_event_opens { "true" } else { "is_user_action" };
        let max = max_duration_minutes.map_or(String::new(), |minutes| format!("{minutes}m"));
        let zone = if self.kolkata { "Asia/Kolkata" } else { "UTC" };
        let format = if self.jsonl { "jsonl" } else { "csv" };
        format!(
            r#"
[retention]
raw_days = {raw_days}
[[feed]]
name = "events"
path = "batches/{{arrival_date}}/*.{format}"
on_missing = "ok"
[feed.event]
user_id = "user"
product_code = "product"
event_id = "{event_id}"
timestamp = "ts"
zone = "{zone}"
attributes = ["kind", "note"]
[feed.marts]
distinct = "note"
[feed.session]
user_action = "{action}"
opens_on = "{opens}"
closes_on = "{closes}"
timeout = "{timeout_minutes}m"
max_duration = "{max}"
[feed.window]
update_depth_days = {update_depth_days}
lookback_days = {lookback_days}
"#,
            raw_days = self.raw_days
        )
    }
}

/// One row as it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub user: String,
    pub product: String,
    pub event: &'static str,
    pub timestamp_micros: i64,
    pub kind: Option<&'static str>,
    pub note: Option<&'static str>,
    pub arrival: i32,
}

/// The recorded rules, as two lists.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub sessions: Vec<(Option<i32>, Rules)>,
    pub mappings: Vec<(Option<i32>, Mapping)>,
}

impl Recorded {
    pub fn first(configuration: &Configuration) -> Self {
        Self {
            sessions: vec![(None, configuration.rules)],
            mappings: vec![(None, configuration.mapping)],
        }
    }

    /// `--accept-rule-change` at an arrival date, with the newest event date of ODS.
    pub fn accept(&mut self, to: &Configuration, newest_pdate: Option<i32>, arrival: i32) {
        if self.sessions.last().unwrap().1 != to.rules {
            match newest_pdate {
                None => self.sessions.last_mut().unwrap().1 = to.rules,
                Some(newest) => {
                    let from = newest + 1;
                    self.sessions.retain(|(start, _)| start.is_none_or(|start| start < from));
                    self.sessions.push((Some(from), to.rules));
                }
            }
        }
        if self.mappings.last().unwrap().1 != to.mapping {
            self.mappings.retain(|(start, _)| start.is_none_or(|start| start < arrival));
            self.mappings.push((Some(arrival), to.mapping));
        }
    }

    /// `reprocess --from`.
    pub fn restart(&mut self, to: &Configuration, from: i32) {
        self.restart_sessions(to, from);
        self.mappings.retain(|(start, _)| start.is_none_or(|start| start < from));
        if self.mappings.last().unwrap().1 != to.mapping {
            self.mappings.push((Some(from), to.mapping));
        }
    }

    /// `reprocess --from --source ods`.
    pub fn restart_sessions(&mut self, to: &Configuration, from: i32) {
        self.sessions.retain(|(start, _)| start.is_none_or(|start| start < from));
        if self.sessions.last().unwrap().1 != to.rules {
            self.sessions.push((Some(from), to.rules));
        }
    }

    fn session(&self, pdate: i32) -> usize {
        self.sessions.iter().rposition(|(start, _)| start.is_none_or(|s| s <= pdate)).unwrap()
    }

    fn mapping(&self, arrival: i32) -> Mapping {
        let (_, mapping) =
            self.mappings.iter().rfind(|(start, _)| start.is_none_or(|s| s <= arrival)).unwrap();
        *mapping
    }

    /// Why a row does not count, if it does not.
    pub fn verdict(&self, row: &Row, offset: i64) -> Option<&'static str> {
        let pdate = pdate(row, offset);
        if pdate < row.arrival - self.mapping(row.arrival).update_depth_days {
            Some("beyond_update_depth")
        } else if pdate > row.arrival + 1 {
            Some("in_the_future")
        } else {
            None
        }
    }

    /// ODS for everything delivered.
    pub fn ods(&self, delivered: &[Row], offset: i64) -> Vec<Expected> {
        let counted: Vec<Delivered> = delivered
            .iter()
            .filter(|row| self.verdict(row, offset).is_none())
            .map(|row| self.read(row, offset))
            .collect();
        let limits: Vec<Limits> = self
            .sessions
            .iter()
            .map(|(_, rules)| Limits {
                timeout_micros: rules.timeout_minutes * MINUTE,
                max_duration_micros: rules.max_duration_minutes.map(|minutes| minutes * MINUTE),
            })
            .collect();
        expected_ods(&counted, &limits)
    }

    pub fn read(&self, row: &Row, offset: i64) -> Delivered {
        let mapping = self.mapping(row.arrival);
        let event = if mapping.z_becomes_c && row.kind == Some("z") { "c" } else { row.event };
        let pdate = pdate(row, offset);
        let rules_entry = self.session(pdate);
        let rules = self.sessions[rules_entry].1;
        let is_user_action = match rules.action {
            Action::ByEvent => event == "a" || event == "b",
            Action::ByAttribute => row.kind.is_some_and(|kind| kind != "bg"),
        };
        let closes = match rules.closes {
            Closes::Never => false,
            Closes::ByEvent => event == "x",
            Closes::ByAttribute => row.kind == Some("end"),
        };
        Delivered {
            user_id: row.user.clone(),
            product_code: row.product.clone(),
            event_id: event.to_owned(),
            timestamp_micros: row.timestamp_micros,
            pdate,
            arrival: row.arrival,
            attributes: vec![row.kind.map(str::to_owned), row.note.map(str::to_owned)],
            is_user_action,
            opens: rules.any_event_opens || is_user_action,
            closes,
            rules_entry,
            lookback_micros: mapping.lookback_days * DAY,
        }
    }
}

/// Event date in the feed's zone, days since 1970.
pub fn pdate(row: &Row, offset: i64) -> i32 {
    i32::try_from((row.timestamp_micros + offset).div_euclid(DAY)).unwrap()
}

/// A batch file of the given rows.
pub fn batch(rows: &[&Row], jsonl: bool) -> String {
    let mut text =
        if jsonl { String::new() } else { "ts,kind,user,product,event_id,note\n".into() };
    for row in rows {
        let instant = chrono::DateTime::from_timestamp_micros(row.timestamp_micros).unwrap();
        let instant = instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        let Row { user, product, event, .. } = row;
        let line = if jsonl {
            serde_json::json!({
                "ts": instant, "kind": row.kind, "user": user, "product": product,
                "event_id": event, "note": row.note,
            })
            .to_string()
        } else {
            let (kind, note) = (row.kind.unwrap_or(""), row.note.unwrap_or(""));
            format!("{instant},{kind},\"{user}\",{product},{event},{note}")
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}
