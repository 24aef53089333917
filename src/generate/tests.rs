use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

/// A row as a reader of the file sees it.
#[derive(Clone, Debug, PartialEq)]
struct Delivered {
    arrival: NaiveDate,
    user: String,
    product: String,
    event: String,
    timestamp: DateTime<Utc>,
    page: Option<String>,
    price: Option<String>,
}

type Identity = (String, String, String, DateTime<Utc>);

impl Delivered {
    fn identity(&self) -> Identity {
        (self.user.clone(), self.event.clone(), self.product.clone(), self.timestamp)
    }

    fn days_late(&self) -> i64 {
        (self.arrival - self.timestamp.date_naive()).num_days()
    }
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// Four files of 5,000 rows.
fn options(out: &TempDir) -> GenerateOptions {
    GenerateOptions {
        out: out.path().join("batches"),
        days: 4,
        events_per_day: 5_000,
        users: 500,
        seed: 7,
        late_share: 0.05,
        duplicate_share: 0.02,
        format: GenerateFormat::Csv,
        start_date: day("2026-01-01"),
    }
}

/// Every file by name.
fn files(options: &GenerateOptions) -> BTreeMap<String, String> {
    fs::read_dir(&options.out)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn generated(change: impl FnOnce(&mut GenerateOptions)) -> BTreeMap<String, String> {
    let out = TempDir::new().unwrap();
    let mut options = options(&out);
    change(&mut options);
    generate(&options).unwrap();
    files(&options)
}

/// The fields of a line without line breaks in them.
fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut().unwrap();
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    assert!(!quoted, "open quote in {line}");
    fields
}

fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn csv_rows(name: &str, text: &str) -> Vec<Delivered> {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("user_id,product_code,event_id,timestamp,page,price"));
    lines
        .map(|line| {
            let [user, product, event, timestamp, page, price] =
                csv_fields(line).try_into().unwrap();
            let given = |text: String| Some(text).filter(|text| !text.is_empty());
            Delivered {
                arrival: day(&name[..10]),
                user,
                product,
                event,
                timestamp: instant(&timestamp),
                page: given(page),
                price: given(price),
            }
        })
        .collect()
}

fn all_rows(files: &BTreeMap<String, String>) -> Vec<Delivered> {
    files.iter().flat_map(|(name, text)| csv_rows(name, text)).collect()
}

/// The first delivery of every event, and how often each was delivered.
fn first_deliveries(rows: &[Delivered]) -> (Vec<Delivered>, usize) {
    let mut seen = BTreeSet::new();
    let first: Vec<_> = rows.iter().filter(|row| seen.insert(row.identity())).cloned().collect();
    let again = rows.len() - first.len();
    (first, again)
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert_eq!(generated(|_| {}), generated(|_| {}));
}

#[test]
fn another_seed_gives_other_bytes() {
    let one = generated(|_| {});
    let other = generated(|options| options.seed = 8);
    assert_eq!(one.len(), other.len());
    assert!(one.iter().all(|(name, text)| other[name] != *text));
}

#[test]
fn the_bytes_are_those_of_every_other_machine() {
    let mut hash = Sha256::new();
    for (name, text) in generated(|options| options.events_per_day = 400) {
        hash.update(name);
        hash.update(text);
    }
    let hex = format!("{:x}", hash.finalize());
    assert_eq!(hex, "162618265a10f3c86cf1a269c6c695b761d9400cff18049883bd3f281403f7d9");
}

#[test]
fn a_file_does_not_depend_on_how_many_follow() {
    let short = generated(|options| options.days = 2);
    let long = generated(|options| options.days = 4);
    assert_eq!(short.len(), 2);
    assert!(short.iter().all(|(name, text)| long[name] == *text));
}

#[test]
fn there_is_one_file_per_arrival_date() {
    let files = generated(|options| options.start_date = day("2028-02-28"));
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["2028-02-28.csv", "2028-02-29.csv", "2028-03-01.csv", "2028-03-02.csv"]);
}

#[test]
fn every_file_has_the_rows_asked_for() {
    for events_per_day in [0, 1, 2, 7, 127, 128, 129, 400, 3_001] {
        let files = generated(|options| options.events_per_day = events_per_day);
        for (name, text) in files {
            assert_eq!(csv_rows(&name, &text).len() as u64, events_per_day, "{name}");
        }
    }
}

#[test]
fn the_summary_counts_what_is_in_the_files() {
    let out = TempDir::new().unwrap();
    let options = options(&out);
    let summary = generate(&options).unwrap();
    let files = files(&options);
    let (_, again) = first_deliveries(&all_rows(&files));
    assert_eq!((summary.files, summary.rows), (4, 20_000));
    assert_eq!(summary.bytes, files.values().map(|text| text.len() as u64).sum::<u64>());
    assert_eq!((summary.late_rows, summary.duplicate_rows), (1_000, 400));
    assert_eq!(again as u64, summary.duplicate_rows);
    assert!((50..=110).contains(&summary.conflicting_rows), "{summary:?}");
}

#[test]
fn late_events_have_their_share_and_at_most_five_days() {
    let (first, _) = first_deliveries(&all_rows(&generated(|_| {})));
    assert!(first.iter().all(|row| (-1..=5).contains(&row.days_late())));
    let late: Vec<_> = first.iter().map(Delivered::days_late).filter(|days| *days > 0).collect();
    assert_eq!(late.len(), 1_000, "5 % of 20,000");
    let by_days: Vec<_> =
        (1..=5).map(|days| late.iter().filter(|late| **late == days).count()).collect();
    assert!(by_days.is_sorted_by(|more, fewer| more > fewer), "{by_days:?}");
    assert!(by_days[4] > 0);
}

#[test]
fn second_deliveries_stay_within_five_days_too() {
    let rows = all_rows(&generated(|options| {
        options.days = 12;
        options.duplicate_share = 0.2;
    }));
    let days: BTreeSet<_> = rows.iter().map(Delivered::days_late).collect();
    assert_eq!(days.into_iter().collect::<Vec<_>>(), [-1, 0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_share_of_zero_gives_no_such_rows() {
    let rows = all_rows(&generated(|options| {
        options.late_share = 0.0;
        options.duplicate_share = 0.0;
    }));
    let (first, again) = first_deliveries(&rows);
    assert_eq!(again, 0);
    assert!(first.iter().all(|row| row.days_late() <= 0));
}

#[test]
fn shares_hold_up_to_a_last_row_on_time() {
    let out = TempDir::new().unwrap();
    let options = GenerateOptions {
        late_share: 0.6,
        duplicate_share: 0.399,
        events_per_day: 1_000,
        users: 1,
        ..options(&out)
    };
    let summary = generate(&options).unwrap();
    assert_eq!((summary.rows, summary.late_rows, summary.duplicate_rows), (4_000, 2_400, 1_596));
    let rows = all_rows(&files(&options));
    assert!(rows.iter().all(|row| row.user == "u000001" && (-1..=5).contains(&row.days_late())));
}

#[test]
fn events_are_delivered_again_within_a_file_and_across_files() {
    let rows = all_rows(&generated(|_| {}));
    let mut first: BTreeMap<Identity, &Delivered> = BTreeMap::new();
    let (mut within, mut across) = ((0, 0), (0, 0));
    for row in &rows {
        if let Some(earlier) = first.get(&row.identity()) {
            let place = if earlier.arrival == row.arrival { &mut within } else { &mut across };
            let same = (&earlier.page, &earlier.price) == (&row.page, &row.price);
            if same { place.0 += 1 } else { place.1 += 1 }
        } else {
            first.insert(row.identity(), row);
        }
    }
    for (identical, conflicting) in [within, across] {
        assert!(identical > 3 * conflicting / 2 && conflicting > 5, "{within:?} {across:?}");
    }
}

#[test]
fn some_events_tie_with_the_previous_event_of_their_user() {
    let (first, _) = first_deliveries(&all_rows(&generated(|_| {})));
    let mut at: BTreeMap<_, usize> = BTreeMap::new();
    for row in &first {
        *at.entry((&row.user, row.timestamp)).or_default() += 1;
    }
    let ties: usize = at.values().map(|events| events - 1).sum();
    let per_mille = 1_000 * ties / first.len();
    assert!((10..60).contains(&per_mille), "{per_mille}");
}

#[test]
fn visits_are_bursts_with_empty_sessions_before_and_breaks_within() {
    let (mut first, _) = first_deliveries(&all_rows(&generated(|_| {})));
    first.sort_by_key(|row| (row.user.clone(), row.product.clone(), row.timestamp));
    let pairs: Vec<_> = first
        .windows(2)
        .filter(|pair| (&pair[0].user, &pair[0].product) == (&pair[1].user, &pair[1].product))
        .map(|pair| (pair[1].timestamp - pair[0].timestamp, pair))
        .collect();
    let five = Duration::minutes(5);
    let close = pairs.iter().filter(|(gap, _)| *gap <= five).count();
    assert!(close * 100 > pairs.len() * 75, "{close} of {}", pairs.len());
    let openings =
        pairs.iter().filter(|(gap, pair)| *gap > five && pair[1].event == "heartbeat").count();
    assert!(openings > 50, "{openings}");
    assert!(pairs.iter().any(|(gap, _)| *gap == five));
}

#[test]
fn visits_run_past_midnight_and_on_in_the_next_file() {
    let (first, _) = first_deliveries(&all_rows(&generated(|_| {})));
    let early: Vec<_> = first.iter().filter(|row| row.days_late() == -1).collect();
    assert!(!early.is_empty() && early.len() < first.len() / 20, "{}", early.len());
    let continued = early.iter().filter(|early| {
        first.iter().any(|next| {
            next.arrival == early.arrival.succ_opt().unwrap()
                && (&next.user, &next.product) == (&early.user, &early.product)
                && (Duration::zero()..Duration::minutes(5))
                    .contains(&(next.timestamp - early.timestamp))
        })
    });
    assert!(continued.count() > 0);
}

#[test]
fn a_few_users_are_much_busier_than_most() {
    let rows = all_rows(&generated(|_| {}));
    let mut by_user: BTreeMap<_, usize> = BTreeMap::new();
    for row in &rows {
        *by_user.entry(&row.user).or_default() += 1;
    }
    let mut counts: Vec<_> = by_user.into_values().collect();
    counts.sort_unstable();
    let (median, top) = (counts[counts.len() / 2], counts[counts.len() - 1]);
    assert!(top > 5 * median, "{median} {top}");
    assert!(rows.iter().all(|row| row.user.len() == 7 && row.user.starts_with('u')));
}

#[test]
fn rows_are_roughly_in_order_of_arrival() {
    let files = generated(|_| {});
    let on_time: Vec<_> = csv_rows("2026-01-01.csv", &files["2026-01-01.csv"])
        .into_iter()
        .filter(|row| row.days_late() <= 0)
        .collect();
    let (_, again) = first_deliveries(&on_time);
    let mut newest = on_time[0].timestamp;
    let mut behind = 0;
    for row in &on_time {
        behind += usize::from(newest - row.timestamp > Duration::minutes(1));
        newest = newest.max(row.timestamp);
    }
    assert!(behind <= again, "{behind} rows are behind, {again} are second deliveries");
    let neighbours = on_time.windows(2).filter(|pair| pair[0].user == pair[1].user).count();
    assert!(neighbours < on_time.len() / 2, "visits are interleaved: {neighbours}");
}

#[test]
fn the_order_holds_for_a_bounded_number_of_rows() {
    let mut held = arrivals::Held::default();
    let row = all_rows_of_a_block()[0];
    let mut sink = RowSink::new(io::sink(), GenerateFormat::Csv).unwrap();
    for arrival in (0..).step_by(1_000).take(arrivals::HELD_ROWS + 10) {
        held.push(arrival, row);
    }
    let written = held.release(0, &mut sink).unwrap();
    assert!((10..200).contains(&written), "{written}");
}

fn all_rows_of_a_block() -> Vec<rows::Row> {
    let mut rows = Vec::new();
    World::new(7, 10, 100).block(20_000, 0, &mut rows);
    rows
}

#[test]
fn pages_are_blank_plain_or_quoted_and_prices_belong_to_purchases() {
    let files = generated(|_| {});
    assert!(files["2026-01-01.csv"].contains(r#","/search?q=""red, blue""","#));
    let rows = all_rows(&files);
    let pages: BTreeSet<_> = rows.iter().map(|row| row.page.as_deref()).collect();
    for page in [None, Some("/home"), Some("/product/123"), Some(r#"/search?q="red, blue""#)] {
        assert!(pages.contains(&page), "{page:?}");
    }
    for row in rows {
        let priced = matches!(row.event.as_str(), "add_to_cart" | "purchase");
        assert_eq!(priced, row.price.is_some(), "{row:?}");
        let cents = row.price.as_deref().map(|price| price.split_once('.').unwrap().1.len());
        assert!(cents.is_none_or(|digits| digits == 2));
    }
}

#[test]
fn jsonl_says_the_same_as_csv() {
    let csv = generated(|_| {});
    let jsonl = generated(|options| options.format = GenerateFormat::Jsonl);
    let mut rows = Vec::new();
    for (name, text) in &jsonl {
        assert_eq!(&name[10..], ".jsonl");
        for line in text.lines() {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(line).unwrap();
            let text = |key: &str| object[key].as_str().unwrap().to_owned();
            rows.push(Delivered {
                arrival: day(&name[..10]),
                user: text("user_id"),
                product: text("product_code"),
                event: text("event_id"),
                timestamp: instant(&text("timestamp")),
                page: object.contains_key("page").then(|| text("page")),
                price: object.get("price").map(|price| format!("{:.2}", price.as_f64().unwrap())),
            });
        }
    }
    assert_eq!(rows, all_rows(&csv));
}

#[test]
fn timestamps_are_those_of_the_calendar() {
    for millis in (-200_000_000_000..253_402_300_799_999_i64).step_by(7_654_321_987) {
        let mut text = Vec::new();
        rows::append_timestamp(&mut text, millis);
        let expected = DateTime::from_timestamp_millis(millis).unwrap();
        let expected = expected.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}

#[test]
fn a_batch_that_exists_is_not_overwritten() {
    let out = TempDir::new().unwrap();
    let options = options(&out);
    fs::create_dir(&options.out).unwrap();
    fs::write(options.out.join("2026-01-03.csv"), "mine").unwrap();
    let error = generate(&options).unwrap_err();
    assert!(
        matches!(&error, GenerateError::FileExists { path } if path.ends_with("2026-01-03.csv"))
    );
    assert!(error.to_string().contains("choose an empty folder, or remove the file"));
    let left: Vec<_> = files(&options).into_iter().collect();
    assert_eq!(left, [("2026-01-03.csv".to_owned(), "mine".to_owned())]);
}

#[test]
fn a_folder_that_cannot_be_created_is_named() {
    let out = TempDir::new().unwrap();
    let mut options = options(&out);
    fs::write(&options.out, "a file").unwrap();
    options.out = options.out.join("below");
    let error = generate(&options).unwrap_err();
    assert!(matches!(error, GenerateError::Folder { path, .. } if path == options.out));
}

#[test]
fn a_failed_write_leaves_no_batch() {
    let out = TempDir::new().unwrap();
    let options = options(&out);
    // A folder where the partial file would go.
    let blocker = options.out.join(".2026-01-02.csv.partial");
    fs::create_dir_all(&blocker).unwrap();
    let error = generate(&options).unwrap_err();
    assert!(
        matches!(&error, GenerateError::Write { path, .. } if path.ends_with("2026-01-02.csv"))
    );
    fs::remove_dir(blocker).unwrap();
    assert_eq!(files(&options).into_keys().collect::<Vec<_>>(), ["2026-01-01.csv"]);
}

#[test]
fn options_without_a_meaning_are_refused() {
    let refused = |change: fn(&mut GenerateOptions)| {
        let out = TempDir::new().unwrap();
        let mut options = options(&out);
        change(&mut options);
        let error = generate(&options).unwrap_err();
        assert!(!options.out.exists());
        error
    };
    assert!(matches!(refused(|o| o.users = 0), GenerateError::NoUsers));
    for share in [-0.1, 1.1, f64::NAN] {
        let out = TempDir::new().unwrap();
        let options = GenerateOptions { late_share: share, ..options(&out) };
        let error = generate(&options).unwrap_err();
        assert!(matches!(error, GenerateError::InvalidShare { name: "late_share", .. }));
    }
    let error = refused(|o| o.duplicate_share = 7.0);
    assert_eq!(error.to_string(), "duplicate_share is 7: give a share from 0 to 1, such as 0.05");
    assert!(matches!(refused(|o| o.late_share = 0.98), GenerateError::SharesTooLarge { .. }));
    let out_of_range = [
        refused(|o| o.start_date = day("9999-12-29")),
        refused(|o| o.start_date = day("1969-12-31")),
        refused(|o| o.days = u32::MAX),
    ];
    assert!(out_of_range.iter().all(|e| matches!(e, GenerateError::DatesOutOfRange { .. })));
}
