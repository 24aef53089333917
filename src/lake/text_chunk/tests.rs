use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use deltalake::parquet::arrow::ArrowSchemaConverter;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use deltalake::parquet::file::metadata::ParquetMetaData;
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::parquet::file::writer::SerializedFileWriter;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Texts = Vec<Option<String>>;

/// How a column is written.
#[derive(Debug, Clone, Copy)]
struct Way {
    repeats: Repeats,
    is_nullable: bool,
    compression: Compression,
    dictionary_bytes: usize,
}

const WAY: Way = Way {
    repeats: Repeats::Anywhere,
    is_nullable: true,
    compression: Compression::Snappy,
    dictionary_bytes: DICTIONARY_BYTES,
};

/// A file with one column: for each row group its pages.
fn written(groups: &[Vec<Texts>], way: Way) -> Bytes {
    let schema: SchemaRef =
        Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, way.is_nullable)]));
    let root = ArrowSchemaConverter::new().convert(&schema).unwrap().root_schema_ptr();
    let properties = Arc::new(WriterProperties::builder().set_offset_index_disabled(true).build());
    let mut file = SerializedFileWriter::new(Vec::new(), root, properties).unwrap();
    let descriptor = file.schema_descr().column(0);
    let mut chunk = TextChunk::new(descriptor, way.repeats, true, way.compression);
    chunk.dictionary_bytes = way.dictionary_bytes;
    for pages in groups {
        for page in pages {
            chunk.write(&StringArray::from(page.clone())).unwrap();
        }
        let (bytes, close) = chunk.finish().unwrap();
        let mut group = file.next_row_group().unwrap();
        group.append_column(&Bytes::from(bytes), close).unwrap();
        group.close().unwrap();
    }
    file.finish().unwrap();
    std::mem::take(file.inner_mut()).into()
}

/// The column as the library's reader finds it, and the footer.
fn read(file: Bytes) -> (Texts, Arc<ParquetMetaData>) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let (schema, metadata) = (Arc::clone(builder.schema()), Arc::clone(builder.metadata()));
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    let all = concat_batches(&schema, &batches).unwrap();
    let texts = all.column(0).as_string::<i32>();
    (texts.iter().map(|text| text.map(str::to_owned)).collect(), metadata)
}

fn texts(values: &[&str]) -> Texts {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

/// Least and greatest value of a row group, and its number of nulls.
fn bounds(metadata: &ParquetMetaData, group: usize) -> Option<(String, String, u64)> {
    let statistics = metadata.row_group(group).column(0).statistics()?;
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let (least, greatest) = (text(statistics.min_bytes_opt()), text(statistics.max_bytes_opt()));
    Some((least, greatest, statistics.null_count_opt().unwrap()))
}

#[test]
fn a_row_group_begins_without_what_the_one_before_held() {
    let groups = [vec![texts(&["b", "a"])], vec![texts(&["c"]), vec![None]]];
    let (found, metadata) = read(written(&groups, WAY));
    assert_eq!(found, groups.concat().concat());
    assert_eq!(bounds(&metadata, 0), Some(("a".to_owned(), "b".to_owned(), 0)));
    assert_eq!(bounds(&metadata, 1), Some(("c".to_owned(), "c".to_owned(), 1)));
}

#[test]
fn a_column_of_nulls_has_no_bounds() {
    let groups = [vec![vec![None, None]]];
    let (found, metadata) = read(written(&groups, WAY));
    assert_eq!(found, [None, None]);
    assert_eq!(bounds(&metadata, 0), None);
}

#[test]
fn a_value_too_long_for_statistics_leaves_the_group_without() {
    for (length, has_bounds) in [(STATISTICS_BYTES, true), (STATISTICS_BYTES + 1, false)] {
        let groups = [vec![texts(&["a", &"z".repeat(length)])]];
        let (found, metadata) = read(written(&groups, WAY));
        assert_eq!(found, groups.concat().concat());
        assert_eq!(bounds(&metadata, 0).is_some(), has_bounds, "{length} bytes");
    }
}

#[test]
fn a_full_dictionary_is_left_for_plain_values() {
    let first: Vec<String> = (0..100).map(|number| format!("value {number}")).collect();
    let first = texts(&first.iter().map(String::as_str).collect::<Vec<_>>());
    let groups = [vec![first, texts(&["value 1", "another", "value 1"])]];
    let way = Way { dictionary_bytes: 200, ..WAY };
    let (found, metadata) = read(written(&groups, way));
    assert_eq!(found, groups.concat().concat());
    let encodings: Vec<Encoding> = metadata.row_group(0).column(0).encodings().collect();
    assert!(encodings.contains(&Encoding::PLAIN), "{encodings:?}");
    assert!(encodings.contains(&Encoding::RLE_DICTIONARY), "{encodings:?}");
    // The bounds are those of both parts.
    assert_eq!(bounds(&metadata, 0).unwrap().0, "another");
}

#[test]
fn a_value_takes_its_bytes_once_however_often_it_comes() {
    for repeats in [Repeats::Anywhere, Repeats::InRuns] {
        let value = "x".repeat(1_000);
        let page = vec![Some(value); 10_000];
        let file = written(&[vec![page.clone(), page]], Way { repeats, ..WAY });
        let metadata = read(file).1;
        let bytes = metadata.row_group(0).column(0).uncompressed_size();
        assert!(bytes < 1_500, "{repeats:?}: {bytes} bytes");
    }
}

/// Values in runs, some null, of few distinct texts or many.
fn page(least_runs: usize) -> impl Strategy<Value = Texts> {
    let text = prop_oneof!["[ab]{0,2}", "value-[0-9]{1,3}", ".{0,12}"];
    let value = prop::option::weighted(0.9, text);
    vec((value, prop_oneof![3 => 1..4_usize, 1 => 5..40_usize]), least_runs..30)
        .prop_map(|runs| runs.into_iter().flat_map(|(value, length)| vec![value; length]).collect())
}

/// A row group has rows, but any page of it may have none.
fn row_group() -> impl Strategy<Value = Vec<Texts>> {
    (vec(page(0), 0..3), page(1), vec(page(0), 0..3))
        .prop_map(|(before, filled, behind)| [before, vec![filled], behind].concat())
}

proptest! {
    #[test]
    fn a_column_is_read_back_whatever_its_pages(
        groups in vec(row_group(), 1..4),
        repeats in prop::sample::select(vec![Repeats::Anywhere, Repeats::InRuns]),
        is_nullable in any::<bool>(),
        compression in prop::sample::select(Compression::ALL.to_vec()),
        dictionary_bytes in prop::sample::select(vec![0, 60, DICTIONARY_BYTES]),
    ) {
        let filled = |page: Texts| page.into_iter().map(|text| text.or(Some(String::new())));
        let groups: Vec<Vec<Texts>> = if is_nullable {
            groups
        } else {
            let pages = |group: Vec<Texts>| {
                group.into_iter().map(|page| filled(page).collect()).collect()
            };
            groups.into_iter().map(pages).collect()
        };
        let way = Way { repeats, is_nullable, compression, dictionary_bytes };
        let (found, metadata) = read(written(&groups, way));
        prop_assert_eq!(found, groups.concat().concat());
        for (number, group) in groups.iter().enumerate() {
            let all = group.concat();
            let values = || all.iter().flatten();
            let nulls = (all.len() - values().count()) as u64;
            let expected = values().min().zip(values().max());
            let expected = expected.map(|(min, max)| (min.clone(), max.clone(), nulls));
            prop_assert_eq!(bounds(&metadata, number), expected);
        }
    }
}
