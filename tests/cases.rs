//! Cases written by hand: a folder of batches and the ODS they must give, whatever the way, on a
//! disk and on S3.
//!
//! | file | content |
//! |---|---|
//! | `batches/YYYY-MM-DD.csv` | what is delivered on that arrival date |
//! | `feed.toml` | settings of the feed other than those below; may be absent |
//! | `expected.csv` | ODS in the columns that its header names, ordered by user, product, time |
//! | `README` | one line: why the case is there |

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use sessionlake::inspect::verify::Extent;
use sessionlake::job::Dates;
use sessionlake::lake::ids::LatePolicy;
use sessionlake::stages::build::Rebuild;
use sessionlake::stages::reprocess::Source;
use sessionlake::stages::rules::RuleChange;

use crate::support::buckets::Buckets;
use crate::support::workspace::Workspace;

const FEED: &str = r#"
name = "events"
path = "batches/{arrival_date}.csv"
[event]
user_id = "user_id"
product_code = "product_code"
event_id = "event_id"
timestamp = "timestamp"
[session]
user_action = "event_id = 'click'"
timeout = "5m"
"#;

/// Columns that every `expected.csv` begins with.
const COLUMNS: &str =
    "user_id,product_code,event_id,timestamp,session_start,time_diff_ms,_updated_at";

/// One test for each folder of `tests/cases`, of the same name.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                Case::read(stringify!($name)).check();
            }
        )*

        #[test]
        fn every_case_gives_the_same_on_s3() {
            let buckets = Buckets::start();
            for name in [$(stringify!($name)),*] {
                let case = Case::read(name);
                case.compare(&format!("{name} on S3"), &case.on_s3(&buckets));
            }
        }

        #[test]
        fn every_case_folder_is_run() {
            let folders = fs::read_dir(folder()).unwrap();
            let found: BTreeSet<String> = folders
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let run = BTreeSet::from([$(stringify!($name).to_owned()),*]);
            assert_eq!(found, run);
        }
    };
}

cases! {
    a_duplicate_of_an_earlier_arrival_wins_when_it_comes_later,
    a_gap_of_exactly_the_timeout_is_no_break,
    a_late_event_falls_days_behind_the_start_of_its_session,
    a_late_event_fills_an_empty_session,
    a_late_event_joins_two_sessions,
    a_late_event_moves_an_opening,
    a_long_session_read_again_in_its_middle_ends_where_it_must,
    a_redelivered_late_row_changes_nothing,
    a_session_goes_on_across_midnight,
    a_session_longer_than_the_window_keeps_its_start,
    a_session_of_max_duration_starts_anew,
    an_event_that_closes_ends_its_session,
    keys_that_would_share_an_id_do_not,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

struct Case {
    /// Arrival dates and what they deliver, in order.
    batches: Vec<(NaiveDate, String)>,
    configuration: String,
    columns: Vec<String>,
    expected: Vec<String>,
}

impl Case {
    fn read(name: &str) -> Self {
        let folder = folder().join(name);
        let why = fs::read_to_string(folder.join("README")).unwrap();
        assert_eq!(why.trim().lines().count(), 1, "{name}: a README is one line");
        let expected = fs::read_to_string(folder.join("expected.csv")).unwrap();
        let mut lines = expected.lines();
        let header = lines.next().unwrap();
        assert!(header.starts_with(COLUMNS), "{name}: {header}");
        let mut expected: Vec<String> = lines.map(str::to_owned).collect();
        expected.sort();
        Self {
            batches: batches(&folder),
            configuration: configuration(&folder),
            columns: header.split(',').map(str::to_owned).collect(),
            expected,
        }
    }

    fn check(&self) {
        self.compare("day by day", &self.day_by_day(self.dates()));
        self.compare("last day first", &self.day_by_day(self.dates().rev()));
        self.compare("in one build", &self.rebuilt());
        self.compare("reprocessed", &self.reprocessed());
    }

    fn dates(&self) -> impl DoubleEndedIterator<Item = NaiveDate> {
        self.batches.iter().map(|(date, _)| *date)
    }

    fn workspace(&self) -> Workspace {
        let workspace = Workspace::new();
        workspace.configure(&self.configuration);
        self.deliver_to(&workspace);
        workspace
    }

    fn deliver_to(&self, workspace: &Workspace) {
        for (date, content) in &self.batches {
            workspace.write_batch(&format!("{date}.csv"), content);
        }
    }

    fn day_by_day(&self, dates: impl Iterator<Item = NaiveDate>) -> Workspace {
        let workspace = self.workspace();
        for date in dates {
            workspace.run(Dates::One(date), RuleChange::Refuse).unwrap();
        }
        workspace
    }

    fn on_s3(&self, buckets: &Buckets) -> Workspace {
        let workspace = buckets.workspace(&self.configuration);
        self.deliver_to(&workspace);
        for date in self.dates() {
            workspace.run(Dates::One(date), RuleChange::Refuse).unwrap();
        }
        workspace
    }

    fn rebuilt(&self) -> Workspace {
        let workspace = self.workspace();
        workspace.ingest(Dates::CatchUp, LatePolicy::Bounded).unwrap();
        workspace.build(Dates::CatchUp, Rebuild::WhenPending).unwrap();
        workspace
    }

    /// Every event date again from raw, after the days were built in reverse.
    fn reprocessed(&self) -> Workspace {
        let workspace = self.day_by_day(self.dates().rev());
        let first = self.dates().next().unwrap();
        workspace.reprocess(first - chrono::Days::new(7), Source::Raw).unwrap();
        workspace
    }

    fn compare(&self, way: &str, workspace: &Workspace) {
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let found = workspace.ods_lines(&columns);
        assert!(
            found == self.expected,
            "{way}\nexpected:\n{}\nfound:\n{}",
            self.expected.join("\n"),
            found.join("\n")
        );
        assert_eq!(workspace.quarantine(), [], "{way}");
        workspace.verified(&Extent::All);
        workspace.assert_sessions_follow();
    }
}

fn batches(folder: &Path) -> Vec<(NaiveDate, String)> {
    let files = fs::read_dir(folder.join("batches")).unwrap();
    let mut batches: Vec<(NaiveDate, String)> = files
        .map(|file| {
            let path = file.unwrap().path();
            let date = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            (date, fs::read_to_string(path).unwrap())
        })
        .collect();
    batches.sort();
    batches
}

/// The base feed with the settings of `feed.toml` laid over it.
fn configuration(folder: &Path) -> String {
    let mut feed: toml::Table = FEED.parse().unwrap();
    if let Ok(text) = fs::read_to_string(folder.join("feed.toml")) {
        lay_over(&mut feed, text.parse().unwrap());
    }
    let root = toml::Table::from_iter([("feed".to_owned(), toml::Value::Array(vec![feed.into()]))]);
    toml::to_string(&root).unwrap()
}

fn lay_over(base: &mut toml::Table, settings: toml::Table) {
    for (key, value) in settings {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(section)), toml::Value::Table(inner)) => {
                lay_over(section, inner);
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
