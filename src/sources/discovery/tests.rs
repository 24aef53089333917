use std::num::NonZeroUsize;

use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use deltalake::parquet::arrow::ArrowWriter;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;

use super::super::delivered::FileReader;
use super::super::limits::ReadLimits;
use crate::config::SourceFormat;
use std::fs::File;
use std::io::Write as _;

use super::*;

fn folder_with(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    folder
}

fn files_on_disk(template: &str, arrival_date: &str) -> Vec<SourceFile> {
    block_on(Source::on_disk(template).files_of(date(arrival_date))).unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

#[test]
fn several_files_of_a_date_are_listed_by_name() {
    let folder = folder_with(&["2026-01-02/b.csv", "2026-01-02/a.csv", "2026-01-03/a.csv"]);
    let template = format!("{}/{{arrival_date}}/*.csv", folder.path().display());
    let names: Vec<String> =
        files_on_disk(&template, "2026-01-02").into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["2026-01-02/a.csv", "2026-01-02/b.csv"]);
}

#[test]
fn arrival_dates_are_read_from_the_paths() {
    let folder = folder_with(&["x-2026-01-02.csv", "x-2026-01-05.csv", "x-notadate1.csv", "y.csv"]);
    let template = format!("{}/x-{{arrival_date}}.csv", folder.path().display());
    assert_eq!(
        block_on(Source::on_disk(&template).all_files()).unwrap().into_keys().collect::<Vec<_>>(),
        [date("2026-01-02"), date("2026-01-05")]
    );
}

#[test]
fn a_touched_file_has_another_stat_and_the_same_hash() {
    let folder = folder_with(&["2026-01-02.csv"]);
    let template = format!("{}/{{arrival_date}}.csv", folder.path().display());
    let before = files_on_disk(&template, "2026-01-02").remove(0);
    let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5);
    File::options().write(true).open(&before.path).unwrap().set_modified(later).unwrap();
    let after = files_on_disk(&template, "2026-01-02").remove(0);
    assert_ne!(before.stat(), after.stat());
    assert_eq!(before.content_hash().unwrap(), after.content_hash().unwrap());
    assert!(!before.is_unchanged().unwrap());
}

/// A store with objects of that content, and the source of a template in it.
async fn bucket_with(keys: &[&str]) -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    for key in keys {
        store.put(&Key::parse(key).unwrap(), (*key).to_owned().into()).await.unwrap();
    }
    store
}

#[tokio::test]
async fn objects_are_listed_by_date_and_glob() {
    let store = bucket_with(&[
        "in/2026-01-02/b #1%.csv",
        "in/2026-01-02/a.csv",
        "in/2026-01-02/a.txt",
        "in/2026-01-02/deep/a.csv",
        "in/2026-01-03/c.csv",
        "in/2026-01-33/c.csv",
        "other/2026-01-02/a.csv",
    ])
    .await;
    let source = Source::in_store("s3://bucket/in/{arrival_date}/*.csv", store);
    let files = source.files_of(date("2026-01-02")).await.unwrap();
    let named: Vec<_> = files.iter().map(|f| (f.path.to_str().unwrap(), f.name.as_str())).collect();
    assert_eq!(
        named,
        [
            ("s3://bucket/in/2026-01-02/a.csv", "2026-01-02/a.csv"),
            ("s3://bucket/in/2026-01-02/b #1%.csv", "2026-01-02/b #1%.csv"),
        ]
    );
    let dates = source.all_files().await.unwrap();
    let counts: Vec<_> =
        dates.iter().map(|(date, files)| (date.to_string(), files.len())).collect();
    assert_eq!(counts, [("2026-01-02".to_owned(), 2), ("2026-01-03".to_owned(), 1)]);
}

#[tokio::test]
async fn a_template_may_start_with_the_date_at_the_root_of_the_bucket() {
    let store =
        bucket_with(&["2026-01-02-x.csv.gz", "2026-01-04-y.csv.gz", "z/2026-01-02-x.csv.gz"]);
    let source = Source::in_store("s3://bucket/{arrival_date}-*.csv.gz", store.await);
    let files = source.files_of(date("2026-01-02")).await.unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].name, "2026-01-02-x.csv.gz");
    assert_eq!(source.all_files().await.unwrap().len(), 2);
}

#[test]
fn the_bucket_of_a_template_is_the_front_of_its_url() {
    assert_eq!(Source::bucket("s3://bucket/in/{arrival_date}.csv"), Some("s3://bucket"));
    assert_eq!(Source::bucket("/in/{arrival_date}.csv"), None);
}

/// The only object of the store, as it is now.
async fn object(store: &Arc<InMemory>) -> SourceFile {
    let store = Arc::clone(store) as Arc<dyn ObjectStore>;
    let source = Source::in_store("s3://bucket/{arrival_date}.csv", store);
    source.files_of(date("2026-01-02")).await.unwrap().remove(0)
}

async fn hash(file: &SourceFile) -> Result<String, SourceError> {
    let file = file.clone();
    tokio::task::spawn_blocking(move || file.content_hash()).await.unwrap()
}

#[tokio::test]
async fn an_object_written_again_has_another_stat_and_is_not_read_as_the_one_listed() {
    let store = bucket_with(&["2026-01-02.csv"]).await;
    let before = object(&store).await;
    let hash_before = hash(&before).await.unwrap();
    store.put(&Key::from("2026-01-02.csv"), "2026-01-02.csv".into()).await.unwrap();
    let after = object(&store).await;
    assert_ne!(before.stat(), after.stat());
    assert_eq!(hash(&after).await.unwrap(), hash_before);
    let error = hash(&before).await.unwrap_err();
    assert!(matches!(error, SourceError::Changed { .. }), "{error}");
    assert!(error.to_string().contains("s3://bucket/2026-01-02.csv"), "{error}");
}

#[tokio::test]
async fn an_object_that_is_gone_is_named() {
    let store = bucket_with(&["2026-01-02.csv"]).await;
    let listed = object(&store).await;
    store.delete(&Key::from("2026-01-02.csv")).await.unwrap();
    let error = hash(&listed).await.unwrap_err();
    assert!(error.to_string().contains("s3://bucket/2026-01-02.csv"), "{error}");
}

/// What a file holds: rows, first value, last line number, hash.
fn read(location: &Location, format: SourceFormat) -> (usize, i64, String) {
    let columns = ["a".to_owned()];
    let threads = NonZeroUsize::new(2).unwrap();
    let mut reader =
        FileReader::open(location, format, &columns, &columns, threads, ReadLimits::default())
            .unwrap();
    let (mut rows, mut last) = (0, 0);
    while let Some(batch) = reader.next_batch().unwrap() {
        assert!(batch.rejected.is_empty());
        rows += batch.rows.num_rows();
        let lines = batch.rows.column(batch.rows.num_columns() - 1).as_primitive::<Int64Type>();
        last = lines.values().last().copied().unwrap_or(last);
    }
    (rows, last, reader.content_hash().unwrap())
}

#[tokio::test]
async fn an_object_of_many_parts_is_read_as_the_same_file_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut csv = b"a,b\n".to_vec();
    for row in 0..600_000 {
        writeln!(csv, "{row},{}", row * 7919 % 1_000_003).unwrap();
    }
    assert!(csv.len() > 8 << 20, "several parts: {}", csv.len());
    let numbers = Int64Array::from_iter_values((0..900_000).map(|row| row * 7919 % 1_000_003));
    let rows = RecordBatch::try_from_iter([("a", Arc::new(numbers) as ArrayRef)]).unwrap();
    let mut parquet = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut parquet, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&csv).unwrap();
    let files = [
        ("2026-01-02.csv.gz", SourceFormat::Csv, gzip.finish().unwrap()),
        ("2026-01-02.csv.zst", SourceFormat::Csv, zstd::encode_all(csv.as_slice(), 1).unwrap()),
        ("2026-01-02.csv", SourceFormat::Csv, csv),
        ("2026-01-02.parquet", SourceFormat::Parquet, parquet),
    ];
    for (name, format, content) in files {
        let path = folder.path().join(name);
        fs::write(&path, &content).unwrap();
        let store = Arc::new(InMemory::new());
        store.put(&Key::from(name), content.into()).await.unwrap();
        let template = format!("s3://bucket/{}", name.replace("2026-01-02", "{arrival_date}"));
        let source = Source::in_store(&template, store);
        let listed = source.files_of(date("2026-01-02")).await.unwrap().remove(0).location();
        let in_store = tokio::task::spawn_blocking(move || read(&listed, format)).await.unwrap();
        assert_eq!(in_store, read(&Location::from(&path), format), "{name}");
    }
}
