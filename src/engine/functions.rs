//! Scalar functions: `session_id` and `attributes_key`.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, BinaryBuilder, StringBuilder, StructArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use chrono::{DateTime, SecondsFormat};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `session_id(user_id, product_code, session_start)`: `user#product#start`, the start in
/// RFC 3339 UTC with a fraction of 3 or 6 digits only when there is one. `%` and `#` inside the
/// two ids are percent-encoded, so that two keys never share an id. Null without a start.
pub fn session_id_udf() -> ScalarUDF {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    ScalarUDF::from(SessionId {
        signature: Signature::exact(
            vec![DataType::Utf8, DataType::Utf8, timestamp],
            Volatility::Immutable,
        ),
    })
}

/// `attributes_key(struct)`: bytes whose order is the order of duplicates (field by field, nulls
/// last) and whose equality is the equality of all fields.
pub fn attributes_key_udf() -> ScalarUDF {
    ScalarUDF::from(AttributesKey { signature: Signature::any(1, Volatility::Immutable) })
}

/// The keys of a whole column; null for a null struct, which comes from the empty side of an
/// outer join.
pub fn attributes_key(attributes: &StructArray) -> Result<BinaryArray> {
    let nulls_last = SortOptions { descending: false, nulls_first: false };
    let fields = attributes
        .columns()
        .iter()
        .map(|column| SortField::new_with_options(column.data_type().clone(), nulls_last))
        .collect();
    let rows = RowConverter::new(fields)?.convert_columns(attributes.columns())?;
    let mut keys = BinaryBuilder::new();
    for (row, key) in rows.iter().enumerate() {
        if attributes.is_valid(row) {
            keys.append_value(key.as_ref());
        } else {
            keys.append_null();
        }
    }
    Ok(keys.finish())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionId {
    signature: Signature,
}

impl ScalarUDFImpl for SessionId {
    fn name(&self) -> &'static str {
        "session_id"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [users, products, starts] = arrays.as_slice() else {
            return exec_err!("session_id takes three arguments");
        };
        let (users, products) = (users.as_string::<i32>(), products.as_string::<i32>());
        let starts = starts.as_primitive::<TimestampMicrosecondType>();
        let mut ids = StringBuilder::new();
        let mut id = String::new();
        for row in 0..starts.len() {
            let known = starts.is_valid(row) && users.is_valid(row) && products.is_valid(row);
            let start = DateTime::from_timestamp_micros(starts.value(row));
            let (true, Some(start)) = (known, start) else {
                ids.append_null();
                continue;
            };
            id.clear();
            push_encoded(&mut id, users.value(row));
            id.push('#');
            push_encoded(&mut id, products.value(row));
            id.push('#');
            id.push_str(&start.to_rfc3339_opts(SecondsFormat::AutoSi, true));
            ids.append_value(&id);
        }
        Ok(ColumnarValue::Array(Arc::new(ids.finish())))
    }
}

fn push_encoded(id: &mut String, part: &str) {
    for character in part.chars() {
        match character {
            '%' => id.push_str("%25"),
            '#' => id.push_str("%23"),
            other => id.push(other),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AttributesKey {
    signature: Signature,
}

impl ScalarUDFImpl for AttributesKey {
    fn name(&self) -> &'static str {
        "attributes_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [attributes] = arrays.as_slice() else {
            return exec_err!("attributes_key takes one struct");
        };
        let Some(attributes) = attributes.as_struct_opt() else {
            return exec_err!("attributes_key takes a struct, found {}", attributes.data_type());
        };
        Ok(ColumnarValue::Array(Arc::new(attributes_key(attributes)?)))
    }
}
