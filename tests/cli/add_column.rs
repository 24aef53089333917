//! Columns that nothing names become columns of raw, and ODS is the same as without.

use std::collections::BTreeSet;

use predicates::str::contains;
use sessionlake::lake::TableName;

use super::CONFIGURATION;
use crate::support::workspace::Workspace;

const BATCHES: [(&str, &str); 4] = [
    (
        "2026-01-05.csv",
        "user_id,product_code,event_id,timestamp,note,device,details\n\
         u1,web,click,2026-01-05T10:00:00Z,a,phone,\"{\"\"kind\"\":\"\"x\"\"}\"\n\
         u1,web,scroll,2026-01-05T10:01:00Z,b,,\n",
    ),
    (
        "2026-01-06.csv",
        "user_id,product_code,event_id,timestamp,note,device,Device,details,a b,_mine\n\
         u1,web,click,2026-01-06T10:00:00Z,c,tablet,other,\"{\"\"kind\"\":\"\"y\"\"}\",1,2\n\
         u1,web,click,2026-01-05T10:00:00Z,a,phone,,\"{\"\"kind\"\":\"\"x\"\"}\",,\n",
    ),
    (
        "2026-01-07.csv",
        "user_id,product_code,event_id,timestamp,note\n\
         u1,web,click,2026-01-07T10:00:00Z,d\n\
         u2,web,click,2020-01-01T00:00:00Z,too old\n",
    ),
    (
        "2026-01-08.csv",
        "city,user_id,product_code,event_id,timestamp,note,device\n\
         Linz,u2,web,click,2026-01-08T10:00:00Z,e,watch\n",
    ),
];

fn configuration(on_extra_column: &str, attributes: &str) -> String {
    CONFIGURATION
        .replace(
            "[feed.event]",
            &format!("[feed.contract]\non_extra_column = \"{on_extra_column}\"\n[feed.event]"),
        )
        .replace("attributes = [\"note\"]", &format!("attributes = [{attributes}]"))
}

fn columns_of_raw(workspace: &Workspace) -> BTreeSet<String> {
    let rows = workspace.rows(&TableName::Raw("events".to_owned()));
    rows[0].schema().fields().iter().map(|field| field.name().clone()).collect()
}

/// The dates one after the other, the policy changing after the first.
fn delivered(policies: [&str; 4]) -> Workspace {
    let workspace = Workspace::new();
    for ((name, text), policy) in BATCHES.iter().zip(policies) {
        workspace.write_batch(name, text);
        workspace.configure(&configuration(policy, "\"note\""));
        workspace.exec("run").code(0);
    }
    workspace
}

#[test]
fn a_value_is_found_whether_it_came_before_the_column_or_after() {
    const KEEP: &str = "keep_in_extra";
    const ADD: &str = "add_column";
    let more = "\"note\", \"device\", '\"details.kind\" as kind', '\"a b\" as ab', \"city\"";
    let ods = |workspace: &Workspace, policy: &str| {
        workspace.configure(&configuration(policy, more));
        workspace.exec("reprocess --from 2026-01-05").code(0);
        workspace.ods_lines(&["user_id", "timestamp", "note", "device", "kind", "ab", "city"])
    };
    let kept = delivered([KEEP; 4]);
    assert!(!columns_of_raw(&kept).contains("device"));
    let expected = ods(&kept, KEEP);
    assert!(
        expected.iter().any(|row| row.contains("tablet") && row.contains(",y,1")),
        "{expected:?}"
    );
    let quarantined = kept.quarantine_lines(&["_file", "reason", "row_text"]);
    for policies in
        [[ADD; 4], [KEEP, ADD, ADD, ADD], [KEEP, ADD, KEEP, KEEP], [ADD, KEEP, KEEP, ADD]]
    {
        let workspace = delivered(policies);
        let columns = columns_of_raw(&workspace);
        assert!(columns.contains("device") && columns.contains("details"), "{columns:?}");
        assert_eq!(columns.contains("city"), policies[3] == ADD, "{columns:?}");
        for other in ["Device", "a b", "_mine"] {
            assert!(!columns.contains(other), "{columns:?}");
        }
        assert_eq!(ods(&workspace, policies[3]), expected, "{policies:?}");
        let found = workspace.quarantine_lines(&["_file", "reason", "row_text"]);
        assert_eq!(found, quarantined, "{policies:?}");
        for one in [&workspace, &kept.copy()] {
            one.exec("withdraw --file 2026-01-06.csv --arrival-date 2026-01-06").code(0);
            one.exec("maintain").code(0);
        }
        let withdrawn = kept.copy();
        withdrawn.exec("withdraw --file 2026-01-06.csv --arrival-date 2026-01-06").code(0);
        let columns = ["user_id", "timestamp", "note", "device", "kind"];
        assert_eq!(workspace.ods_lines(&columns), withdrawn.ods_lines(&columns), "{policies:?}");
        workspace.exec("run").code(0).stdout(contains("nothing to do"));
    }
}
