//! The questions that come with the program.

use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use sessionlake::engine::questions::QUESTIONS;

use super::super::{CONFIGURATION, batch, empty_workspace};
use super::{built, sql};
use crate::support::program::stdout_of;

/// What a question prints.
fn answer(workspace: &crate::support::workspace::Workspace, name: &str) -> String {
    stdout_of(&sql(workspace, &["--question", name]).code(0))
}

#[test]
fn the_list_has_every_file_and_tells_what_it_is() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/inspect/questions");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    assert_eq!(files, QUESTIONS.map(|question| question.name));
    let workspace = empty_workspace();
    let listed = stdout_of(&sql(&workspace, &["--list"]).code(0));
    let as_json = workspace.json("sql --list");
    assert_eq!(as_json["questions"].as_array().unwrap().len(), QUESTIONS.len());
    for question in QUESTIONS {
        assert!(question.sql.starts_with("-- ") && question.description().ends_with('.'));
        assert!(listed.contains(question.name) && listed.contains(question.description()));
    }
}

#[test]
fn each_runs_by_name_and_by_path_also_on_an_empty_lake() {
    let (full, empty) = (built(), empty_workspace());
    for question in QUESTIONS {
        let path = format!("sql/inspect/questions/{}.sql", question.name);
        let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        let by_path = stdout_of(&sql(&full, &["-f", &path]).code(0));
        assert_eq!(by_path, answer(&full, question.name));
        assert!(by_path.lines().count() > 1, "{}: {by_path}", question.name);
        assert_eq!(answer(&empty, question.name).lines().count(), 1, "{}", question.name);
    }
}

#[test]
fn the_answers_are_right() {
    let workspace = built();
    assert_eq!(
        answer(&workspace, "sessions_per_day"),
        "session_date,sessions,users,events,user_actions,mean_seconds,longest_seconds\n\
         2026-01-05,2,2,4,2,210.0,420.0\n\
         2026-01-06,1,1,2,1,60.0,60.0\n"
    );
    assert_eq!(
        answer(&workspace, "late_arrivals"),
        "delay_days,events,percent,arrival_dates,last_arrival_date\n\
         0,5,83.333,2,2026-01-06\n\
         1,1,16.667,1,2026-01-06\n"
    );
    assert_eq!(
        answer(&workspace, "skew"),
        "user_id,product_code,events,sessions,percent,cumulative_percent\n\
         u1,web,3,1,50.0,50.0\n\
         u2,web,3,2,50.0,100.0\n"
    );
    let longest = answer(&workspace, "longest_sessions");
    let longest: Vec<&str> = longest.lines().collect();
    assert!(longest[1].starts_with("u1#web#2026-01-05T10:00:00Z,u1,web,"), "{longest:?}");
    assert!(longest[1].ends_with(",420.0,3,1"), "{longest:?}");
    assert_eq!(longest.len(), 4);
}

/// A scroll before any click, an event twice in one batch and again later, a row without a user.
#[test]
fn empty_sessions_and_duplicates_are_counted() {
    let workspace = empty_workspace();
    workspace.write_batch(
        "2026-01-05.csv",
        &batch(&[
            "u1,scroll,2026-01-05T10:00:00Z,a",
            "u1,click,2026-01-05T10:01:00Z,b",
            "u1,click,2026-01-05T10:01:00Z,b",
            ",click,2026-01-05T10:01:00Z,c",
        ]),
    );
    workspace.write_batch(
        "2026-01-06.csv",
        &batch(&["u1,click,2026-01-05T10:01:00Z,b", "u1,click,2026-01-06T10:00:00Z,d"]),
    );
    workspace.exec("run").code(0);
    // Rebuilt or not, what is kept tells.
    workspace.exec("build --arrival-date 2026-01-06 --force").code(0);
    assert_eq!(
        answer(&workspace, "empty_session_share"),
        "pdate,events,without_session,percent\n2026-01-05,2,1,50.0\n2026-01-06,1,0,0.0\n"
    );
    assert_eq!(
        answer(&workspace, "duplicates_by_batch"),
        "arrival_date,files,delivered,quarantined,events_brought,duplicates,percent\n\
         2026-01-05,1,4,1,2,1,25.0\n\
         2026-01-06,1,2,0,1,1,50.0\n"
    );
}

#[test]
fn another_feed_is_asked_about_with_feed() {
    let workspace = empty_workspace();
    let second =
        CONFIGURATION.replace("\"events\"", "\"orders\"").replace("batches/", "batches/o-");
    workspace.configure(&format!("{CONFIGURATION}{second}"));
    workspace.write_batch("o-2026-01-05.csv", &batch(&["u9,click,2026-01-05T10:00:00Z,a"]));
    workspace.exec("run --feed orders").code(0);
    let asked = sql(&workspace, &["--feed", "orders", "--question", "skew"]).code(0);
    asked.stdout(contains("u9,web,1,1,100.0,100.0"));
    sql(&workspace, &["--question", "skew"]).code(1).stderr(contains("--feed (events, orders)"));
}

#[test]
fn an_unknown_question_is_answered_with_those_there_are() {
    sql(&empty_workspace(), &["--question", "nothing"])
        .code(2)
        .stdout(is_empty())
        .stderr(contains("`nothing`").and(contains("sessions_per_day")));
}
