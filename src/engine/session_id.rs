//! Session ids: `user#product#start`, the start in RFC 3339 UTC with a fraction of 3 or 6 digits
//! only when there is one. `%` and `#` inside the two ids are percent-encoded, so that two keys
//! never share an id.

use arrow::array::{Array, StringArray, StringBuilder, TimestampMicrosecondArray};
use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// The ids of whole columns; null without a start. Rows of one session side by side cost little.
pub fn session_ids(
    users: &StringArray,
    products: &StringArray,
    starts: &TimestampMicrosecondArray,
) -> StringArray {
    let mut ids = StringBuilder::with_capacity(starts.len(), starts.len() * 40);
    let mut id = String::new();
    let mut previous: Option<(usize, i64)> = None;
    let mut day = Day::default();
    for row in 0..starts.len() {
        if starts.is_null(row) || users.is_null(row) || products.is_null(row) {
            ids.append_null();
            continue;
        }
        let start = starts.value(row);
        let is_same = previous.is_some_and(|(other, other_start)| {
            other_start == start
                && users.value(other) == users.value(row)
                && products.value(other) == products.value(row)
        });
        if !is_same {
            id.clear();
            push_encoded(&mut id, users.value(row));
            id.push('#');
            push_encoded(&mut id, products.value(row));
            id.push('#');
            day.push_instant(&mut id, start);
        }
        ids.append_value(&id);
        previous = Some((row, start));
    }
    ids.finish()
}

/// What a session id says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionIdParts {
    /// Whose session.
    pub user_id: String,
    /// Where.
    pub product_code: String,
    /// Its start, microseconds since 1970.
    pub start_micros: i64,
}

/// The parts of a session id; `None` for a text that is none.
pub fn parts_of(id: &str) -> Option<SessionIdParts> {
    let mut parts = id.split('#');
    let (user, product, start) = (parts.next()?, parts.next()?, parts.next()?);
    let start = DateTime::parse_from_rfc3339(start).ok().filter(|_| parts.next().is_none())?;
    Some(SessionIdParts {
        user_id: decoded(user),
        product_code: decoded(product),
        start_micros: start.timestamp_micros(),
    })
}

fn decoded(part: &str) -> String {
    part.replace("%23", "#").replace("%25", "%")
}

fn push_encoded(id: &mut String, part: &str) {
    if !part.bytes().any(|byte| byte == b'%' || byte == b'#') {
        id.push_str(part);
        return;
    }
    for character in part.chars() {
        match character {
            '%' => id.push_str("%25"),
            '#' => id.push_str("%23"),
            other => id.push(other),
        }
    }
}

/// The date of the last instant that was written: neighbours share it.
#[derive(Default)]
struct Day {
    number: Option<i64>,
    text: String,
}

impl Day {
    fn push_instant(&mut self, out: &mut String, micros: i64) {
        let number = micros.div_euclid(MICROS_PER_DAY);
        if self.number != Some(number) {
            let date = i32::try_from(number).ok().and_then(NaiveDate::from_epoch_days);
            let Some(date) = date.filter(|date| (0..=9999).contains(&date.year())) else {
                if let Some(instant) = DateTime::from_timestamp_micros(micros) {
                    out.push_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true));
                }
                return;
            };
            self.text = date.format("%Y-%m-%dT").to_string();
            self.number = Some(number);
        }
        out.push_str(&self.text);
        let of_day = micros.rem_euclid(MICROS_PER_DAY);
        let (seconds, fraction) = (of_day / MICROS_PER_SECOND, of_day % MICROS_PER_SECOND);
        push_digits(out, seconds / 3600, 2);
        out.push(':');
        push_digits(out, seconds / 60 % 60, 2);
        out.push(':');
        push_digits(out, seconds % 60, 2);
        if fraction != 0 {
            out.push('.');
            if fraction % 1000 == 0 {
                push_digits(out, fraction / 1000, 3);
            } else {
                push_digits(out, fraction, 6);
            }
        }
        out.push('Z');
    }
}

fn push_digits(out: &mut String, mut value: i64, digits: usize) {
    let mut text = [b'0'; 6];
    for digit in text[..digits].iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
    out.extend(text[..digits].iter().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_start_is_written_as_rfc_3339(
            micros in prop_oneof![
                any::<i32>().prop_map(|seconds| i64::from(seconds) * MICROS_PER_SECOND),
                -80_000_000_000_000_000..260_000_000_000_000_000_i64,
                (-2_000_000_i64..2_000_000).prop_map(|millis| millis * 1000),
            ],
        ) {
            let starts = TimestampMicrosecondArray::from(vec![micros]);
            let ids =
                session_ids(&StringArray::from(vec!["u#%"]), &StringArray::from(vec!["p"]), &starts);
            let instant = DateTime::from_timestamp_micros(micros).unwrap();
            let instant = instant.to_rfc3339_opts(SecondsFormat::AutoSi, true);
            prop_assert_eq!(ids.value(0), format!("u%23%25#p#{instant}"));
        }
    }

    #[test]
    fn an_id_says_whose_session_it_is() {
        for (user, product, micros) in
            [("u1", "web", 0), ("a#b%23%", "%25#", 1_500_000), ("", "", 1)]
        {
            let (users, products) =
                (StringArray::from(vec![user]), StringArray::from(vec![product]));
            let ids =
                session_ids(&users, &products, &TimestampMicrosecondArray::from(vec![micros]));
            let parts = parts_of(ids.value(0)).unwrap();
            assert_eq!((parts.user_id.as_str(), parts.product_code.as_str()), (user, product));
            assert_eq!(parts.start_micros, micros);
        }
        for text in ["", "u1#web", "u1#web#noon", "u1#web#1970-01-01T00:00:00Z#"] {
            assert_eq!(parts_of(text), None, "{text}");
        }
    }

    #[test]
    fn neighbours_share_an_id_only_when_key_and_start_are_the_same() {
        let users = StringArray::from(vec!["a", "a", "b", "b", "b"]);
        let products = StringArray::from(vec!["p", "p", "p", "q", "q"]);
        let starts =
            TimestampMicrosecondArray::from(vec![Some(0), Some(0), Some(0), Some(0), None]);
        let ids = session_ids(&users, &products, &starts);
        let zero = "1970-01-01T00:00:00Z";
        assert_eq!(ids.value(1), format!("a#p#{zero}"));
        assert_eq!(ids.value(2), format!("b#p#{zero}"));
        assert_eq!(ids.value(3), format!("b#q#{zero}"));
        assert!(ids.is_null(4));
    }
}
