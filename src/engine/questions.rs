//! The questions that come with the program, from `sql/inspect/questions/`.

/// A query that anybody asks of a feed: it reads the feed's tables by their layer alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// As `--question` takes it: the file without its ending.
    pub name: &'static str,
    /// The text of the file.
    pub sql: &'static str,
}

impl Question {
    /// The first line of its header.
    pub fn description(&self) -> &'static str {
        self.sql.lines().next().unwrap_or_default().trim_start_matches("-- ")
    }
}

macro_rules! question {
    ($name:literal) => {
        Question {
            name: $name,
            sql: include_str!(concat!("../../sql/inspect/questions/", $name, ".sql")),
        }
    };
}

/// Every question, by name.
pub const QUESTIONS: [Question; 6] = [
    question!("duplicates_by_batch"),
    question!("empty_session_share"),
    question!("late_arrivals"),
    question!("longest_sessions"),
    question!("sessions_per_day"),
    question!("skew"),
];
