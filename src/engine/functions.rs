//! The scalar function `session_id`, and what verdicts have in common.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::session_id::session_ids;

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

/// A rule that yields null is false.
pub fn null_is_false(flags: &BooleanArray) -> BooleanArray {
    if flags.null_count() == 0 { flags.clone() } else { prep_null_mask_filter(flags) }
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
        Ok(ColumnarValue::Array(Arc::new(session_ids(users, products, starts))))
    }
}
