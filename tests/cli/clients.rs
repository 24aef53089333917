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
    // Two feeds at once, wherever the test runs.
    let engine = "[engine]\nthreads = 2\nmemory_limit = \"1GiB\"\n";
    workspace.configure(&format!("{engine}{}", configuration()));
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

const ORDERS: &str = "acme/orders-2026-01-05.csv";

/// Every column of the ODS of a feed.
fn ods(workspace: &Workspace, feed: &str) -> Vec<String> {
    let columns = [
        "user_id",
        "product_code",
        "event_id",
        "timestamp",
        "is_user_action",
        "time_diff_ms",
        "session_start",
        "session_id",
        "pdate",
        "_updated_at",
        "note",
    ];
    workspace.lines(&TableName::Ods(feed.to_owned()), &columns)
}

fn feeds() -> Vec<String> {
    let clients = ["acme", "gardenia"].into_iter();
    clients.flat_map(|client| TABLES.map(|table| format!("{client}/{table}"))).collect()
}

#[test]
fn two_clients_times_three_tables_run_in_one_command_and_a_broken_one_stops_no_other() {
    let workspace = two_clients();
    let whole = batch(&["u1,click,2026-01-05T10:00:00Z,a", "u1,view,2026-01-05T10:01:00Z,b"]);
    workspace.write_batch(ORDERS, &whole.replacen("note", "note,note", 1));
    let ran = workspace.exec("run --output json").code(3);
    let stderr = String::from_utf8_lossy(&ran.get_output().stderr).into_owned();
    assert!(stderr.contains("feed acme/orders: a file was rejected"), "{stderr}");
    assert!(stderr.contains(ORDERS) && stderr.contains("duplicate_header"), "{stderr}");
    let told: serde_json::Value = serde_json::from_str(&stdout_of(&ran)).unwrap();
    let stages = told["stages"].as_array().unwrap();
    let mut order: Vec<&str> = stages.iter().map(|stage| stage["feed"].as_str().unwrap()).collect();
    order.dedup();
    assert_eq!(order, feeds(), "by feed, as configured");
    for feed in feeds() {
        let is_broken = feed == "acme/orders";
        let of_feed = stages.iter().filter(|stage| stage["feed"] == feed.as_str());
        let outcomes: Vec<&str> = of_feed
            .filter(|stage| stage["stage"] != "retention")
            .map(|stage| stage["outcome"].as_str().unwrap())
            .collect();
        assert_eq!(
            outcomes,
            if is_broken { vec!["rejected", "up_to_date", "done"] } else { vec!["done"; 3] }
        );
        if !is_broken {
            assert_eq!(ods(&workspace, &feed).len(), 2, "{feed}");
        }
    }
    let recorded = workspace.lines(&TableName::Runs, &["feed", "outcome"]);
    assert!(recorded.contains(&"acme/orders,rejected".to_owned()), "{recorded:?}");
    assert!(recorded.contains(&"gardenia/orders,done".to_owned()), "{recorded:?}");

    workspace.write_batch(ORDERS, &whole);
    let repaired = workspace.json("run");
    let did: Vec<(&str, &str)> = repaired["stages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|stage| stage["outcome"] == "done")
        .map(|stage| (stage["feed"].as_str().unwrap(), stage["stage"].as_str().unwrap()))
        .collect();
    assert_eq!(did, ["ingest", "build", "sessions"].map(|stage| ("acme/orders", stage)));

    let alone = two_clients();
    alone.write_batch(ORDERS, &whole);
    for feed in feeds() {
        alone.exec(&format!("run --feed {feed}")).code(0);
    }
    for feed in feeds() {
        assert_eq!(ods(&workspace, &feed), ods(&alone, &feed), "{feed}");
    }
    assert_eq!(ods(&workspace, "acme/orders").len(), 2);
}

#[test]
fn a_signal_stops_every_feed_at_work_and_the_next_run_goes_on() {
    let workspace = two_clients();
    workspace.write_batch(ORDERS, &batch(&["u1,click,2026-01-05T10:00:00Z,a"]));
    let point = ("FAILPOINTS", "raw_before_commit=sleep(1500)");
    let mut child = workspace.program("run").env(point.0, point.1).spawn().unwrap();
    super::signals::wait_until_it_listens(&mut child);
    std::thread::sleep(std::time::Duration::from_millis(700));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let recorded = workspace.lines(&TableName::Runs, &["feed", "stage", "outcome"]);
    let two = ["acme/clicks,run,interrupted", "acme/orders,run,interrupted"];
    assert_eq!(recorded, two, "those at work, and no other began");
    workspace.exec("run").code(0);
    assert_eq!(ods(&workspace, "acme/orders").len(), 1);
    assert_eq!(ods(&workspace, "gardenia/visits").len(), 2);
}

#[test]
fn a_feed_whose_checks_read_another_comes_in_the_order_of_the_configuration() {
    let workspace = Workspace::new();
    let orders = CONFIGURATION.replace("events", "orders").replace("batches/", "batches/orders-");
    let checks = "[[feed.checks.use]]\ncheck = \"missing_in\"\nseverity = \"error\"\n\
        with = { column = \"user_id\", other = \"ods.orders\", other_column = \"user_id\" }\n";
    let engine = "[engine]\nthreads = 2\nmemory_limit = \"1GiB\"\n";
    workspace.configure(&format!("{engine}{orders}{CONFIGURATION}{checks}"));
    let rows = batch(&["u1,click,2026-01-05T10:00:00Z,a"]);
    workspace.write_batch("orders-2026-01-05.csv", &rows);
    workspace.write_batch("2026-01-05.csv", &rows);
    // Side by side the users would be looked for before the orders are there.
    let slow = [("FAILPOINTS", "ods_before_commit=sleep(700)")];
    workspace.exec_with("run", &slow).code(0);
}

#[test]
fn log_lines_say_which_feed_they_are_of() {
    let workspace = two_clients();
    workspace.write_batch(ORDERS, &batch(&["u1,click,2026-01-05T10:00:00Z,a"]));
    let ran = workspace.exec("run -v --log-format json").code(0);
    let stderr = String::from_utf8_lossy(&ran.get_output().stderr).into_owned();
    let lines = stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let of_feeds: Vec<(String, String)> = lines
        .filter(|line| line["fields"]["message"] == "starting")
        .map(|line| (line["span"]["feed"].to_string(), line["fields"]["feed"].to_string()))
        .collect();
    assert!(of_feeds.len() >= 12, "{stderr}");
    assert!(of_feeds.iter().all(|(span, feed)| span == feed), "{of_feeds:?}");
}

#[test]
fn every_command_about_feeds_takes_patterns() {
    let workspace = two_clients();
    workspace.write_batch(ORDERS, &batch(&["u1,click,2026-01-05T10:00:00Z,a"]));
    let mine = "--client acme --feed *s";
    for command in [
        "ingest",
        "build",
        "run",
        "reprocess --from 2026-01-01",
        "reprocess --from 2026-01-01 --dry-run",
        "retention",
        "maintain",
        "maintain --dry-run",
        "check",
        "files",
        "quarantine list",
        "quarantine show",
        "quarantine replay",
        "doctor",
    ] {
        let said = stdout_of(&workspace.exec(&format!("{command} {mine}")).code(0));
        assert!(!said.contains("gardenia"), "{command}: {said}");
        workspace.exec(&format!("{command} --feed */sales")).code(2).stderr(contains("*/sales"));
    }
    let withdraw = "withdraw --file clicks-2026-01-05.csv --arrival-date 2026-01-05";
    workspace.exec(&format!("{withdraw} {mine}")).code(2).stderr(contains("acme/clicks"));
    workspace.exec(&format!("{withdraw} --client acme --feed cl*")).code(0);
    assert_eq!(ods(&workspace, "acme/clicks").len(), 0);
    assert_eq!(ods(&workspace, "acme/visits").len(), 2);
    assert!(!workspace.path("lake/gardenia").exists());
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
