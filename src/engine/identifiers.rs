//! The columns that an SQL expression names.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, FunctionArguments, visit_expressions};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

/// Names of all columns in `expression`, as written. A literal has none.
pub fn columns_of(expression: &str) -> Result<BTreeSet<String>, ParserError> {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(expression)?.parse_expr()?;
    let mut columns = BTreeSet::new();
    let _: ControlFlow<()> = visit_expressions(&parsed, |part| {
        match part {
            Expr::Identifier(identifier) => {
                columns.insert(identifier.value.clone());
            }
            // A name that is also a keyword, such as `user`, parses as a call without arguments.
            Expr::Function(call) if matches!(call.args, FunctionArguments::None) => {
                let name = call.name.0.iter().filter_map(|part| part.as_ident());
                columns.extend(name.map(|identifier| identifier.value.clone()));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_wherever_they_stand() {
        let found = columns_of("case when \"Kind\" = 'C' then upper(a) else b || 'x' end").unwrap();
        assert_eq!(found, BTreeSet::from(["Kind".into(), "a".into(), "b".into()]));
    }

    #[test]
    fn a_column_may_be_named_like_a_keyword() {
        assert_eq!(columns_of("user").unwrap(), BTreeSet::from(["user".into()]));
        assert!(columns_of("upper('x')").unwrap().is_empty());
    }

    #[test]
    fn a_literal_names_no_column() {
        assert!(columns_of("'web'").unwrap().is_empty());
    }
}
