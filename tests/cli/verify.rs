//! `verify`: a lake that is as it must be, and every way in which it may not be.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use sessionlake::inspect::verify::Extent;
use sessionlake::lake::TableName;

use super::{CONFIGURATION, batch, empty_workspace, workspace};
use crate::support::corruption::Says;
use crate::support::program::stdout_of;
use crate::support::workspace::Workspace;

fn built() -> Workspace {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace
}

/// The one feed of a result with a difference.
fn differs(workspace: &Workspace, line: &str) -> Value {
    let bytes = workspace.lake_bytes();
    let result = workspace.exec(&format!("{line} --output json")).code(5);
    assert!(bytes == workspace.lake_bytes(), "verify wrote to the lake");
    let mut document: Value = serde_json::from_str(&stdout_of(&result)).unwrap();
    document["feeds"][0].take()
}

fn failures(feed: &Value) -> Vec<&str> {
    let checks = feed["checks"].as_array().unwrap().iter();
    let failed = checks.filter(|check| check["ok"] == false);
    failed.map(|check| check["check"].as_str().unwrap()).collect()
}

fn detail<'f>(feed: &'f Value, name: &str) -> &'f str {
    let mut checks = feed["checks"].as_array().unwrap().iter();
    checks.find(|check| check["check"] == name).unwrap()["detail"].as_str().unwrap()
}

fn times(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row["timestamp"].as_str().unwrap()).collect()
}

#[test]
fn a_lake_that_is_as_it_must_be_passes() {
    let workspace = built();
    let bytes = workspace.lake_bytes();
    for source in ["ods", "raw"] {
        let feed = workspace.json(&format!("verify --source {source}"))["feeds"][0].take();
        assert_eq!(failures(&feed), [""; 0], "{feed:#}");
        assert_eq!((&feed["keys"], &feed["events"]), (&json!(2), &json!(6)), "{feed:#}");
        assert_eq!((&feed["source"], &feed["counterexample"]), (&json!(source), &Value::Null));
        let checks: Vec<&str> = feed["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| check["check"].as_str().unwrap())
            .collect();
        let all = [
            "rows",
            "row identity",
            "session ids",
            "sessions",
            "file order",
            "row balance of runs",
        ];
        assert_eq!(checks, all);
    }
    workspace.exec("verify").code(0).stdout(
        contains("2 keys, 6 events").and(contains("file order")).and(contains("FAILED").not()),
    );
    assert!(bytes == workspace.lake_bytes(), "verify wrote to the lake");
}

#[test]
fn some_keys_or_the_newest_dates_are_enough() {
    let workspace = built();
    let counts = |line: &str| {
        let feed = workspace.json(line)["feeds"][0].take();
        (feed["keys"].as_i64().unwrap(), feed["events"].as_i64().unwrap())
    };
    assert_eq!(counts("verify --sample 1").0, 1);
    assert_eq!(counts("verify --sample 1"), counts("verify --sample 1 --source raw"));
    assert_eq!(counts("verify --sample 9"), (2, 6));
    assert_eq!(counts("verify --users u1"), (1, 3));
    assert_eq!(counts("verify --users u2,u1 --source raw"), (2, 6));
    assert_eq!(counts("verify --users nobody"), (0, 0));
    assert_eq!(counts("verify --from 2026-01-06"), (1, 2));
    assert_eq!(counts("verify --from 2026-01-06 --source raw"), (1, 2));
    workspace.exec("verify --sample 1 --users u1").code(2);
    workspace.exec("verify --sample 0").code(2);
}

#[test]
fn a_feed_that_was_never_built_has_nothing_to_verify() {
    let workspace = workspace();
    workspace.exec("verify").code(0).stdout(contains("nothing was built yet"));
    assert!(workspace.lake_bytes().is_empty());
    workspace.exec("ingest").code(0);
    let feed = workspace.json("verify --source raw")["feeds"][0].take();
    assert_eq!((&feed["ods_version"], &feed["checks"]), (&Value::Null, &json!([])));
}

#[test]
fn a_wrong_session_start_is_found_with_the_events_that_show_it() {
    let workspace = built();
    let later = "case when note = 'b' then timestamp else session_start end as session_start";
    let query = format!("select * replace ({later}) from rows");
    workspace.rewrite_ods("2026-01-05", &query, Says::Nothing);
    for source in ["ods", "raw"] {
        let feed = differs(&workspace, &format!("verify --source {source}"));
        assert_eq!(failures(&feed), ["rows", "session ids"], "{feed:#}");
        let example = &feed["counterexample"];
        assert_eq!(feed["differing_keys"], 1);
        assert_eq!((&example["user_id"], &example["event_id"]), (&json!("u1"), &json!("scroll")));
        assert_eq!(example["timestamp"], "2026-01-05T10:07:00Z");
        assert_eq!(example["difference"], "other_values");
        assert_eq!(example["columns"], json!(["session_start"]));
        // Without the click at 10:00 there is no session to be in.
        let shown = ["2026-01-05T10:00:00Z", "2026-01-05T10:04:00Z", "2026-01-05T10:07:00Z"];
        assert_eq!(times(&example["facts"]), shown);
        assert_eq!(times(&example["rows"]), shown);
        let row = &example["rows"][2];
        assert_eq!(row["expected"]["session_start"], "2026-01-05T10:00:00Z");
        assert_eq!(row["found"][0]["session_start"], "2026-01-05T10:07:00Z");
        assert_eq!(example["rows"][0]["found"], json!([example["rows"][0]["expected"]]));
    }
    workspace
        .exec("verify")
        .code(5)
        .stdout(
            contains("other values: scroll at 2026-01-05T10:07:00Z").and(contains("as expected")),
        )
        .stderr(contains("the lake is not what it must be: events: rows, events: session ids"));
    // Nobody looks at the other key, or at other dates.
    workspace.exec("verify --users u2").code(0);
    workspace.exec("verify --from 2026-01-06").code(0);
    workspace.exec("verify --from 2026-01-05").code(5);
}

#[test]
fn the_events_that_show_a_difference_are_the_fewest() {
    let workspace = built();
    let gap = "case when note = 'b' then time_diff_ms + 1 else time_diff_ms end as time_diff_ms";
    let action = "case when note = 'e' then true else is_user_action end as is_user_action";
    for (date, column, events) in [("2026-01-05", gap, 3), ("2026-01-06", action, 2)] {
        let workspace = workspace.copy();
        workspace.rewrite_ods(
            date,
            &format!("select * replace ({column}) from rows"),
            Says::Nothing,
        );
        let feed = differs(&workspace, "verify");
        assert_eq!(failures(&feed), ["rows"]);
        let example = &feed["counterexample"];
        assert_eq!(example["facts"].as_array().unwrap().len(), events, "{example:#}");
        let name = column.rsplit_once(' ').unwrap().1;
        assert_eq!(example["columns"], json!([name]));
    }
    // Many events before the one that shows it are left out.
    let long = empty_workspace();
    let rows: Vec<String> = (0..40)
        .map(|minute| format!("u1,click,2026-01-05T10:{minute:02}:00Z,n{minute}"))
        .chain((0..40).map(|minute| format!("u1,click,2026-01-05T12:{minute:02}:00Z,m{minute}")))
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    long.write_batch("2026-01-05.csv", &batch(&rows));
    long.exec("run").code(0);
    let later = "case when note = 'm3' then timestamp else session_start end as session_start";
    let query = format!("select * replace ({later}) from rows");
    long.rewrite_ods("2026-01-05", &query, Says::Nothing);
    let feed = differs(&long, "verify");
    let shown = times(&feed["counterexample"]["facts"]);
    assert_eq!((shown[0], shown.len()), ("2026-01-05T12:00:00Z", 4), "{shown:?}");
}

#[test]
fn a_missing_row_is_found() {
    let workspace = built();
    let query = "select * from rows where note <> 'late'";
    workspace.rewrite_ods("2026-01-05", query, Says::Nothing);
    let feed = differs(&workspace, "verify --source raw");
    let example = &feed["counterexample"];
    assert_eq!(example["difference"], "missing");
    assert_eq!(example["timestamp"], "2026-01-05T10:04:00Z");
    assert_eq!(example["rows"][1]["found"], json!([]));
    assert_eq!(example["rows"][1]["expected"]["note"], "late");
    // ODS alone does not know of it, but that the event behind it has another gap.
    let feed = differs(&workspace, "verify");
    assert_eq!(feed["counterexample"]["difference"], "other_values");
    assert_eq!(feed["counterexample"]["timestamp"], "2026-01-05T10:07:00Z");
}

#[test]
fn a_key_that_is_missing_is_found() {
    let workspace = built();
    workspace.rewrite_ods("2026-01-05", "select * from rows where user_id = 'u2'", Says::Nothing);
    let feed = differs(&workspace, "verify --source raw");
    assert_eq!(feed["counterexample"]["difference"], "missing");
    assert_eq!(feed["counterexample"]["user_id"], "u1");
    differs(&workspace, "verify --source raw --users u1");
    differs(&workspace, "verify --source raw --sample 2");
}

#[test]
fn a_row_that_nobody_delivered_is_found() {
    let workspace = built();
    let other = "select * replace ('u0' as user_id) from rows where note = 'c'";
    let query = format!("select * from rows union all {other}");
    workspace.rewrite_ods("2026-01-05", &query, Says::Nothing);
    let feed = differs(&workspace, "verify --source raw");
    let example = &feed["counterexample"];
    assert_eq!((&example["user_id"], &example["difference"]), (&json!("u0"), &json!("unexpected")));
    assert_eq!((&example["facts"], &example["rows"][0]["expected"]), (&json!([]), &Value::Null));
    workspace
        .exec("verify --source raw")
        .code(5)
        .stdout(contains("unexpected: click").and(contains("no fact stands for it")));
}

#[test]
fn a_repeated_row_is_found() {
    let workspace = built();
    let query = "select * from rows union all select * from rows where note = 'late'";
    workspace.rewrite_ods("2026-01-05", query, Says::Nothing);
    for source in ["ods", "raw"] {
        let feed = differs(&workspace, &format!("verify --source {source}"));
        assert_eq!(failures(&feed), ["rows", "row identity"], "{feed:#}");
        let example = &feed["counterexample"];
        assert_eq!(example["difference"], "repeated");
        let of_event = example["rows"].as_array().unwrap().last().unwrap();
        assert_eq!(of_event["found"].as_array().unwrap().len(), 2, "{example:#}");
    }
}

#[test]
fn an_attribute_or_an_arrival_date_of_another_row_is_found_in_raw() {
    let workspace = built();
    let note = "case when note = 'late' then 'early' else note end as note";
    let arrival =
        "case when note = 'late' then date '2026-01-05' else _updated_at end as _updated_at";
    for (column, name) in [(note, "note"), (arrival, "_updated_at")] {
        let workspace = workspace.copy();
        let query = format!("select * replace ({column}) from rows");
        workspace.rewrite_ods("2026-01-05", &query, Says::Nothing);
        // The rules do not depend on it.
        workspace.exec("verify").code(0);
        let feed = differs(&workspace, "verify --source raw");
        assert_eq!(feed["counterexample"]["columns"], json!([name]), "{feed:#}");
    }
}

#[test]
fn of_repeated_deliveries_the_smallest_in_the_order_of_its_values_is_due() {
    let workspace = Workspace::new();
    let numbers = "[\"cast(note as double) as note\"]";
    workspace.configure(&CONFIGURATION.replace("[\"note\"]", numbers));
    let row = |note: &str| format!("u1,click,2026-01-05T10:00:00Z,{note}");
    // As a text, 10 is before 9.5, and a missing value comes last.
    workspace.write_batch("2026-01-05.csv", &batch(&[&row(""), &row("10"), &row("9.5")]));
    workspace.exec("run").code(0);
    workspace.exec("verify --source raw").code(0);
    for other in ["10.0", "null"] {
        let workspace = workspace.copy();
        let query = format!("select * replace (cast({other} as double) as note) from rows");
        workspace.rewrite_ods("2026-01-05", &query, Says::Nothing);
        let feed = differs(&workspace, "verify --source raw");
        let example = &feed["counterexample"];
        assert_eq!(example["rows"][0]["expected"]["note"], "9.5");
        assert_eq!(example["facts"].as_array().unwrap().len(), 3, "{example:#}");
    }
}

#[test]
fn a_row_in_the_partition_of_another_date_is_found() {
    let workspace = built();
    let query = "select * replace (timestamp + interval '1 day' as timestamp) from rows where user_id = 'u2'";
    let query = format!("{query} union all select * from rows where user_id = 'u1'");
    workspace.rewrite_ods("2026-01-05", &query, Says::Nothing);
    let feed = differs(&workspace, "verify");
    let columns = feed["counterexample"]["columns"].as_array().unwrap();
    assert!(columns.contains(&json!("pdate")), "{feed:#}");
}

#[test]
fn a_file_that_is_not_in_the_order_it_says_is_found() {
    let workspace = built();
    let query = "select * from rows order by user_id desc, product_code, timestamp, event_id";
    workspace.rewrite_ods("2026-01-05", query, Says::Nothing);
    // A file that says nothing is sorted when it is read.
    let feed = workspace.json("verify")["feeds"][0].take();
    let order = detail(&feed, "file order");
    assert!(order.contains("1 that do not say so"), "{order}");
    workspace.rewrite_ods("2026-01-05", query, Says::Sorted);
    let feed = differs(&workspace, "verify");
    assert_eq!(failures(&feed), ["file order"], "{feed:#}");
    let order = detail(&feed, "file order");
    assert!(order.contains("pdate=2026-01-05/written-") && order.contains("row 2"), "{order}");
    // Rows are gathered by key whatever the files say, and other dates have other files.
    assert_eq!((&feed["keys"], &feed["events"]), (&json!(2), &json!(6)));
    workspace.exec("verify --from 2026-01-06").code(0);
}

#[test]
fn a_run_that_lost_a_row_on_its_way_is_found() {
    let workspace = built();
    workspace.block_on(async {
        let table = workspace.lake().load(&TableName::Runs).await.unwrap().unwrap();
        let of_build = "stage = 'build' and arrival_date = date '2026-01-06'";
        table
            .update()
            .with_predicate(of_build)
            .with_update("rows_new", "rows_new - 1")
            .await
            .unwrap();
    });
    let feed = differs(&workspace, "verify");
    assert_eq!(failures(&feed), ["row balance of runs"], "{feed:#}");
    let balance = feed["checks"].as_array().unwrap().last().unwrap();
    let detail = balance["detail"].as_str().unwrap();
    assert!(detail.contains("build of 2026-01-06") && detail.contains("read 3 rows"), "{detail}");
}

#[test]
fn facts_that_retention_removed_are_taken_from_ods() {
    let workspace = built();
    workspace.write_batch(
        "2026-01-21.csv",
        &batch(&["u9,click,2026-01-21T10:00:00Z,f", "u1,click,2026-01-21T10:00:00Z,g"]),
    );
    workspace.exec("run").code(0);
    assert_eq!(workspace.raw_lines(&["_updated_at"]), ["2026-01-21", "2026-01-21"]);
    let feed = workspace.json("verify --source raw")["feeds"][0].take();
    assert_eq!((&feed["keys"], &feed["events"]), (&json!(3), &json!(8)));
    let detail = feed["checks"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("up to 2026-01-06 was taken from ODS"), "{detail}");
    let query = "select * from rows where note <> 'g'";
    workspace.rewrite_ods("2026-01-21", query, Says::Nothing);
    differs(&workspace, "verify --source raw");
    workspace.exec("verify").code(0);
}

#[test]
fn what_is_not_built_yet_is_not_expected() {
    let workspace = built();
    workspace.write_batch("2026-01-07.csv", &batch(&["u3,click,2026-01-07T10:00:00Z,f"]));
    workspace.exec("ingest --arrival-date 2026-01-07").code(0);
    let feed = workspace.json("verify --source raw")["feeds"][0].take();
    assert_eq!((&feed["keys"], &feed["events"]), (&json!(2), &json!(6)));
    // Of a date that is built in part nobody knows which rows are.
    workspace.exec("build").code(0);
    workspace.write_batch("2026-01-07.csv", &batch(&["u1,click,2026-01-07T10:00:00Z,g"]));
    workspace.exec("ingest --arrival-date 2026-01-07").code(0);
    let feed = workspace.json("verify --source raw")["feeds"][0].take();
    assert_eq!((&feed["keys"], &feed["events"]), (&json!(1), &json!(3)));
    let detail = feed["checks"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("2 keys with rows of 2026-01-07 were not compared"), "{detail}");
}

#[test]
fn every_entry_of_the_rules_holds_for_its_dates() {
    let workspace = built();
    workspace.configure(&CONFIGURATION.replace("\"5m\"", "\"3m\"\ncloses_on = \"note = 'd'\""));
    workspace.exec("reprocess --from 2026-01-06").code(0);
    workspace.write_batch("2026-01-07.csv", &batch(&["u2,click,2026-01-06T10:02:00Z,f"]));
    workspace.exec("run").code(0);
    for line in ["verify", "verify --source raw", "verify --from 2026-01-06"] {
        workspace.exec(line).code(0);
    }
    // A row of the older rules is no row of the newer ones.
    let joined =
        "case when note = 'e' then timestamp '2026-01-06T10:00:00Z' else session_start end";
    let query = format!("select * replace ({joined} as session_start) from rows");
    workspace.rewrite_ods("2026-01-06", &query, Says::Nothing);
    let feed = differs(&workspace, "verify");
    let facts = &feed["counterexample"]["facts"];
    assert_eq!(facts[0]["rules_from"], "2026-01-06", "{facts:#}");
}

#[test]
fn a_withdrawn_delivery_and_a_load_of_history_are_known() {
    let workspace = built();
    workspace.write_batch("2026-01-08.csv", &batch(&["u1,click,2025-06-01T10:00:00Z,old"]));
    workspace.exec("ingest --accept-late --arrival-date 2026-01-08").code(0);
    workspace.exec("build").code(0);
    workspace.exec("verify --source raw").code(0).stdout(contains("2 keys, 7 events"));
    workspace.exec("withdraw --file 2026-01-06.csv --arrival-date 2026-01-06").code(0);
    workspace.exec("verify --source raw").code(0).stdout(contains("2 keys, 4 events"));
}

#[test]
fn a_session_that_began_long_before_the_first_date_is_read_from_its_beginning() {
    let workspace = empty_workspace();
    workspace.configure(&CONFIGURATION.replace("\"5m\"", "\"20h\""));
    let times: Vec<String> = (5..20).map(|day| format!("2026-01-{day:02}")).collect();
    for day in &times {
        let row = format!("u1,scroll,{day}T10:00:00Z,a");
        let first = format!("u1,click,{day}T00:30:00Z,a");
        let second = format!("u1,scroll,{day}T20:00:00Z,b");
        let rows = [first.as_str(), row.as_str(), second.as_str()];
        workspace
            .write_batch(&format!("{day}.csv"), &batch(&rows[usize::from(day != &times[0])..]));
    }
    workspace.exec("run").code(0);
    let feed = workspace.json("verify --from 2026-01-19")["feeds"][0].take();
    assert_eq!((&feed["keys"], &feed["events"]), (&json!(1), &json!(2)));
    let later = "select * replace (timestamp '2026-01-12T10:00:00Z' as session_start) from rows";
    workspace.rewrite_ods("2026-01-19", later, Says::Nothing);
    let feed = differs(&workspace, "verify --from 2026-01-19");
    let row =
        &feed["counterexample"]["rows"].as_array().unwrap().last().unwrap()["expected"].clone();
    assert_eq!(row["session_start"], "2026-01-05T00:30:00Z");
}

#[test]
fn one_feed_of_several_is_verified_by_its_name() {
    let workspace = built();
    let other = CONFIGURATION.replace("\"events\"", "\"others\"");
    workspace.configure(&(CONFIGURATION.to_owned() + &other));
    let document = workspace.json("verify");
    assert_eq!(document["feeds"].as_array().unwrap().len(), 2);
    let document = workspace.json("verify --feed others");
    assert_eq!(document["feeds"][0]["feed"], "others");
    workspace.exec("verify --feed none").code(2);
}

#[test]
fn the_sample_is_part_of_the_whole() {
    let workspace = workspace();
    workspace.exec("generate --out generated --days 3 --events-per-day 2000 --users 200").code(0);
    let configuration = CONFIGURATION
        .replace("batches/", "generated/")
        .replace("[\"note\"]", "[\"page\", \"cast(price as double) as price\"]");
    workspace.configure(&configuration);
    workspace.exec("run").code(0);
    let all = workspace.verified(&Extent::All);
    assert!(all.keys > 50, "{}", all.keys);
    let twenty = workspace.json("verify --sample 20 --source raw")["feeds"][0].take();
    assert_eq!(twenty["keys"], 20);
    // Little memory makes the sort spill.
    workspace.exec("verify --source raw --memory-limit 64MB").code(0);
}

/// [`built`], with the notes of each session listed.
fn with_notes() -> Workspace {
    let workspace = workspace();
    workspace.configure(&(CONFIGURATION.to_owned() + "[feed.marts]\ndistinct = \"note\"\n"));
    workspace.exec("run").code(0);
    workspace
}

#[test]
fn sessions_are_compared_with_ods() {
    let workspace = with_notes();
    for line in ["verify", "verify --source raw", "verify --sample 5"] {
        let feed = workspace.json(line)["feeds"][0].take();
        assert_eq!(detail(&feed, "sessions"), "3 sessions are what ods makes of them");
    }
    let feed = workspace.json("verify --from 2026-01-06")["feeds"][0].take();
    assert!(detail(&feed, "sessions").starts_with("1 sessions"));
    let of_u1 = |column: &str| {
        format!("select * replace (case when user_id = 'u1' then {column}) from rows")
    };
    let wrong = [
        (of_u1("events + 1 else events end as events"), "events 4 where it is 3"),
        (
            of_u1("array_reverse(distinct_note) else distinct_note end as distinct_note"),
            "distinct [",
        ),
        (of_u1("array_reverse(event_ids) else event_ids end as event_ids"), "event_ids ["),
        ("select * from rows where user_id <> 'u1'".to_owned(), "missing"),
        ("select * from rows union all select * from rows".to_owned(), "there more than once"),
        (
            "select * from rows union all select * replace ('u3' as user_id) from rows".to_owned(),
            "none of ods",
        ),
    ];
    for (query, said) in wrong {
        let workspace = workspace.copy();
        workspace.rewrite_sessions("2026-01-05", &query);
        let feed = differs(&workspace, "verify");
        assert_eq!(failures(&feed), ["sessions"], "{query}: {feed:#}");
        assert!(detail(&feed, "sessions").contains(said), "{}", detail(&feed, "sessions"));
        workspace.exec("verify --from 2026-01-06").code(0);
    }
}

#[test]
fn sessions_that_do_not_follow_yet_are_not_compared() {
    let workspace = built();
    workspace.rewrite_ods("2026-01-05", "select * from rows where user_id = 'u2'", Says::Nothing);
    let feed = workspace.json("verify")["feeds"][0].take();
    assert!(detail(&feed, "sessions").starts_with("not compared"), "{feed:#}");
}
