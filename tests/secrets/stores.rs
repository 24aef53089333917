//! The credentials of a store, given in each of the three ways.

use std::fs;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

use super::{FEED, encrypt, identity, keygen, workspace};
use crate::support::s3::{ACCESS_KEY, S3, SECRET_KEY};

#[test]
fn a_store_takes_credentials_by_each_kind_of_reference() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3::start(folder.path(), &[]);
    let workspace = workspace();
    let recipient = keygen(&workspace, "identity.txt");
    fs::write(workspace.path("id.txt"), format!("{ACCESS_KEY}\n")).unwrap();
    fs::write(workspace.path("key.txt"), format!("{SECRET_KEY}\r\n")).unwrap();
    let encrypted = [ACCESS_KEY, SECRET_KEY].map(|value| encrypt(&workspace, &recipient, value));
    let variables = [("ID", ACCESS_KEY), ("KEY", SECRET_KEY)];
    let identity = identity("identity.txt");
    let nothing: &[(&str, &str)] = &[];
    let ways = [
        ("environment", "env:ID", "env:KEY", variables.as_slice()),
        ("file", "file:id.txt", "file:key.txt", nothing),
        ("encrypted", &encrypted[0], &encrypted[1], identity.as_slice()),
    ];
    for (prefix, id, key, environment) in ways {
        let lake = server.lake(prefix, "retries = 1");
        let lake = lake.replace(&format!("\"{ACCESS_KEY}\""), &format!("\"{id}\""));
        let lake = lake.replace(&format!("\"{SECRET_KEY}\""), &format!("\"{key}\""));
        workspace.configure(&format!("{lake}{FEED}"));
        workspace.exec_with("run", environment).code(0);
        let again = workspace.exec_with("run", environment).code(0);
        again.stdout(contains("nothing to do"));
        workspace.exec_with("doctor", environment).code(0);
    }
}

#[test]
fn credentials_are_looked_up_when_a_store_is_opened_and_not_before() {
    let workspace = workspace();
    let storage = "[lake.storage]\naccess_key_id = \"env:ID\"\nsecret_access_key = \"env:KEY\"\n";
    // A lake on a disk opens no store.
    workspace.configure(&format!("{storage}{FEED}"));
    workspace.exec("run").code(0);
    workspace.configure(&format!("[lake]\nurl = \"s3://bucket/lake\"\n{storage}{FEED}"));
    workspace.exec("config show").code(0).stdout(contains("\"env:KEY\""));
    workspace.exec("config check").code(0);
    for command in ["run", "files", "maintain", "quarantine list"] {
        let refused = workspace.exec_with(command, &[("ID", "mine")]).code(2);
        refused.stderr(contains(
            "lake.storage.secret_access_key: the environment variable KEY is not set (or is not \
             UTF-8) (sessionlake.toml, line 5, column 21), set KEY where the program is started",
        ));
    }
    for value in ["schlüssel", "tab\tbed"] {
        let refused = workspace.exec_with("run", &[("ID", "mine"), ("KEY", value)]).code(2);
        refused.stderr(contains("lake.storage.secret_access_key").and(contains(value).not()));
    }
    let found = workspace.exec_with("doctor", &[("ID", "mine")]).code(1);
    found.stdout(contains("KEY is not set"));
}
