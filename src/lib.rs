//! Daily batches of raw events in, exact sessions in a Delta Lake table out.
//!
//! ```text
//! batch files
//!    -> sources   check the file against the feed's contract
//!    -> raw       append, one commit, exactly once per file          (arrival date)
//!    -> scope     keys of the batch, their earliest changed event
//!    -> sessions  context from ods + batch -> sort -> session_start() -> changed rows only
//!    -> ods       merge the changed rows, one commit                 (event date)
//!    -> retention raw partitions older than 14 days
//!    -> marts     sessions/<feed>, from ods alone, once at the end (session date)
//! ```
//!
//! The law: ODS is a pure function of the recorded rules and of what was delivered
//! (row, arrival date), whatever the cut into files and runs, their order, repetition, or a crash
//! in between. [`reference`] is the independent definition it is tested against.

pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod error;
pub mod generate;
pub mod inspect;
pub mod job;
pub mod lake;
pub mod record;
pub mod reference;
pub mod sources;
pub mod stages;
pub mod telemetry;
