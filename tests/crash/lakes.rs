//! The lakes that commands are killed on, on a disk and on S3, and what is compared of them.

use std::fmt;
use std::sync::{Mutex, OnceLock};

use sessionlake::lake::contracts::ODS_COLUMNS;
use sessionlake::reference::ExpectedSession;

use super::points::{
    BUILD, FORCE, INGEST, JOIN, MAINTAIN, REPROCESS, RETENTION, RUN, SETTLE, WITHDRAW,
};
use crate::support::CONFIGURATION;
use crate::support::buckets::Buckets;
use crate::support::workspace::Workspace;

const HEADER: &str = "user_id,product_code,event_id,timestamp,note";

/// A lake with two dates built and a third one waiting, which brings new, late, repeated,
/// unreadable and refused rows, and makes the first one expire.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(CONFIGURATION);
    let batch = |name: &str, rows: &[&str]| {
        workspace.write_batch(name, &format!("{HEADER}\n{}\n", rows.join("\n")));
    };
    batch(
        "2026-01-05/a.csv",
        &["u1,web,click,2026-01-05T10:00:00Z,x", "u1,web,click,2025-06-01T10:00:00Z,too old"],
    );
    batch(
        "2026-01-19/a.csv",
        &[
            "u1,web,scroll,2026-01-19T10:00:00Z,b",
            "u1,web,scroll,2026-01-19T10:04:00Z,",
            "u2,web,click,2026-01-19T23:58:00Z,",
            "u2,web,click,not a time,",
        ],
    );
    batch(
        "2026-01-20/a.csv",
        &[
            "u1,web,click,2026-01-19T10:01:00Z,late",
            "u1,web,scroll,2026-01-19T10:00:00Z,a conflicting duplicate",
            "u1,web,click,2026-01-19T10:10:00Z,within ten minutes",
            "u1,web",
            "u2,web,scroll,2026-01-20T00:01:00Z,",
            "u2,web,scroll,2026-01-20T00:01:00Z,",
        ],
    );
    batch(
        "2026-01-20/b.csv",
        &["u3,web,click,2026-01-20T12:00:00Z,", "u3,web,click,2026-02-20T12:00:00Z,too early"],
    );
    workspace.exec("run --from 2026-01-05 --to 2026-01-19").code(0);
    workspace
}

/// Where the lakes are that commands are killed on.
pub enum Ground {
    Disk,
    S3(Buckets),
}

impl Ground {
    pub fn s3() -> Self {
        Self::S3(Buckets::start())
    }

    /// A lake on which `command` has something to do. It is made once, on a disk.
    pub fn lake_for(&self, command: &'static str) -> Workspace {
        static MADE: OnceLock<Mutex<Vec<(&str, Workspace)>>> = OnceLock::new();
        let mut made = MADE.get_or_init(Mutex::default).lock().unwrap();
        if let Some((_, workspace)) = made.iter().find(|(of, _)| *of == command) {
            return self.copy(workspace);
        }
        let workspace = make_lake_for(command);
        let copy = self.copy(&workspace);
        made.push((command, workspace));
        copy
    }

    pub fn copy(&self, workspace: &Workspace) -> Workspace {
        match self {
            Self::Disk => workspace.copy(),
            Self::S3(buckets) => buckets.copy(workspace),
        }
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::S3(_) => "S3",
        })
    }
}

fn make_lake_for(command: &str) -> Workspace {
    match command {
        RUN | INGEST => workspace(),
        BUILD => {
            let workspace = workspace();
            workspace.exec(INGEST).code(0);
            workspace
        }
        FORCE => {
            let workspace = workspace();
            workspace.exec(RUN).code(0);
            // A second file, so that the build has rows to write and to refuse.
            let rows = "u4,web,click,2026-01-20T09:00:00Z,\nu4,web,click,2025-01-20T09:00:00Z,";
            workspace.write_batch("2026-01-20/c.csv", &format!("{HEADER}\n{rows}\n"));
            workspace.exec(INGEST).code(0);
            workspace
        }
        REPROCESS | RETENTION | WITHDRAW => {
            let workspace = workspace();
            workspace.exec(RUN).code(0);
            workspace
        }
        SETTLE => aged(),
        MAINTAIN => {
            let workspace = aged();
            workspace.exec(SETTLE).code(0);
            crate::maintain::plant_orphans(&workspace);
            workspace
        }
        JOIN => crate::maintain::scattered(),
        _ => unreachable!("{command} has no lake"),
    }
}

/// A lake with ten commits and many small files in raw and in quarantine, and other times on
/// record than configured.
fn aged() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(CONFIGURATION);
    for file in 0..9 {
        let rows = format!("u{file},web,click,2026-01-05T10:00:00Z,x\nu{file},web");
        workspace.write_batch(&format!("2026-01-05/{file}.csv"), &format!("{HEADER}\n{rows}\n"));
        // Other times than the table was made with keep the tenth commit from a checkpoint.
        let days = if file == 0 { 30 } else { 1 };
        let ingest = format!("ingest --arrival-date 2026-01-05 --set retention.log_days={days}");
        workspace.exec(&ingest).code(0);
    }
    workspace
}

/// What must not depend on a crash.
#[derive(Debug, PartialEq, Eq)]
pub struct Contents {
    pub ods: Vec<String>,
    pub sessions: Vec<ExpectedSession>,
    pub quarantine: Vec<String>,
    pub raw: Vec<String>,
}

impl Contents {
    pub fn of(workspace: &Workspace) -> Self {
        Self {
            ods: workspace.ods_lines(&[&ODS_COLUMNS[..], &["note"]].concat()),
            sessions: workspace.sessions(None),
            quarantine: workspace.quarantine_lines(&[
                "_updated_at",
                "stage",
                "reason",
                "_file",
                "_line",
                "row_text",
            ]),
            raw: workspace.raw_lines(&["_updated_at", "_file", "_line", "timestamp", "note"]),
        }
    }
}

/// No lake yet, and a first batch of rows of every kind.
pub fn first_lake() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(CONFIGURATION);
    let rows = "u1,web,click,2026-01-05T10:00:00Z,x\nu1,web\nu1,web,click,bad,\n";
    workspace.write_batch("2026-01-05/a.csv", &format!("{HEADER}\n{rows}"));
    workspace
}
