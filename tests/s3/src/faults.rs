//! What goes wrong, and when: a random schedule that begins at a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// 503 before anything is done.
    Throttled,
    /// The connection breaks before anything is done.
    RequestDropped,
    /// All is well, but late.
    Delayed(Duration),
    /// Done, and answered with 500.
    AnswerLost,
    /// Done, and the connection breaks.
    AnswerDropped,
    /// Half of the body, then the connection breaks.
    BodyCut,
    /// Half of the body, as if it were all.
    BodyShort,
}

/// The schedule, and what it has made so far.
pub(crate) struct Faults {
    per_thousand: u32,
    state: Mutex<State>,
}

struct State {
    random: ChaCha8Rng,
    made: BTreeMap<&'static str, u32>,
}

impl Faults {
    pub(crate) fn new(seed: u64, per_thousand: u32) -> Self {
        let state = State { random: ChaCha8Rng::seed_from_u64(seed), made: BTreeMap::new() };
        Self { per_thousand, state: Mutex::new(state) }
    }

    /// What the next request meets.
    pub(crate) fn next(&self, method: &Method) -> Option<Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.random.random_range(0..1_000) >= self.per_thousand {
            return None;
        }
        let is_get = method == Method::GET;
        let (name, fault) = match state.random.random_range(0..if is_get { 7 } else { 5 }) {
            0 => ("throttled", Fault::Throttled),
            1 => ("request_dropped", Fault::RequestDropped),
            2 => {
                let millis = state.random.random_range(5..200);
                ("delayed", Fault::Delayed(Duration::from_millis(millis)))
            }
            3 => ("answer_lost", Fault::AnswerLost),
            4 => ("answer_dropped", Fault::AnswerDropped),
            5 => ("body_cut", Fault::BodyCut),
            _ => ("body_short", Fault::BodyShort),
        };
        *state.made.entry(name).or_default() += 1;
        Some(fault)
    }

    /// Each fault and how often it was made.
    pub(crate) fn made(&self) -> impl fmt::Display {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let made = state.made.iter().map(|(name, times)| format!("{name} {times}"));
        made.collect::<Vec<_>>().join(", ")
    }
}
