//! One binary for all tests that work on a whole lake.
//!
//! - `support`: a small language for batches, rules and expected rows.
//! - `bad_input`: every kind of bad file and record, its verdict, and the good rest.
//! - `cases`: folders of input and expected rows, day by day, as a rebuild and in reverse.
//! - `cli`: the program as a user runs it: commands, exit codes, signals, what it prints.
//! - `crash`: a run killed at every fail point and run again.
//! - `flat`: a lake of many dates costs a run no more than a young one, and nothing piles up.
//! - `formats`: the same rows as CSV, JSON lines and Parquet are the same lake.
//! - `law`: random histories through the real job, compared with the reference.
//! - `maintain`: what a lake is tidied of, and that no row of it changes.
//! - `merge`: our own merge beside the library's, and what holds of every data file.
//! - `object_storage`: the lake on S3 servers, as on a disk, and with faults in between.
//! - `races`: four processes at a time with random commands on one lake.
//! - `real_data`: a year of retail and a git history, compared with the reference.
//! - `report`: the page of a lake in a real browser: numbers, colours, keyboard, size.
//! - `scope_law`: ten thousand histories on winners, scope and sessions of a key alone.
//! - `secrets`: values by reference: found, never printed, never recorded.
//! - `window_function`: the SQL function beside the walk that ODS is built with.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::explicit_write,
    clippy::needless_pass_by_value,
    reason = "a test says what it expects by failing, and tells on standard error what it tried"
)]

mod bad_input;
mod cases;
mod cli;
mod crash;
mod flat;
mod formats;
mod law;
mod maintain;
mod merge;
mod object_storage;
mod races;
mod real_data;
mod report;
mod scope_law;
mod secrets;
mod support;
mod window_function;
