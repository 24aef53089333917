//! `plan`: what other session rules would change, told before it is done.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::NaiveDate;
use predicates::prelude::*;
use predicates::str::contains;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use sessionlake::inspect::plan::Plan;
use sessionlake::job::Dates;
use sessionlake::stages::merge::SessionChange;
use sessionlake::stages::reprocess::Source;
use sessionlake::stages::rules::RuleChange;

use super::{CONFIGURATION, batch, empty_workspace, workspace};
use crate::support::changes::session_changes;
use crate::support::model::{self, Action, Closes, Configuration, Mapping, Row, Rules};
use crate::support::workspace::{Workspace, date};
use crate::support::{DAY, HOUR, MINUTE};

const FIRST_DAY: i32 = 20_463;
const DAYS: i32 = 4;
const RULES: Rules = Rules {
    action: Action::ByEvent,
    any_event_opens: false,
    closes: Closes::Never,
    timeout_minutes: 5,
    max_duration_minutes: None,
};

fn configuration(rules: Rules, kolkata: bool) -> Configuration {
    let mapping = Mapping { z_becomes_c: false, update_depth_days: 5, lookback_days: 1 };
    Configuration { rules, mapping, raw_days: 40, kolkata, jsonl: false }
}

/// Events whose gaps are around the timeouts; many go on across midnight.
fn random_rows(rng: &mut ChaCha8Rng, offset: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for key in 0..16 {
        let mut now = i64::from(FIRST_DAY) * DAY - offset + rng.random_range(0..DAY);
        while now < i64::from(FIRST_DAY + DAYS) * DAY - offset {
            let mut row = Row {
                user: format!("u{}", key / 2),
                product: format!("p{}", key % 2),
                event: ["a", "b", "c", "c", "x"].choose(rng).unwrap(),
                timestamp_micros: now,
                kind: *[None, Some("bg"), Some("end")].choose(rng).unwrap(),
                note: None,
                arrival: 0,
            };
            row.arrival = model::pdate(&row, offset);
            rows.push(row);
            now += *[
                0,
                MINUTE,
                3 * MINUTE,
                5 * MINUTE,
                5 * MINUTE + 1,
                8 * MINUTE,
                20 * MINUTE,
                3 * HOUR,
            ]
            .choose(rng)
            .unwrap();
        }
    }
    rows
}

fn random_lake(seed: u64, kolkata: bool) -> Workspace {
    let configuration = configuration(RULES, kolkata);
    let workspace = Workspace::new();
    workspace.configure(&configuration.toml());
    let mut by_arrival: BTreeMap<i32, Vec<Row>> = BTreeMap::new();
    for row in random_rows(&mut ChaCha8Rng::seed_from_u64(seed), configuration.offset()) {
        by_arrival.entry(row.arrival).or_default().push(row);
    }
    for (arrival, rows) in by_arrival {
        let rows: Vec<&Row> = rows.iter().collect();
        workspace
            .write_batch(&format!("{}/part-0.csv", date(arrival)), &model::batch(&rows, false));
    }
    workspace.run(Dates::CatchUp, RuleChange::Refuse).unwrap();
    workspace
}

/// Plans, does it, and compares.
fn is_as_planned(workspace: &Workspace, from: Option<i32>, offset: i64) -> Plan {
    let (before, bytes) = (workspace.ods(&["kind", "note"]), workspace.lake_bytes());
    let plan = workspace.plan(from.map(date)).unwrap();
    assert!(bytes == workspace.lake_bytes(), "a plan wrote to the lake");
    let first = plan.from.unwrap();
    workspace.reprocess(first, Source::Ods).unwrap();
    let after = workspace.ods(&["kind", "note"]);
    let from = from.unwrap_or_else(|| before.iter().map(|row| row.pdate).min().unwrap());
    assert_eq!(first, date(from));
    let (dates, keys) = session_changes(&before, &after, from, offset);
    assert_eq!(plan.dates, dates);
    let all = dates.into_values().fold(SessionChange::default(), SessionChange::plus);
    assert_eq!(plan.total, all);
    let mut products: BTreeMap<String, SessionChange> = BTreeMap::new();
    for ((_, product), change) in &keys {
        let of_product = products.entry(product.clone()).or_default();
        *of_product = of_product.plus(*change);
    }
    assert_eq!(plan.products, products);
    let mut keys: Vec<_> = keys.into_iter().filter(|(_, change)| change.is_any()).collect();
    keys.sort_by_key(|(key, change)| (Reverse(change.events_moved), key.clone()));
    keys.truncate(10);
    let named = plan.keys.iter();
    let named: Vec<_> =
        named.map(|key| ((key.user_id.clone(), key.product_code.clone()), key.change)).collect();
    assert_eq!(named, keys);
    plan
}

#[test]
fn a_plan_is_what_a_reprocess_then_does() {
    let other_rules = [
        Rules { timeout_minutes: 10, ..RULES },
        Rules { timeout_minutes: 3, ..RULES },
        Rules { max_duration_minutes: Some(15), ..RULES },
        Rules { closes: Closes::ByEvent, ..RULES },
        Rules { any_event_opens: true, timeout_minutes: 8, ..RULES },
        Rules { action: Action::ByAttribute, closes: Closes::ByAttribute, ..RULES },
        Rules { timeout_minutes: 20, max_duration_minutes: Some(60), ..RULES },
    ];
    let mut all = SessionChange::default();
    for kolkata in [false, true] {
        let lake = random_lake(7 + u64::from(kolkata), kolkata);
        let offset = configuration(RULES, kolkata).offset();
        for (number, rules) in other_rules.into_iter().enumerate() {
            let from = [None, Some(FIRST_DAY + 2), Some(FIRST_DAY + 1)][number % 3];
            let workspace = lake.copy();
            workspace.configure(&configuration(rules, kolkata).toml());
            let plan = is_as_planned(&workspace, from, offset);
            assert!(plan.total.is_any(), "{rules:?}");
            all = all.plus(plan.total);
            // Under two entries of the rules, and back to what was.
            for (rules, from) in
                [(other_rules[0], Some(FIRST_DAY + 3)), (RULES, Some(FIRST_DAY + 2))]
            {
                workspace.configure(&configuration(rules, kolkata).toml());
                is_as_planned(&workspace, from, offset);
            }
            workspace.verified(&sessionlake::inspect::verify::Extent::All);
        }
    }
    let SessionChange { unchanged, resized, split, merged, appeared, gone, .. } = all;
    let kinds = [unchanged, resized, split, merged, appeared, gone];
    assert!(kinds.iter().all(|count| *count > 0), "not all kinds of change came up: {all:?}");
}

fn built() -> Workspace {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace
}

#[test]
fn a_shorter_timeout_splits_sessions() {
    let workspace = built();
    let bytes = workspace.lake_bytes();
    let plan = workspace.json("plan --set session.timeout=3m")["feeds"][0].take();
    // u1 is silent for four minutes before an event that opens no session.
    let change = json!({
        "events": 6, "events_moved": 2, "sessions_before": 3, "sessions_after": 3, "unchanged": 2,
        "resized": 1, "split": 0, "merged": 0, "appeared": 0, "gone": 0,
    });
    assert_eq!(plan["total"], change);
    assert_eq!((&plan["from"], &plan["feed"]), (&json!("2026-01-05"), &json!("events")));
    let rule = json!([{ "key": "session.timeout", "recorded": "5m", "planned": "3m" }]);
    assert_eq!(plan["rules"], rule);
    assert_eq!(plan["keys"][0]["user_id"], "u1");
    assert_eq!(plan["keys"].as_array().unwrap().len(), 1);
    assert_eq!(plan["dates"]["2026-01-06"]["events"], 2);
    workspace.exec("plan --timeout 3m").code(0).stdout(
        contains("from event date 2026-01-05, the earliest of ods")
            .and(contains("session.timeout: 5m -> 3m"))
            .and(contains("2026-01-05"))
            .and(contains("product web"))
            .and(contains("2026-01-06").not()),
    );
    assert!(bytes == workspace.lake_bytes(), "a plan wrote to the lake");
    let opening = "session.opens_on=true";
    let line = format!("plan --set session.timeout=3m --set {opening} --from 2026-01-05");
    let plan = workspace.json(&line)["feeds"][0].take();
    assert_eq!((&plan["total"]["split"], &plan["total"]["sessions_after"]), (&json!(1), &json!(4)));
}

#[test]
fn a_date_on_which_sessions_change_and_no_event_moves_is_shown() {
    let workspace = empty_workspace();
    let rows = ["u1,click,2026-01-05T23:58:00Z,a", "u1,click,2026-01-06T00:02:00Z,b"];
    workspace.write_batch("2026-01-06.csv", &batch(&rows));
    workspace.exec("run").code(0);
    let plan = workspace.json("plan --set session.timeout=3m")["feeds"][0].take();
    let split = &plan["dates"]["2026-01-05"];
    assert_eq!((&split["split"], &split["events_moved"]), (&json!(1), &json!(0)));
    let table = workspace.stdout("plan --set session.timeout=3m");
    let dates = table.lines().filter(|line| line.starts_with("│ 2026-01-0"));
    assert_eq!(dates.count(), 2, "{table}");
}

#[test]
fn a_longer_timeout_merges_sessions() {
    let workspace = empty_workspace();
    let rows = [
        "u1,click,2026-01-05T23:55:00Z,a",
        "u1,click,2026-01-06T00:03:00Z,b",
        "u2,click,2026-01-06T00:03:00Z,c",
    ];
    workspace.write_batch("2026-01-06.csv", &batch(&rows));
    workspace.exec("run").code(0);
    let plan = workspace.json("plan --set session.timeout=10m")["feeds"][0].take();
    let counts = |plan: &serde_json::Value| {
        ["sessions_before", "sessions_after", "merged", "unchanged", "events_moved"]
            .map(|count| plan["total"][count].as_i64().unwrap())
    };
    assert_eq!(counts(&plan), [3, 2, 1, 1, 1]);
    // New rules begin with a break: a session of the date before is not gone on with.
    let plan =
        workspace.json("plan --set session.timeout=10m --from 2026-01-06")["feeds"][0].take();
    assert_eq!(counts(&plan), [2, 2, 0, 2, 0]);
}

#[test]
fn rules_that_are_recorded_change_nothing() {
    let workspace = built();
    workspace.exec("plan").code(0).stdout(contains("nothing would change"));
    let plan = workspace.json("plan --from 2026-01-06")["feeds"][0].take();
    assert_eq!((&plan["rules"], &plan["total"]["events_moved"]), (&json!([]), &json!(0)));
}

#[test]
fn what_cannot_be_reprocessed_cannot_be_planned() {
    let workspace = workspace();
    workspace.exec("plan").code(0).stdout(contains("nothing was built yet"));
    assert!(workspace.lake_bytes().is_empty());
    workspace.exec("run").code(0);
    let mapping =
        CONFIGURATION.replace("event_id = \"event_id\"", "event_id = \"upper(event_id)\"");
    workspace.configure(&mapping);
    workspace.exec("plan").code(2).stderr(contains("event.event_id"));
    workspace.configure(CONFIGURATION);
    workspace.exec("plan --set session.timeout=2d").code(2);
    workspace.exec("plan --set session.user_action=nothing").code(2).stderr(contains("nothing"));
    let none: NaiveDate = "2027-01-01".parse().unwrap();
    let plan = workspace.plan(Some(none)).unwrap();
    assert_eq!(plan.total, SessionChange::default());
}
