//! One binary for all tests that work on a whole lake.
//!
//! - `support`: a small language for batches, rules and expected rows.
//! - `law`: random histories through the real job, compared with the reference.
//! - `real_data`: a year of retail and a git history, compared with the reference.
//! - `scope_law`: ten thousand histories on the window function and the scope queries alone.

mod law;
mod real_data;
mod scope_law;
mod support;
