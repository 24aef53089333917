//! Scalar functions: `session_id` and `attributes_key`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BinaryArray, BinaryBuilder, BooleanArray, RecordBatch, StringBuilder,
    StructArray,
};
use arrow::compute::{SortOptions, cast, prep_null_mask_filter};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use chrono::{DateTime, SecondsFormat};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::expressions::Expression;

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

/// A compiled rule as a function over the columns it may name. Unlike the expression inside a
/// plan, it does not fail a batch for rows that the rule cannot judge, and the planner cannot
/// take it apart; a rule that fails or yields null is false.
pub fn rule_udf(rule: Expression, columns: &SchemaRef) -> ScalarUDF {
    let signature = Signature::any(columns.fields().len(), Volatility::Immutable);
    ScalarUDF::from(Rule { signature, rule, columns: SchemaRef::clone(columns) })
}

#[derive(Debug)]
struct Rule {
    signature: Signature,
    rule: Expression,
    columns: SchemaRef,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.rule.sql() == other.rule.sql() && self.columns == other.columns
    }
}

impl Eq for Rule {}

impl Hash for Rule {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rule.sql().hash(state);
    }
}

impl ScalarUDFImpl for Rule {
    fn name(&self) -> &'static str {
        "rule"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = args
            .args
            .into_iter()
            .zip(self.columns.fields())
            .map(|(value, field)| Ok(cast(&value.into_array(rows)?, field.data_type())?))
            .collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new(SchemaRef::clone(&self.columns), arrays)?;
        let (values, _) = self.rule.evaluate(&batch, &DataType::Boolean)?;
        Ok(ColumnarValue::Array(Arc::new(null_is_false(values.as_boolean()))))
    }
}

/// A rule that yields null is false.
pub fn null_is_false(flags: &BooleanArray) -> BooleanArray {
    if flags.null_count() == 0 { flags.clone() } else { prep_null_mask_filter(flags) }
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
