//! The program as a user runs it.
//!
//! Exit code 4 (another run committed first) is not tried here: it takes a race that is lost six
//! times in a row.

mod add_column;
mod catch_up;
mod checks;
mod clients;
mod configuration;
mod contract;
mod damage;
mod explain;
mod expressions;
mod failures;
mod files;
mod generate;
mod history;
mod inputs;
mod nested;
mod overrides;
mod plan;
mod printed;
mod quarantine;
mod reject_folder;
mod replay;
mod report;
mod reprocess;
mod retention;
mod row_contract;
mod rules;
mod sessions;
mod signals;
mod sql;
mod stages;
mod status;
mod usage;
mod verify;
mod withdraw;

use crate::support::workspace::Workspace;

/// A feed of CSV files with one attribute.
const CONFIGURATION: &str = r#"
[[feed]]
name = "events"
path = "batches/{arrival_date}.csv"
[feed.event]
user_id = "user_id"
product_code = "product_code"
event_id = "event_id"
timestamp = "timestamp"
attributes = ["note"]
[feed.session]
user_action = "event_id = 'click'"
timeout = "5m"
"#;

/// Of each event the user, the time, the start of its session and its attribute.
const SHORT: [&str; 4] = ["user_id", "timestamp", "session_start", "note"];

/// A CSV batch of `user_id,event_id,timestamp,note` rows.
fn batch(rows: &[&str]) -> String {
    let rows = rows.iter().map(|row| {
        let (user, rest) = row.split_once(',').unwrap();
        format!("{user},web,{rest}\n")
    });
    std::iter::once("user_id,product_code,event_id,timestamp,note\n".to_owned())
        .chain(rows)
        .collect()
}

/// A workspace without batches.
fn empty_workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(CONFIGURATION);
    workspace
}

/// Two arrival dates of three events each; the second date brings one late.
fn workspace() -> Workspace {
    let workspace = empty_workspace();
    workspace.write_batch(
        "2026-01-05.csv",
        &batch(&[
            "u1,click,2026-01-05T10:00:00Z,a",
            "u1,scroll,2026-01-05T10:07:00Z,b",
            "u2,click,2026-01-05T10:00:00Z,c",
        ]),
    );
    workspace.write_batch(
        "2026-01-06.csv",
        &batch(&[
            "u1,scroll,2026-01-05T10:04:00Z,late",
            "u2,click,2026-01-06T10:00:00Z,d",
            "u2,scroll,2026-01-06T10:01:00Z,e",
        ]),
    );
    workspace
}

/// The ODS of [`workspace`], as [`SHORT`].
const BUILT: [&str; 6] = [
    "u1,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,a",
    "u1,2026-01-05T10:04:00Z,2026-01-05T10:00:00Z,late",
    "u1,2026-01-05T10:07:00Z,2026-01-05T10:00:00Z,b",
    "u2,2026-01-05T10:00:00Z,2026-01-05T10:00:00Z,c",
    "u2,2026-01-06T10:00:00Z,2026-01-06T10:00:00Z,d",
    "u2,2026-01-06T10:01:00Z,2026-01-06T10:00:00Z,e",
];
