//! `sql`: statements in, rows out, and what is refused.

mod past;
mod questions;
mod refusals;
mod shell;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Command;

use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use serde_json::{Value, json};

use super::{CONFIGURATION, batch, empty_workspace, workspace};
use crate::support::program::stdout_of;
use crate::support::workspace::Workspace;

/// Two dates, run.
pub(super) fn built() -> Workspace {
    let workspace = workspace();
    workspace.exec("run").code(0);
    workspace
}

/// The program with `sql` and these arguments.
pub(super) fn command(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.program("sql");
    command.args(arguments);
    command
}

/// Runs `sql` to its end.
pub(super) fn sql(workspace: &Workspace, arguments: &[&str]) -> Assert {
    assert_cmd::Command::from_std(command(workspace, arguments)).assert()
}

/// What a statement prints in the form for pipes, without the header.
pub(super) fn lines(workspace: &Workspace, statement: &str) -> Vec<String> {
    let printed = stdout_of(&sql(workspace, &["-c", statement]).code(0));
    printed.lines().skip(1).map(str::to_owned).collect()
}

/// Runs `sql` with these bytes on standard input.
fn piped(workspace: &Workspace, arguments: &[&str], input: &str) -> Assert {
    assert_cmd::Command::from_std(command(workspace, arguments)).write_stdin(input).assert()
}

#[test]
fn every_table_of_the_lake_is_there() {
    let workspace = built();
    let listed = stdout_of(&sql(&workspace, &["-c", "\\d"]).code(0));
    let tables =
        ["files", "ods.events", "quarantine.events", "raw.events", "runs", "sessions.events"];
    assert_eq!(listed.lines().collect::<Vec<_>>(), tables);
    let shown = stdout_of(&sql(&workspace, &["-c", "show tables"]).code(0));
    for table in tables {
        lines(&workspace, &format!("select * from {table} limit 1"));
        let (schema, name) = table.split_once('.').unwrap_or(("public", table));
        assert!(shown.contains(&format!("Lake,{schema},{name},BASE TABLE")), "{table}: {shown}");
    }
    assert_eq!(lines(&workspace, "select count(*) from ods.events"), ["6"]);
    assert_eq!(lines(&workspace, "select count(*) from raw.events"), ["6"]);
    assert_eq!(lines(&workspace, "select count(*) from quarantine.events"), ["0"]);
    assert_eq!(lines(&workspace, "select count(*) from files where status = 'loaded'"), ["2"]);
    let described = stdout_of(&sql(&workspace, &["-c", "\\d ods.events"]).code(0));
    for column in ["user_id,Utf8,NO", "note,Utf8,YES", "session_start,"] {
        assert!(described.contains(column), "{described}");
    }
}

#[test]
fn a_lake_without_any_table_answers_with_no_rows() {
    let workspace = empty_workspace();
    for table in
        ["raw.events", "ods.events", "sessions.events", "quarantine.events", "runs", "files"]
    {
        assert_eq!(lines(&workspace, &format!("select count(*) from {table}")), ["0"], "{table}");
    }
    let none = lines(&workspace, "select user_id, note, session_start from ods.events");
    assert!(none.is_empty());
    assert!(!workspace.path("lake").exists());
}

#[test]
fn a_client_is_a_catalog_and_one_feed_is_known_by_its_layers() {
    let workspace = Workspace::new();
    let template = CONFIGURATION
        .replace("[[feed]]", "[[template.feed]]")
        .replace("[feed.", "[template.feed.")
        .replace("batches/", "batches/{client}-");
    let clients = "\n[[client]]\nname = \"acme-eu\"\n\n[[client]]\nname = \"gardenia\"\n";
    workspace.configure(&format!("{template}{clients}"));
    workspace.write_batch("acme-eu-2026-01-05.csv", &batch(&["u1,click,2026-01-05T10:00:00Z,a"]));
    let two = batch(&["u2,click,2026-01-05T10:00:00Z,b", "u3,click,2026-01-05T10:00:00Z,c"]);
    workspace.write_batch("gardenia-2026-01-05.csv", &two);
    workspace.exec("run").code(0);
    let count = |name: &str| lines(&workspace, &format!("select count(*) from {name}"));
    assert_eq!(count("gardenia.ods.events"), ["2"]);
    assert_eq!(count("\"acme-eu\".ods.events"), ["1"]);
    assert_eq!(count("gardenia.sessions.events"), count("gardenia.sessions.events"));
    let listed = stdout_of(&sql(&workspace, &["-c", "\\d"]).code(0));
    assert!(
        listed.contains("\"acme-eu\".ods.events\n") && listed.contains("\ngardenia.ods.events\n")
    );
    // Alone, a layer is of one feed.
    let one = ["--client", "gardenia", "-c", "select count(*) from ods"];
    assert_eq!(stdout_of(&sql(&workspace, &one).code(0)), "count(*)\n2\n");
    sql(&workspace, &["-c", "select count(*) from ods"])
        .code(1)
        .stderr(contains("--feed (acme-eu/events, gardenia/events)"));
    sql(&workspace, &["--feed", "nobody", "-c", "select 1"]).code(2).stderr(contains("nobody"));
}

#[test]
fn our_functions_are_there() {
    let workspace = built();
    let starts = "select user_id, timestamp, session_start(timestamp, is_user_action, false, \
        cast(null as timestamp), interval '5 minutes', cast(null as interval)) over (partition by \
        user_id, product_code order by timestamp, event_id) as computed, session_start from ods";
    let differs =
        format!("select count(*) from ({starts}) where computed is distinct from session_start");
    assert_eq!(lines(&workspace, &differs), ["0"]);
    let ids = "select count(*) from ods where session_id is distinct from \
        session_id(user_id, product_code, session_start)";
    assert_eq!(lines(&workspace, ids), ["0"]);
}

#[test]
fn every_format_is_as_it_says() {
    let workspace = built();
    let statement = "select user_id, note from ods order by user_id, timestamp limit 2";
    let printed =
        |format: &str| stdout_of(&sql(&workspace, &["--format", format, "-c", statement]).code(0));
    assert_eq!(printed("csv"), "user_id,note\nu1,a\nu1,late\n");
    assert_eq!(printed("tsv"), "user_id\tnote\nu1\ta\nu1\tlate\n");
    let rows = json!([{ "user_id": "u1", "note": "a" }, { "user_id": "u1", "note": "late" }]);
    assert_eq!(serde_json::from_str::<Value>(&printed("json")).unwrap(), rows);
    let each: Vec<Value> =
        printed("nd-json").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(each), rows);
    let table = printed("table");
    assert!(table.starts_with("+---------+------+\n| user_id | note |\n"), "{table}");
    // In a pipe it is csv, and json where all results are.
    assert_eq!(stdout_of(&sql(&workspace, &["-c", statement]).code(0)), printed("csv"));
    let with_output = ["--output", "json", "-c", statement];
    assert_eq!(stdout_of(&sql(&workspace, &with_output).code(0)), printed("json"));
}

#[test]
fn no_rows_are_a_header_or_an_empty_array_and_a_null_is_written() {
    let workspace = built();
    let printed = |format: &str, statement: &str| {
        stdout_of(&sql(&workspace, &["--format", format, "-c", statement]).code(0))
    };
    let nothing = "select user_id, note from ods where false";
    assert_eq!(printed("csv", nothing), "user_id,note\n");
    assert_eq!(printed("json", nothing), "[]\n");
    assert_eq!(printed("nd-json", nothing), "");
    assert_eq!(
        printed("nd-json", "select 1 as a, cast(null as text) as b"),
        "{\"a\":1,\"b\":null}\n"
    );
    let nested = "select make_array('a', null, 'b;\"') as list, cast(null as int) as none";
    assert_eq!(printed("csv", nested), "list,none\n\"[\"\"a\"\",null,\"\"b;\\\"\"\"\"]\",\n");
    assert_eq!(printed("csv", "set datafusion.execution.batch_size = 100"), "");
}

#[test]
fn a_limit_holds_where_it_is_asked_for_and_nowhere_else() {
    let workspace = empty_workspace();
    let many = "select value from generate_series(1, 20000)";
    assert_eq!(lines(&workspace, many).len(), 20_000);
    let limited = stdout_of(&sql(&workspace, &["--max-rows", "3", "-c", many]).code(0));
    assert_eq!(limited.lines().count(), 4);
    let json = ["--format", "json", "-c", many];
    let all: Value = serde_json::from_str(&stdout_of(&sql(&workspace, &json).code(0))).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 20_000);
}

#[test]
fn statements_come_from_options_files_and_standard_input() {
    let workspace = built();
    std::fs::write(workspace.path("a.sql"), "-- a; b\nselect 1 as a;\nselect ';' as b").unwrap();
    std::fs::write(workspace.path("c.sql"), "select 3 as c;").unwrap();
    let from_files =
        sql(&workspace, &["-f", "a.sql", "-f", "c.sql", "-c", "select 4 as d; select 5"]);
    assert_eq!(stdout_of(&from_files.code(0)), "a\n1\nb\n;\nc\n3\nd\n4\nInt64(5)\n5\n");
    let from_input = piped(&workspace, &[], "select 1 as a;\n\n-- that is all\n");
    assert_eq!(stdout_of(&from_input.code(0)), "a\n1\n");
    let dash = piped(&workspace, &["-f", "-"], "select 1 as a");
    assert_eq!(stdout_of(&dash.code(0)), "a\n1\n");
    let commands =
        piped(&workspace, &[], "\\pset format nd-json\nselect 1 as a;\n\\q\nselect nothing;");
    assert_eq!(stdout_of(&commands.code(0)), "format is nd-json\n{\"a\":1}\n");
    piped(&workspace, &[], "").code(0).stdout(is_empty());
}

#[test]
fn a_file_that_is_not_there_is_told_before_anything_runs() {
    let workspace = empty_workspace();
    sql(&workspace, &["-c", "select 1", "-f", "none.sql"])
        .code(2)
        .stdout(is_empty())
        .stderr(contains("cannot read none.sql").and(contains("sql --list")));
    std::fs::write(workspace.path("latin.sql"), b"select '\xe4'").unwrap();
    sql(&workspace, &["-f", "latin.sql"]).code(2).stderr(contains("UTF-8"));
}

#[test]
fn a_failing_statement_ends_the_command_and_is_named() {
    let workspace = built();
    std::fs::write(
        workspace.path("bad.sql"),
        "select 1 as a;\n\nselect\n  missing\nfrom ods.events;\nselect 3 as c;\n",
    )
    .unwrap();
    sql(&workspace, &["-f", "bad.sql", "-c", "select 4"])
        .code(1)
        .stdout("a\n1\n")
        .stderr(contains("bad.sql: statement 2 (line 3) failed").and(contains("missing")));
    sql(&workspace, &["-c", "select 1 +"]).code(1).stderr(contains("-c: statement 1 (line 1)"));
    piped(&workspace, &[], "\n\nselect 1 1 1;")
        .code(1)
        .stderr(contains("standard input: statement 1 (line 3)").and(contains("Line: 3")));
    // A failure in the middle of the rows.
    sql(&workspace, &["-c", "select 1 / (value - 15000) from generate_series(1, 20000)"])
        .code(1)
        .stderr(contains("Divide by zero"));
    let as_json = ["--log-format", "json", "-c", "select nothing"];
    let error = sql(&workspace, &as_json).code(1);
    let line: Value = serde_json::from_slice(&error.get_output().stderr).unwrap();
    assert_eq!(line["fields"]["stage"], "sql");
}

#[test]
fn a_mistyped_table_is_answered_with_the_right_one() {
    let workspace = built();
    sql(&workspace, &["-c", "select * from ods.event"])
        .code(1)
        .stderr(contains("no table `ods.event`, did you mean `ods.events`?"));
    sql(&workspace, &["-c", "select * from odds.events"]).code(1).stderr(contains("ods.events"));
}

#[test]
fn a_damaged_table_is_named_and_the_others_are_there() {
    let workspace = built();
    let commit = workspace.path("lake/ods/events/_delta_log/00000000000000000001.json");
    std::fs::write(&commit, "garbage").unwrap();
    sql(&workspace, &["-c", "select count(*) from ods.events"])
        .code(1)
        .stderr(contains("00000000000000000001.json of ods/events"));
    assert_eq!(lines(&workspace, "select count(*) from raw.events"), ["6"]);
    sql(&workspace, &["-c", "\\d", "-c", "\\d raw.events", "-c", "show tables"]).code(0);
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let workspace = empty_workspace();
    for format in ["csv", "json", "nd-json"] {
        let many = "select value, repeat('x', 100) from generate_series(1, 100000000)";
        let mut child = command(&workspace, &["--format", format, "-c", many, "-c", "select 2"])
            .spawn()
            .unwrap();
        let mut first = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{format}");
        assert_eq!(ended.status.code(), Some(0), "{format}");
    }
}

/// The result, 2 GB, is four times as large as what the process may take.
#[test]
fn a_large_result_goes_through_a_pipe_row_by_row() {
    const ROWS: usize = 5_000_000;
    const MOST_MEMORY_KIB: u64 = 512 * 1024;
    let workspace = empty_workspace();
    let many = format!("select value, repeat('x', 400) from generate_series(1, {ROWS})");
    let mut child = command(&workspace, &["--memory-limit", "128MB", "-c", &many]).spawn().unwrap();
    let mut rows = 0;
    let mut most = None;
    let mut out = BufReader::with_capacity(1 << 20, child.stdout.take().unwrap());
    let mut line = Vec::new();
    while out.read_until(b'\n', &mut line).unwrap() > 0 {
        if rows % 100_000 == 0 {
            most = peak_memory_kib(child.id()).or(most);
        }
        rows += 1;
        line.clear();
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(rows, ROWS + 1);
    let most = most.expect("the kernel tells what a process takes");
    assert!(most < MOST_MEMORY_KIB, "{most} KiB");
}

fn peak_memory_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_table_for_people_that_does_not_fit_says_what_to_do() {
    let workspace = empty_workspace();
    let many = "select value, repeat('x', 400) from generate_series(1, 1000000)";
    sql(&workspace, &["--memory-limit", "128MB", "--format", "table", "-c", many])
        .code(1)
        .stderr(contains("too large for a table").and(contains("--format csv")));
}

#[test]
fn a_file_that_includes_itself_comes_to_an_end() {
    let workspace = empty_workspace();
    std::fs::write(workspace.path("self.sql"), "\\i self.sql\n").unwrap();
    sql(&workspace, &["-f", "self.sql"])
        .code(1)
        .stderr(contains("16 files include one another").and(contains("self.sql: statement 1")));
}

#[test]
fn what_a_file_that_is_included_may_not_do_is_wrong_use_as_well() {
    let workspace = empty_workspace();
    std::fs::write(workspace.path("writes.sql"), "drop table runs;\n").unwrap();
    sql(&workspace, &["-f", "writes.sql"]).code(2);
    sql(&workspace, &["-c", "\\i writes.sql"]).code(2).stderr(contains("only reads"));
    sql(&workspace, &["-c", "\\i missing.sql"]).code(2).stderr(contains("missing.sql"));
}
