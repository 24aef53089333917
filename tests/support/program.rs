//! The program as a user runs it: in the workspace's folder, with an environment of its own and
//! its streams piped.

use std::process::Stdio;

use arrow::array::RecordBatch;
use assert_cmd::assert::Assert;
use assert_cmd::cargo::cargo_bin;
use sessionlake::lake::TableName;

use super::workspace::{Workspace, texts};

impl Workspace {
    /// The program with `line` as its arguments, cut at white space.
    pub fn program(&self, line: &str) -> std::process::Command {
        let mut command = std::process::Command::new(cargo_bin!("sessionlake"));
        command
            .args(line.split_whitespace())
            .current_dir(self.path(""))
            .env_clear()
            .env("HOME", self.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub fn exec(&self, line: &str) -> Assert {
        self.exec_with(line, &[])
    }

    /// As [`Workspace::exec`], with environment variables.
    pub fn exec_with(&self, line: &str, environment: &[(&str, &str)]) -> Assert {
        let mut command = self.program(line);
        command.envs(environment.iter().copied());
        assert_cmd::Command::from_std(command).assert()
    }

    /// What a successful command printed.
    pub fn stdout(&self, line: &str) -> String {
        stdout_of(&self.exec(line).code(0))
    }

    /// The one JSON document that a successful command printed.
    pub fn json(&self, line: &str) -> serde_json::Value {
        let stdout = self.stdout(&format!("{line} --output json"));
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }

    /// The rows of a table as sorted lines, columns joined by commas, nulls empty.
    pub fn lines(&self, name: &TableName, columns: &[&str]) -> Vec<String> {
        let batches = self.rows(name);
        let mut lines: Vec<String> =
            batches.iter().flat_map(|batch| lines_of(batch, columns)).collect();
        lines.sort();
        lines
    }

    /// [`Workspace::lines`] of `ods/events`.
    pub fn ods_lines(&self, columns: &[&str]) -> Vec<String> {
        self.lines(&TableName::Ods("events".to_owned()), columns)
    }

    /// [`Workspace::lines`] of `quarantine/events`.
    pub fn quarantine_lines(&self, columns: &[&str]) -> Vec<String> {
        self.lines(&TableName::Quarantine("events".to_owned()), columns)
    }

    /// [`Workspace::lines`] of `raw/events`.
    pub fn raw_lines(&self, columns: &[&str]) -> Vec<String> {
        self.lines(&TableName::Raw("events".to_owned()), columns)
    }
}

/// What a finished program printed on standard output.
pub fn stdout_of(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// What a finished program printed on standard error.
pub fn stderr_of(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn lines_of(batch: &RecordBatch, columns: &[&str]) -> Vec<String> {
    let columns: Vec<_> = columns.iter().map(|name| texts(batch, name)).collect();
    (0..batch.num_rows())
        .map(|row| {
            let values = columns.iter().map(|column| column[row].clone().unwrap_or_default());
            values.collect::<Vec<_>>().join(",")
        })
        .collect()
}
