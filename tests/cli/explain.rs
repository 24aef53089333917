//! Why an event has its session: every rule, every way to ask, and what earlier versions held.

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};

use super::{CONFIGURATION, batch, empty_workspace, workspace};
use crate::support::program::stdout_of;
use crate::support::workspace::Workspace;

/// Sessions end with `logout`, and after twenty minutes.
fn with_all_rules() -> String {
    let rules = "closes_on = \"event_id = 'logout'\"\nmax_duration = \"20m\"\ntimeout = \"5m\"";
    CONFIGURATION.replace("timeout = \"5m\"", rules)
}

/// One date of one user on which each rule fires.
fn every_rule() -> Workspace {
    let workspace = empty_workspace();
    workspace.configure(&with_all_rules());
    let rows = [
        "u1,scroll,2026-01-05T10:00:00Z,",
        "u1,click,2026-01-05T10:01:00Z,",
        "u1,scroll,2026-01-05T10:06:00Z,",
        "u1,click,2026-01-05T10:11:12Z,",
        "u1,logout,2026-01-05T10:12:00Z,",
        "u1,scroll,2026-01-05T10:13:00Z,",
        "u1,click,2026-01-05T10:14:00Z,",
        "u1,scroll,2026-01-05T10:19:00Z,",
        "u1,scroll,2026-01-05T10:24:00Z,",
        "u1,scroll,2026-01-05T10:29:00Z,",
        "u1,scroll,2026-01-05T10:34:00Z,",
        "u1,scroll,2026-01-05T10:34:00.5Z,",
    ];
    workspace.write_batch("2026-01-05.csv", &batch(&rows));
    workspace.exec("run").code(0);
    workspace
}

const RULES: [&str; 12] = [
    "first, empty: no user action since the break",
    "opens",
    "continues",
    "gap 312 s > 300 s, opens",
    "continues, closes",
    "closed by logout, empty: no user action since the break",
    "opens",
    "continues",
    "continues",
    "continues",
    "continues",
    "max duration 1200.5 s > 1200 s, empty: no user action since the break",
];

/// The events of a document, in time.
fn events(explanation: &Value) -> Vec<&Value> {
    let stretches = explanation["timeline"]["stretches"].as_array();
    let stretches = stretches.unwrap_or_else(|| panic!("no timeline: {explanation}"));
    stretches.iter().flat_map(|stretch| stretch["events"].as_array().unwrap()).collect()
}

/// A field of every event as text.
fn each<'e>(explanation: &'e Value, pointer: &str) -> Vec<&'e str> {
    let text = |event: &&'e Value| event.pointer(pointer).and_then(Value::as_str);
    events(explanation).iter().map(|event| text(event).unwrap_or("")).collect()
}

/// The times of all events, from the hour on.
fn times(explanation: &Value) -> Vec<&str> {
    each(explanation, "/timestamp").iter().map(|time| &time[11..19]).collect()
}

#[test]
fn every_rule_that_fires_is_told() {
    let explanation = every_rule().json("explain --user u1");
    assert_eq!(each(&explanation, "/rule"), RULES);
    let numbers: Vec<i64> = events(&explanation)
        .iter()
        .map(|event| event["session"]["number"].as_i64().unwrap_or_default())
        .collect();
    assert_eq!(numbers, [0, 1, 1, 2, 2, 0, 3, 3, 3, 3, 3, 0]);
    let third = events(&explanation)[3].clone();
    let gap = json!({ "kind": "gap", "gap_micros": 312_000_000, "timeout_micros": 300_000_000 });
    assert_eq!(third["break"], gap);
    assert_eq!((&third["effect"], &third["gap_ms"]), (&json!("opens"), &json!(312_000)));
    let session = json!({
        "number": 2,
        "session_id": "u1#web#2026-01-05T10:11:12Z",
        "session_start": "2026-01-05T10:11:12Z",
    });
    assert_eq!(third["session"], session);
    assert_eq!((&third["arrival_date"], &third["late_days"]), (&json!("2026-01-05"), &json!(0)));
    let timeline = &explanation["timeline"];
    assert_eq!(timeline["disagreements"], 0);
    assert_eq!(timeline["past"]["is_complete"], true);
    assert_eq!(timeline["rules"][0]["max_duration_micros"], 1_200_000_000_i64);
}

#[test]
fn the_table_is_aligned_and_without_colours_where_it_is_no_terminal() {
    let table = every_rule().stdout("explain --user u1");
    insta::assert_snapshot!(table, @"
    events, user u1, product web: 12 of 12 events; times in UTC, event dates in UTC
    ┌──────────────────────────┬────────┬────────┬───────────────────────────────────────────────────────────────────────┬─────────┬────────────┐
    │ time                     ┆ event  ┆    gap ┆ rule                                                                  ┆ session ┆ arrived    │
    ╞══════════════════════════╪════════╪════════╪═══════════════════════════════════════════════════════════════════════╪═════════╪════════════╡
    │ 2026-01-05T10:00:00Z     ┆ scroll ┆        ┆ first, empty: no user action since the break                          ┆ -       ┆ 2026-01-05 │
    │ 2026-01-05T10:01:00Z     ┆ click  ┆     1m ┆ opens                                                                 ┆ 1       ┆ 2026-01-05 │
    │ 2026-01-05T10:06:00Z     ┆ scroll ┆     5m ┆ continues                                                             ┆ 1       ┆ 2026-01-05 │
    │ 2026-01-05T10:11:12Z     ┆ click  ┆ 5m 12s ┆ gap 312 s > 300 s, opens                                              ┆ 2       ┆ 2026-01-05 │
    │ 2026-01-05T10:12:00Z     ┆ logout ┆    48s ┆ continues, closes                                                     ┆ 2       ┆ 2026-01-05 │
    │ 2026-01-05T10:13:00Z     ┆ scroll ┆     1m ┆ closed by logout, empty: no user action since the break               ┆ -       ┆ 2026-01-05 │
    │ 2026-01-05T10:14:00Z     ┆ click  ┆     1m ┆ opens                                                                 ┆ 3       ┆ 2026-01-05 │
    │ 2026-01-05T10:19:00Z     ┆ scroll ┆     5m ┆ continues                                                             ┆ 3       ┆ 2026-01-05 │
    │ 2026-01-05T10:24:00Z     ┆ scroll ┆     5m ┆ continues                                                             ┆ 3       ┆ 2026-01-05 │
    │ 2026-01-05T10:29:00Z     ┆ scroll ┆     5m ┆ continues                                                             ┆ 3       ┆ 2026-01-05 │
    │ 2026-01-05T10:34:00Z     ┆ scroll ┆     5m ┆ continues                                                             ┆ 3       ┆ 2026-01-05 │
    │ 2026-01-05T10:34:00.500Z ┆ scroll ┆  500ms ┆ max duration 1200.5 s > 1200 s, empty: no user action since the break ┆ -       ┆ 2026-01-05 │
    └──────────────────────────┴────────┴────────┴───────────────────────────────────────────────────────────────────────┴─────────┴────────────┘
    session 1: u1#web#2026-01-05T10:01:00Z, events shown: 2
    session 2: u1#web#2026-01-05T10:11:12Z, events shown: 2
    session 3: u1#web#2026-01-05T10:14:00Z, events shown: 5
    rules: timeout 5m, opens on is_user_action (event_id = 'click'), closes on event_id = 'logout', max duration 20m
    ");
}

#[test]
fn sessions_have_colours_by_turns() {
    let workspace = every_rule();
    let line = "explain --user u1 --session u1#web#2026-01-05T10:11:12Z --context 1";
    let forced = workspace.exec_with(line, &[("CLICOLOR_FORCE", "1")]).code(0);
    insta::assert_snapshot!(stdout_of(&forced).replace('\u{1b}', "␛"), @"
    events, user u1, product web: 4 of 12 events; times in UTC, event dates in UTC
    ┌──────────────────────┬────────┬────────┬─────────────────────────────────────────────────────────┬─────────┬────────────┐
    │ time                 ┆ event  ┆    gap ┆ rule                                                    ┆ session ┆ arrived    │
    ╞══════════════════════╪════════╪════════╪═════════════════════════════════════════════════════════╪═════════╪════════════╡
    ␛[2m│ ...                  ┆ 2 more ┆        ┆                                                         ┆         ┆            │␛[0m
    ␛[36m│ 2026-01-05T10:06:00Z ┆ scroll ┆     5m ┆ continues                                               ┆ 1       ┆ 2026-01-05 │␛[0m
    ␛[32m│ 2026-01-05T10:11:12Z ┆ click  ┆ 5m 12s ┆ gap 312 s > 300 s, opens                                ┆ 2       ┆ 2026-01-05 │␛[0m
    ␛[32m│ 2026-01-05T10:12:00Z ┆ logout ┆    48s ┆ continues, closes                                       ┆ 2       ┆ 2026-01-05 │␛[0m
    ␛[2m│ 2026-01-05T10:13:00Z ┆ scroll ┆     1m ┆ closed by logout, empty: no user action since the break ┆ -       ┆ 2026-01-05 │␛[0m
    ␛[2m│ ...                  ┆ 6 more ┆        ┆                                                         ┆         ┆            │␛[0m
    └──────────────────────┴────────┴────────┴─────────────────────────────────────────────────────────┴─────────┴────────────┘
    ␛[36msession 1: u1#web#2026-01-05T10:01:00Z, events shown: 1␛[0m
    ␛[32msession 2: u1#web#2026-01-05T10:11:12Z, events shown: 2␛[0m
    rules: timeout 5m, opens on is_user_action (event_id = 'click'), closes on event_id = 'logout', max duration 20m
    ");
    let refused = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
    let plain = workspace.exec_with(line, &refused).code(0);
    assert!(!stdout_of(&plain).contains('\u{1b}'), "{}", stdout_of(&plain));
}

#[test]
fn a_moment_is_asked_for_by_time_session_or_event() {
    let workspace = every_rule();
    let asked = |line: &str| {
        let explanation = workspace.json(&format!("explain --user u1 --context 0 {line}"));
        times(&explanation).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let second = ["10:11:12", "10:12:00"];
    assert_eq!(asked("--session u1#web#2026-01-05T10:11:12Z"), second);
    // Between the session and the one before it, nearer to it.
    assert_eq!(asked("--at 2026-01-05T10:10:00Z"), second);
    assert_eq!(asked("--at 2026-01-05T12:10:00+02:00"), second);
    assert_eq!(asked("--event logout"), second);
    // Long after the last event, which has no session.
    assert_eq!(asked("--at 2027-01-01"), ["10:34:00"]);
    // An empty session from its break to the opening.
    assert_eq!(asked("--at 2026-01-05T10:13:10Z"), ["10:13:00"]);
    let clicks = ["10:01:00", "10:06:00", "10:11:12", "10:12:00", "10:14:00"];
    assert_eq!(asked("--event click")[..5], clicks);
    let session = workspace.json("explain --session u1#web#2026-01-05T10:11:12Z --context 1");
    assert_eq!(times(&session), ["10:06:00", "10:11:12", "10:12:00", "10:13:00"]);
    let stretch = &session["timeline"]["stretches"][0];
    assert_eq!(
        (&stretch["events_before"], &session["timeline"]["events_after"]),
        (&json!(2), &json!(6))
    );
}

#[test]
fn a_session_of_several_dates_is_shown_from_its_start_to_its_end() {
    let workspace = empty_workspace();
    workspace.configure(&CONFIGURATION.replace("\"5m\"", "\"12h\""));
    let row = |day: u32, hour: u32| format!("u1,click,2026-01-{day:02}T{hour:02}:00:00Z,");
    for day in 5..=9 {
        // On the last date the session ends, and another one begins.
        let hours: &[u32] = if day == 9 { &[2, 20] } else { &[1, 11, 21] };
        let rows: Vec<String> = hours.iter().map(|hour| row(day, *hour)).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        workspace.write_batch(&format!("2026-01-{day:02}.csv"), &batch(&rows));
    }
    workspace.exec("run").code(0);
    for moment in [
        "--session u1#web#2026-01-05T01:00:00Z",
        "--at 2026-01-07T11:00:00Z",
        "--at 2026-01-09T02:00:00Z",
    ] {
        let explanation = workspace.json(&format!("explain --user u1 --context 0 {moment}"));
        assert_eq!(events(&explanation).len(), 13, "{moment}: {explanation}");
        assert_eq!(explanation["timeline"]["events_after"], 1);
        assert_eq!(explanation["timeline"]["disagreements"], 0);
    }
    let cut = workspace.json("explain --user u1 --at 2026-01-07T11:00:00Z --limit 4");
    assert_eq!(times(&cut), ["21:00:00", "01:00:00", "11:00:00", "21:00:00"]);
    assert_eq!(cut["timeline"]["stretches"][0]["events_before"], 5);
    assert_eq!(cut["timeline"]["events_after"], 5);
    let last = workspace.json("explain --user u1");
    assert_eq!(each(&last, "/rule").last(), Some(&"gap 64800 s > 43200 s, opens"));
    assert_eq!(events(&last).len(), 5);
}

#[test]
fn what_a_late_event_joined_is_told_with_the_run_that_did_it() {
    let workspace = empty_workspace();
    let first = ["u1,click,2026-01-05T10:00:00Z,a", "u1,click,2026-01-05T10:08:00Z,b"];
    workspace.write_batch("2026-01-05.csv", &batch(&first));
    let first = workspace.json("run")["run_id"].clone();
    workspace.write_batch("2026-01-06.csv", &batch(&["u1,scroll,2026-01-05T10:04:00Z,late"]));
    let second = workspace.json("run")["run_id"].clone();
    let line = "explain --user u1 --at 2026-01-05T10:08:00Z";
    let explanation = workspace.json(line);
    assert_eq!(each(&explanation, "/rule"), ["first, opens", "continues", "continues"]);
    let [kept, late, joined] = events(&explanation)[..] else { panic!("{explanation}") };
    let changes = joined["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{joined}");
    assert_eq!((&changes[0]["run_id"], &changes[0]["stage"]), (&second, &json!("build")));
    let before = json!({
        "session_id": "u1#web#2026-01-05T10:08:00Z",
        "session_start": "2026-01-05T10:08:00Z",
        "arrival_date": "2026-01-05",
    });
    assert_eq!(changes[0]["before"], before);
    assert!(changes[0]["time"].is_string() && changes[0]["version"].is_u64());
    assert_eq!((&changes[1]["run_id"], &changes[1]["before"]), (&first, &Value::Null));
    // The event that came late brought no change to the first one, and was brought itself.
    assert_eq!(kept["changes"].as_array().unwrap().len(), 1);
    assert_eq!((&late["changes"][0]["run_id"], &late["late_days"]), (&second, &json!(1)));
    let version = changes[0]["version"].to_string();
    workspace.exec(line).code(0).stdout(
        contains(format!("2026-01-05T10:08:00Z until version {version}"))
            .and(contains(format!("version {version}: build of run {}", second.as_str().unwrap())))
            .and(contains("not known").not()),
    );

    // A compaction moves rows and changes none; then the old files leave the store.
    workspace.exec("maintain").code(0);
    assert_eq!(workspace.json(line), explanation);
    workspace.exec("maintain --set retention.removed_files_days=0").code(0);
    let later = workspace.json(line);
    let version = &changes[0]["version"];
    assert_eq!(later["timeline"]["past"]["gone"], json!({ "kind": "files", "before": version }));
    assert_eq!(later["timeline"]["past"]["is_complete"], false);
    assert_eq!(each(&later, "/rule"), each(&explanation, "/rule"));
    workspace.exec(line).code(0).stdout(contains("files of older versions have left the store"));
}

#[test]
fn new_rules_are_told_where_they_begin() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace.configure(&CONFIGURATION.replace("\"5m\"", "\"3m\""));
    let rows = ["u2,scroll,2026-01-06T23:59:00Z,", "u2,click,2026-01-07T00:00:00Z,"];
    workspace.write_batch("2026-01-07.csv", &batch(&rows));
    workspace.exec("run --accept-rule-change").code(0);
    let explanation = workspace.json("explain --user u2 --context 1");
    let rules = each(&explanation, "/rule");
    assert_eq!(rules.last(), Some(&"new rules from 2026-01-07, opens"), "{explanation}");
    let rules = explanation["timeline"]["rules"].as_array().unwrap();
    let timeouts: Vec<i64> =
        rules.iter().map(|rules| rules["timeout_micros"].as_i64().unwrap()).collect();
    assert_eq!(timeouts, [300_000_000, 180_000_000]);
    assert_eq!(explanation["timeline"]["disagreements"], 0);
}

#[test]
fn several_products_are_listed_and_one_is_chosen() {
    let workspace = empty_workspace();
    let rows = "user_id,product_code,event_id,timestamp,note\n\
        u1,web,click,2026-01-05T10:00:00Z,\n\
        u1,web,scroll,2026-01-05T11:00:00Z,\n\
        u1,app,buy,2026-01-05T10:00:00Z,\n";
    workspace.write_batch("2026-01-05.csv", rows);
    workspace.exec("run").code(0);
    let explanation = workspace.json("explain --user u1");
    assert_eq!(explanation["timeline"], Value::Null);
    let product = json!({
        "product_code": "web",
        "events": 2,
        "sessions": 1,
        "first": "2026-01-05T10:00:00Z",
        "last": "2026-01-05T11:00:00Z",
    });
    assert_eq!(explanation["products"][1], product);
    workspace.exec("explain --user u1").code(0).stdout(contains("--product").and(contains("app")));
    let app = workspace.json("explain --user u1 --product app");
    assert_eq!(each(&app, "/event_id"), ["buy"]);
    // An event that one product has alone, and a session, say which.
    assert_eq!(each(&workspace.json("explain --user u1 --event scroll"), "/event_id").len(), 2);
    assert_eq!(events(&workspace.json("explain --session u1#web#2026-01-05T10:00:00Z")).len(), 2);
    workspace
        .exec("explain --user u1 --product tv")
        .code(1)
        .stderr(contains("`tv`").and(contains("app, web")));
}

#[test]
fn what_is_not_there_is_said_with_what_to_do() {
    let workspace = workspace();
    workspace.exec("explain --user u1").code(1).stderr(contains("sessionlake run"));
    workspace.exec("run").code(0);
    for (line, code, says) in [
        ("--user u9", 1, "no event of the user `u9`"),
        ("--user U1", 1, "upper and lower case count"),
        ("--user u1 --event buy", 1, "no event `buy`"),
        ("--session u1#web#2026-01-05T10:07:00Z", 1, "--at 2026-01-05T10:07:00Z"),
        ("--user u1 --session u1", 2, "user#product#start"),
        ("--user u2 --session u1#web#2026-01-05T10:00:00Z", 2, "of the user `u1`"),
        ("--user u1 --at noon", 2, "2026-01-05T10:00:00Z"),
        ("--user u1 --at 2026-01-05 --event click", 2, "cannot be used with"),
        ("--user u1 --limit 0", 2, "--limit"),
        ("", 2, "--user"),
    ] {
        workspace.exec(&format!("explain {line}")).code(code).stderr(contains(says));
    }
}

#[test]
fn rows_of_the_user_in_quarantine_are_counted() {
    let workspace = empty_workspace();
    let rows = [
        "u1,click,2026-01-05T10:00:00Z,a",
        "u1,click,2020-01-05T10:00:00Z,too old",
        "u1,click",
        "u10,click",
    ];
    workspace.write_batch("2026-01-05.csv", &batch(&rows));
    workspace.exec("run").code(0);
    let refused = json!([
        { "stage": "build", "reason": "beyond_update_depth", "entries": 1 },
        { "stage": "ingest", "reason": "field_count", "entries": 1 },
    ]);
    assert_eq!(workspace.json("explain --user u1")["quarantine"], refused);
    workspace.exec("explain --user u1").code(0).stdout(contains("field_count 1 (ingest)"));
}

#[test]
fn a_session_that_is_not_what_the_recorded_rules_give_is_pointed_out() {
    let workspace = every_rule();
    let log = workspace.path("lake/ods/events/_delta_log/00000000000000000000.json");
    let commit = std::fs::read_to_string(&log).unwrap();
    assert!(commit.contains("300000000"), "{commit}");
    std::fs::write(&log, commit.replace("300000000", "299000000")).unwrap();
    let explanation = workspace.json("explain --user u1");
    assert_eq!(explanation["timeline"]["disagreements"], 5, "{explanation}");
    assert_eq!(events(&explanation)[2]["expected_start"], json!({ "session_start": null }));
    workspace
        .exec("explain --user u1")
        .code(0)
        .stdout(contains("sessionlake verify").and(contains("1, not none")));
}

#[test]
fn of_several_feeds_one_is_asked_for() {
    let workspace = workspace();
    let feeds =
        ["one", "two"].map(|name| CONFIGURATION.replace("\"events\"", &format!("\"{name}\"")));
    workspace.configure(&feeds.concat());
    workspace.exec("run").code(0);
    workspace.exec("explain --user u1").code(2).stderr(contains("--feed (one, two)"));
    let explanation = workspace.json("explain --user u1 --feed two");
    assert_eq!(explanation["feed"], "two");
}

#[test]
fn what_would_steer_the_terminal_is_escaped() {
    let workspace = empty_workspace();
    workspace.write_batch("2026-01-05.csv", &batch(&["u1,\u{1b}[31mclick,2026-01-05T10:00:00Z,"]));
    workspace.exec("run").code(0);
    let forced = workspace.exec_with("explain --user u1", &[("CLICOLOR_FORCE", "1")]).code(0);
    assert!(stdout_of(&forced).contains("\\u{1b}[31mclick"), "{}", stdout_of(&forced));
}
