//! The rule that fired, in words.

use super::derivation::{Break, Derived, Effect};

/// `gap 312 s > 300 s, opens`.
pub(super) fn rule(derived: &Derived, opens_on: &str, closes: bool) -> String {
    let is_break = derived.is_break.as_ref().map(of_break);
    let effect = match derived.effect {
        Effect::Opens => "opens".to_owned(),
        Effect::Continues => "continues".to_owned(),
        Effect::Empty if opens_on == "is_user_action" => {
            "empty: no user action since the break".to_owned()
        }
        Effect::Empty => format!("empty: nothing with {opens_on} since the break"),
    };
    let closes = closes.then(|| "closes".to_owned());
    let parts: Vec<String> = is_break.into_iter().chain([effect]).chain(closes).collect();
    parts.join(", ")
}

fn of_break(is_break: &Break) -> String {
    match is_break {
        Break::First => "first".to_owned(),
        Break::NewRules { from: Some(from) } => format!("new rules from {from}"),
        Break::NewRules { from: None } => "new rules".to_owned(),
        Break::Gap { gap_micros, timeout_micros } => {
            format!("gap {} > {}", seconds(*gap_micros), seconds(*timeout_micros))
        }
        Break::Closed { by } => format!("closed by {by}"),
        Break::MaxDuration { since_start_micros, max_duration_micros } => format!(
            "max duration {} > {}",
            seconds(*since_start_micros),
            seconds(*max_duration_micros)
        ),
    }
}

/// `312 s`, `0.25 s`.
fn seconds(micros: i64) -> String {
    let (whole, fraction) = (micros / 1_000_000, micros % 1_000_000);
    if fraction == 0 {
        return format!("{whole} s");
    }
    let digits = format!("{fraction:06}");
    format!("{whole}.{} s", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_a_fraction_only_when_there_is_one() {
        let shown = [300_000_000, 300_000_001, 250_000, 0].map(seconds);
        assert_eq!(shown, ["300 s", "300.000001 s", "0.25 s", "0 s"]);
    }
}
