//! Everything the program leaves behind, searched for the values.

use std::fs;
use std::path::Path;

use sessionlake::lake::TableName;

use super::{FEED, encrypt, keygen, workspace};
use crate::support::program::{stderr_of, stdout_of};
use crate::support::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use crate::support::workspace::Workspace;

const TOKEN: &str = "a-token+nobody/may=read";
const SPILL: &str = "a-folder-of-a-friend";

/// Runs a command with all its logs, in both forms, and gives all that it printed.
fn printed(workspace: &Workspace, line: &str, environment: &[(&str, &str)]) -> String {
    let mut printed = String::new();
    for form in ["text", "json"] {
        for output in ["table", "json"] {
            let line = format!("{line} -vvv --log-format {form} --output {output}");
            let mut command = workspace.program(&line);
            command.envs(environment.iter().copied());
            let ended = assert_cmd::Command::from_std(command).assert();
            printed.push_str(&stdout_of(&ended));
            printed.push_str(&stderr_of(&ended));
        }
    }
    printed
}

fn assert_hidden(text: &str, place: &str) {
    for value in [SECRET_KEY, TOKEN, SPILL, "AGE-SECRET-KEY", ACCESS_KEY] {
        let at = text.find(value).map(|at| {
            let from = text[..at].char_indices().rev().nth(200).map_or(0, |(from, _)| from);
            text[from..].chars().take(400).collect::<String>()
        });
        assert!(at.is_none(), "{place} has {value}: {}", at.unwrap());
    }
}

/// The bytes of every file of a folder, as text.
fn files(folder: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if is_wanted(&path) {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                found.push((path.display().to_string(), text));
            }
        }
    }
    found
}

#[test]
fn no_value_is_found_in_anything_that_is_printed_or_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3::start(folder.path(), &[]);
    let workspace = workspace();
    let recipient = keygen(&workspace, "identity.txt");
    fs::write(workspace.path("key.txt"), SECRET_KEY).unwrap();
    let lake = server.lake("lake", "retries = 1\nsession_token = \"env:TOKEN\"");
    let id = encrypt(&workspace, &recipient, ACCESS_KEY);
    let lake = lake.replace(&format!("\"{ACCESS_KEY}\""), &format!("\"{id}\""));
    let lake = lake.replace(&format!("\"{SECRET_KEY}\""), "\"file:key.txt\"");
    let configuration = format!("{lake}[engine]\nspill_dir = \"env:SPILL\"\n{FEED}");
    workspace.configure(&configuration);
    fs::create_dir(workspace.path(SPILL)).unwrap();
    let environment =
        [("TOKEN", TOKEN), ("SPILL", SPILL), ("SESSIONLAKE_IDENTITY_FILE", "identity.txt")];
    workspace.write_batch("2026-01-06.csv", "user_id,product_code\nu1,web\n");
    for line in [
        "config show",
        "config check",
        "doctor",
        "run --arrival-date 2026-01-05",
        "run",
        "files",
        "quarantine list",
        "quarantine show",
        "check",
        "maintain",
        "reprocess --from 2026-01-05",
        "retention --as-of 2026-01-31 --dry-run",
    ] {
        let printed = printed(&workspace, line, &environment);
        assert!(printed.contains("TRACE") || line.starts_with("config"), "{line}");
        assert_hidden(&printed, line);
    }
    // Errors: the store refuses, and what it answers is quoted.
    let wrong = encrypt(&workspace, &recipient, "not-the-tester");
    for (from, to) in [
        (id.as_str(), wrong.as_str()),
        ("file:key.txt", "env:SESSIONLAKE_IDENTITY_FILE"),
        (BUCKET, "another-bucket"),
        (server.endpoint.as_str(), "http://127.0.0.1:9"),
    ] {
        workspace.configure(&configuration.replace(from, to));
        let printed = printed(&workspace, "run", &environment);
        assert!(printed.contains("because"), "{printed}");
        assert_hidden(&printed, to);
        assert!(!printed.contains("not-the-tester"), "{to}");
    }
    let in_lake = files(&folder.path().join(BUCKET), &|_| true);
    assert!(in_lake.iter().any(|(name, _)| name.contains("runs/_delta_log")), "{in_lake:?}");
    for (name, text) in in_lake {
        assert_hidden(&text, &name);
    }
}

#[test]
fn no_value_is_found_in_the_record_of_a_run_that_failed() {
    let workspace = workspace();
    let environment = [("IN", "a-hidden-place/{arrival_date}.csv")];
    workspace.configure(&FEED.replace("\"batches/{arrival_date}.csv\"", "\"env:IN\""));
    let all = printed(&workspace, "run --arrival-date 2026-01-05", &environment);
    assert!(all.contains("no file for 2026-01-05 at"), "{all}");
    workspace.configure(FEED);
    let runs = workspace.lines(&TableName::Runs, &["stage", "outcome", "error"]);
    assert!(runs.iter().any(|line| line.contains("env:IN")), "{runs:?}");
    for (place, text) in [("printed", all), ("runs", runs.join("\n"))] {
        assert!(!text.contains("a-hidden-place"), "{place}: {text}");
    }
}
