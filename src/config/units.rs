//! Durations (`"5m"`, `"1h 30m"`), sizes (`"512MB"`) and shares (`"0.5%"`), read and written.

use bytesize::ByteSize;

use super::reason::Reason;

/// Units a duration is written in, largest first, each in microseconds.
const DURATION_UNITS: [(&str, i64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Units a size is written in, largest first, each in bytes.
const SIZE_UNITS: [(&str, u64); 6] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
];

/// All of something, in parts per million.
const ALL_PPM: u32 = 1_000_000;

/// Reads a positive duration into whole microseconds.
pub(crate) fn parse_micros(value: &str) -> Result<i64, Reason> {
    let duration = humantime::parse_duration(value)
        .map_err(|cause| Reason::NotADuration { value: value.to_owned(), cause })?;
    let is_whole = duration.subsec_nanos() % 1_000 == 0;
    i64::try_from(duration.as_micros())
        .ok()
        .filter(|micros| *micros > 0 && is_whole)
        .ok_or_else(|| Reason::UnusableDuration { value: value.to_owned() })
}

/// Writes microseconds as [`parse_micros`] reads them, such as `1h 30m`; zero is `0s`.
pub(crate) fn format_micros(micros: i64) -> String {
    let mut rest = micros;
    let mut parts = Vec::new();
    for (unit, size) in DURATION_UNITS {
        if rest / size > 0 {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Reads a size such as `512MB` (10^6 bytes) or `512MiB` (2^20 bytes) into bytes.
pub(crate) fn parse_bytes(value: &str) -> Result<u64, Reason> {
    match value.parse::<ByteSize>() {
        Ok(size) => Ok(size.as_u64()),
        Err(_) => Err(Reason::NotASize { value: value.to_owned() }),
    }
}

/// Writes bytes exactly, in the largest unit that divides them.
pub(crate) fn format_bytes(bytes: u64) -> String {
    SIZE_UNITS
        .into_iter()
        .find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size))
        .map_or_else(|| format!("{bytes}B"), |(unit, size)| format!("{}{unit}", bytes / size))
}

/// Reads a share such as `0.5%` into parts per million.
pub(crate) fn parse_ppm(value: &str) -> Result<u32, Reason> {
    let ppm = || {
        let (whole, part) =
            value.strip_suffix('%')?.split_once('.').unwrap_or((&value[..value.len() - 1], ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || part.len() > 4 || !digits(whole) || !digits(part) {
            return None;
        }
        format!("{whole}{part:0<4}").parse::<u32>().ok().filter(|ppm| *ppm <= ALL_PPM)
    };
    ppm().ok_or_else(|| Reason::NotAShare { value: value.to_owned() })
}

/// Writes parts per million as [`parse_ppm`] reads them.
pub(crate) fn format_ppm(ppm: u32) -> String {
    let (whole, part) = (ppm / 10_000, format!("{:04}", ppm % 10_000));
    match part.trim_end_matches('0') {
        "" => format!("{whole}%"),
        part => format!("{whole}.{part}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_into_microseconds() {
        assert_eq!(parse_micros("5m").unwrap(), 300_000_000);
        assert_eq!(parse_micros("1h 30m").unwrap(), 5_400_000_000);
        assert_eq!(parse_micros("1us").unwrap(), 1);
    }

    #[test]
    fn a_duration_must_be_positive_and_of_whole_microseconds() {
        for value in ["0s", "500ns", "1500ns", "300000y"] {
            assert!(matches!(parse_micros(value), Err(Reason::UnusableDuration { .. })), "{value}");
        }
        for value in ["", "5", "5x", "-5m", "five minutes"] {
            assert!(matches!(parse_micros(value), Err(Reason::NotADuration { .. })), "{value}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for value in ["5m", "1h 30m", "31d", "1d 1us", "1s 250ms"] {
            assert_eq!(format_micros(parse_micros(value).unwrap()), value);
        }
        assert_eq!(format_micros(0), "0s");
    }

    #[test]
    fn sizes_are_read_in_decimal_and_binary_units() {
        assert_eq!(parse_bytes("512MB").unwrap(), 512_000_000);
        assert_eq!(parse_bytes("512MiB").unwrap(), 536_870_912);
        assert_eq!(parse_bytes("1.5 GB").unwrap(), 1_500_000_000);
        assert_eq!(parse_bytes("1048576").unwrap(), 1_048_576);
        assert!(matches!(parse_bytes("lots"), Err(Reason::NotASize { .. })));
        assert!(matches!(parse_bytes("-1GB"), Err(Reason::NotASize { .. })));
    }

    #[test]
    fn shares_are_written_as_they_are_read() {
        for (value, ppm) in [("0%", 0), ("0.5%", 5_000), ("1%", 10_000), ("100%", 1_000_000)] {
            assert_eq!(parse_ppm(value).unwrap(), ppm);
            assert_eq!(format_ppm(ppm), value);
        }
        assert_eq!(parse_ppm("0.0001%").unwrap(), 1);
        for value in ["", "%", "5", ".5%", "-1%", "+1%", "1e1%", "101%", "0.00001%", "99999999999%"]
        {
            assert!(matches!(parse_ppm(value), Err(Reason::NotAShare { .. })), "{value}");
        }
    }

    #[test]
    fn sizes_are_written_exactly() {
        for value in ["512MB", "4GiB", "1KiB", "1048577B"] {
            assert_eq!(format_bytes(parse_bytes(value).unwrap()), value);
        }
    }
}
