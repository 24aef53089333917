use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const DATE: (&str, &str) = ("_updated_at", "2026-01-08");

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("text", DataType::Utf8, true),
        Field::new("_file", DataType::Utf8, false),
        Field::new("_line", DataType::Int64, false),
        Field::new(DATE.0, DataType::Utf8, false),
    ]))
}

/// Rows whose lines go on from `first_line`, with a text for every third.
fn rows(first_line: i64, count: usize) -> RecordBatch {
    let lines = first_line..first_line + i64::try_from(count).unwrap();
    let texts: StringArray =
        lines.clone().map(|line| (line % 3 != 0).then(|| format!("text {line}"))).collect();
    let lines = Int64Array::from_iter_values(lines);
    let columns: [(&str, ArrayRef); 2] = [("text", Arc::new(texts)), ("_line", Arc::new(lines))];
    let fields = [0, 2].map(|at| schema().field(at).clone()).to_vec();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.map(|(_, column)| column).to_vec())
        .unwrap()
}

fn constants(file: &str) -> Arc<RecordBatch> {
    let fields = vec![schema().field(1).clone()];
    let column: ArrayRef = Arc::new(StringArray::from(vec![file]));
    Arc::new(RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![column]).unwrap())
}

fn writer(store: &Arc<InMemory>, sizes: Sizes) -> RowGroupWriter {
    let store = Arc::clone(store) as Arc<dyn ObjectStore>;
    let name = TableName::Raw("events".to_owned());
    let threads = NonZeroUsize::new(2).unwrap();
    let partition = (DATE.0, DATE.1.to_owned());
    let compression = Compression::default();
    RowGroupWriter::with_sizes(&name, store, &schema(), partition, threads, compression, sizes)
}

/// The rows of a file: text, file and line, and how many row groups it has.
async fn read(store: &InMemory, add: &Add) -> (Vec<(Option<String>, String, i64)>, usize) {
    let path = Path::from(add.path.as_str());
    let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.len(), usize::try_from(add.size).unwrap());
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let row_groups = builder.metadata().num_row_groups();
    let schema = Arc::clone(builder.schema());
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    let all = concat_batches(&schema, &batches).unwrap();
    let (texts, files) = (all.column(0).as_string::<i32>(), all.column(1).as_string::<i32>());
    let lines = all.column(2).as_primitive::<Int64Type>();
    let row = |at| {
        let text = texts.is_valid(at).then(|| texts.value(at).to_owned());
        (text, files.value(at).to_owned(), lines.value(at))
    };
    ((0..all.num_rows()).map(row).collect(), row_groups)
}

#[tokio::test]
async fn a_writer_without_rows_has_no_file() {
    let mut writer = writer(&Arc::new(InMemory::new()), SIZES);
    writer.write(&rows(1, 0), &constants("a")).await.unwrap();
    assert_eq!(writer.rows(), 0);
    assert_eq!(writer.close().await.unwrap().len(), 0);
}

#[tokio::test]
async fn files_are_described_by_their_partition_size_and_rows() {
    let store = Arc::new(InMemory::new());
    let sizes = Sizes { row_group_rows: 10, file_bytes: 1, ..SIZES };
    let mut writer = writer(&store, sizes);
    writer.write(&rows(1, 25), &constants("a")).await.unwrap();
    let adds = writer.close().await.unwrap();
    let stats: Vec<_> = adds.iter().map(|add| add.stats.as_deref().unwrap()).collect();
    assert_eq!(stats, ["{\"numRecords\":10}", "{\"numRecords\":10}", "{\"numRecords\":5}"]);
    for add in &adds {
        assert!(add.path.starts_with("_updated_at=2026-01-08/part-0000"), "{}", add.path);
        assert_eq!(add.partition_values[DATE.0].as_deref(), Some(DATE.1));
    }
}

#[tokio::test]
async fn a_text_column_has_a_dictionary_only_where_it_repeats() {
    let store = Arc::new(InMemory::new());
    let mut writer = writer(&store, SIZES);
    writer.write(&rows(1, 1000), &constants("a")).await.unwrap();
    let adds = writer.close().await.unwrap();
    let bytes = store.get(&Path::from(adds[0].path.as_str())).await.unwrap().bytes().await.unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let has_dictionary =
        |column: usize| builder.metadata().row_group(0).column(column).dictionary_page_offset();
    assert_eq!([0, 1, 2].map(|column| has_dictionary(column).is_some()), [false, true, false]);
}

proptest! {
    #[test]
    fn rows_are_read_back_in_order_whatever_the_sizes(
        writes in vec((0..40_usize, any::<bool>()), 0..12),
        row_group_rows in 1..50_usize,
        row_group_bytes in prop::sample::select(vec![1, 2_000, usize::MAX]),
        file_bytes in prop::sample::select(vec![1, 3_000, usize::MAX]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = Arc::new(InMemory::new());
        let files = [constants("a"), constants("b")];
        let (mut expected, mut found, mut most) = (Vec::new(), Vec::new(), 0);
        let adds = runtime.block_on(async {
            let mut writer = writer(&store, Sizes { row_group_rows, row_group_bytes, file_bytes });
            let mut line = 1;
            for (count, second) in &writes {
                writer.write(&rows(line, *count), &files[usize::from(*second)]).await.unwrap();
                for line in line..line + i64::try_from(*count).unwrap() {
                    let text = (line % 3 != 0).then(|| format!("text {line}"));
                    expected.push((text, if *second { "b" } else { "a" }.to_owned(), line));
                }
                line += i64::try_from(*count).unwrap();
            }
            assert_eq!(usize::try_from(writer.rows()).unwrap(), expected.len());
            writer.close().await.unwrap()
        });
        for add in &adds {
            let (rows, row_groups) = runtime.block_on(read(&store, add));
            prop_assert!(row_groups > 0 && rows.len() <= row_groups * row_group_rows);
            most = most.max(row_groups);
            found.extend(rows);
        }
        prop_assert_eq!(found, expected);
        prop_assert!(file_bytes > 1 || most <= 1);
    }
}
