//! One binary for all tests that work on a whole lake.
//!
//! - `support`: a small language for batches, rules and expected rows.
//! - `cases`: folders of input and expected rows, day by day, as a rebuild and in reverse.
//! - `cli`: the program as a user runs it: commands, exit codes, signals, what it prints.
//! - `crash`: a run killed at every fail point and run again.
//! - `flat`: a lake of many dates costs a run no more than a young one, and nothing piles up.
//! - `law`: random histories through the real job, compared with the reference.
//! - `real_data`: a year of retail and a git history, compared with the reference.
//! - `scope_law`: ten thousand histories on the window function and the scope queries alone.

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

mod cases;
mod cli;
mod crash;
mod flat;
mod law;
mod real_data;
mod scope_law;
mod support;
