//! Help, and what is no command line.

use predicates::prelude::*;
use predicates::str::{contains, is_empty};

use super::{empty_workspace, workspace};

const COMMANDS: [&str; 21] = [
    "run",
    "ingest",
    "build",
    "retention",
    "reprocess",
    "withdraw",
    "maintain",
    "files",
    "quarantine",
    "report",
    "check",
    "status",
    "history",
    "explain",
    "doctor",
    "generate",
    "config",
    "secret",
    "sql",
    "plan",
    "verify",
];

#[test]
fn every_command_has_a_help_with_an_example() {
    let workspace = empty_workspace();
    let below = [
        "",
        "config show",
        "config check",
        "quarantine list",
        "quarantine show",
        "quarantine replay",
        "secret encrypt",
        "secret keygen",
    ];
    for command in COMMANDS.into_iter().chain(below) {
        let help = workspace.stdout(&format!("{command} --help"));
        let (_, example) = help.split_once("\nExample").unwrap_or_else(|| {
            panic!("the help of `{command}` has no example:\n{help}");
        });
        let last_word = command.split(' ').next_back().unwrap();
        assert!(example.contains("sessionlake ") && example.contains(last_word), "{example}");
    }
}

#[test]
fn the_help_lists_exactly_the_commands_tried_here() {
    let help = empty_workspace().stdout("--help");
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let mut listed: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    listed.sort_unstable();
    let mut known = COMMANDS;
    known.sort_unstable();
    assert_eq!(listed, known);
}

#[test]
fn the_help_names_every_exit_code() {
    let help = empty_workspace().stdout("--help");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for code in ["0 done", "1 failed", "2 wrong", "4 another", "130", "143"] {
        assert!(help.contains(code), "{code}: {help}");
    }
}

#[test]
fn an_unknown_command_or_flag_is_wrong_use() {
    let workspace = workspace();
    for line in ["", "rum", "run --arival-date 2026-01-05", "config", "run extra"] {
        workspace.exec(line).code(2).stdout(is_empty()).stderr(contains("Usage"));
    }
    assert!(!workspace.path("lake").exists());
}

#[test]
fn a_mistyped_command_or_flag_is_answered_with_the_right_one() {
    let workspace = empty_workspace();
    workspace.exec("inges").code(2).stderr(contains("ingest"));
    workspace.exec("run --arival-date 2026-01-05").code(2).stderr(contains("--arrival-date"));
}

#[test]
fn a_date_that_does_not_exist_is_wrong_use() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-02-30").code(2).stderr(contains("2026-02-30"));
    workspace.exec("reprocess --from yesterday").code(2).stderr(contains("yesterday"));
}

#[test]
fn dates_that_contradict_each_other_are_wrong_use() {
    let workspace = workspace();
    for command in ["run", "ingest", "build"] {
        let backwards = format!("{command} --from 2026-01-06 --to 2026-01-05");
        workspace
            .exec(&backwards)
            .code(2)
            .stderr(contains("--from 2026-01-06 is after --to 2026-01-05"));
        workspace.exec(&format!("{command} --from 2026-01-05")).code(2).stderr(contains("--to"));
        let both = format!("{command} --arrival-date 2026-01-05 --from 2026-01-05 --to 2026-01-06");
        workspace.exec(&both).code(2).stderr(contains("cannot be used with"));
    }
    assert!(!workspace.path("lake").exists());
}

#[test]
fn force_without_a_date_is_wrong_use() {
    let workspace = workspace();
    workspace.exec("build --force").code(2).stderr(contains("--arrival-date"));
    workspace.exec("run").code(0);
    workspace.exec("build --force").code(2).stderr(contains("reprocess"));
}

#[test]
fn an_unknown_feed_is_wrong_use_and_the_known_ones_are_named() {
    let workspace = workspace();
    workspace.exec("run --feed event").code(2).stderr(contains("`event`").and(contains("events")));
    assert!(!workspace.path("lake").exists());
}

#[test]
fn the_version_is_printed() {
    let version = empty_workspace().stdout("--version");
    assert_eq!(version.trim(), format!("sessionlake {}", env!("CARGO_PKG_VERSION")));
}
