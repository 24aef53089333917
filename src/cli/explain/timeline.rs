//! An explanation as a table, its sessions in colours by turns.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, SecondsFormat, Utc};

use super::super::output::table;
use crate::inspect::explain::explanation::{
    Before, Change, ExplainedEvent, Explanation, Gone, Past, Product, Refused, Rules,
    SessionOfEvent, Timeline,
};

/// Colours of sessions, by turns.
const COLOURS: [AnsiColor; 5] =
    [AnsiColor::Cyan, AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Magenta, AnsiColor::Blue];

/// Lines of a table above its first row.
const HEADER_LINES: usize = 3;

/// The text for a terminal, colours included.
pub(super) fn shown(explanation: &Explanation) -> String {
    let Explanation { feed, user_id, products, timeline, quarantine } = explanation;
    let mut text = match timeline {
        Some(timeline) => of_timeline(feed, user_id, timeline),
        None => of_products(feed, user_id, products),
    };
    text.push_str(&of_quarantine(user_id, quarantine));
    text
}

fn of_products(feed: &str, user: &str, products: &[Product]) -> String {
    let mut shown = table(&["product", "events", "sessions", "first event", "last event"], 1);
    for product in products {
        shown.add_row([
            plain(&product.product_code),
            product.events.to_string(),
            product.sessions.to_string(),
            time(product.first),
            time(product.last),
        ]);
    }
    format!("{feed}, user {}: several products, choose one with --product\n{shown}\n", plain(user))
}

fn of_timeline(feed: &str, user: &str, timeline: &Timeline) -> String {
    let events: Vec<&ExplainedEvent> =
        timeline.stretches.iter().flat_map(|stretch| &stretch.events).collect();
    let all = timeline.stretches.iter().map(|stretch| stretch.events_before).sum::<usize>()
        + events.len()
        + timeline.events_after;
    let mut text = format!(
        "{feed}, user {}, product {}: {} of {all} events; times in UTC, event dates in {}\n",
        plain(user),
        plain(&timeline.product_code),
        events.len(),
        timeline.zone
    );
    text.push_str(&rows(timeline));
    text.push_str(&of_sessions(&events));
    text.push_str(&of_rules(&timeline.rules));
    text.push_str(&of_past(&timeline.past, &events));
    if timeline.disagreements > 0 {
        let _ = writeln!(
            text,
            "{} of these events have another session in ODS than the recorded rules give; \
             `sessionlake verify` tells more",
            timeline.disagreements
        );
    }
    text
}

/// Columns of the table; the last two are left out where they are empty.
const COLUMNS: [&str; 8] =
    ["time", "event", "gap", "rule", "session", "arrived", "late", "session before"];
const GAP: usize = 2;
/// Columns that every table has.
const ALWAYS: usize = 6;

/// One line an event, in the colour of its session; and one where events are left out.
fn rows(timeline: &Timeline) -> String {
    let mut rows: Vec<(Vec<String>, Style)> = Vec::new();
    let left_out = |events: usize| {
        let cells = vec!["...".to_owned(), format!("{events} more")];
        (events > 0).then(|| (cells, Style::new().dimmed()))
    };
    for stretch in &timeline.stretches {
        rows.extend(left_out(stretch.events_before));
        let events = stretch.events.iter();
        rows.extend(events.map(|event| (cells(event).to_vec(), style(event.session.as_ref()))));
    }
    rows.extend(left_out(timeline.events_after));
    let is_empty = |column: usize| {
        rows.iter().all(|(cells, _)| cells.get(column).is_none_or(String::is_empty))
    };
    let columns: Vec<usize> =
        (0..COLUMNS.len()).filter(|column| *column < ALWAYS || !is_empty(*column)).collect();
    let header: Vec<&str> = columns.iter().map(|column| COLUMNS[*column]).collect();
    let mut shown = table(&header, header.len());
    if let Some(gap) = shown.column_mut(GAP) {
        gap.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    for (cells, _) in &rows {
        shown.add_row(columns.iter().filter_map(|column| cells.get(*column)));
    }
    coloured(&shown.to_string(), rows.iter().map(|(_, style)| *style))
}

/// A table whose rows have styles.
fn coloured(shown: &str, styles: impl Iterator<Item = Style>) -> String {
    let plain = std::iter::repeat_n(Style::new(), HEADER_LINES);
    let styles = plain.chain(styles).chain(std::iter::once(Style::new()));
    let mut text = String::new();
    for (line, style) in shown.lines().zip(styles) {
        let _ = writeln!(text, "{style}{line}{style:#}");
    }
    text
}

fn cells(event: &ExplainedEvent) -> [String; 8] {
    let number =
        event.session.as_ref().map_or("-".to_owned(), |session| session.number.to_string());
    let session = match event.expected_start {
        None => number,
        Some(expected) => format!("{number}, not {}", start(expected.session_start)),
    };
    let late = match event.late_days {
        0 => String::new(),
        days @ 1.. => format!("{days} d"),
        days => format!("{} d early", -days),
    };
    [
        time(event.timestamp),
        plain(&event.event_id),
        event.gap_ms.map(gap).unwrap_or_default(),
        plain(&event.rule),
        session,
        event.arrival_date.to_string(),
        late,
        before(&event.changes),
    ]
}

/// `2026-01-05T10:08:00Z until version 3`.
fn before(changes: &[Change]) -> String {
    let mut earlier = changes
        .iter()
        .filter_map(|change| change.before.as_ref().map(|before| (before, change.version)));
    let Some((Before { session_start, .. }, version)) = earlier.next() else {
        return String::new();
    };
    let more = match earlier.count() {
        0 => String::new(),
        more => format!(", {more} more before"),
    };
    format!("{} until version {version}{more}", start(*session_start))
}

fn start(start: Option<DateTime<Utc>>) -> String {
    start.map_or("none".to_owned(), time)
}

fn style(session: Option<&SessionOfEvent>) -> Style {
    match session {
        None => Style::new().dimmed(),
        Some(session) => {
            let colour = COLOURS[(session.number - 1) % COLOURS.len()];
            Style::new().fg_color(Some(colour.into()))
        }
    }
}

fn of_sessions(events: &[&ExplainedEvent]) -> String {
    let mut sessions: BTreeMap<usize, (&SessionOfEvent, usize)> = BTreeMap::new();
    for session in events.iter().filter_map(|event| event.session.as_ref()) {
        sessions.entry(session.number).or_insert((session, 0)).1 += 1;
    }
    let mut text = String::new();
    for (number, (session, events)) in sessions {
        let style = style(Some(session));
        let _ = writeln!(
            text,
            "{style}session {number}: {}, events shown: {events}{style:#}",
            plain(&session.session_id)
        );
    }
    text
}

fn of_rules(rules: &[Rules]) -> String {
    let mut text = String::new();
    for rules in rules {
        let from = rules.from.map(|from| format!(" from {from}")).unwrap_or_default();
        let timeout = micros(rules.timeout_micros);
        let _ = write!(text, "rules{from}: timeout {timeout}, opens on {}", rules.opens_on);
        if rules.opens_on == "is_user_action" {
            let _ = write!(text, " ({})", rules.user_action);
        }
        if rules.closes_on != "false" {
            let _ = write!(text, ", closes on {}", rules.closes_on);
        }
        if let Some(longest) = rules.max_duration_micros {
            let _ = write!(text, ", max duration {}", micros(longest));
        }
        text.push('\n');
    }
    text
}

/// The versions that the table names, and how far back they are known.
fn of_past(past: &Past, events: &[&ExplainedEvent]) -> String {
    let changes = events.iter().flat_map(|event| &event.changes);
    let versions: BTreeMap<u64, &Change> = changes
        .filter(|change| change.before.is_some())
        .map(|change| (change.version, change))
        .collect();
    let mut text = String::new();
    for (version, change) in versions.iter().rev() {
        let of_run = match &change.run_id {
            Some(run_id) => format!("of run {run_id}"),
            None => "of another program".to_owned(),
        };
        let at = change.time.map(|made| format!(", {}", time(made))).unwrap_or_default();
        let _ = writeln!(text, "version {version}: {} {of_run}{at}", plain(&change.stage));
    }
    match past.gone {
        None => {}
        Some(Gone::Log { through }) => {
            let _ = writeln!(
                text,
                "what was before is not known: the commits up to version {through} have left the \
                 log (retention.log_days)"
            );
        }
        Some(Gone::Files { before }) => {
            let _ = writeln!(
                text,
                "what was before version {before} is not known: the files of older versions have \
                 left the store (retention.removed_files_days)"
            );
        }
    }
    text
}

fn of_quarantine(user: &str, refused: &[Refused]) -> String {
    if refused.is_empty() {
        return String::new();
    }
    let reasons = refused
        .iter()
        .map(|refused| format!("{} {} ({})", refused.reason, refused.entries, refused.stage));
    format!(
        "rows in quarantine whose text holds {}: {}; see `sessionlake quarantine show`\n",
        plain(user),
        reasons.collect::<Vec<_>>().join(", ")
    )
}

fn time(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// `4m 1s`.
fn gap(millis: i64) -> String {
    let millis = u64::try_from(millis).unwrap_or_default();
    humantime::format_duration(std::time::Duration::from_millis(millis)).to_string()
}

fn micros(micros: i64) -> String {
    let micros = u64::try_from(micros).unwrap_or_default();
    humantime::format_duration(std::time::Duration::from_micros(micros)).to_string()
}

/// On one line, and without what would steer the terminal.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
