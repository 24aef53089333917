//! A reference without a usable value: the message names key, place and next step, and quotes no
//! value.

use std::fs;

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;

use super::{FEED, encrypt, exec_on, identity, keygen, workspace};
use crate::support::program::stderr_of;
use crate::support::workspace::Workspace;

/// Refused with exit code 2 at the line of `lake.url`, with all of `says`.
fn refused(workspace: &Workspace, url: &str, environment: &[(&str, &str)], says: &[&str]) {
    workspace.configure(&format!("[lake]\nurl = \"{url}\"\n{FEED}"));
    for command in ["config check", "config show", "run"] {
        let ended = workspace.exec_with(command, environment).code(2);
        let stderr = stderr_of(&ended);
        for text in ["lake.url", "sessionlake.toml, line 2, column 7"].iter().chain(says) {
            assert!(stderr.contains(text), "{text} is not in {stderr}");
        }
    }
    assert!(!workspace.path("lake").exists());
}

#[test]
fn what_a_reference_names_must_be_there() {
    let workspace = workspace();
    refused(&workspace, "env:NOT_SET", &[], &["variable NOT_SET is not set", "set NOT_SET where"]);
    refused(&workspace, "env:", &[], &["`env:` without a name", "write `env:NAME`"]);
    refused(&workspace, "file:", &[], &["`file:` without a path"]);
    refused(&workspace, "env:BLANK", &[("BLANK", " ")], &["env:BLANK is empty"]);
    let two_lines = [("LINES", "one\ntwo")];
    refused(&workspace, "env:LINES", &two_lines, &["env:LINES has a line break"]);
    let missing = ["cannot read the file /", "/nowhere.txt: entity not found", "change the path"];
    refused(&workspace, "file:nowhere.txt", &[], &missing);
    refused(&workspace, "file:batches", &[], &["cannot read the file /", "directory"]);
    fs::write(workspace.path("bytes"), [0xff, 0xfe]).unwrap();
    refused(&workspace, "file:bytes", &[], &["is not UTF-8 text"]);
    fs::write(workspace.path("long"), "x".repeat((64 << 10) + 1)).unwrap();
    refused(&workspace, "file:long", &[], &["is longer than 65536 bytes"]);
}

#[test]
fn an_encrypted_value_needs_its_identity() {
    let workspace = workspace();
    let recipient = keygen(&workspace, "identity.txt");
    keygen(&workspace, "other.txt");
    let value = encrypt(&workspace, &recipient, "elsewhere");
    let none = ["SESSIONLAKE_IDENTITY_FILE is not set", "AGE-SECRET-KEY-1"];
    refused(&workspace, &value, &[], &none);
    let nowhere = ["cannot read the identity file nowhere.txt"];
    refused(&workspace, &value, &identity("nowhere.txt"), &nowhere);
    let other = ["for none of the identities in other.txt", "encrypt the value again"];
    refused(&workspace, &value, &identity("other.txt"), &other);
    fs::write(workspace.path("noise.txt"), "# a key\nAGE-SECRET-KEY-1NOISE\n").unwrap();
    let noise = ["line 2 of the identity file noise.txt is no identity"];
    refused(&workspace, &value, &identity("noise.txt"), &noise);
    fs::write(workspace.path("none.txt"), "# nothing\n").unwrap();
    refused(&workspace, &value, &identity("none.txt"), &["there is no identity in the file"]);
    let cut = &value[..value.len() - 8];
    refused(&workspace, cut, &identity("identity.txt"), &["it is damaged", "copy the whole line"]);
    let copied = &value[..value.len() - 3];
    refused(&workspace, copied, &identity("identity.txt"), &["is not an encrypted value"]);
    refused(&workspace, "age:c2VjcmV0", &identity("identity.txt"), &["is not an encrypted value"]);
}

#[test]
fn no_message_quotes_a_value_that_cannot_be_used() {
    let workspace = workspace();
    let feed = FEED.replace("\"batches/{arrival_date}.csv\"", "\"env:VALUE\"");
    let [compression, memory, url] = ["compression", "memory_limit", "url"].map(|key| {
        let section = if key == "memory_limit" { "engine" } else { "lake" };
        format!("[{section}]\n{key} = \"env:VALUE\"\n{FEED}")
    });
    // Too short to be looked for in all that is printed.
    for (configuration, value) in [
        (compression.as_str(), "hush"),
        (memory.as_str(), "hush"),
        (url.as_str(), "hu://sh"),
        (feed.as_str(), "hush"),
        (feed.as_str(), "hush-{date}"),
        (feed.as_str(), "hush-{arrival_date}"),
    ] {
        workspace.configure(configuration);
        let refused = workspace.exec_with("config check", &[("VALUE", value)]).code(2);
        let quoted = contains("hush").or(contains("hu://"));
        refused.stderr(contains("the value of env:VALUE cannot be used here").and(quoted.not()));
    }
    let written = "[lake.storage]\naccess_key_id = \"hush hüsh\"\nsecret_access_key = \"a\"\n";
    workspace.configure(&format!("{written}{FEED}"));
    let refused = workspace.exec("config check").code(2);
    refused.stderr(contains("more than printable ASCII").and(contains("hush").not()));
    let number = "[lake.storage]\naccess_key_id = \"a\"\nsecret_access_key = 12345678\n";
    workspace.configure(&format!("{number}{FEED}"));
    let refused = workspace.exec("config check").code(2);
    let line = contains("sessionlake.toml, line 3");
    refused.stderr(contains("text in quotation marks").and(line).and(contains("12345678").not()));
}

#[test]
fn what_the_lake_records_is_no_place_for_a_secret() {
    let workspace = workspace();
    let environment = [("VALUE", "user_id")];
    for (from, to) in [
        ("user_id = \"user_id\"", "user_id = \"env:VALUE\""),
        ("name = \"events\"", "name = \"file:VALUE\""),
        ("[feed.event]", "columns = [\"user_id\", \"env:VALUE\"]\n[feed.event]"),
        ("[feed.event]", "[feed.session]\nuser_action = \"env:VALUE\"\n[feed.event]"),
        ("[feed.event]", "[feed.checks]\nskip = [\"env:VALUE\"]\n[feed.event]"),
        (
            "[feed.event]",
            "[[feed.checks.use]]\ncheck = \"not_null\"\nwith = { column = \"env:VALUE\" }\n\
             [feed.event]",
        ),
    ] {
        workspace.configure(&FEED.replace(from, to));
        let refused = workspace.exec_with("config check", &environment).code(2);
        refused
            .stderr(contains("no secret can stand here").and(contains("write the value itself")));
    }
}

#[test]
fn a_reference_of_a_client_is_a_whole_text() {
    let workspace = workspace();
    let template =
        FEED.replace("[[feed]]", "[[template.feed]]").replace("feed.event", "template.feed.event");
    let configure = |path: &str| {
        let client = "[[client]]\nname = \"acme\"\nvalues = { place = \"env:PLACE\" }\n";
        let template = template.replace("\"batches/{arrival_date}.csv\"", path);
        workspace.configure(&format!("{client}{template}"));
    };
    configure("\"{place}\"");
    let environment = [("PLACE", "batches/{arrival_date}.csv")];
    workspace.exec_with("run", &environment).code(0);
    let shown = workspace.exec_with("config show", &environment).code(0);
    shown.stdout(contains("path = \"env:PLACE\""));
    configure("\"{place}/{arrival_date}.csv\"");
    let refused = workspace.exec_with("config check", &environment).code(2);
    refused.stderr(contains("the value `place` of the client acme is a reference"));
}

#[test]
fn a_credential_is_not_taken_from_an_argument() {
    let workspace = workspace();
    let set = "run --set lake.storage.access_key_id=mine --set lake.storage.secret_access_key";
    let refused = workspace.exec(&format!("{set}=hush-hush")).code(2);
    let advice = contains("give `env:NAME`").and(contains("--set lake.storage.secret_access_key"));
    refused.stderr(advice.and(contains("hush-hush").not()));
    let id = "run --set lake.storage.access_key_id=env:ID --set lake.storage.secret_access_key";
    workspace.exec(&format!("{id}=env:KEY")).code(0);
}

#[test]
fn a_value_to_encrypt_is_one_line() {
    let workspace = workspace();
    let recipient = keygen(&workspace, "identity.txt");
    let line = format!("secret encrypt --recipient {recipient}");
    let long = "x".repeat(1 << 17).into_bytes();
    let refused: [(&[u8], &str); 5] = [
        (b"", "there is no value on standard input"),
        (b"\n", "there is no value on standard input"),
        (b"two\nlines\n", "not one line"),
        (b"\xff", "not one line"),
        (&long, "not one line"),
    ];
    for (input, says) in refused {
        let output = exec_on(&workspace, &line, input);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    }
    workspace.exec("secret encrypt --recipient age1nobody").code(2);
    workspace.exec("secret encrypt").code(2).stderr(contains("--recipient"));
}
