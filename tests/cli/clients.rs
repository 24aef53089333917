//! Clients from a template, chosen and run together; one configuration for several environments.

use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use sessionlake::lake::TableName;

use super::{CONFIGURATION, batch, empty_workspace, workspace};
use crate::support::program::stdout_of;
use crate::support::workspace::Workspace;

const TABLES: [&str; 3] = ["clicks", "orders", "visits"];

/// Two clients times three tables: a template for each table, a name for each client.
fn configuration() -> String {
    let template = CONFIGURATION
        .replace("[[feed]]", "[[template.feed]]")
        .replace("[feed.", "[template.feed.")
        .replace("batches/", "{folder}/{client}/NAME-");
    let templates = TABLES.map(|table| {
        template.replace("\"events\"", &format!("\"{table}\"")).replace("NAME", table)
    });
    let client =
        |name| format!("\n[[client]]\nname = \"{name}\"\nvalues = {{ folder = \"batches\" }}\n");
    [templates.concat(), client("acme"), client("gardenia")].concat()
}

/// A batch for every feed but `acme/orders`.
fn two_clients() -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(&configuration());
    for client in ["acme", "gardenia"] {
        std::fs::create_dir_all(workspace.path("batches").join(client)).unwrap();
        for table in TABLES {
            let rows =
                batch(&["u1,click,2026-01-05T10:00:00Z,a", "u2,click,2026-01-05T10:01:00Z,b"]);
            if (client, table) != ("acme", "orders") {
                workspace.write_batch(&format!("{client}/{table}-2026-01-05.csv"), &rows);
            }
        }
    }
    workspace
}

fn ods_rows(workspace: &Workspace, feed: &str) -> usize {
    workspace.lines(&TableName::Ods(feed.to_owned()), &["user_id"]).len()
}

#[test]
fn two_clients_times_three_tables_run_in_one_command_and_a_broken_one_stops_no_other() {
    let workspace = two_clients();
    let ran = workspace.exec("run").code(1).stderr(contains("acme/orders"));
    let table = stdout_of(&ran);
    for feed in
        ["acme/clicks", "acme/visits", "gardenia/clicks", "gardenia/orders", "gardenia/visits"]
    {
        assert_eq!(ods_rows(&workspace, feed), 2, "{feed}");
        assert!(table.contains(feed), "{table}");
    }
    assert!(table.contains("acme/orders"), "{table}");
    let outcomes = workspace.lines(&TableName::Runs, &["feed", "outcome"]);
    assert!(outcomes.contains(&"acme/orders,failed".to_owned()), "{outcomes:?}");
    assert!(outcomes.contains(&"gardenia/orders,done".to_owned()), "{outcomes:?}");
    let whole = batch(&["u1,click,2026-01-05T10:00:00Z,a"]);
    workspace.write_batch("acme/orders-2026-01-05.csv", &whole);
    workspace.exec("run").code(0);
    assert_eq!(ods_rows(&workspace, "acme/orders"), 1);
}

#[test]
fn feeds_and_clients_are_chosen_by_name_and_pattern() {
    let workspace = two_clients();
    for (line, feeds) in [
        ("--feed */clicks", vec!["acme/clicks", "gardenia/clicks"]),
        ("--client gard*", vec!["gardenia/clicks", "gardenia/orders", "gardenia/visits"]),
        ("--client gardenia --client acme --feed visits", vec!["acme/visits", "gardenia/visits"]),
        ("--feed gardenia/visits --feed acme/clicks", vec!["acme/clicks", "gardenia/visits"]),
    ] {
        let ran = workspace.json(&format!("retention --dry-run {line}"));
        let planned = ran.to_string();
        for (client, table) in
            ["acme", "gardenia"].iter().flat_map(|client| TABLES.map(|table| (client, table)))
        {
            let feed = format!("{client}/{table}");
            let wanted = feeds.contains(&feed.as_str());
            assert_eq!(planned.contains(&format!("\"{feed}\"")), wanted, "{line}: {planned}");
        }
    }
}

#[test]
fn a_pattern_that_chooses_nothing_is_refused_with_what_there_is() {
    let workspace = two_clients();
    let feeds = contains("acme/clicks, acme/orders, acme/visits");
    workspace.exec("run --feed */sales").code(2).stderr(feeds.clone());
    workspace.exec("run --client zoo*").code(2).stderr(contains("acme, gardenia"));
    let of_client = workspace.exec("run --client acme --feed sales").code(2).stderr(feeds);
    of_client.stderr(contains("gardenia").not());
    workspace.exec("run --feed [a").code(2).stderr(contains("'*/events'"));
    for (line, meant) in [
        ("--feed acme/order", "did you mean `acme/orders`?"),
        ("--feed */order", "did you mean `*/orders`?"),
        ("--client acne", "did you mean `acme`?"),
        ("--client acme --feed visit", "did you mean `visits`?"),
    ] {
        workspace.exec(&format!("run {line}")).code(2).stderr(contains(meant));
    }
    assert!(!workspace.path("lake").exists());
}

#[test]
fn the_file_of_an_environment_is_laid_over() {
    let workspace = workspace();
    let over = "[lake]\nurl = \"prod\"\n[[feed]]\nname = \"events\"\nsession.timeout = \"10m\"\n";
    std::fs::write(workspace.path("sessionlake.prod.toml"), over).unwrap();
    for shown in [
        workspace.exec("config show --env prod").code(0),
        workspace.exec_with("config show", &[("SESSIONLAKE_ENV", "prod")]).code(0),
    ] {
        let shown = stdout_of(&shown);
        assert!(shown.contains("timeout = \"10m\"") && shown.contains("/prod\""), "{shown}");
    }
    workspace.exec("run --env prod").code(0);
    assert!(workspace.path("prod/ods/events/_delta_log").exists());
    assert!(!workspace.path("lake").exists());
}

#[test]
fn an_environment_without_a_file_is_refused() {
    let workspace = empty_workspace();
    workspace.exec("run --env test").code(2).stderr(contains("sessionlake.test.toml"));
    workspace.exec("run --env ../x").code(2).stderr(contains("cannot name an environment"));
}
