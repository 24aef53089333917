//! A lake with a damaged file: every command that needs it fails, names it and the way out, and
//! leaves all tables as they are.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, OnceLock};

use predicates::prelude::*;

use super::{batch, empty_workspace};
use crate::support::program::stderr_of;
use crate::support::workspace::Workspace;

/// All commands that write, on a lake where each has something to do.
const COMMANDS: [&str; 5] = [
    "run --arrival-date 2026-01-08",
    "build --arrival-date 2026-01-07 --force",
    "reprocess --from 2026-01-05",
    "retention --as-of 2026-03-01",
    "maintain",
];

/// Three dates built and a fourth one in raw. Every table has a checkpoint with commits behind it.
fn workspace() -> Workspace {
    static MADE: OnceLock<Mutex<Workspace>> = OnceLock::new();
    MADE.get_or_init(|| Mutex::new(made())).lock().unwrap().copy()
}

fn made() -> Workspace {
    let workspace = empty_workspace();
    let write = |day: u32, note: usize| {
        let rows = [
            format!("u1,click,2026-01-0{day}T10:00:00Z,{note}"),
            format!("u2,scroll,2026-01-0{day}T23:59:00Z,{note}"),
            format!("u3,click,2020-01-0{day}T10:00:00Z,{note}"),
        ];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        workspace.write_batch(&format!("2026-01-0{day}.csv"), &batch(&rows));
    };
    for day in 5..8 {
        for note in 0..4 {
            write(day, note);
            workspace.exec(&format!("run --arrival-date 2026-01-0{day}")).code(0);
        }
    }
    write(8, 0);
    workspace.exec("ingest --arrival-date 2026-01-08").code(0);
    workspace
}

/// What the tables hold; `runs` alone records that a command failed.
fn tables(workspace: &Workspace) -> BTreeMap<String, Vec<u8>> {
    let mut files = workspace.bytes_below("lake");
    files.retain(|path, _| !path.starts_with("runs/"));
    files
}

/// The only live data file of a partition.
fn live_file(workspace: &Workspace, table: &str, partition: &str) -> String {
    let name = match table {
        "ods" => sessionlake::lake::TableName::Ods("events".to_owned()),
        _ => sessionlake::lake::TableName::Raw("events".to_owned()),
    };
    let files = workspace.live_files(&name);
    let of_date = files.into_iter().find(|path| path.starts_with(partition));
    format!("{table}/events/{}", of_date.unwrap())
}

fn truncate(workspace: &Workspace, path: &str) {
    let path = workspace.path("lake").join(path);
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn remove(workspace: &Workspace, path: &str) {
    fs::remove_file(workspace.path("lake").join(path)).unwrap();
}

/// Fails with exit code 1, naming the file and the way out, and changes no table.
fn fails(workspace: &Workspace, command: &str, file: &str, way_out: &str) {
    let before = tables(workspace);
    let file_name = file.rsplit('/').next().unwrap();
    let stderr = stderr_of(&workspace.exec(command).code(1));
    assert!(stderr.contains(file_name), "{command}: {file_name} is not named in {stderr}");
    assert!(stderr.contains(way_out), "{command}: no `{way_out}` in {stderr}");
    assert_eq!(tables(workspace), before, "{command} changed a table");
}

type Damage = fn(&Workspace, &str);
const DAMAGES: [Damage; 2] = [truncate, remove];

#[test]
fn a_damaged_file_of_ods_stops_what_reads_it_and_reprocess_mends_it() {
    for damage in DAMAGES {
        let workspace = workspace();
        let healthy = workspace.copy();
        let file = live_file(&workspace, "ods", "pdate=2026-01-07");
        damage(&workspace, &file);
        for command in [COMMANDS[0], COMMANDS[1], COMMANDS[4], "maintain --dry-run"] {
            fails(&workspace, command, &file, "reprocess --from");
        }
        // No data file is read for it.
        workspace.copy().exec(COMMANDS[3]).code(0);
        workspace.exec("reprocess --from 2026-01-07").code(0);
        healthy.exec("reprocess --from 2026-01-07").code(0);
        assert_eq!(workspace.ods_lines(&super::SHORT), healthy.ods_lines(&super::SHORT));
        workspace.exec(COMMANDS[1]).code(0);
        workspace.exec(COMMANDS[4]).code(0);
    }
}

#[test]
fn a_damaged_file_of_raw_stops_what_reads_it() {
    for damage in DAMAGES {
        let workspace = workspace();
        let file = live_file(&workspace, "raw", "_updated_at=2026-01-07");
        damage(&workspace, &file);
        for command in [COMMANDS[1], COMMANDS[2], COMMANDS[4]] {
            fails(&workspace, command, &file, "from a copy of the store");
        }
        // Neither reads a file of that date.
        workspace.copy().exec(COMMANDS[0]).code(0);
        workspace.exec(COMMANDS[3]).code(0);
    }
}

/// The newest log file of a table whose name ends so.
fn newest_in_log(workspace: &Workspace, table: &str, ending: &str) -> String {
    let log = workspace.bytes_below(&format!("lake/{table}/_delta_log"));
    let newest = log.into_keys().filter(|name| name.ends_with(ending)).max();
    format!("{table}/_delta_log/{}", newest.unwrap())
}

fn newest_commit(workspace: &Workspace, table: &str) -> String {
    newest_in_log(workspace, table, ".json")
}

fn checkpoint(workspace: &Workspace, table: &str) -> String {
    newest_in_log(workspace, table, ".checkpoint.parquet")
}

#[test]
fn an_unreadable_last_log_entry_stops_every_command() {
    for table in ["ods/events", "raw/events"] {
        for garbage in ["{garbage", "\u{0}\u{0}\u{0}", ""] {
            let workspace = workspace();
            let file = newest_commit(&workspace, table);
            fs::write(workspace.path("lake").join(&file), garbage).unwrap();
            for command in COMMANDS {
                fails(&workspace, command, &file, "or remove it");
            }
        }
    }
}

#[test]
fn a_log_entry_that_is_gone_from_the_middle_is_named() {
    let workspace = workspace();
    let newest = newest_commit(&workspace, "ods/events");
    let number: u64 = newest.rsplit('/').next().unwrap()[..20].parse().unwrap();
    let file = format!("ods/events/_delta_log/{:020}.json", number - 1);
    remove(&workspace, &file);
    for command in COMMANDS {
        fails(&workspace, command, &file, "restore the lake from a copy");
    }
}

/// Without its newest commit the table is as before it, and the next run goes on from there.
#[test]
fn a_lake_without_its_last_log_entry_is_made_whole_by_building_again() {
    let workspace = workspace();
    let whole = workspace.copy();
    let file = newest_commit(&workspace, "ods/events");
    fs::write(workspace.path("lake").join(&file), "{garbage").unwrap();
    remove(&workspace, &file);
    for lake in [&workspace, &whole] {
        lake.exec("run").code(0);
    }
    assert_eq!(workspace.ods_lines(&super::SHORT), whole.ods_lines(&super::SHORT));
}

#[test]
fn a_checkpoint_that_cannot_be_parsed_may_be_removed_where_the_log_is_complete() {
    for table in ["ods/events", "raw/events"] {
        let workspace = workspace();
        let file = checkpoint(&workspace, table);
        truncate(&workspace, &file);
        for command in COMMANDS {
            fails(&workspace, command, &file, "complete without it");
        }
        let whole = self::workspace();
        remove(&workspace, &file);
        remove(&workspace, &format!("{table}/_delta_log/_last_checkpoint"));
        for command in COMMANDS {
            workspace.exec(command).code(0);
            whole.exec(command).code(0);
        }
        assert_eq!(workspace.ods_lines(&super::SHORT), whole.ods_lines(&super::SHORT));
    }
}

#[test]
fn a_checkpoint_that_cannot_be_parsed_must_come_back_where_the_log_is_cleaned() {
    let workspace = workspace();
    let file = checkpoint(&workspace, "ods/events");
    truncate(&workspace, &file);
    remove(&workspace, "ods/events/_delta_log/00000000000000000002.json");
    for command in COMMANDS {
        fails(&workspace, command, &file, "from a copy of the store");
    }
    let stderr = stderr_of(&workspace.exec("run").code(1));
    assert!(predicate::str::contains("complete without it").not().eval(&stderr));
}
