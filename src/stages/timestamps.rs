//! Timestamps as they are delivered: RFC 3339, SQL, a strptime pattern, or a typed value.

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use chrono::{DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use datafusion::error::DataFusionError;

use super::reject::{Reason, Rejects};

/// How texts and zoneless values are read.
#[derive(Debug, Clone, Copy)]
pub struct ReadAs<'a> {
    /// Zone of values without one.
    pub zone: Tz,
    /// A strptime pattern; without it RFC 3339 and SQL are understood.
    pub format: Option<&'a str>,
}

enum Failure {
    Bad,
    NonexistentLocalTime,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Days from 0001-01-01 to 1970-01-01.
const UNIX_EPOCH_FROM_CE: i32 = 719_163;

/// Microseconds since 1970 of every value, finer parts cut; bad values are rejected.
pub fn to_micros(
    values: &ArrayRef,
    read_as: ReadAs<'_>,
    rejects: &mut Rejects,
) -> Result<TimestampMicrosecondArray, DataFusionError> {
    let read: Box<dyn Fn(usize) -> Result<i64, Failure>> = match values.data_type() {
        DataType::Timestamp(unit, zone) => typed(values, *unit, zone.is_some(), read_as.zone),
        DataType::Date32 => {
            let days = values.as_primitive::<arrow::datatypes::Date32Type>().clone();
            let zone = read_as.zone;
            Box::new(move |row| local_micros(i64::from(days.value(row)) * MICROS_PER_DAY, zone))
        }
        _ => {
            let texts = arrow::compute::cast(values, &DataType::Utf8)?.as_string::<i32>().clone();
            let format = read_as.format.map(str::to_owned);
            Box::new(move |row| parse(texts.value(row), format.as_deref(), read_as.zone))
        }
    };
    let mut micros = TimestampMicrosecondBuilder::with_capacity(values.len());
    for row in 0..values.len() {
        let value = if values.is_null(row) {
            rejects.reject(row, Reason::MissingTimestamp, "the timestamp is missing".to_owned());
            None
        } else {
            read(row).map_err(|failure| reject(rejects, row, values, &failure, read_as)).ok()
        };
        micros.append_option(value);
    }
    Ok(micros.finish().with_timezone("UTC"))
}

fn reject(
    rejects: &mut Rejects,
    row: usize,
    values: &ArrayRef,
    failure: &Failure,
    read_as: ReadAs<'_>,
) {
    let shown = arrow::util::display::array_value_to_string(values, row).unwrap_or_default();
    let expected = expected(read_as);
    match failure {
        Failure::Bad => rejects.reject(
            row,
            Reason::BadTimestamp,
            format!("found \"{shown}\", expected {expected}"),
        ),
        Failure::NonexistentLocalTime => rejects.reject(
            row,
            Reason::NonexistentLocalTime,
            format!("\"{shown}\" does not exist in the zone {}", read_as.zone),
        ),
    }
}

fn typed(
    values: &ArrayRef,
    unit: TimeUnit,
    has_zone: bool,
    zone: Tz,
) -> Box<dyn Fn(usize) -> Result<i64, Failure>> {
    let ticks: Vec<i64> = match unit {
        TimeUnit::Second => values.as_primitive::<TimestampSecondType>().values().to_vec(),
        TimeUnit::Millisecond => {
            values.as_primitive::<TimestampMillisecondType>().values().to_vec()
        }
        TimeUnit::Microsecond => {
            values.as_primitive::<TimestampMicrosecondType>().values().to_vec()
        }
        TimeUnit::Nanosecond => values.as_primitive::<TimestampNanosecondType>().values().to_vec(),
    };
    Box::new(move |row| {
        let tick = ticks[row];
        let micros = match unit {
            TimeUnit::Second => tick.checked_mul(1_000_000),
            TimeUnit::Millisecond => tick.checked_mul(1_000),
            TimeUnit::Microsecond => Some(tick),
            TimeUnit::Nanosecond => Some(tick.div_euclid(1_000)),
        };
        let micros = micros.ok_or(Failure::Bad)?;
        if has_zone { in_range(micros) } else { local_micros(micros, zone) }
    })
}

/// The instant that a text names, microseconds since 1970; `None` where it names none.
pub(crate) fn micros_of(text: &str, read_as: ReadAs<'_>) -> Option<i64> {
    parse(text, read_as.format, read_as.zone).ok()
}

/// Why a text is no timestamp, if it is none.
pub(crate) fn fault_of(text: &str, read_as: ReadAs<'_>) -> Option<String> {
    match parse(text, read_as.format, read_as.zone) {
        Ok(_) => None,
        Err(Failure::Bad) => Some(format!("expected {}", expected(read_as))),
        Err(Failure::NonexistentLocalTime) => {
            Some(format!("which does not exist in the zone {}", read_as.zone))
        }
    }
}

/// Whether ticks of so many microseconds since 1970 are a time that a timestamp can hold.
pub(crate) fn is_epoch(text: &str, micros_per_tick: i64) -> bool {
    let ticks = text.trim().parse::<i64>().ok();
    let micros = ticks.and_then(|ticks| ticks.checked_mul(micros_per_tick));
    micros.is_some_and(|micros| in_range(micros).is_ok())
}

fn expected(read_as: ReadAs<'_>) -> &str {
    read_as.format.unwrap_or("RFC 3339 or YYYY-MM-DD HH:MM:SS")
}

/// Years 1 to 9999, what SQL engines that read the table can show.
fn in_range(micros: i64) -> Result<i64, Failure> {
    const FIRST: i64 = -62_135_596_800_000_000;
    const LAST: i64 = 253_402_300_799_999_999;
    if (FIRST..=LAST).contains(&micros) { Ok(micros) } else { Err(Failure::Bad) }
}

fn parse(text: &str, format: Option<&str>, zone: Tz) -> Result<i64, Failure> {
    let text = text.trim();
    let Some(format) = format else {
        return parse_standard(text, zone);
    };
    if let Ok(instant) = DateTime::parse_from_str(text, format) {
        return instant_micros(&instant);
    }
    let local = NaiveDateTime::parse_from_str(text, format).or_else(|_| {
        NaiveDate::parse_from_str(text, format).map(|date| date.and_time(NaiveTime::MIN))
    });
    local.map_err(|_| Failure::Bad).and_then(|local| resolve(local, zone))
}

fn parse_standard(text: &str, zone: Tz) -> Result<i64, Failure> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return instant_micros(&instant);
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.f %:z", "%Y-%m-%d %H:%M:%S%.f%#z"]
    {
        if let Ok(instant) = DateTime::parse_from_str(text, format) {
            return instant_micros(&instant);
        }
    }
    if let Some(local) = text.strip_suffix(" UTC") {
        return naive(local).ok_or(Failure::Bad).and_then(|local| resolve(local, Tz::UTC));
    }
    naive(text).ok_or(Failure::Bad).and_then(|local| resolve(local, zone))
}

fn naive(text: &str) -> Option<NaiveDateTime> {
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN)))
}

fn instant_micros<Z: TimeZone>(instant: &DateTime<Z>) -> Result<i64, Failure> {
    in_range(instant.timestamp_micros())
}

fn local_micros(micros: i64, zone: Tz) -> Result<i64, Failure> {
    let local = DateTime::from_timestamp_micros(micros).ok_or(Failure::Bad)?.naive_utc();
    resolve(local, zone)
}

/// An ambiguous local time takes the earlier offset, that is the earlier instant.
fn resolve(local: NaiveDateTime, zone: Tz) -> Result<i64, Failure> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => {
            instant_micros(&instant)
        }
        LocalResult::None => Err(Failure::NonexistentLocalTime),
    }
}

/// The calendar date of each instant in `zone`, days since 1970.
pub fn dates_in(timestamps: &TimestampMicrosecondArray, zone: Tz) -> Date32Array {
    timestamps.iter().map(|micros| micros.and_then(|micros| date_in(micros, zone))).collect()
}

/// The calendar date of one instant in `zone`, days since 1970.
pub fn date_in(micros: i64, zone: Tz) -> Option<i32> {
    if zone == Tz::UTC {
        return i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok();
    }
    let instant = DateTime::from_timestamp_micros(micros)?;
    Some(instant.with_timezone(&zone).date_naive().num_days_from_ce() - UNIX_EPOCH_FROM_CE)
}

/// The instant or instants at which a date, days since 1970, begins in `zone`, microseconds since
/// 1970; two where its clocks go back to midnight or across it, none where they skip it.
pub(crate) fn midnight(date: i32, zone: Tz) -> LocalResult<i64> {
    if zone == Tz::UTC {
        return LocalResult::Single(i64::from(date) * MICROS_PER_DAY);
    }
    match NaiveDate::from_epoch_days(date) {
        Some(date) => zone
            .from_local_datetime(&date.and_time(NaiveTime::MIN))
            .map(|instant| instant.timestamp_micros()),
        None => LocalResult::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str, format: Option<&str>, zone: &str) -> Option<i64> {
        parse(text, format, zone.parse().unwrap()).ok()
    }

    const NOON: i64 = 1_767_268_800_000_000; // 2026-01-01T12:00:00Z

    #[test]
    fn rfc_3339_and_sql_are_understood() {
        for text in [
            "2026-01-01T12:00:00Z",
            "2026-01-01T13:00:00+01:00",
            "2026-01-01 12:00:00",
            "2026-01-01 12:00:00.000",
            "2026-01-01 13:00:00+01",
            "2026-01-01 12:00:00 UTC",
            "2026-01-01T12:00",
        ] {
            assert_eq!(micros(text, None, "UTC"), Some(NOON), "{text}");
        }
        assert_eq!(micros("yesterday", None, "UTC"), None);
    }

    #[test]
    fn parts_finer_than_a_microsecond_are_cut() {
        assert_eq!(micros("2026-01-01T12:00:00.0000019Z", None, "UTC"), Some(NOON + 1));
        assert_eq!(micros("1969-12-31T23:59:59.9999999Z", None, "UTC"), Some(-1));
    }

    #[test]
    fn a_pattern_is_followed() {
        assert_eq!(micros("01/01/2026 12:00", Some("%d/%m/%Y %H:%M"), "UTC"), Some(NOON));
        assert_eq!(micros("2026-01-01T12:00:00Z", Some("%d/%m/%Y %H:%M"), "UTC"), None);
    }

    #[test]
    fn a_local_time_is_in_the_zone() {
        assert_eq!(micros("2026-01-01 13:00:00", None, "Europe/Berlin"), Some(NOON));
    }

    #[test]
    fn an_ambiguous_local_time_takes_the_earlier_offset() {
        let first = micros("2026-10-25T02:30:00+02:00", None, "UTC");
        assert_eq!(micros("2026-10-25 02:30:00", None, "Europe/Berlin"), first);
    }

    #[test]
    fn a_skipped_local_time_does_not_exist() {
        let skipped = parse("2026-03-29 02:30:00", None, "Europe/Berlin".parse().unwrap());
        assert!(matches!(skipped, Err(Failure::NonexistentLocalTime)));
    }

    #[test]
    fn event_dates_follow_the_zone() {
        let late = micros("2026-01-01T23:30:00Z", None, "UTC").unwrap();
        let day = date_in(late, Tz::UTC).unwrap();
        assert_eq!(date_in(late, "Europe/Berlin".parse().unwrap()), Some(day + 1));
        assert_eq!(date_in(-1, Tz::UTC), Some(-1));
    }
}
