//! The shell, through a pseudo-terminal.

use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};

use super::super::{empty_workspace, workspace};
use super::{built, command};
use crate::support::workspace::Workspace;

const PROMPT: &str = "sessionlake> ";
const WAIT_MILLIS: u64 = 60_000;
/// Longer than any test waits.
const ENDLESS: &str = "select count(*) from generate_series(1, 100000000) as a, \
    generate_series(1, 100000000) as b where a.value + b.value = 7;";

/// A shell at its first prompt.
fn shell(workspace: &Workspace) -> PtySession {
    let mut program = command(workspace, &[]);
    program.env("TERM", "xterm").env("NO_COLOR", "1");
    // The pseudo-terminal is its standard streams.
    let mut terminal = std::process::Command::new(program.get_program());
    terminal.args(program.get_args()).current_dir(workspace.path("")).env_clear();
    for (name, value) in program.get_envs() {
        if let Some(value) = value {
            terminal.env(name, value);
        }
    }
    let options = Options::new().timeout_ms(Some(WAIT_MILLIS)).strip_ansi_escape_codes(true);
    let mut session = spawn_with_options(terminal, options).unwrap();
    session.exp_string(PROMPT).unwrap();
    session
}

/// Ctrl-D at the prompt.
fn leave(mut session: PtySession) {
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
}

fn history(workspace: &Workspace) -> String {
    std::fs::read_to_string(workspace.path(".local/state/sessionlake/history")).unwrap()
}

#[test]
fn a_statement_may_have_several_lines_and_an_error_does_not_end_the_shell() {
    let workspace = built();
    let mut session = shell(&workspace);
    session.send_line("select").unwrap();
    session.send_line("count(*) as events").unwrap();
    session.send_line("from ods.events;").unwrap();
    session.exp_string("| events |").unwrap();
    session.exp_string("| 6      |").unwrap();
    session.exp_string("1 row, ").unwrap();
    for (wrong, message) in [
        ("selekt 1;", "error: "),
        ("select missing from ods.events;", "No field named"),
        ("select 1 / 0;", "ivide by zero"),
        ("drop table ods.events;", "--write"),
        ("\\nonsense", "is no command"),
    ] {
        session.exp_string(PROMPT).unwrap();
        session.send_line(wrong).unwrap();
        session.exp_string(message).unwrap();
    }
    session.exp_string(PROMPT).unwrap();
    session.send_line("\\d").unwrap();
    session.exp_string("ods.events").unwrap();
    session.exp_string(PROMPT).unwrap();
    session.send_line("\\d ods.events").unwrap();
    session.exp_string("is_user_action").unwrap();
    session.exp_string(PROMPT).unwrap();
    session.send_line("\\?").unwrap();
    session.exp_string("list the tables").unwrap();
    session.exp_string(PROMPT).unwrap();
    session.send_line("\\q").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn the_history_is_kept_between_two_starts() {
    let workspace = empty_workspace();
    let mut first = shell(&workspace);
    first.send_line("select 11 * 11 as first;").unwrap();
    first.exp_string("| 121   |").unwrap();
    first.exp_string(PROMPT).unwrap();
    leave(first);
    assert!(history(&workspace).contains("select 11 * 11 as first;"));
    assert!(!workspace.path(".history").exists());
    let mut second = shell(&workspace);
    // The key for the line before.
    second.send("\x1b[A").unwrap();
    second.flush().unwrap();
    second.exp_string("select 11 * 11 as first;").unwrap();
    second.send_line("").unwrap();
    second.exp_string("| 121   |").unwrap();
    second.exp_string(PROMPT).unwrap();
    leave(second);
}

#[test]
fn ctrl_c_ends_a_long_query_and_clears_a_line() {
    let workspace = empty_workspace();
    let mut session = shell(&workspace);
    session.send_line(ENDLESS).unwrap();
    session.exp_string("= 7;").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    session.send_control('c').unwrap();
    session.exp_string("cancelled").unwrap();
    session.exp_string(PROMPT).unwrap();
    session.send("select half").unwrap();
    session.flush().unwrap();
    session.exp_string("half").unwrap();
    session.send_control('c').unwrap();
    session.exp_string(PROMPT).unwrap();
    session.send_line("select 7 * 6 as answer;").unwrap();
    session.exp_string("| 42     |").unwrap();
    session.exp_string(PROMPT).unwrap();
    leave(session);
}

#[test]
fn every_statement_sees_the_newest_versions() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    let mut session = shell(&workspace);
    for (events, run) in [("| 3      |", true), ("| 6      |", false)] {
        session.send_line("select count(*) as events from ods.events;").unwrap();
        session.exp_string(events).unwrap();
        session.exp_string(PROMPT).unwrap();
        if run {
            workspace.exec("run").code(0);
        }
    }
    leave(session);
}

#[test]
fn a_table_on_a_terminal_stops_after_its_limit() {
    let workspace = empty_workspace();
    let mut session = shell(&workspace);
    session.send_line("select value from generate_series(1, 1000000000);").unwrap();
    session.exp_string("the first 100 rows; there are more").unwrap();
    session.exp_string(PROMPT).unwrap();
    session.send_line("\\quiet on").unwrap();
    session.exp_string("quiet is on").unwrap();
    session.exp_string(PROMPT).unwrap();
    session.send_line("\\pset format csv").unwrap();
    session.exp_string("format is csv").unwrap();
    session.exp_string(PROMPT).unwrap();
    leave(session);
}
