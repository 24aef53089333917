//! What `types` of `[feed.contract]` asks of the values of a column.

use std::fmt;

use chrono::format::{Item, StrftimeItems};
use serde::Serialize;

use super::reason::Reason;
use super::validate::one_of;

/// What the text of a value must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum ColumnType {
    /// A whole number of 64 bits.
    Integer,
    /// A finite number, with a point or an exponent or without.
    Number,
    /// `true` or `false`, in letters of any case.
    Boolean,
    /// `2026-01-08`.
    Date,
    /// RFC 3339 or SQL.
    Timestamp,
    /// Seconds since 1970, a whole number.
    EpochSeconds,
    /// Milliseconds since 1970, a whole number.
    EpochMillis,
    /// Microseconds since 1970, a whole number.
    EpochMicros,
    /// A timestamp or date in this pattern of chrono's `strftime`.
    Pattern(String),
}

impl ColumnType {
    const NAMED: [Self; 8] = [
        Self::Integer,
        Self::Number,
        Self::Boolean,
        Self::Date,
        Self::Timestamp,
        Self::EpochSeconds,
        Self::EpochMillis,
        Self::EpochMicros,
    ];

    const fn name(&self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::EpochSeconds => "epoch_seconds",
            Self::EpochMillis => "epoch_millis",
            Self::EpochMicros => "epoch_micros",
            Self::Pattern(_) => "pattern",
        }
    }

    pub(crate) fn parse(written: &str) -> Result<Self, Reason> {
        if written.contains('%') {
            let is_broken = StrftimeItems::new(written).any(|item| matches!(item, Item::Error));
            return if is_broken {
                Err(Reason::BadTimestampFormat { value: written.to_owned() })
            } else {
                Ok(Self::Pattern(written.to_owned()))
            };
        }
        let names = Self::NAMED.each_ref().map(Self::name);
        let name = one_of(written, &names, |name| name)?;
        let named = Self::NAMED.into_iter().find(|named| named.name() == name);
        Ok(named.unwrap_or_else(|| Self::Pattern(written.to_owned())))
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => f.write_str(pattern),
            named => f.write_str(named.name()),
        }
    }
}
