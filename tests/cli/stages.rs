//! The stages alone: `run` as a whole, `ingest`, `build`.

use predicates::str::contains;
use sessionlake::lake::TableName;

use super::{BUILT, SHORT, batch, empty_workspace, workspace};

#[test]
fn a_run_of_one_date_takes_that_date_alone() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    assert_eq!(workspace.raw_lines(&["_updated_at"]), ["2026-01-05"; 3]);
    workspace.exec("run --arrival-date 2026-01-06").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn a_run_of_a_date_done_changes_nothing() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    let again = workspace.json("run --arrival-date 2026-01-05");
    for stage in again["stages"].as_array().unwrap() {
        assert_eq!(stage["outcome"], "up_to_date", "{stage}");
        assert_eq!(stage["version_before"], stage["version_after"], "{stage}");
    }
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    assert_eq!(workspace.raw_lines(&["note"]).len(), 6);
}

#[test]
fn a_run_of_a_range_takes_the_dates_of_it() {
    let workspace = workspace();
    workspace.write_batch("2026-01-07.csv", &batch(&["u9,click,2026-01-07T10:00:00Z,"]));
    workspace.exec("run --from 2026-01-05 --to 2026-01-06").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    workspace.exec("run --from 2026-02-01 --to 2026-02-28").code(1).stderr(contains("2026-02-28"));
}

#[test]
fn ingest_fills_raw_and_build_fills_ods() {
    let workspace = workspace();
    workspace.exec("ingest").code(0);
    assert_eq!(
        workspace.raw_lines(&["_file", "_line"]),
        [
            "2026-01-05.csv,2",
            "2026-01-05.csv,3",
            "2026-01-05.csv,4",
            "2026-01-06.csv,2",
            "2026-01-06.csv,3",
            "2026-01-06.csv,4",
        ]
    );
    assert!(workspace.rows(&TableName::Ods("events".to_owned())).is_empty());
    workspace.exec("build --arrival-date 2026-01-06").code(0);
    assert_eq!(workspace.ods_lines(&["_updated_at"]), ["2026-01-06"; 3]);
    workspace.exec("build").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    workspace.exec("build").code(0).stdout(contains("nothing to do"));
    workspace.exec("ingest").code(0).stdout(contains("nothing to do"));
}

#[test]
fn a_forced_build_builds_a_date_again_to_the_same_rows() {
    let workspace = workspace();
    workspace.exec("run").code(0);
    let built = workspace.json("build --arrival-date 2026-01-05 --force");
    let stage = &built["stages"][0];
    assert_eq!((&stage["stage"], &stage["outcome"]), (&"build".into(), &"done".into()));
    assert_eq!(stage["rows_read"], 3);
    assert_eq!(stage["rows_identical_duplicates"], 3);
    assert_eq!(stage["rows_changed"], 0);
    workspace.exec("build --from 2026-01-05 --to 2026-01-06 --force").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
}

#[test]
fn a_build_before_any_ingest_says_so() {
    let workspace = workspace();
    workspace
        .exec("build --arrival-date 2026-01-05")
        .code(1)
        .stderr(contains("nothing was ingested"));
    workspace.exec("build").code(0).stdout(contains("nothing to do"));
}

#[test]
fn rows_too_old_are_quarantined_by_default() {
    let workspace = empty_workspace();
    let rows = ["u1,click,2025-12-30T10:00:00Z,old", "u1,click,2025-12-31T10:00:00Z,just"];
    workspace.write_batch("2026-01-05.csv", &batch(&rows));
    workspace.exec("run").code(0);
    assert_eq!(workspace.ods_lines(&["note"]), ["just"]);
    assert_eq!(
        workspace.quarantine_lines(&["stage", "reason", "_file", "_line"]),
        ["build,beyond_update_depth,2026-01-05.csv,2"]
    );
}

#[test]
fn a_load_of_history_counts_however_old_it_is() {
    let workspace = empty_workspace();
    let rows = ["u1,click,2019-06-01T10:00:00Z,old", "u1,scroll,2019-06-01T10:01:00Z,old too"];
    workspace.write_batch("2026-01-05.csv", &batch(&rows));
    workspace.exec("ingest --arrival-date 2026-01-05 --accept-late").code(0);
    workspace.exec("build").code(0);
    let built = [
        "u1,2019-06-01T10:00:00Z,2019-06-01T10:00:00Z,old",
        "u1,2019-06-01T10:01:00Z,2019-06-01T10:00:00Z,old too",
    ];
    assert_eq!(workspace.ods_lines(&SHORT), built);
    // The mark is kept: an ordinary run, a forced build and a reprocess honour it.
    for line in [
        "run --arrival-date 2026-01-05",
        "build --arrival-date 2026-01-05 --force",
        "reprocess --from 2019-01-01",
    ] {
        workspace.exec(line).code(0);
        assert_eq!(workspace.ods_lines(&SHORT), built, "{line}");
        assert_eq!(workspace.quarantine(), [], "{line}");
        assert_eq!(workspace.raw_lines(&["note"]).len(), 2, "{line}");
    }
}

#[test]
fn a_load_of_history_is_taken_in_after_an_ordinary_run_refused_it() {
    let workspace = empty_workspace();
    workspace.write_batch("2026-01-05.csv", &batch(&["u1,click,2019-06-01T10:00:00Z,old"]));
    workspace.exec("run").code(0);
    assert!(workspace.ods_lines(&SHORT).is_empty());
    workspace.exec("ingest --arrival-date 2026-01-05 --accept-late").code(0);
    workspace.exec("build").code(0);
    assert_eq!(workspace.ods_lines(&["note"]), ["old"]);
}

#[test]
fn a_lake_may_change_its_compression_and_keeps_the_files_it_has() {
    let workspace = workspace();
    workspace.exec("run --arrival-date 2026-01-05").code(0);
    workspace.exec("run --set lake.compression=zstd").code(0);
    assert_eq!(workspace.ods_lines(&SHORT), BUILT);
    let codecs = |table: fn(String) -> TableName| {
        let files = workspace.live_files(&table("events".to_owned()));
        let mut codecs: Vec<String> =
            files.iter().map(|path| path.rsplit('.').nth(1).unwrap().to_owned()).collect();
        codecs.sort();
        codecs
    };
    assert_eq!(codecs(TableName::Raw), ["snappy", "zstd"]);
    assert!(codecs(TableName::Ods).contains(&"zstd".to_owned()));
}
