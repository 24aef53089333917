//! How sessions differ between ODS as it is and as a pass would leave it.
//!
//! Two sessions are related by the events that they share. An old session is
//!
//! - *gone* where none of its events is in a session any more,
//! - *split* where its events land in two or more new ones,
//! - *unchanged* where one new session holds the same events and no other,
//! - *resized* where it shares events with one new session alone, and that with it alone, and either
//!   holds others besides,
//!
//! and else one of those that are merged. A new session is *merged* where it holds events of two or
//! more old ones, and has *appeared* where it holds none of any.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;
use serde::Serialize;

use crate::engine::keyed::Key;
use crate::stages::timestamps::date_in;

/// Keys that are named, those with the most events in another session.
const NAMED_KEYS: usize = 10;
/// Products that are counted apart; all further ones are counted together.
const MOST_PRODUCTS: usize = 10_000;

/// How some sessions differ; old ones by what becomes of them, new ones by what they come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SessionChange {
    /// Events, in a session or not.
    pub events: i64,
    /// Those of them that are in another session than before, or in one where they were in none, or
    /// in none where they were in one.
    pub events_moved: i64,
    /// Old sessions.
    pub sessions_before: i64,
    /// New sessions.
    pub sessions_after: i64,
    /// Old sessions that stay as they are.
    pub unchanged: i64,
    /// Old sessions that hold more, fewer or other events, and are neither split nor merged.
    pub resized: i64,
    /// Old sessions whose events land in two or more new ones.
    pub split: i64,
    /// New sessions with events of two or more old ones.
    pub merged: i64,
    /// New sessions without an event of any old one.
    pub appeared: i64,
    /// Old sessions of whose events none is in a session any more.
    pub gone: i64,
}

impl SessionChange {
    /// Whether anything differs. Of a date it may be sessions alone: they count on the date of their
    /// start, and an event that moves on its own.
    pub fn is_any(&self) -> bool {
        self.events_moved > 0 || [self.sessions_before, self.sessions_after] != [self.unchanged; 2]
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            events_moved: self.events_moved + other.events_moved,
            sessions_before: self.sessions_before + other.sessions_before,
            sessions_after: self.sessions_after + other.sessions_after,
            unchanged: self.unchanged + other.unchanged,
            resized: self.resized + other.resized,
            split: self.split + other.split,
            merged: self.merged + other.merged,
            appeared: self.appeared + other.appeared,
            gone: self.gone + other.gone,
        }
    }
}

/// How the sessions of one key differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// Whose sessions.
    pub user_id: String,
    /// Where.
    pub product_code: String,
    /// How they differ.
    #[serde(flatten)]
    pub change: SessionChange,
}

/// How the sessions of all keys differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionChanges {
    /// By date, days since 1970: an event counts on its event date, a session on that of its start;
    /// an old session that is compared with a new one on that of the old.
    pub dates: BTreeMap<i32, SessionChange>,
    /// By product.
    pub products: BTreeMap<String, SessionChange>,
    /// Products beyond those counted apart.
    pub other_products: SessionChange,
    /// The keys with the most events in another session; of two with as many the smaller.
    pub keys: Vec<KeyChange>,
}

/// An event and the starts of the sessions that it is in, before and after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub(super) pdate: i32,
    /// It is recomputed; any other tells of sessions that reach there.
    pub(super) is_recomputed: bool,
    pub(super) before: Option<i64>,
    pub(super) after: Option<i64>,
}

/// A session as the other version sees it.
#[derive(Debug, Default)]
struct Relation {
    /// Sessions of the other version that share an event with it.
    shares: BTreeSet<i64>,
    /// It has an event that is in no session there.
    loses: bool,
    /// It has an event that is recomputed.
    is_recomputed: bool,
}

impl SessionChanges {
    /// Those of other keys as well.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (date, change) in other.dates {
            self.on(date, change);
        }
        for (product, change) in other.products {
            self.of_product(&product, change);
        }
        self.other_products = self.other_products.plus(other.other_products);
        other.keys.into_iter().for_each(|key| self.name(key));
        self
    }

    /// Counts the events of one more key.
    pub(super) fn key(&mut self, key: Key<'_>, moves: &[Move], zone: Tz) {
        let (old, new) = (
            relations(moves, |event| (event.before, event.after)),
            relations(moves, |event| (event.after, event.before)),
        );
        let mut dates: BTreeMap<i32, SessionChange> = BTreeMap::new();
        for event in moves.iter().filter(|event| event.is_recomputed) {
            let change = dates.entry(event.pdate).or_default();
            change.events += 1;
            change.events_moved += i64::from(event.before != event.after);
        }
        let mut count = |start: i64, change: SessionChange| {
            if let Some(date) = date_in(start, zone) {
                let of_date = dates.entry(date).or_default();
                *of_date = of_date.plus(change);
            }
        };
        for (start, session) in old.iter().filter(|(_, session)| session.is_recomputed) {
            count(*start, of_old(session, &new));
        }
        for (start, session) in new.iter().filter(|(_, session)| session.is_recomputed) {
            count(*start, of_new(session));
        }
        let of_key = dates.values().fold(SessionChange::default(), |sum, date| sum.plus(*date));
        if of_key == SessionChange::default() {
            return;
        }
        for (date, change) in dates {
            self.on(date, change);
        }
        self.of_product(key.product, of_key);
        if of_key.is_any() && self.may_be_named(key, of_key) {
            let (user_id, product_code) = (key.user.to_owned(), key.product.to_owned());
            self.name(KeyChange { user_id, product_code, change: of_key });
        }
    }

    fn on(&mut self, date: i32, change: SessionChange) {
        let of_date = self.dates.entry(date).or_default();
        *of_date = of_date.plus(change);
    }

    fn of_product(&mut self, product: &str, change: SessionChange) {
        if let Some(known) = self.products.get_mut(product) {
            *known = known.plus(change);
        } else if self.products.len() < MOST_PRODUCTS {
            self.products.insert(product.to_owned(), change);
        } else {
            self.other_products = self.other_products.plus(change);
        }
    }

    fn may_be_named(&self, key: Key<'_>, change: SessionChange) -> bool {
        let rank = (Reverse(change.events_moved), key.user, key.product);
        self.keys.len() < NAMED_KEYS || self.keys.last().is_some_and(|last| rank < last.rank())
    }

    fn name(&mut self, key: KeyChange) {
        let at = self.keys.partition_point(|known| known.rank() < key.rank());
        self.keys.insert(at, key);
        self.keys.truncate(NAMED_KEYS);
    }
}

impl KeyChange {
    fn rank(&self) -> (Reverse<i64>, &str, &str) {
        (Reverse(self.change.events_moved), &self.user_id, &self.product_code)
    }
}

/// The sessions of one version by their starts.
fn relations(
    moves: &[Move],
    starts: impl Fn(&Move) -> (Option<i64>, Option<i64>),
) -> BTreeMap<i64, Relation> {
    let mut sessions: BTreeMap<i64, Relation> = BTreeMap::new();
    for event in moves {
        let (Some(own), other) = starts(event) else { continue };
        let session = sessions.entry(own).or_default();
        session.is_recomputed |= event.is_recomputed;
        session.loses |= other.is_none();
        session.shares.extend(other);
    }
    sessions
}

fn of_old(session: &Relation, new: &BTreeMap<i64, Relation>) -> SessionChange {
    let mut change = SessionChange { sessions_before: 1, ..SessionChange::default() };
    let mut shares = session.shares.iter();
    match (shares.next(), shares.next()) {
        (None, _) => change.gone = 1,
        (Some(_), Some(_)) => change.split = 1,
        (Some(only), None) => match new.get(only) {
            Some(other) if other.shares.len() > 1 => {}
            Some(other) if !session.loses && !other.loses => change.unchanged = 1,
            _ => change.resized = 1,
        },
    }
    change
}

fn of_new(session: &Relation) -> SessionChange {
    SessionChange {
        sessions_after: 1,
        merged: i64::from(session.shares.len() > 1),
        appeared: i64::from(session.shares.is_empty()),
        ..SessionChange::default()
    }
}
