use std::sync::Arc;

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int64Array, Int64Builder, ListArray, MapBuilder, StringArray,
    StringBuilder, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{Field, i256};

use super::*;

/// Every value as text, then as JSON.
fn written(column: impl Array + 'static) -> Vec<(String, String)> {
    let column: ArrayRef = Arc::new(column);
    (0..column.len())
        .map(|row| {
            let (mut text, mut json) = (String::new(), String::new());
            push_text(&column, row, &mut text).unwrap();
            push_json(&column, row, &mut json).unwrap();
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
            (text, json)
        })
        .collect()
}

fn check(column: impl Array + 'static, expected: &[(&str, &str)]) {
    let written = written(column);
    let written: Vec<_> = written.iter().map(|(t, j)| (t.as_str(), j.as_str())).collect();
    assert_eq!(written, expected);
}

#[test]
fn numbers_are_written_so_that_they_read_back_the_same() {
    check(
        Int64Array::from(vec![i64::MIN, 0]),
        &[("-9223372036854775808", "-9223372036854775808"), ("0", "0")],
    );
    check(UInt64Array::from(vec![u64::MAX]), &[("18446744073709551615", "18446744073709551615")]);
    check(
        Float64Array::from(vec![1.0, 0.1, -2.5e-9, 1e300, f64::NAN, f64::NEG_INFINITY]),
        &[
            ("1.0", "1.0"),
            ("0.1", "0.1"),
            ("-2.5e-9", "-2.5e-9"),
            ("1e+300", "1e+300"),
            ("NaN", "\"NaN\""),
            ("-inf", "\"-inf\""),
        ],
    );
    check(Float32Array::from(vec![0.1]), &[("0.1", "0.1")]);
    check(BooleanArray::from(vec![true, false]), &[("true", "true"), ("false", "false")]);
}

#[test]
fn decimals_keep_every_digit() {
    let small = Decimal128Array::from(vec![5, -1250]).with_precision_and_scale(9, 2).unwrap();
    check(small, &[("0.05", "0.05"), ("-12.50", "-12.50")]);
    let digits = "12345678901234567890123456789012345678901234567890";
    let large = Decimal256Array::from(vec![i256::from_string(digits).unwrap()])
        .with_precision_and_scale(76, 20)
        .unwrap();
    let text = "123456789012345678901234567890.12345678901234567890";
    check(large, &[(text, text)]);
}

#[test]
fn times_are_written_as_the_mapping_reads_them() {
    let micros = vec![1_767_607_200_000_000, 1_767_607_200_500_000, 1_767_607_200_000_001];
    let local = TimestampMicrosecondArray::from(micros);
    check(
        local.clone(),
        &[
            ("2026-01-05 10:00:00", "\"2026-01-05 10:00:00\""),
            ("2026-01-05 10:00:00.500", "\"2026-01-05 10:00:00.500\""),
            ("2026-01-05 10:00:00.000001", "\"2026-01-05 10:00:00.000001\""),
        ],
    );
    check(
        local.with_timezone("UTC"),
        &[
            ("2026-01-05T10:00:00Z", "\"2026-01-05T10:00:00Z\""),
            ("2026-01-05T10:00:00.500Z", "\"2026-01-05T10:00:00.500Z\""),
            ("2026-01-05T10:00:00.000001Z", "\"2026-01-05T10:00:00.000001Z\""),
        ],
    );
    let nanos = TimestampNanosecondArray::from(vec![1_767_607_200_000_000_001]);
    check(nanos, &[("2026-01-05 10:00:00.000000001", "\"2026-01-05 10:00:00.000000001\"")]);
    let beyond = TimestampMillisecondArray::from(vec![i64::MAX]).with_timezone("UTC");
    check(beyond, &[("9223372036854775807", "9223372036854775807")]);
    let days = Date32Array::from(vec![20_458, -1]);
    check(days, &[("2026-01-05", "\"2026-01-05\""), ("1969-12-31", "\"1969-12-31\"")]);
    let time = Time64MicrosecondArray::from(vec![36_000_500_000]);
    check(time, &[("10:00:00.500", "\"10:00:00.500\"")]);
}

#[test]
fn bytes_are_text_where_they_are_and_hexadecimal_else() {
    check(StringArray::from(vec!["a\"b", ""]), &[("a\"b", r#""a\"b""#), ("", "\"\"")]);
    let bytes = BinaryArray::from(vec!["é".as_bytes(), b"\xFF\x01"]);
    check(bytes, &[("é", "\"é\""), ("ff01", "\"ff01\"")]);
    let fixed = FixedSizeBinaryArray::try_from_iter([b"ab"].into_iter()).unwrap();
    check(fixed, &[("6162", "\"6162\"")]);
}

#[test]
fn what_is_nested_is_json() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None]),
        Some(vec![]),
    ]);
    check(list, &[("[1,null]", "[1,null]"), ("[]", "[]")]);
    let fields: Vec<(_, ArrayRef)> = vec![
        (
            Arc::new(Field::new("a \"b\"", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec!["x\ny"])),
        ),
        (
            Arc::new(Field::new("n", DataType::Float64, true)),
            Arc::new(Float64Array::from(vec![f64::NAN])),
        ),
    ];
    let json = r#"{"a \"b\"":"x\ny","n":"NaN"}"#;
    check(StructArray::from(fields), &[(json, json)]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k");
    map.values().append_value(1);
    map.keys().append_value("l");
    map.values().append_null();
    map.append(true).unwrap();
    check(map.finish(), &[(r#"{"k":1,"l":null}"#, r#"{"k":1,"l":null}"#)]);
}
