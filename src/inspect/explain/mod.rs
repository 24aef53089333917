//! Why an event has its session: a timeline of a key with the rule that fired at each event, the
//! delivery that brought it, and what earlier versions of ODS held.
//!
//! The rules recorded in ODS are applied to the rows that it holds ([`derivation`]); where the
//! outcome is not what ODS holds, the answer says so.

mod derivation;
pub mod error;
pub mod explanation;
mod facts;
mod moment;
mod past;
mod wording;

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use datafusion::common::ScalarValue;

use super::columns::Columns;
use super::open;
use crate::config::{Config, FeedConfig};
use crate::engine::{Engine, queries};
use crate::lake::{Lake, LakeError, TableName};
use crate::stages::replay::query;
use derivation::{Derived, Fact};
use error::ExplainError;
use explanation::{
    ExpectedStart, ExplainedEvent, Explanation, Product, Refused, Rules, SessionOfEvent, Stretch,
    Timeline,
};
use facts::{ActiveDate, Key, Ods};
use moment::{Shown, shown_of};

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whose events.
    pub user: String,
    /// Where; asked for when the user has events in several products.
    pub product: Option<String>,
    /// Which of them.
    pub moment: Moment,
    /// Events shown before and behind those asked for.
    pub context: usize,
    /// At most so many events of one moment.
    pub limit: usize,
}

/// Which events of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Those of its last event date.
    LastDate,
    /// The session at, or next to, an instant: microseconds since 1970.
    At(i64),
    /// A session by its id.
    Session {
        /// The id.
        id: String,
        /// The start that it names, microseconds since 1970.
        start_micros: i64,
    },
    /// The sessions of the newest events with an id.
    Event(String),
}

/// Explains events of a feed.
pub async fn explain(
    config: &Config,
    feed: &FeedConfig,
    question: &Question,
) -> Result<Explanation, crate::error::JobError> {
    let (lake, engine) = open(config)?;
    Ok(answer(&lake, &engine, feed, question).await?)
}

async fn answer(
    lake: &Lake,
    engine: &Engine,
    feed: &FeedConfig,
    question: &Question,
) -> Result<Explanation, ExplainError> {
    let ods = Ods::open(lake, engine, feed).await?;
    let user = &question.user;
    let dates = ods.active_dates(user).await?;
    if dates.is_empty() {
        return Err(ExplainError::UnknownUser { table: ods.name, user: user.clone() });
    }
    let products = products(&dates);
    let timeline = match chosen(&ods, question, &products).await? {
        None => None,
        Some(Chosen { product, occurrences }) => {
            let dates: Vec<ActiveDate> =
                dates.into_iter().filter(|date| date.product == product).collect();
            let key = Key { user, product: &product };
            Some(timeline(&ods, key, &dates, &occurrences, question).await?)
        }
    };
    let quarantine = refused(lake, engine, &feed.name, user).await?;
    Ok(Explanation {
        feed: feed.name.clone(),
        user_id: user.clone(),
        products,
        timeline,
        quarantine,
    })
}

fn products(dates: &[ActiveDate]) -> Vec<Product> {
    let of_product = dates.chunk_by(|left, right| left.product == right.product);
    let products = of_product.filter_map(|dates| {
        Some(Product {
            product_code: dates.first()?.product.clone(),
            events: dates.iter().map(|date| date.events).sum(),
            sessions: dates.iter().map(|date| date.sessions).sum(),
            first: dates.iter().map(|date| date.first).min()?,
            last: dates.iter().map(|date| date.last).max()?,
        })
    });
    products.collect()
}

/// What the question is about.
struct Chosen {
    product: String,
    /// When the event happened that is asked for, the newest first.
    occurrences: Vec<i64>,
}

/// The product that the question is about, with its event; none where that is open.
async fn chosen(
    ods: &Ods,
    question: &Question,
    products: &[Product],
) -> Result<Option<Chosen>, ExplainError> {
    let (table, user) = (|| ods.name.clone(), || question.user.clone());
    let mut of_question: Vec<&str> =
        products.iter().map(|product| product.product_code.as_str()).collect();
    if let Some(product) = &question.product {
        if !of_question.contains(&product.as_str()) {
            return Err(ExplainError::UnknownProduct {
                table: table(),
                user: user(),
                product: product.clone(),
                known: of_question.join(", "),
            });
        }
        of_question = vec![product];
    }
    let mut found = Vec::new();
    if let Moment::Event(event) = &question.moment {
        found = ods.occurrences(&question.user, event).await?;
        found.retain(|event| of_question.contains(&event.product.as_str()));
        if found.is_empty() {
            let (table, user, event) = (table(), user(), event.clone());
            return Err(ExplainError::UnknownEvent { table, user, event });
        }
        of_question.retain(|product| found.iter().any(|event| event.product == *product));
    }
    Ok(match of_question.as_slice() {
        [only] => Some(Chosen {
            product: (*only).to_owned(),
            occurrences: found.iter().map(|event| event.timestamp_micros).collect(),
        }),
        _ => None,
    })
}

async fn timeline(
    ods: &Ods,
    key: Key<'_>,
    dates: &[ActiveDate],
    occurrences: &[i64],
    question: &Question,
) -> Result<Timeline, ExplainError> {
    let shown = shown_of(ods, key, dates, occurrences, question).await?;
    let facts: Vec<&Fact> = shown.values().map(|(fact, _)| fact).collect();
    let (past, changes) = past::follow(ods, key, &facts).await?;
    let entries: std::collections::BTreeSet<usize> =
        facts.iter().map(|fact| fact.rules_entry).collect();
    let rules = ods.book.sessions.iter().enumerate();
    let rules = rules.filter(|(entry, _)| entries.contains(entry)).map(|(_, entry)| Rules {
        from: entry.from,
        timeout_micros: entry.rules.timeout_micros,
        max_duration_micros: entry.rules.max_duration_micros,
        user_action: entry.rules.user_action.clone(),
        opens_on: entry.rules.opens_on.clone(),
        closes_on: entry.rules.closes_on.clone(),
    });
    let rules = rules.collect();
    let mut numbers = Numbers::default();
    let mut changes = changes.into_iter();
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut next = 0;
    let mut disagreements = 0;
    for (position, (fact, derived)) in &shown {
        let opens_on = &ods.book.sessions[fact.rules_entry].rules.opens_on;
        let mut event = explained(fact, derived, opens_on, &mut numbers);
        event.changes = changes.next().unwrap_or_default();
        disagreements += usize::from(event.expected_start.is_some());
        match stretches.last_mut() {
            Some(stretch) if *position == next => stretch.events.push(event),
            _ => stretches.push(Stretch { events_before: position - next, events: vec![event] }),
        }
        next = position + 1;
    }
    let events: usize = dates.iter().map(|date| date.events).sum();
    Ok(Timeline {
        product_code: key.product.to_owned(),
        zone: crate::stages::rules::zone(&ods.book).name().to_owned(),
        rules,
        stretches,
        events_after: events - next,
        disagreements,
        past,
    })
}

/// Numbers of sessions in the order in which they are met.
#[derive(Default)]
struct Numbers(Vec<i64>);

impl Numbers {
    fn of(&mut self, start_micros: i64) -> usize {
        let known = self.0.iter().rposition(|start| *start == start_micros);
        known.unwrap_or_else(|| {
            self.0.push(start_micros);
            self.0.len() - 1
        }) + 1
    }
}

fn explained(
    fact: &Fact,
    derived: &Derived,
    opens_on: &str,
    numbers: &mut Numbers,
) -> ExplainedEvent {
    let session = fact.session_start_micros.map(|start| SessionOfEvent {
        number: numbers.of(start),
        session_id: fact.session_id.clone().unwrap_or_default(),
        session_start: instant(start),
    });
    let differs = derived.session_start_micros != fact.session_start_micros;
    let expected_start =
        differs.then(|| ExpectedStart { session_start: derived.session_start_micros.map(instant) });
    ExplainedEvent {
        timestamp: instant(fact.timestamp_micros),
        event_id: fact.event_id.clone(),
        is_user_action: fact.is_user_action,
        closes: fact.closes,
        gap_ms: fact.time_diff_ms.or(derived.gap_micros.map(|gap| gap.div_euclid(1000))),
        rule: wording::rule(derived, opens_on, fact.closes),
        is_break: derived.is_break.clone(),
        effect: derived.effect,
        session,
        expected_start,
        pdate: fact.pdate,
        arrival_date: fact.updated_at,
        late_days: fact.updated_at.signed_duration_since(fact.pdate).num_days(),
        changes: vec![],
    }
}

fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

fn rfc_3339(micros: i64) -> String {
    instant(micros).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Rows in quarantine whose text holds the user's id as a whole word.
async fn refused(
    lake: &Lake,
    engine: &Engine,
    feed: &str,
    user: &str,
) -> Result<Vec<Refused>, ExplainError> {
    let context = engine.context(chrono_tz::Tz::UTC);
    let Some(frame) = query(lake, &context, feed, queries::QUARANTINE_OF_USER).await? else {
        return Ok(vec![]);
    };
    let name = TableName::Quarantine(feed.to_owned());
    let pattern = format!(r"(^|\W){}($|\W)", regex::escape(user));
    let rows = async {
        frame.with_param_values(vec![("pattern", ScalarValue::from(pattern))])?.collect().await
    };
    let batches = rows.await.map_err(|source| LakeError::read(&name, source.into()))?;
    let mut refused = Vec::new();
    for batch in &batches {
        let columns = Columns::of(&name, batch, &facts::refused())?;
        refused.extend((0..batch.num_rows()).filter_map(|row| {
            Some(Refused {
                stage: columns.text("stage", row)?,
                reason: columns.text("reason", row)?,
                entries: columns.integer("entries", row)?,
            })
        }));
    }
    Ok(refused)
}

/// The events to be shown by their position among all of the key.
type ShownEvents = BTreeMap<usize, Shown>;
