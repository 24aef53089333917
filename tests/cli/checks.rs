//! Checks in SQL: what they find, what follows, and which are refused.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use sessionlake::lake::TableName;

use super::{BUILT, CONFIGURATION, SHORT, batch, empty_workspace, workspace};
use crate::support::workspace::Workspace;

/// A query that finds the rows whose note is `bad`.
const BAD_NOTES: &str = "select user_id, note from rows where note = 'bad'";

/// The text of a check file.
fn check_file(severity: &str, on: &str, query: &str) -> String {
    format!("-- severity: {severity}\n-- on: {on}\n-- message: it is {severity}\n\n{query}\n")
}

trait Checked {
    /// The configuration with `[feed.checks]` and these lines.
    fn configure_checks(&self, lines: &str);
    /// A check in the folder `checks`.
    fn write_check(&self, name: &str, text: &str);
    /// The version of a table.
    fn version(&self, name: &TableName) -> Option<u64>;
    /// How many data files are below a folder, of whatever commit.
    fn data_files(&self, folder: &str) -> usize;
    /// Of each check the name and the rows found, sorted.
    fn found(&self, line: &str) -> Vec<(String, i64)>;
}

impl Checked for Workspace {
    fn configure_checks(&self, lines: &str) {
        self.configure(&format!("{CONFIGURATION}[feed.checks]\n{lines}\n"));
    }

    fn write_check(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path("checks")).unwrap();
        std::fs::write(self.path("checks").join(format!("{name}.sql")), text).unwrap();
    }

    fn version(&self, name: &TableName) -> Option<u64> {
        self.block_on(async { self.lake().load(name).await.unwrap().unwrap().version() })
    }

    fn data_files(&self, folder: &str) -> usize {
        let files = self.bytes_below(folder);
        let is_data = |path: &&String| path.ends_with(".parquet") && !path.contains("_delta_log");
        files.keys().filter(is_data).count()
    }

    fn found(&self, line: &str) -> Vec<(String, i64)> {
        let assert = self.exec(&format!("{line} --output json"));
        let document: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        let checks = document["checks"].as_array().unwrap();
        let found = checks.iter().map(|check| {
            (check["check"].as_str().unwrap().to_owned(), check["rows"].as_i64().unwrap())
        });
        found.collect()
    }
}

/// A built workspace with one check of its own.
fn with_check(severity: &str, on: &str, query: &str) -> Workspace {
    let workspace = workspace();
    workspace.write_check("mine", &check_file(severity, on, query));
    workspace.configure_checks("folder = \"checks\"");
    workspace
}

#[test]
fn the_invariants_hold_of_what_was_built_and_nothing_is_written() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    let before = workspace.lake_bytes();
    let found = workspace.found("check");
    let invariants = ["break_inside_session", "session_id_not_unique", "session_start_after_event"];
    assert_eq!(found, invariants.map(|name| (name.to_owned(), 0)));
    workspace.exec("check").code(0).stdout(contains("break_inside_session"));
    assert_eq!(workspace.lake_bytes(), before);
}

#[test]
fn a_lake_that_was_never_built_has_nothing_to_find() {
    let workspace = empty_workspace();
    assert!(workspace.found("check").iter().all(|(_, rows)| *rows == 0));
    assert!(!workspace.path("lake").exists());
}

#[test]
fn each_severity_has_its_exit_code_and_shows_examples() {
    for (severity, code) in [("warn", 0), ("error", 3)] {
        for on in ["raw", "ods"] {
            let query = "select user_id, note from rows where note in ('c', 'late')";
            let workspace = with_check(severity, on, query);
            workspace.configure(CONFIGURATION);
            workspace.exec("run").code(0);
            workspace.configure_checks("folder = \"checks\"");
            let shown = contains("mine").and(contains("note=late, user_id=u1"));
            workspace.exec("check").code(code).stdout(shown);
            assert_eq!(workspace.found("check --check mine"), [("mine".to_owned(), 2)]);
            let of_one = workspace.found("check --check mine --arrival-date 2026-01-06");
            assert_eq!(of_one, [("mine".to_owned(), 1)], "{severity} on {on}");
        }
    }
}

#[test]
fn an_unknown_check_is_named_with_those_there_are() {
    let workspace = workspace();
    workspace
        .exec("check --check brake_inside_session")
        .code(2)
        .stderr(contains("brake_inside_session").and(contains("break_inside_session")));
}

#[test]
fn a_check_that_cannot_be_used_is_refused_with_file_and_line() {
    let header = "-- severity: warn\n-- on: ods\n-- message: m\n";
    let faults = [
        ("", 1, "the header `severity` is missing"),
        ("-- severity: fatal\n", 1, "`fatal` is no severity"),
        ("-- severity: warn\n-- on: marts\n", 2, "`marts` is no on"),
        ("-- severity: warn\n-- on: ods\n", 1, "the header `message` is missing"),
        ("-- severity: warn\n-- sverity: warn\n", 2, "did you mean `severity`?"),
        ("-- a check\n", 1, "`a check` is no line of a header"),
        ("-- severity: warn\n-- severity: error\n", 2, "stands there twice"),
        (header, 3, "there is no query"),
        (&format!("{header}\nselect 1;\n\nselect 2"), 7, "a second statement begins here"),
        (&format!("{header}drop table ods"), 4, "this is no query, it begins with `drop`"),
        (&format!("{header}delete from ods"), 4, "begins with `delete`"),
        (&format!("{header}insert into ods select * from rows"), 4, "begins with `insert`"),
        (&format!("{header}select * into x from rows"), 4, "this is no query"),
        (&format!("{header}select *\nfrom rows\nwhere = 1"), 6, "not valid SQL"),
        (&format!("{header}select *\nfrom rows\nwhere nothing = 1"), 6, "nothing"),
        (&format!("{header}select * from rows where timestamp < now()"), 4, "`now`"),
        (&format!("{header}select * from rows where random() < 1"), 4, "`random`"),
        (&format!("{header}select * from ods.orders"), 4, "`ods.orders`, which does not exist"),
        (&format!("{header}select * from runs"), 4, "ods.events"),
        (&format!("{header}select * from rows where note = $x"), 4, "`$x` is no parameter"),
    ];
    let workspace = workspace();
    workspace.configure_checks("folder = \"checks\"");
    for (text, line, message) in faults {
        workspace.write_check("mine", text);
        for command in ["config check", "run", "check"] {
            let place = format!("mine.sql, line {line}");
            let stderr = contains(message).and(contains(place.as_str()));
            let assert = workspace.exec(command);
            let told = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
            assert!(stderr.eval(&told), "{text}\n{told}");
            assert.code(2);
        }
    }
    assert!(!workspace.path("lake/raw").exists() && !workspace.path("lake/ods").exists());
}

#[test]
fn a_folder_names_and_uses_that_cannot_be_used_are_refused() {
    let workspace = workspace();
    workspace.write_check("plain", &check_file("warn", "ods", BAD_NOTES));
    let faults = [
        ("folder = \"nowhere\"", "cannot read the folder"),
        ("shipped = [\"brake_inside_session\"]", "did you mean `break_inside_session`?"),
        ("shipped = [\"missing_values\"]", "give them in a [[feed.checks.use]] section"),
        ("skip = [\"nothing\"]", "no check is called `nothing`"),
        ("use = [{ check = \"missing_value\" }]", "did you mean `missing_values`?"),
        ("use = [{ name = \"x\" }]", "check: missing"),
        ("use = [{ check = \"missing_values\" }]", "the parameter `columns` (columns) is missing"),
        (
            "use = [{ check = \"missing_values\", with = { columns = \"note\" } }]",
            "expected a list of names of columns, found `note`",
        ),
        (
            "use = [{ check = \"missing_values\", with = { columns = [\"note\"], more = 1 } }]",
            "the check has no parameter `more`",
        ),
        (
            "use = [{ check = \"missing_values\", with = { columns = true } }]",
            "expected text, a whole number or a list of texts",
        ),
        (
            "use = [{ check = \"break_inside_session\" }]",
            "another check is called `break_inside_session`",
        ),
        ("use = [{ chek = \"missing_values\" }]", "did you mean `check`?"),
    ];
    for (lines, message) in faults {
        workspace.configure_checks(lines);
        let assert = workspace.exec("config check");
        let told = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(told.contains(message), "{lines}\n{told}");
        assert.code(2);
    }
    workspace.write_check("break_inside_session", &check_file("warn", "ods", BAD_NOTES));
    workspace.configure_checks("folder = \"checks\"");
    workspace.exec("config check").code(2).stderr(contains("is there already"));
}

#[test]
fn a_skipped_check_is_not_asked() {
    let workspace = with_check("error", "ods", "select * from rows");
    workspace.configure_checks("folder = \"checks\"\nskip = [\"mine\", \"break_inside_session\"]");
    workspace.exec("run").code(0);
    let found = workspace.found("check");
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|(name, _)| name.starts_with("session_")));
}

#[test]
fn a_query_that_fails_on_the_rows_names_its_file() {
    let workspace = with_check("warn", "ods", "select * from rows where cast(note as bigint) > 1");
    workspace.configure(CONFIGURATION);
    workspace.exec("run").code(0);
    workspace.configure_checks("folder = \"checks\"");
    workspace.exec("check").code(1).stderr(contains("mine.sql, line 5").and(contains("try_cast")));
}

#[test]
fn the_shown_configuration_holds_the_checks() {
    let workspace = with_check("warn", "ods", BAD_NOTES);
    let lines = "folder = \"checks\"\nskip = [\"mine\"]\nuse = [{ check = \"missing_values\", \
                 name = \"notes\", severity = \"error\", with = { columns = [\"note\"] } }]";
    workspace.configure_checks(lines);
    let shown = workspace.stdout("config show");
    workspace.configure(&shown);
    assert_eq!(workspace.stdout("config show"), shown);
    assert!(shown.contains("[[feed.checks.use]]"), "{shown}");
}

#[test]
fn an_error_in_a_build_publishes_nothing_and_ends_with_3() {
    for on in ["raw", "ods"] {
        let workspace = with_check("error", on, "select user_id, note from rows where note = 'd'");
        workspace.exec("run --arrival-date 2026-01-05").code(0);
        let before = workspace.ods_lines(&SHORT);
        let ods = TableName::Ods("events".to_owned());
        let version = workspace.version(&ods);
        let shown = contains("mine").and(contains("note=d, user_id=u2")).and(contains("1 row"));
        workspace.exec("run --arrival-date 2026-01-06").code(3).stderr(shown);
        assert_eq!(workspace.version(&ods), version, "{on}");
        assert_eq!(workspace.ods_lines(&SHORT), before);
        let files = workspace.live_files(&ods);
        assert_eq!(workspace.data_files("lake/ods/events"), files.len(), "{on}");
        let errors = workspace.lines(&TableName::Runs, &["stage", "outcome", "error"]);
        let failed = errors.iter().find(|line| line.starts_with("build,failed")).unwrap();
        assert!(failed.contains("mine") && failed.contains("note=d"), "{failed}");
        workspace.configure(CONFIGURATION);
        workspace.exec("run").code(0);
        assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    }
}

#[test]
fn a_warning_in_a_build_is_logged_and_recorded_and_the_build_goes_on() {
    for on in ["raw", "ods"] {
        let workspace = with_check("warn", on, "select user_id, note from rows where note = 'd'");
        let assert = workspace.exec("run --output json").code(0).stderr(contains("mine"));
        let document: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        let builds: Vec<&Value> = document["stages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|stage| stage["stage"] == "build")
            .collect();
        assert_eq!(builds[0]["checks"][0]["rows"], 0, "{on}");
        assert_eq!(builds[1]["checks"][0]["rows"], 1, "{on}");
        assert_eq!(builds[1]["checks"][0]["examples"][0]["note"], "d");
        assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    }
}

#[test]
fn rows_of_a_build_are_the_new_and_the_changed_and_ods_is_what_it_will_be() {
    // The late event of u1 moves the gap of the event behind it; the other event of the date stays.
    let workspace = with_check("warn", "ods", "select user_id, note from rows");
    workspace.write_check("all", &check_file("warn", "ods", "select note from ods"));
    let document: Value = workspace.json("run");
    let builds = document["stages"].as_array().unwrap().iter();
    let counts: Vec<[i64; 2]> = builds
        .filter(|stage| stage["stage"] == "build")
        .map(|stage| [0, 1].map(|at| stage["checks"][at]["rows"].as_i64().unwrap()))
        .collect();
    assert_eq!(counts, [[3, 3], [6, 4]]);
}

#[test]
fn the_shipped_invariants_can_be_asked_by_every_build() {
    let workspace = workspace();
    workspace.configure_checks(
        "shipped = [\"break_inside_session\", \"session_id_not_unique\", \
         \"session_start_after_event\"]",
    );
    workspace.exec("run").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

/// Checks in `[[feed.checks.use]]` and what each finds in the second arrival date's build.
fn used(uses: &str) -> Vec<(String, i64)> {
    let workspace = workspace();
    let blank = "u3,web,click,2026-01-06T11:00:00Z,\nu4,web,click,2026-01-06T11:00:00Z, \n";
    let more = std::fs::read_to_string(workspace.path("batches/2026-01-06.csv")).unwrap();
    workspace.write_batch("2026-01-06.csv", &(more + blank));
    workspace.configure_checks(uses);
    let document = workspace.json("run");
    let stages = document["stages"].as_array().unwrap();
    let build = stages.iter().rfind(|stage| stage["stage"] == "build").unwrap();
    let checks = build["checks"].as_array().unwrap().iter();
    let found = checks.map(|check| {
        (check["check"].as_str().unwrap().to_owned(), check["rows"].as_i64().unwrap())
    });
    found.collect()
}

#[test]
fn missing_and_blank_values_are_found_in_any_of_the_columns() {
    let with = "with = { columns = [\"note\", \"user_id\"] }";
    let found = used(&format!("use = [{{ check = \"missing_values\", {with} }}]"));
    assert_eq!(found, [("missing_values".to_owned(), 2)]);
}

#[test]
fn duplicates_are_found_within_the_declared_key() {
    let uses = "use = [{ check = \"duplicate_keys\", with = { key = [\"user_id\"] } }, \
        { check = \"duplicate_keys\", name = \"events_twice\", \
        with = { key = [\"user_id\", \"timestamp\"] } }, \
        { check = \"duplicate_keys\", name = \"in_ods\", on = \"ods\", \
        with = { key = [\"user_id\"] } }]";
    let found: Vec<(String, i64)> = used(uses);
    let rows = [("duplicate_keys", 1), ("events_twice", 0), ("in_ods", 2)];
    assert_eq!(found, rows.map(|(name, rows)| (name.to_owned(), rows)));
}

#[test]
fn categories_that_do_not_occur_are_found() {
    let with = "with = { column = \"note\", categories = [\"d\", \"it's\", \"x\"] }";
    let found = used(&format!("use = [{{ check = \"missing_categories\", {with} }}]"));
    assert_eq!(found, [("missing_categories".to_owned(), 2)]);
}

#[test]
fn values_missing_in_the_table_of_another_feed_are_found() {
    let workspace = workspace();
    let orders = CONFIGURATION.replace("events\"", "orders\"").replace("batches/", "orders/");
    std::fs::create_dir(workspace.path("orders")).unwrap();
    let of_u1 =
        "user_id,product_code,event_id,timestamp,note\nu1,web,click,2026-01-05T10:00:00Z,o\n";
    std::fs::write(workspace.path("orders/2026-01-05.csv"), of_u1).unwrap();
    let uses = "[feed.checks]\nfolder = \"checks\"\nuse = [{ check = \"missing_in\", severity = \
        \"error\", with = { column = \"user_id\", other = \"ods.orders\", other_column = \
        \"user_id\" } }]\n";
    let by_name = "select user_id from rows left anti join raw.orders \
        on rows.user_id = raw.orders.user_id";
    workspace.write_check("by_name", &check_file("warn", "raw", by_name));
    workspace.configure(&format!("{orders}{CONFIGURATION}{uses}"));
    workspace.exec("run --feed orders").code(0);
    let shown = contains("missing_in: 1 row").and(contains("user_id=u2"));
    workspace.exec("run --feed events --arrival-date 2026-01-05").code(3).stderr(shown);
    workspace.configure(&format!("{orders}{CONFIGURATION}{uses}").replace("\"error\"", "\"warn\""));
    workspace.exec("run --feed events").code(0);
    let found = workspace.found("check --feed events --check missing_in --check by_name");
    assert_eq!(found, [("by_name".to_owned(), 3), ("missing_in".to_owned(), 1)]);
}

/// Quarantine checks on both layers: a delivered column that raw has in `_extra`, and an attribute.
fn with_rules() -> Workspace {
    let workspace = empty_workspace();
    let header = "user_id,product_code,event_id,timestamp,note,origin\n";
    let first = "u1,web,click,2026-01-05T10:00:00Z,a,app\nu1,web,scroll,2026-01-05T10:03:00Z,bad,app\n\
        u1,web,scroll,2026-01-05T10:06:00Z,b,app\nu2,web,click,2026-01-05T10:00:00Z,c,robot\n";
    let second = "u1,web,click,2026-01-05T10:04:00Z,late,app\nu1,web,click,2026-01-06T10:00:00Z,d,robot\n\
        u2,web,click,2026-01-06T10:00:00Z,,app\n";
    workspace.write_batch("2026-01-05.csv", &format!("{header}{first}"));
    workspace.write_batch("2026-01-06.csv", &format!("{header}{second}"));
    let robots = "select r.user_id from rows as r where r.origin = 'robot'";
    workspace.write_check("robots", &check_file("quarantine", "raw", robots));
    workspace.write_check("bad", &check_file("quarantine", "ods", BAD_NOTES));
    workspace.configure_checks("folder = \"checks\"");
    workspace
}

/// The ODS of [`with_rules`].
const JUDGED: [&str; 4] = [
    "u1,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,a",
    "u1,2026-01-05T10:04:00Z,2026-01-05T10:00:00Z,late",
    "u1,2026-01-05T10:06:00Z,2026-01-05T10:00:00Z,b",
    "u2,2026-01-06T10:00:00Z,2026-01-06T10:00:00Z,",
];

#[test]
fn rows_of_a_quarantine_check_stay_out_of_ods_in_whatever_order_they_are_built() {
    for order in [["2026-01-05", "2026-01-06"], ["2026-01-06", "2026-01-05"]] {
        let workspace = with_rules();
        for date in order {
            workspace.exec(&format!("run --arrival-date {date}")).code(0);
        }
        assert_eq!(workspace.ods_lines(&SHORT), JUDGED);
        let reasons = workspace.quarantine_lines(&["_updated_at", "reason", "detail"]);
        let expected = [
            "2026-01-05,check_bad,it is quarantine",
            "2026-01-05,check_robots,it is quarantine",
            "2026-01-06,check_robots,it is quarantine",
        ];
        assert_eq!(reasons, expected);
        let found = workspace.found("check --check bad --check robots");
        assert_eq!(found, [("bad".to_owned(), 1), ("robots".to_owned(), 2)]);
        workspace.exec("check").code(0);
        workspace.exec("reprocess --from 2026-01-01").code(0);
        assert_eq!(workspace.ods_lines(&SHORT), JUDGED);
        assert_eq!(workspace.quarantine_lines(&["_updated_at", "reason", "detail"]), expected);
    }
    let rebuilt = with_rules();
    rebuilt.exec("ingest").code(0);
    rebuilt.exec("build").code(0);
    assert_eq!(rebuilt.ods_lines(&SHORT), JUDGED);
}

#[test]
fn a_quarantine_check_that_is_new_gone_or_other_is_a_rule_change() {
    let workspace = with_rules();
    workspace.exec("run").code(0);
    let mine = || {
        workspace.write_check(
            "mine",
            &check_file("quarantine", "ods", "select * from rows where note = 'b'"),
        );
    };
    let changes: [(&dyn Fn(), &str, usize); 3] = [
        (&mine, "checks.mine: (none) in ODS, note = 'b' on ods configured", 3),
        (
            &|| {
                workspace.write_check(
                    "mine",
                    &check_file("quarantine", "ods", "select * from rows where note = 'a'"),
                );
            },
            "checks.mine: note = 'b' on ods in ODS, note = 'a' on ods configured",
            3,
        ),
        (
            &|| std::fs::remove_file(workspace.path("checks/mine.sql")).unwrap(),
            "checks.mine: note = 'a' on ods in ODS, (none) configured",
            4,
        ),
    ];
    for (change, difference, rows) in changes {
        let before = workspace.ods_lines(&SHORT);
        change();
        for command in ["run", "build", "ingest"] {
            let both = contains("reprocess --from").and(contains("--accept-rule-change"));
            workspace.exec(command).code(2).stderr(contains(difference).and(both));
        }
        assert_eq!(workspace.ods_lines(&SHORT), before);
        workspace.exec("reprocess --from 2026-01-01 --source ods").code(2);
        workspace.exec("reprocess --from 2026-01-01").code(0);
        assert_eq!(workspace.ods_lines(&SHORT).len(), rows, "{difference}");
        workspace.exec("run").code(0);
    }
    assert_eq!(workspace.ods_lines(&SHORT), JUDGED);
}

#[test]
fn another_message_or_layout_and_other_severities_are_no_rule_change() {
    let workspace = with_rules();
    workspace.exec("run").code(0);
    let same = "-- severity: quarantine\n-- on: ods\n-- message: another\n\n-- why\nselect *\n\
        from rows\nwhere   note='bad'\n";
    workspace.write_check("bad", same);
    workspace.write_check("warns", &check_file("warn", "ods", BAD_NOTES));
    workspace.write_check("stops", &check_file("error", "raw", "select * from rows where false"));
    workspace.exec("run").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), JUDGED);
}

#[test]
fn an_accepted_quarantine_check_holds_for_later_arrivals_alone() {
    let workspace = with_rules();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    workspace.write_check(
        "mine",
        &check_file("quarantine", "ods", "select * from rows where note in ('a', 'late')"),
    );
    workspace.exec("run --arrival-date 2026-01-06 --accept-rule-change").code(0);
    // Without the late event there is a break before the last one of that day.
    let expected = [JUDGED[0], "u1,2026-01-05T10:06:00Z,,b", JUDGED[3]];
    assert_eq!(workspace.ods_lines(&SHORT), expected);
}

#[test]
fn a_quarantine_check_on_more_than_one_row_alone_is_refused() {
    let queries = [
        ("select note from rows", "no `where`"),
        ("select note from rows where note in (select note from ods)", "a subquery"),
        ("select note, count(*) from rows group by note", "a grouping"),
        ("select distinct note from rows where note = 'a'", "a grouping"),
        ("select note, row_number() over () as n from rows where note = 'a'", "a computed column"),
        ("select rows.note from rows left semi join ods on true where true", "a join"),
        ("select note from rows, ods where true", "several relations"),
        ("select note from ods where note = 'a'", "a relation other than `rows`"),
        ("select note from rows where note = 'a' limit 1", "an order or a limit"),
        ("with r as (select * from rows) select note from r where true", "a `with`"),
        (
            "select note from rows where true union select note from rows where true",
            "no plain select",
        ),
        ("select note from rows where timestamp < now()", "now"),
        ("select note from rows where session_id is null", "session_id"),
        ("select note from rows where is_user_action", "is_user_action"),
        ("select note from rows where max(note) = 'a'", "an aggregate"),
        ("select note from rows where note", "a boolean is needed"),
    ];
    for (query, message) in queries {
        let workspace = with_check("quarantine", "ods", query);
        let assert = workspace.exec("config check");
        let told = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(told.contains(message), "{query}\n{told}");
        assert.code(2);
    }
    let of_lake = "select _line from rows where _line > 1";
    with_check("quarantine", "raw", of_lake).exec("config check").code(2).stderr(contains("_line"));
}

#[test]
fn a_quarantine_check_that_fails_on_a_row_quarantines_that_row_alone() {
    let workspace =
        with_check("quarantine", "raw", "select * from rows where cast(note as bigint) > 1");
    let rows = [
        "u1,click,2026-01-05T10:00:00Z,1",
        "u1,click,2026-01-05T10:01:00Z,x",
        "u1,click,2026-01-05T10:02:00Z,2",
    ];
    workspace.write_batch("2026-01-05.csv", &batch(&rows));
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    assert_eq!(workspace.ods_lines(&["note"]), ["1"]);
    assert_eq!(workspace.quarantine_lines(&["reason"]), ["check_mine", "expression_failed"]);
}
