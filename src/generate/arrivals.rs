//! What one batch file holds: events on time, late ones, second deliveries, in order of arrival.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::random::{Purpose, Random};
use super::rows::{DAY_MILLIS, Page, Row, RowSink};
use super::visits::{World, draw_event, happening, part, proportion};

/// Nothing arrives later than this after its event date.
const MAX_LATE_DAYS: i64 = 5;
/// A late event happened at most this long before or after one that arrived on time, so it
/// joins, extends or bridges sessions the lake has already.
const LATE_DISTANCE_MILLIS: u32 = 4 * 60_000;
/// Rows held back to be written in order of arrival; beyond it the order is only nearly kept.
pub(super) const HELD_ROWS: usize = 1 << 18;
const MINUTE_MILLIS: i64 = 60_000;
const MILLION: u64 = 1_000_000;

/// How the rows of every file divide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quotas {
    pub(super) on_time: u64,
    pub(super) late: u64,
    pub(super) duplicate: u64,
}

impl Quotas {
    /// None when the shares leave no row on time.
    pub(super) fn new(rows: u64, late_share: f64, duplicate_share: f64) -> Option<Self> {
        let late = millionths(late_share);
        let duplicate = millionths(duplicate_share);
        if late + duplicate >= MILLION {
            return None;
        }
        let late = proportion(rows, late, MILLION);
        let duplicate = proportion(rows, duplicate, MILLION);
        Some(Self { on_time: rows - late - duplicate, late, duplicate })
    }
}

/// From here on a share is an integer, for the same counts everywhere.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is validated to lie between 0 and 1"
)]
fn millionths(share: f64) -> u64 {
    (share * 1e6).round() as u64
}

/// How many rows of which kind a file received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BatchCounts {
    pub(super) rows: u64,
    pub(super) late: u64,
    pub(super) duplicate: u64,
    pub(super) conflicting: u64,
}

/// The file of one arrival date, about to be written.
pub(super) struct Batch<'world> {
    world: &'world World,
    random: Random,
    quotas: Quotas,
    /// The first arrival date: nothing was delivered before it.
    first_day: i64,
    epoch_day: i64,
    counts: BatchCounts,
    held: Held,
    /// The first deliveries of the current block, with the moment of their arrival.
    delivered: Vec<(i64, Row)>,
    /// The block of an earlier date that was produced again last.
    earlier: Vec<Row>,
}

impl<'world> Batch<'world> {
    pub(super) fn new(
        world: &'world World,
        seed: u64,
        quotas: Quotas,
        first_day: i64,
        epoch_day: i64,
    ) -> Self {
        Self {
            world,
            random: Random::new(seed, epoch_day, 0, Purpose::Arrivals),
            quotas,
            first_day,
            epoch_day,
            counts: BatchCounts::default(),
            held: Held::default(),
            delivered: Vec::new(),
            earlier: Vec::new(),
        }
    }

    /// Writes every row of the file, block by block of the day.
    pub(super) fn write<W: Write>(mut self, sink: &mut RowSink<W>) -> io::Result<BatchCounts> {
        let blocks = self.world.blocks();
        let mut on_time = Vec::new();
        for block in 0..blocks {
            self.delivered.clear();
            self.world.block(self.epoch_day, block, &mut on_time);
            for row in &on_time {
                let arrival = row.timestamp_millis + self.random.exponential(2_000);
                self.deliver(arrival, *row);
            }
            self.deliver_late(block, part(self.quotas.late, block, blocks));
            self.deliver_again(block, part(self.quotas.duplicate, block, blocks));
            let settled = self.world.begin(self.epoch_day, block + 1);
            self.counts.rows += self.held.release(settled, sink)?;
        }
        self.counts.rows += self.held.release(i64::MAX, sink)?;
        Ok(self.counts)
    }

    fn deliver(&mut self, arrival: i64, row: Row) {
        self.delivered.push((arrival, row));
        self.held.push(arrival, row);
    }

    /// Events of earlier dates, a few at a time: devices that were offline.
    fn deliver_late(&mut self, block: u64, count: u64) {
        let mut missing = count;
        while missing > 0 {
            let days_late = self.draw_days_late(MAX_LATE_DAYS);
            let arrival = self.produce_earlier(block, days_late);
            for _ in 0..missing.min(u64::from(1 + self.random.below(8))) {
                let near = self.earlier[self.random.index(self.earlier.len())];
                let row = self.late_row(&near, self.epoch_day - days_late);
                self.deliver(arrival, row);
                self.counts.late += 1;
                missing -= 1;
            }
        }
    }

    /// Rows of this file, or of one up to `MAX_LATE_DAYS` before it, delivered a second time.
    fn deliver_again(&mut self, block: u64, count: u64) {
        let files_before = (self.epoch_day - self.first_day).min(MAX_LATE_DAYS);
        let mut missing = count;
        while missing > 0 {
            if files_before > 0 && self.random.below(100) < 40 {
                let days_before = self.draw_days_late(files_before);
                let arrival = self.produce_earlier(block, days_before);
                for _ in 0..missing.min(u64::from(1 + self.random.below(4))) {
                    let row = self.earlier[self.random.index(self.earlier.len())];
                    self.hold_again(arrival, row);
                    missing -= 1;
                }
            } else {
                let (arrival, row) = self.delivered[self.random.index(self.delivered.len())];
                let arrival = arrival + 1_000 + self.random.exponential(90_000);
                self.hold_again(arrival, row);
                missing -= 1;
            }
        }
    }

    fn hold_again(&mut self, arrival: i64, mut row: Row) {
        if self.random.one_in(5) {
            self.contradict(&mut row);
            self.counts.conflicting += 1;
        }
        self.counts.duplicate += 1;
        self.held.push(arrival, row);
    }

    /// Produces a block of an earlier date again, and draws when its rows arrive now.
    fn produce_earlier(&mut self, block: u64, days_before: i64) -> i64 {
        let other = self.random.below_u64(self.world.blocks());
        self.world.block(self.epoch_day - days_before, other, &mut self.earlier);
        self.world.moment(self.epoch_day, block, &mut self.random)
    }

    fn draw_days_late(&mut self, at_most: i64) -> i64 {
        let days = match self.random.below(100) {
            0..50 => 1,
            50..75 => 2,
            75..88 => 3,
            88..96 => 4,
            _ => MAX_LATE_DAYS,
        };
        // Before the first file nothing was delivered; the newest file is the likeliest.
        if days > at_most { 1 } else { days }
    }

    /// An event nobody has seen yet, by the user of `near` and close to it, on `event_day`.
    fn late_row(&mut self, near: &Row, event_day: i64) -> Row {
        let away = 1 + self.random.millis_below(LATE_DISTANCE_MILLIS);
        let away = if self.random.one_in(2) { away } else { -away };
        let midnight = event_day * DAY_MILLIS;
        // What falls on another date keeps its time of day.
        let time_of_day = (near.timestamp_millis + away - midnight).rem_euclid(DAY_MILLIS);
        let event = draw_event(&mut self.random);
        happening(&mut self.random, near.user, near.product, midnight + time_of_day, event)
    }

    /// Another page or price for the same event.
    fn contradict(&mut self, row: &mut Row) {
        match &mut row.price_cents {
            Some(cents) => *cents += 1 + self.random.below(500),
            None if row.page == Page::Home => row.page = Page::Cart,
            None => row.page = Page::Home,
        }
    }
}

/// Rows by the minute of their arrival, so that visits which overlap are written interleaved.
#[derive(Default)]
pub(super) struct Held {
    minutes: BTreeMap<i64, Vec<(i64, Row)>>,
    rows: usize,
}

impl Held {
    pub(super) fn push(&mut self, arrival: i64, row: Row) {
        self.minutes.entry(arrival.div_euclid(MINUTE_MILLIS)).or_default().push((arrival, row));
        self.rows += 1;
    }

    /// Writes the minutes that end by `settled`, and more while too many rows are held.
    pub(super) fn release<W: Write>(
        &mut self,
        settled: i64,
        sink: &mut RowSink<W>,
    ) -> io::Result<u64> {
        let settled_minute = settled.div_euclid(MINUTE_MILLIS);
        let mut written = 0;
        while let Some(minute) = self.minutes.first_entry() {
            if *minute.key() >= settled_minute && self.rows <= HELD_ROWS {
                break;
            }
            let mut rows = minute.remove();
            // Stable, so rows of one moment keep the order in which they were produced.
            rows.sort_by_key(|(arrival, _)| *arrival);
            for (_, row) in &rows {
                sink.write(row)?;
            }
            self.rows -= rows.len();
            written += rows.len() as u64;
        }
        Ok(written)
    }
}
