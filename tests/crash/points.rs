//! The commands that are killed, and every fail point that each of them comes by.

pub const RUN: &str = "run --arrival-date 2026-01-20";
pub const INGEST: &str = "ingest --arrival-date 2026-01-20";
pub const BUILD: &str = "build --arrival-date 2026-01-20";
pub const FORCE: &str = "build --arrival-date 2026-01-20 --force";
pub const REPROCESS: &str = "reprocess --from 2026-01-19 --timeout 10m";
pub const WITHDRAW: &str = "withdraw --file 2026-01-20/a.csv --arrival-date 2026-01-20";
pub const RETENTION: &str = "retention --as-of 2026-02-20";
pub const SETTLE: &str =
    "retention --as-of 2026-01-05 --set retention.removed_files_days=0 --set retention.log_days=0";
pub const MAINTAIN: &str =
    "maintain --set retention.removed_files_days=0 --set retention.log_days=0";
pub const JOIN: &str = "maintain";

/// Where a command is killed: every fail point that it comes by. An action behind `=` lets the
/// point pass some times first.
pub struct Crashes {
    pub command: &'static str,
    pub points: &'static [&'static str],
}

/// What every command does that writes: the record of the run, and looking after tables.
pub const RECORD: &[&str] =
    &["file_before_end", "file_after_end", "record_before_commit", "record_after_commit"];
/// What every command does that finds files.
const FOUND: [&str; 6] = [
    "seen_before_commit",
    "seen_after_commit",
    "outcome_before_commit",
    "outcome_after_commit",
    // Those of `files` and quarantine go before.
    "file_before_end=2*off->return",
    "file_after_end=2*off->return",
];
pub const VACUUM: &[&str] = &["vacuum_before_removal", "vacuum_after_removal"];

pub const RUN_CRASHES: Crashes = Crashes {
    command: RUN,
    points: &[
        FOUND[0],
        FOUND[1],
        FOUND[2],
        FOUND[3],
        FOUND[4],
        FOUND[5],
        "raw_file_before_end",
        "raw_file_after_end",
        "raw_quarantine_before_commit",
        "raw_quarantine_after_commit",
        "raw_before_commit",
        "raw_after_commit",
        "ods_file_before_end",
        "ods_file_after_end",
        "ods_file_after_end=1*off->return",
        "quarantine_before_commit",
        "quarantine_after_commit",
        "ods_before_commit",
        "ods_after_commit",
        // Quarantine commits first, raw second.
        "retention_before_commit",
        "retention_after_commit",
        "retention_before_commit=1*off->return",
        "retention_after_commit=1*off->return",
        FOLLOW[0],
        FOLLOW[1],
    ],
};
pub const INGEST_CRASHES: Crashes = Crashes {
    command: INGEST,
    points: &[
        FOUND[0],
        FOUND[1],
        FOUND[2],
        FOUND[3],
        FOUND[4],
        FOUND[5],
        "raw_file_before_end",
        "raw_file_after_end",
        "raw_quarantine_before_commit",
        "raw_quarantine_after_commit",
        "raw_before_commit",
        "raw_after_commit",
    ],
};
/// What every command ends with that changes ODS.
pub const FOLLOW: [&str; 2] = ["sessions_before_commit", "sessions_after_commit"];
pub const BUILD_POINTS: &[&str] = &[
    FOLLOW[0],
    FOLLOW[1],
    "ods_file_before_end",
    "ods_file_after_end",
    "quarantine_before_commit",
    "quarantine_after_commit",
    "ods_before_commit",
    "ods_after_commit",
];
pub const BUILD_CRASHES: Crashes = Crashes { command: BUILD, points: BUILD_POINTS };
pub const FORCE_CRASHES: Crashes = Crashes { command: FORCE, points: BUILD_POINTS };
pub const REPROCESS_CRASHES: Crashes = Crashes {
    command: REPROCESS,
    points: &[
        "ods_file_before_end",
        "ods_file_after_end",
        "reprocess_before_commit",
        "reprocess_after_commit",
        "quarantine_before_commit",
        "quarantine_after_commit",
        FOLLOW[0],
        FOLLOW[1],
    ],
};
pub const WITHDRAW_CRASHES: Crashes = Crashes {
    command: WITHDRAW,
    points: &[
        "withdraw_before_commit",
        "withdraw_after_commit",
        "ods_file_before_end",
        "ods_file_after_end",
        "reprocess_before_commit",
        "reprocess_after_commit",
        "quarantine_before_commit",
        "quarantine_after_commit",
        FOLLOW[0],
        FOLLOW[1],
    ],
};
pub const RETENTION_CRASHES: Crashes = Crashes {
    command: RETENTION,
    points: &[
        "retention_before_commit",
        "retention_after_commit",
        "retention_before_commit=1*off->return",
        "retention_after_commit=1*off->return",
    ],
};
pub const SETTLE_CRASHES: Crashes =
    Crashes { command: SETTLE, points: &["properties_before_commit", "properties_after_commit"] };
pub const MAINTAIN_CRASHES: Crashes = Crashes {
    command: MAINTAIN,
    points: &[
        "orphans_before_removal",
        "orphans_after_removal",
        "checkpoint_before_write",
        "checkpoint_after_write",
        "log_before_removal",
        "log_after_removal",
        // Raw first, then quarantine.
        "compaction_before_commit",
        "compaction_after_commit",
        "compaction_before_commit=1*off->return",
        "compaction_after_commit=1*off->return",
    ],
};
pub const JOIN_CRASHES: Crashes = Crashes {
    command: JOIN,
    points: &[
        "ods_file_before_end",
        "ods_file_after_end",
        "compaction_before_commit=2*off->return",
        "compaction_after_commit=2*off->return",
    ],
};
pub const ALL: [&Crashes; 10] = [
    &RUN_CRASHES,
    &INGEST_CRASHES,
    &BUILD_CRASHES,
    &FORCE_CRASHES,
    &REPROCESS_CRASHES,
    &RETENTION_CRASHES,
    &WITHDRAW_CRASHES,
    &SETTLE_CRASHES,
    &MAINTAIN_CRASHES,
    &JOIN_CRASHES,
];
/// Those of a first run, beside most of [`RUN_CRASHES`].
pub const CREATION: [&str; 12] = [
    "table_before_creation",
    "table_after_creation",
    // Files, raw, quarantine, ods, sessions, runs.
    "table_before_creation=5*off->return",
    "table_after_creation=5*off->return",
    "table_before_creation=4*off->return",
    "table_after_creation=4*off->return",
    "table_before_creation=1*off->return",
    "table_after_creation=1*off->return",
    "table_before_creation=2*off->return",
    "table_after_creation=2*off->return",
    "table_before_creation=3*off->return",
    "table_after_creation=3*off->return",
];
