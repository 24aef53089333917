//! Values that the configuration names and does not hold: they are found, and nobody can read them
//! anywhere else.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::support::program::stdout_of;
use crate::support::workspace::Workspace;

mod grep;
mod refusals;
mod stores;

const FEED: &str = r#"
[[feed]]
name = "events"
path = "batches/{arrival_date}.csv"
[feed.event]
user_id = "user_id"
product_code = "product_code"
event_id = "event_id"
timestamp = "timestamp"
"#;

const BATCH: &str = "user_id,product_code,event_id,timestamp\n\
                     u1,web,click,2026-01-05T10:00:00Z\n\
                     u1,web,scroll,2026-01-05T10:01:00Z\n";

/// A workspace with one batch and an identity in `identity.txt`.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(FEED);
    workspace.write_batch("2026-01-05.csv", BATCH);
    workspace
}

/// Makes an identity, and gives the recipient.
fn keygen(workspace: &Workspace, file: &str) -> String {
    workspace.stdout(&format!("secret keygen --out {file}")).trim().to_owned()
}

/// Runs the program with `input` on its standard input.
fn exec_on(workspace: &Workspace, line: &str, input: &[u8]) -> Output {
    let mut child = workspace.program(line).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn encrypt(workspace: &Workspace, recipient: &str, value: &str) -> String {
    let line = format!("secret encrypt --recipient {recipient}");
    let output = exec_on(workspace, &line, value.as_bytes());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn identity(file: &str) -> [(&'static str, &str); 1] {
    [("SESSIONLAKE_IDENTITY_FILE", file)]
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_encrypted_value_is_what_was_given() {
    let workspace = workspace();
    let recipient = keygen(&workspace, "identity.txt");
    assert!(recipient.starts_with("age1"), "{recipient}");
    assert_eq!(mode(&workspace.path("identity.txt")), 0o600);
    let value = encrypt(&workspace, &recipient, "elsewhere\n");
    assert!(value.starts_with("age:") && !value.contains('\n'), "{value}");
    workspace.configure(&format!("[lake]\nurl = \"{value}\"\n{FEED}"));
    let shown = workspace.exec_with("config show", &identity("identity.txt")).code(0);
    let shown = stdout_of(&shown);
    assert!(shown.contains(&value) && !shown.contains("elsewhere"), "{shown}");
    workspace.exec_with("run", &identity("identity.txt")).code(0);
    assert!(workspace.path("elsewhere/ods/events/_delta_log").exists());
    // What is shown runs as the original does.
    fs::write(workspace.path("shown.toml"), shown).unwrap();
    let again = workspace.exec_with("--config shown.toml run", &identity("identity.txt")).code(0);
    again.stdout(predicates::str::contains("nothing to do"));
}

#[test]
fn each_recipient_can_decrypt() {
    let workspace = workspace();
    let [first, second] = ["first.txt", "second.txt"].map(|file| keygen(&workspace, file));
    let value = encrypt(&workspace, &format!("{first} --recipient {second}"), "elsewhere");
    workspace.configure(&format!("[lake]\nurl = \"{value}\"\n{FEED}"));
    for file in ["first.txt", "second.txt"] {
        workspace.exec_with("run", &identity(file)).code(0);
    }
    // Several identities in one file, as age-keygen writes them, are each tried.
    keygen(&workspace, "third.txt");
    let texts = ["third.txt", "second.txt"].map(|file| fs::read(workspace.path(file)).unwrap());
    fs::write(workspace.path("both.txt"), texts.concat()).unwrap();
    workspace.exec_with("run", &identity("both.txt")).code(0);
}

#[test]
fn an_identity_is_never_overwritten() {
    let workspace = workspace();
    keygen(&workspace, "identity.txt");
    let before = fs::read(workspace.path("identity.txt")).unwrap();
    let refused = workspace.exec("secret keygen --out identity.txt").code(1);
    refused.stderr(predicates::str::contains("name a file that is not there yet"));
    assert_eq!(fs::read(workspace.path("identity.txt")).unwrap(), before);
}

#[test]
fn an_identity_on_standard_output_is_one() {
    let workspace = workspace();
    let text = workspace.stdout("secret keygen");
    fs::write(workspace.path("identity.txt"), &text).unwrap();
    let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let value = encrypt(&workspace, recipient, "elsewhere");
    workspace.configure(&format!("[lake]\nurl = \"{value}\"\n{FEED}"));
    workspace.exec_with("config check", &identity("identity.txt")).code(0);
    let document = workspace.json("secret keygen");
    assert!(document["identity"].as_str().unwrap().starts_with("AGE-SECRET-KEY-1"));
    assert!(document["recipient"].as_str().unwrap().starts_with("age1"));
}

#[test]
fn a_text_of_any_layer_may_be_a_reference() {
    let workspace = workspace();
    fs::write(workspace.path("url.txt"), "from-file\n").unwrap();
    workspace.configure(&format!("[lake]\nurl = \"file:url.txt\"\n{FEED}"));
    workspace.exec("run").code(0);
    assert!(workspace.path("from-file/ods/events/_delta_log").exists());
    let environment = [("SESSIONLAKE__LAKE__URL", "env:WHERE"), ("WHERE", "from-environment")];
    workspace.exec_with("run", &environment).code(0);
    assert!(workspace.path("from-environment/ods/events/_delta_log").exists());
    workspace.exec_with("run --lake env:WHERE", &[("WHERE", "from-lake")]).code(0);
    assert!(workspace.path("from-lake/ods/events/_delta_log").exists());
}

#[test]
fn keys_that_are_no_secret_take_references_too() {
    let workspace = workspace();
    workspace.configure(&format!(
        "[lake]\ncompression = \"env:CODEC\"\n[engine]\nmemory_limit = \"env:MEMORY\"\n{}",
        FEED.replace("\"batches/{arrival_date}.csv\"", "\"env:IN\"\non_missing = \"env:MISSING\"")
    ));
    let environment = [
        ("CODEC", "zstd"),
        ("MEMORY", "512MB"),
        ("IN", "batches/{arrival_date}.csv"),
        ("MISSING", "ok"),
    ];
    let shown = workspace.exec_with("config show", &environment).code(0);
    let shown = stdout_of(&shown);
    for (name, value) in environment {
        assert!(shown.contains(&format!("\"env:{name}\"")), "{shown}");
        assert!(!shown.contains(&format!("\"{value}\"")), "{shown}");
    }
    workspace.exec_with("run", &environment).code(0);
    workspace.exec_with("run --arrival-date 2026-02-01", &environment).code(0);
    workspace.configure(FEED);
    assert_eq!(workspace.ods_lines(&["event_id"]), ["click", "scroll"]);
}
