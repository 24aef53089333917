//! Columns that are paths into nested values, in every format, and whenever the mapping names them.

use std::fs::{self, File};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field};
use deltalake::parquet::arrow::ArrowWriter;

use crate::support::workspace::Workspace;

const CONFIGURATION: &str = r#"
[[feed]]
name = "events"
path = "batches/{arrival_date}.ENDING"
COLUMNS
[feed.event]
user_id = "u"
product_code = "'web'"
event_id = "EVENT"
timestamp = "t"
attributes = ["ATTRIBUTE as price"]
[feed.session]
timeout = "5m"
"#;
const ODS: [&str; 3] = ["user_id", "event_id", "price"];
const BUILT: [&str; 3] = ["u1,view,1.5", "u2,buy,", "u3,own,9"];

fn configuration(ending: &str, columns: &str, event: &str, attribute: &str) -> String {
    CONFIGURATION
        .replace("ENDING", ending)
        .replace("COLUMNS", columns)
        .replace("EVENT", event)
        .replace("ATTRIBUTE", attribute)
}

fn with_paths(ending: &str, columns: &str) -> String {
    configuration(
        ending,
        columns,
        r#"\"event_details.event_name\""#,
        r#"cast(\"event_details.item.price\" as double)"#,
    )
}

/// Three rows: nested, nested without a price, and one with the path as a name of its own.
fn write(workspace: &Workspace, ending: &str) {
    let path = workspace.path("batches").join(format!("2026-01-05.{ending}"));
    let time = |minute| format!("2026-01-05T10:0{minute}:00Z");
    let text = match ending {
        "jsonl" => format!(
            "{{\"event_details\":{{\"item\":{{\"price\":1.5}},\"event_name\":\"view\"}},\
             \"u\":\"u1\",\"t\":\"{}\"}}\n\
             {{\"u\":\"u2\",\"t\":\"{}\",\"event_details\":\"{{\\\"event_name\\\":\\\"buy\\\"}}\"}}\n\
             {{\"u\":\"u3\",\"t\":\"{}\",\"event_details.event_name\":\"own\",\
             \"event_details\":{{\"item\":{{\"price\":\"9\"}},\"event_name\":\"not this\"}}}}\n",
            time(0),
            time(1),
            time(2)
        ),
        "csv" => format!(
            "u,t,event_details,event_details.event_name\n\
             u1,{},\"{{\"\"item\"\":{{\"\"price\"\":1.5}},\"\"event_name\"\":\"\"view\"\"}}\",\n\
             u2,{},\"{{\"\"event_name\"\":\"\"buy\"\"}}\",\n\
             u3,{},\"{{\"\"item\"\":{{\"\"price\"\":9}}}}\",own\n",
            time(0),
            time(1),
            time(2)
        ),
        _ => return write_parquet(&path, [time(0), time(1), time(2)]),
    };
    fs::write(path, text).unwrap();
}

fn write_parquet(path: &std::path::Path, times: [String; 3]) {
    let prices: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(9)]));
    let item =
        StructArray::from(vec![(Arc::new(Field::new("price", DataType::Int64, true)), prices)]);
    let names: ArrayRef = Arc::new(StringArray::from(vec!["view", "buy", "not this"]));
    let item_type = item.data_type().clone();
    let details = StructArray::from(vec![
        (Arc::new(Field::new("event_name", DataType::Utf8, true)), names),
        (Arc::new(Field::new("item", item_type, true)), Arc::new(item) as ArrayRef),
    ]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("u", Arc::new(StringArray::from(vec!["u1", "u2", "u3"]))),
        ("t", Arc::new(StringArray::from(times.to_vec()))),
        ("event_details", Arc::new(details)),
        ("event_details.event_name", Arc::new(StringArray::from(vec![None, None, Some("own")]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn ods_lines(workspace: &Workspace) -> Vec<String> {
    workspace.ods_lines(&ODS).iter().map(|line| line.replace("9.0", "9")).collect()
}

#[test]
fn an_expression_names_a_path_in_any_format() {
    for ending in ["jsonl", "csv", "parquet"] {
        let workspace = Workspace::new();
        workspace.configure(&with_paths(ending, ""));
        write(&workspace, ending);
        workspace.exec("run").code(0);
        let price = if ending == "parquet" { "1.0" } else { "1.5" };
        let built = [format!("u1,view,{price}"), "u2,buy,".into(), "u3,own,9".into()];
        assert_eq!(ods_lines(&workspace), built, "{ending}");
        assert_eq!(
            workspace.raw_lines(&["u", "event_details.event_name"]),
            ["u1,view", "u2,buy", "u3,own"],
            "{ending}"
        );
    }
}

#[test]
fn a_path_that_raw_has_no_column_for_means_the_same() {
    for columns in ["", "columns = [\"u\", \"t\", \"event_details\"]"] {
        for ending in ["jsonl", "csv"] {
            let workspace = Workspace::new();
            workspace.configure(&configuration(ending, columns, "u", "cast(null as double)"));
            write(&workspace, ending);
            workspace.exec("run").code(0);
            workspace.configure(&with_paths(ending, columns));
            workspace.exec("reprocess --from 2026-01-01").code(0);
            assert_eq!(ods_lines(&workspace), BUILT, "{ending} {columns}");
        }
    }
}
