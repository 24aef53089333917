//! A lake whose tables were written to by somebody else.

use std::collections::HashMap;
use std::fs::{self, File};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::Schema;
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalake::kernel::Add;
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::file::metadata::SortingColumn;
use deltalake::parquet::file::properties::WriterProperties;
use sessionlake::lake::commits::{self, Change, Provenance};
use sessionlake::lake::contracts::SORT_KEY;
use sessionlake::lake::files::by_date;
use sessionlake::lake::{Lake, TableName};

use super::workspace::Workspace;

/// What a data file says of its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Sorted,
    Nothing,
}

impl Workspace {
    /// Puts what `query` makes of `rows`, the rows of one event date of `ods/events`, in their place.
    pub fn rewrite_ods(&self, date: &str, query: &str, says: Says) {
        self.rewrite(&TableName::Ods("events".to_owned()), date, query, says);
    }

    /// The same for `sessions/events`; `date` is the date on which its sessions begin.
    pub fn rewrite_sessions(&self, date: &str, query: &str) {
        self.rewrite(&TableName::Sessions("events".to_owned()), date, query, Says::Nothing);
    }

    fn rewrite(&self, name: &TableName, date: &str, query: &str, says: Says) {
        let folder = self.path("lake").join(name.to_string());
        self.block_on(rewrite(&self.lake(), name, &folder, date, query, says));
    }
}

async fn rewrite(
    lake: &Lake,
    name: &TableName,
    folder: &std::path::Path,
    date: &str,
    query: &str,
    says: Says,
) {
    let table = lake.load(name).await.unwrap().unwrap();
    let partition = name.partition_column().unwrap();
    let mut config = SessionConfig::new();
    config.options_mut().execution.parquet.schema_force_view_types = false;
    config.options_mut().execution.time_zone = Some("UTC".to_owned());
    let context = SessionContext::new_with_config(config);
    let provider = table.table_provider().with_session(Arc::new(context.state())).await.unwrap();
    let whole = provider.schema();
    context.register_table("whole", provider).unwrap();
    let rows = format!("select * from whole where {partition} = date '{date}'");
    let sql = format!(
        "with rows as ({rows}), written as ({query}) select * exclude ({partition}) from written"
    );
    // A query may end in an order, which a query around it need not keep.
    let sorted =
        query.split_once("order by").map_or(String::new(), |(_, by)| format!(" order by {by}"));
    let batches = context.sql(&format!("{sql}{sorted}")).await.unwrap().collect().await.unwrap();
    let batches: Vec<RecordBatch> = batches.iter().map(|batch| typed(batch, &whole)).collect();
    let path = format!("{partition}={date}/written-{}.parquet", uuid::Uuid::new_v4());
    let schema = batches[0].schema();
    let sorting = (says == Says::Sorted).then(|| {
        let key = SORT_KEY.iter().map(|name| SortingColumn {
            column_idx: i32::try_from(schema.index_of(name).unwrap()).unwrap(),
            descending: false,
            nulls_first: false,
        });
        key.collect()
    });
    let properties = WriterProperties::builder().set_sorting_columns(sorting).build();
    let file = File::create(folder.join(&path)).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
    let files = by_date(name, &table, partition).unwrap();
    let add = Add {
        size: i64::try_from(fs::metadata(folder.join(&path)).unwrap().len()).unwrap(),
        path,
        partition_values: HashMap::from([(partition.to_owned(), Some(date.to_owned()))]),
        data_change: true,
        ..Add::default()
    };
    let change = Change {
        adds: vec![add],
        removes: files[&date.parse().unwrap()].iter().map(|file| file.remove.clone()).collect(),
        ..Change::default()
    };
    let provenance = Provenance {
        run_id: "somebody".to_owned(),
        config_hash: String::new(),
        stage: "elsewhere",
        input_versions: vec![],
    };
    commits::commit(name, &table, change, &provenance).await.unwrap();
}

/// The columns of a batch in the types of the table.
fn typed(batch: &RecordBatch, table: &Schema) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let field = table.field_with_name(field.name()).unwrap();
        (field.name().clone(), cast(column, field.data_type()).unwrap())
    });
    RecordBatch::try_from_iter(columns.collect::<Vec<_>>()).unwrap()
}
