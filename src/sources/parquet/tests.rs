use std::fs::File;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int64Type;
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::file::properties::WriterProperties;

use super::*;

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Writes row groups of `group_rows` rows; the batch becomes the file's rows.
fn write(path: &Path, batch: &RecordBatch, group_rows: usize) {
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn events(rows: usize) -> RecordBatch {
    let numbers: Vec<i64> = (0..rows).map(|row| i64::try_from(row).unwrap()).collect();
    let texts = numbers.iter().map(|number| (number % 3 > 0).then(|| format!("u{number}")));
    let prices = numbers.iter().map(|number| f64::from(i32::try_from(*number).unwrap()) / 4.0);
    let times: Vec<i64> = numbers.iter().map(|number| 1_767_607_200_000_000 + number).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("number", Arc::new(Int64Array::from(numbers.clone()))),
        ("text", Arc::new(texts.collect::<StringArray>())),
        ("price", Arc::new(prices.collect::<Float64Array>())),
        ("time", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("Europe/Berlin"))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

type Row = (i64, Vec<Option<String>>);

fn read(path: &Path, names: &[&str], threads: usize) -> Result<Vec<Row>, SourceError> {
    let columns = columns(names);
    let threads = NonZeroUsize::new(threads).unwrap();
    let mut reader = ParquetReader::open(path, &columns, &columns, threads, ReadLimits::default())?;
    let mut read = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        assert!(batch.rejected.is_empty());
        let (lines, texts) = batch.rows.columns().split_last().unwrap();
        let lines = lines.as_primitive::<Int64Type>();
        for row in 0..batch.rows.num_rows() {
            let texts = texts.iter().map(AsArray::as_string::<i32>);
            let values = texts.map(|c| c.is_valid(row).then(|| c.value(row).to_owned()));
            read.push((lines.value(row), values.collect()));
        }
    }
    let whole = Input::open(path, Limits::default())?.content_hash()?;
    assert_eq!(reader.content_hash()?, whole);
    Ok(read)
}

#[test]
fn rows_come_out_in_file_order_however_many_groups_and_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    for (rows, group_rows) in [(0, 10), (1, 10), (1000, 1000), (1000, 7), (20_000, 9_000)] {
        write(&path, &events(rows), group_rows);
        for threads in [1, 3] {
            let read = read(&path, &["text", "number"], threads).unwrap();
            assert_eq!(read.len(), rows);
            for (at, (line, values)) in read.iter().enumerate() {
                assert_eq!(*line, i64::try_from(at).unwrap() + 1);
                assert_eq!(values[1].as_deref(), Some(at.to_string().as_str()));
                assert_eq!(values[0], (at % 3 > 0).then(|| format!("u{at}")));
            }
        }
    }
}

#[test]
fn what_has_no_column_of_its_own_is_in_extra() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &events(2), 10);
    let extras: Vec<_> =
        read(&path, &["number"], 1).unwrap().into_iter().map(|row| row.1).collect();
    assert_eq!(
        extras[1][1].as_deref(),
        Some(r#"{"text":"u1","price":0.25,"time":"2026-01-05T10:00:00.000001Z"}"#)
    );
    assert_eq!(extras[0][1].as_deref(), Some(r#"{"price":0.0,"time":"2026-01-05T10:00:00Z"}"#));
}

#[test]
fn a_schema_without_declared_columns_names_them_and_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &events(1), 10);
    let error = read(&path, &["number", "Text", "zzz"], 1).unwrap_err().to_string();
    assert!(error.contains("lacks `Text` (is it `text`?), `zzz`; it has `number`,"), "{error}");
}

#[test]
fn a_file_cut_off_anywhere_or_of_another_kind_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &events(500), 100);
    let whole = std::fs::read(&path).unwrap();
    for kept in (0..whole.len()).step_by(97).chain([4, 8, 12, whole.len() - 1]) {
        std::fs::write(&path, &whole[..kept]).unwrap();
        let error = read(&path, &["number"], 2).unwrap_err();
        let is_told = match error {
            SourceError::Empty { .. } => kept == 0,
            SourceError::NotParquet { .. } => kept < 4,
            SourceError::CutOff { .. } => kept >= 4,
            _ => false,
        };
        assert!(is_told, "{kept}: {error}");
        assert!(error.to_string().contains("a.parquet"), "{error}");
    }
    std::fs::write(&path, "number,text\n1,2\n").unwrap();
    assert!(matches!(read(&path, &[], 1).unwrap_err(), SourceError::NotParquet { .. }));
}

#[test]
fn damaged_pages_are_an_error_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &events(500), 100);
    let mut bytes = std::fs::read(&path).unwrap();
    // Page headers among them: without checksums nobody can tell a wrong digit in a page.
    let middle = bytes.len() / 2;
    bytes[4..middle].fill(0xFF);
    std::fs::write(&path, bytes).unwrap();
    let error = read(&path, &["number", "text", "price", "time"], 2).unwrap_err();
    assert!(matches!(error, SourceError::Parquet { .. }), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let missing = read(Path::new("no such.parquet"), &[], 1).unwrap_err();
    assert!(matches!(missing, SourceError::Open { .. }), "{missing}");
}
