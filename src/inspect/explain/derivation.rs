//! Why the events of a key have the sessions they have: each instant judged after the one before
//! it, as DESIGN section 3 says, with the rule that fired.

use std::collections::HashMap;
use std::ops::Range;

use chrono::NaiveDate;
use serde::Serialize;

/// One event of a key as ODS holds it, and what its rules say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) timestamp_micros: i64,
    pub(super) event_id: String,
    pub(super) is_user_action: bool,
    pub(super) time_diff_ms: Option<i64>,
    pub(super) session_start_micros: Option<i64>,
    pub(super) session_id: Option<String>,
    pub(super) pdate: NaiveDate,
    pub(super) updated_at: NaiveDate,
    /// Entry of the session rules that it falls under.
    pub(super) rules_entry: usize,
    pub(super) opens: bool,
    pub(super) closes: bool,
}

impl Fact {
    /// The order of DESIGN section 3 within a key.
    pub(super) fn order(&self) -> (i64, bool, &str) {
        (self.timestamp_micros, !self.opens, &self.event_id)
    }
}

/// One entry of the session rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) from: Option<NaiveDate>,
    pub(super) timeout_micros: i64,
    pub(super) max_duration_micros: Option<i64>,
}

/// Why no session goes on from the event before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Break {
    /// The key has no earlier event.
    First,
    /// Other rules hold from this event date on.
    NewRules {
        /// Their first event date.
        from: Option<NaiveDate>,
    },
    /// The silence was longer than the timeout.
    Gap {
        /// The silence, microseconds.
        gap_micros: i64,
        /// The timeout, microseconds.
        timeout_micros: i64,
    },
    /// An event of the instant before ended its session.
    Closed {
        /// That event.
        by: String,
    },
    /// The session had lasted too long.
    MaxDuration {
        /// Time since its start, microseconds.
        since_start_micros: i64,
        /// The longest session, microseconds.
        max_duration_micros: i64,
    },
}

/// What an event does to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It opens one.
    Opens,
    /// It belongs to the one that is open.
    Continues,
    /// None is open since the break, and this event opens none.
    Empty,
}

/// One event explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Derived {
    /// Since the event before it in the key, where that falls under the same rules.
    pub(super) gap_micros: Option<i64>,
    pub(super) is_break: Option<Break>,
    pub(super) effect: Effect,
    pub(super) session_start_micros: Option<i64>,
}

/// What the next instant needs to know of the one before it.
struct Previous {
    timestamp_micros: i64,
    closed_by: Option<String>,
    start_micros: Option<i64>,
}

/// Explains `facts`, events of one key in [`Fact::order`]. With `has_earlier`, the key has events
/// before them: the first instant then carries the session that ODS holds for it, and is not
/// explained itself (`None`).
pub(super) fn derive(
    facts: &[Fact],
    entries: &[Limits],
    has_earlier: bool,
) -> Vec<Option<Derived>> {
    let mut derived: Vec<Option<Derived>> = Vec::with_capacity(facts.len());
    let mut previous: HashMap<usize, Previous> = HashMap::new();
    for instant in instants(facts) {
        let rows = &facts[instant.clone()];
        let first = &rows[0];
        let limits = entries.get(first.rules_entry).copied();
        let before = previous.get(&first.rules_entry);
        let carried = has_earlier && instant.start == 0;
        let is_break = match before {
            Some(before) => limits.and_then(|limits| breaks(first, before, limits)),
            None if carried => None,
            None if instant.start == 0 => Some(Break::First),
            None => Some(Break::NewRules { from: limits.and_then(|limits| limits.from) }),
        };
        let open = match (carried, &is_break) {
            (true, _) => first.session_start_micros,
            (false, Some(_)) => None,
            (false, None) => before.and_then(|before| before.start_micros),
        };
        let opens = rows.iter().any(|row| row.opens);
        let start_micros = open.or_else(|| opens.then_some(first.timestamp_micros));
        let gap_micros = before.map(|before| first.timestamp_micros - before.timestamp_micros);
        derived.extend(rows.iter().enumerate().map(|(at, row)| {
            let effect = match start_micros {
                None => Effect::Empty,
                Some(_) if open.is_none() && row.opens => Effect::Opens,
                Some(_) => Effect::Continues,
            };
            (!carried).then(|| Derived {
                gap_micros: if at == 0 { gap_micros } else { Some(0) },
                is_break: is_break.clone().filter(|_| at == 0),
                effect,
                session_start_micros: start_micros,
            })
        }));
        let closing = rows.iter().find(|row| row.closes);
        previous.insert(
            first.rules_entry,
            Previous {
                timestamp_micros: first.timestamp_micros,
                closed_by: closing.map(|row| row.event_id.clone()),
                start_micros,
            },
        );
    }
    derived
}

fn breaks(first: &Fact, before: &Previous, limits: Limits) -> Option<Break> {
    let gap_micros = first.timestamp_micros - before.timestamp_micros;
    if gap_micros > limits.timeout_micros {
        return Some(Break::Gap { gap_micros, timeout_micros: limits.timeout_micros });
    }
    if let Some(by) = &before.closed_by {
        return Some(Break::Closed { by: by.clone() });
    }
    let max_duration_micros = limits.max_duration_micros?;
    let since_start_micros = first.timestamp_micros - before.start_micros?;
    (since_start_micros > max_duration_micros)
        .then_some(Break::MaxDuration { since_start_micros, max_duration_micros })
}

/// Events of one timestamp.
fn instants(facts: &[Fact]) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    facts.chunk_by(|left, right| left.timestamp_micros == right.timestamp_micros).map(move |rows| {
        let start = end;
        end += rows.len();
        start..end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn limits(from: Option<&str>) -> Limits {
        Limits {
            from: from.map(|from| from.parse().unwrap()),
            timeout_micros: 5 * MINUTE,
            max_duration_micros: Some(20 * MINUTE),
        }
    }

    /// An event at a minute: `*` opens, `.` does not, `x` closes; under entry 0 of the rules.
    fn event(minute: i64, kind: char) -> Fact {
        Fact {
            timestamp_micros: minute * MINUTE,
            event_id: kind.to_string(),
            is_user_action: kind == '*',
            time_diff_ms: None,
            session_start_micros: None,
            session_id: None,
            pdate: NaiveDate::default(),
            updated_at: NaiveDate::default(),
            rules_entry: 0,
            opens: kind == '*',
            closes: kind == 'x',
        }
    }

    /// Each event as `break effect start`, in minutes.
    fn told(facts: &[Fact], has_earlier: bool) -> Vec<String> {
        let entries = [limits(None), limits(Some("2026-01-06"))];
        derive(facts, &entries, has_earlier)
            .iter()
            .map(|derived| match derived {
                None => "?".to_owned(),
                Some(Derived { is_break, effect, session_start_micros, .. }) => {
                    let is_break = match is_break {
                        None => "-",
                        Some(Break::First) => "first",
                        Some(Break::NewRules { .. }) => "rules",
                        Some(Break::Gap { .. }) => "gap",
                        Some(Break::Closed { .. }) => "closed",
                        Some(Break::MaxDuration { .. }) => "max",
                    };
                    let start = session_start_micros.map(|start| (start / MINUTE).to_string());
                    format!("{is_break} {effect:?} {}", start.unwrap_or_default())
                }
            })
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    #[test]
    fn every_rule_is_named_where_it_fires() {
        let facts = [
            event(0, '.'),
            event(1, '*'),
            event(6, '.'),
            event(12, '.'),
            event(13, '*'),
            event(14, 'x'),
            event(15, '*'),
            event(20, '.'),
            event(25, '.'),
            event(30, '.'),
            event(35, '.'),
            event(36, '.'),
        ];
        assert_eq!(
            told(&facts, false),
            [
                "first Empty",
                "- Opens 1",
                "- Continues 1",
                "gap Empty",
                "- Opens 13",
                "- Continues 13",
                "closed Opens 15",
                "- Continues 15",
                "- Continues 15",
                "- Continues 15",
                "- Continues 15",
                "max Empty",
            ]
        );
    }

    #[test]
    fn events_of_one_instant_share_break_and_session() {
        let facts = [event(0, '*'), event(0, 'x'), event(0, '.'), event(1, '.')];
        assert_eq!(
            told(&facts, false),
            ["first Opens 0", "- Continues 0", "- Continues 0", "closed Empty"]
        );
    }

    #[test]
    fn new_rules_begin_with_a_break_and_see_no_event_before_them() {
        let mut facts = [event(0, '*'), event(1, '.'), event(2, '*')];
        facts[1].rules_entry = 1;
        facts[2].rules_entry = 1;
        assert_eq!(told(&facts, false), ["first Opens 0", "rules Empty", "- Opens 2"]);
    }

    #[test]
    fn what_comes_before_is_carried_in_and_not_explained() {
        let mut facts = [event(30, '.'), event(30, '.'), event(31, '.'), event(51, '.')];
        facts[0].session_start_micros = Some(12 * MINUTE);
        assert_eq!(told(&facts, true), ["?", "?", "- Continues 12", "gap Empty"]);
        facts[0].session_start_micros = None;
        assert_eq!(told(&facts, true), ["?", "?", "- Empty", "gap Empty"]);
    }
}
