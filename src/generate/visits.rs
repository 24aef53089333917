//! What users did on a date: visits, each a burst of events.
//!
//! A date is cut into blocks of about `BLOCK_ROWS` events. A block covers the part of the day in
//! which that share of the day's events falls, and is a pure function of (seed, date, block): who
//! needs an event of an earlier date (a late arrival, a second delivery) produces its block again.

#![expect(clippy::cast_possible_truncation, reason = "every cast value is below a bound that fits")]

use super::random::{Purpose, Random};
use super::rows::{DAY_MILLIS, Event, PRODUCT_COUNT, Page, Row, SEARCH_COUNT};

const BLOCK_ROWS: u64 = 128;

/// How busy each hour of the day is.
const HOURS: [u64; 24] =
    [18, 11, 7, 5, 5, 8, 16, 30, 45, 52, 55, 58, 62, 60, 58, 57, 58, 62, 70, 78, 80, 70, 52, 32];
const HOUR_MILLIS: u64 = 3_600_000;
/// Fine enough that the events of even a small batch start at any millisecond.
const POSITIONS_PER_ROW: u64 = 1 << 24;

/// Users are drawn from all of them, the first half, quarter or eighth alike, so the busiest eighth
/// makes almost half of the visits and the quiet half an eighth.
const ACTIVITY_LEVELS: u32 = 4;
/// Spreads the busy users over the user numbers; a prime, so that no two share a number.
const USER_STEP: u128 = 2_654_435_761;

/// The usual `timeout` of a session; now and then a gap is exactly this long.
const FIVE_MINUTES_MILLIS: i64 = 300_000;
/// The file of a date still receives what happens until then on the next date.
const CLOSES_AFTER_MIDNIGHT_MILLIS: i64 = 45 * 60_000;

/// The users and what they do, on every date.
pub(super) struct World {
    seed: u64,
    users: u64,
    rows_per_date: u64,
}

/// A burst of events of one user, drawn but not yet played.
struct Visit {
    user: u64,
    product: u8,
    start_millis: i64,
    events: u32,
    mean_gap_millis: i64,
    /// How many of 400 gaps are pauses of more than five minutes.
    pauses: u32,
    opening: Opening,
}

#[derive(Clone, Copy)]
enum Opening {
    /// A user action first.
    Action,
    /// A heartbeat before the first user action: it has an empty session.
    Heartbeat,
    /// No user action at all: an app in the background.
    Background,
}

impl World {
    pub(super) fn new(seed: u64, users: u64, rows_per_date: u64) -> Self {
        Self { seed, users, rows_per_date }
    }

    /// How many blocks a date has; none when it has no events.
    pub(super) fn blocks(&self) -> u64 {
        self.rows_per_date.div_ceil(BLOCK_ROWS)
    }

    /// Replaces `rows` by the events that one block of a date delivers on time, visit by visit.
    ///
    /// They start on the date, and reach into the next one by less than an hour.
    pub(super) fn block(&self, epoch_day: i64, block: u64, rows: &mut Vec<Row>) {
        let open = if block == 0 { self.open_at_midnight(epoch_day) } else { Vec::new() };
        self.play_block(epoch_day, block, &open, rows);
    }

    /// A moment in the part of the day that a block covers, in milliseconds since 1970.
    pub(super) fn moment(&self, epoch_day: i64, block: u64, random: &mut Random) -> i64 {
        let rows = part(self.rows_per_date, block, self.blocks());
        let within = random.below_u64(rows * POSITIONS_PER_ROW);
        self.time(epoch_day, block, within)
    }

    /// When a block's part of the day begins, in milliseconds since 1970.
    pub(super) fn begin(&self, epoch_day: i64, block: u64) -> i64 {
        self.time(epoch_day, block, 0)
    }

    fn time(&self, epoch_day: i64, block: u64, within: u64) -> i64 {
        let before = proportion(self.rows_per_date, block, self.blocks());
        let position = u128::from(before) * u128::from(POSITIONS_PER_ROW) + u128::from(within);
        let of = u128::from(self.rows_per_date.max(1)) * u128::from(POSITIONS_PER_ROW);
        epoch_day * DAY_MILLIS + time_of_day(position, of)
    }

    /// The last events of the visits that the file of the date before cut off after midnight.
    fn open_at_midnight(&self, epoch_day: i64) -> Vec<Row> {
        let mut rows = Vec::new();
        // Without what that block itself may continue, which ends the recursion and is an
        // early-morning matter.
        self.play_block(epoch_day - 1, self.blocks().saturating_sub(1), &[], &mut rows);
        rows.chunk_by(|one, next| one.user == next.user)
            .filter_map(|visit| visit.last().copied())
            .filter(|last| last.timestamp_millis >= epoch_day * DAY_MILLIS)
            .collect()
    }

    fn play_block(&self, epoch_day: i64, block: u64, open: &[Row], rows: &mut Vec<Row>) {
        let random = &mut Random::new(self.seed, epoch_day, block, Purpose::Visits);
        // At most BLOCK_ROWS.
        let wanted = part(self.rows_per_date, block, self.blocks()) as usize;
        let closes = (epoch_day + 1) * DAY_MILLIS + CLOSES_AFTER_MIDNIGHT_MILLIS;
        let mut open = open.iter();
        rows.clear();
        while rows.len() < wanted {
            let mut visit = self.draw_visit(epoch_day, block, random);
            if let Some(last) = open.next() {
                visit.user = last.user;
                visit.product = last.product;
                visit.start_millis =
                    last.timestamp_millis + random.exponential(visit.mean_gap_millis);
            }
            visit.play(random, wanted - rows.len(), closes, rows);
        }
    }

    fn draw_visit(&self, epoch_day: i64, block: u64, random: &mut Random) -> Visit {
        let user = self.draw_user(random);
        let start_millis = self.moment(epoch_day, block, random);
        let long = random.one_in(100);
        let opening = match random.below(100) {
            0..75 => Opening::Action,
            75..96 => Opening::Heartbeat,
            _ => Opening::Background,
        };
        Visit {
            user,
            product: self.draw_product(user, random),
            start_millis,
            events: match (long, opening) {
                (_, Opening::Background) => 1 + random.below(4),
                (true, _) => 80 + random.below(60),
                // An exponential of a mean of 10 is at most 140.
                (false, _) => 1 + random.exponential(10).unsigned_abs() as u32,
            },
            mean_gap_millis: if long { 75_000 } else { 15_000 + random.millis_below(75_000) },
            pauses: if long { 0 } else { 9 },
            opening,
        }
    }

    /// A number from 1 to `users`.
    fn draw_user(&self, random: &mut Random) -> u64 {
        let level = random.below(ACTIVITY_LEVELS);
        let rank = random.below_u64((self.users >> level).max(1));
        1 + (u128::from(rank) * USER_STEP % u128::from(self.users)) as u64
    }

    /// A user keeps to one product, but for one visit in twelve.
    fn draw_product(&self, user: u64, random: &mut Random) -> u8 {
        if random.one_in(12) {
            return random.below(u32::from(PRODUCT_COUNT)) as u8;
        }
        match scrambled(self.seed ^ user) % 100 {
            0..50 => 0,
            50..75 => 1,
            75..95 => 2,
            _ => 3,
        }
    }
}

impl Visit {
    /// Appends the visit's events: at least one, at most `room`, only the first from `closes` on.
    fn play(&self, random: &mut Random, room: usize, closes: i64, rows: &mut Vec<Row>) {
        let mut at = self.start_millis;
        let mut event = self.opening.first();
        let mut tied = false;
        rows.push(happening(random, self.user, self.product, at, event));
        for _ in 1..(self.events as usize).min(room) {
            // Never three at one moment: the third might be the first event again.
            tied = !tied && random.one_in(25);
            if !tied {
                at += self.draw_gap(random);
            }
            if at >= closes {
                return;
            }
            event = self.draw_next(random, event);
            rows.push(happening(random, self.user, self.product, at, event));
        }
    }

    /// Mostly seconds to minutes, at times a pause, rarely the timeout to the millisecond.
    fn draw_gap(&self, random: &mut Random) -> i64 {
        match random.below(400) {
            0 => FIVE_MINUTES_MILLIS,
            drawn if drawn <= self.pauses => {
                FIVE_MINUTES_MILLIS + random.exponential(6 * self.mean_gap_millis)
            }
            _ => 1 + random.exponential(self.mean_gap_millis),
        }
    }

    /// What follows `previous`; never the same event, so that a tie in time is no duplicate.
    fn draw_next(&self, random: &mut Random, previous: Event) -> Event {
        let event = match self.opening {
            Opening::Background => Event::Heartbeat,
            Opening::Action | Opening::Heartbeat => draw_event(random),
        };
        match (event, previous) {
            (Event::View | Event::Heartbeat, same) if same == event => Event::Scroll,
            (event, same) if same == event => Event::View,
            (event, _) => event,
        }
    }
}

impl Opening {
    fn first(self) -> Event {
        match self {
            Self::Action => Event::View,
            Self::Heartbeat | Self::Background => Event::Heartbeat,
        }
    }
}

/// Any event, as likely as it is in the middle of a visit.
pub(super) fn draw_event(random: &mut Random) -> Event {
    match random.below(100) {
        0..38 => Event::View,
        38..63 => Event::Click,
        63..82 => Event::Scroll,
        82..90 => Event::Heartbeat,
        90..97 => Event::AddToCart,
        _ => Event::Purchase,
    }
}

/// The row of an event, with a page and a price that suit it.
pub(super) fn happening(
    random: &mut Random,
    user: u64,
    product: u8,
    timestamp_millis: i64,
    event: Event,
) -> Row {
    let page = match event {
        Event::Heartbeat => Page::Blank,
        Event::AddToCart => Page::Product(1 + random.below(500)),
        Event::Purchase => Page::Checkout,
        Event::View | Event::Click | Event::Scroll => draw_page(random),
    };
    let price_cents = matches!(event, Event::AddToCart | Event::Purchase).then(|| {
        // Twice, for many small prices and few large ones.
        let at_most = 1 + random.below(20_000);
        99 + random.below(at_most)
    });
    Row { timestamp_millis, user, product, event, page, price_cents }
}

fn draw_page(random: &mut Random) -> Page {
    match random.below(100) {
        0..20 => Page::Home,
        20..60 => Page::Product(1 + random.below(500)),
        60..75 => Page::Category(1 + random.below(40)),
        75..88 => Page::Search(random.below(SEARCH_COUNT)),
        88..94 => Page::Cart,
        _ => Page::Blank,
    }
}

/// How much of `total` falls on part `index` of `parts`, so that all parts add up to it.
pub(super) fn part(total: u64, index: u64, parts: u64) -> u64 {
    proportion(total, index + 1, parts) - proportion(total, index, parts)
}

/// `total * part / whole` rounded down, for a part that is at most the whole.
pub(super) fn proportion(total: u64, part: u64, whole: u64) -> u64 {
    (u128::from(total) * u128::from(part) / u128::from(whole.max(1))) as u64
}

/// When the share `position / of` of the day's events has happened, in milliseconds of the day.
fn time_of_day(position: u128, of: u128) -> i64 {
    let all: u64 = HOURS.iter().sum::<u64>() * HOUR_MILLIS;
    let mut rest = (position * u128::from(all) / of.max(1)) as u64;
    let mut hour_begin = 0;
    for weight in HOURS {
        if rest < weight * HOUR_MILLIS {
            return hour_begin + (rest / weight).cast_signed();
        }
        rest -= weight * HOUR_MILLIS;
        hour_begin += HOUR_MILLIS.cast_signed();
    }
    DAY_MILLIS
}

/// A fixed hash of one number: the finalizer of `SplitMix64`.
fn scrambled(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
