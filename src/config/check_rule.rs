//! Checks of severity quarantine: they decide what enters ODS, so each is a rule on one row alone.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    visit_expressions_mut,
};
use serde::{Deserialize, Serialize};

use super::check_fault::CheckFault;
use super::checks::{Check, CheckedLayer};

/// A rule that keeps rows out of ODS, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCheck {
    /// The check; its rows go to quarantine as `check_<name>`.
    pub name: String,
    /// Whether it sees the delivered columns or those of the event.
    pub on: CheckedLayer,
    /// The condition on the rows that stay out; one that yields null is false.
    pub predicate: String,
    /// What is wrong with them, for people: no part of the rule.
    pub message: String,
}

impl RowCheck {
    /// The rule as a difference shows it.
    pub(crate) fn shown(&self) -> String {
        format!("{} on {}", self.predicate, self.on.as_str())
    }

    /// The rule that a check of the form `select * from rows where ...` is.
    pub(crate) fn of(check: &Check) -> Result<Self, CheckFault> {
        let refused = |holds: &'static str| CheckFault::NotOneRow { holds };
        let Statement::Query(query) = &check.query else {
            return Err(refused("no plain select"));
        };
        let select = plain_select(query).map_err(refused)?;
        let alias = only_rows(select).map_err(refused)?;
        let Some(predicate) = &select.selection else {
            return Err(refused("no `where`"));
        };
        let mut predicate = predicate.clone();
        let walk = visit_expressions_mut(&mut predicate, |part| {
            if matches!(part, Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. }) {
                return ControlFlow::Break(());
            }
            if let Expr::CompoundIdentifier(names) = part
                && let [relation, column] = names.as_slice()
                && relation.value == alias
            {
                *part = Expr::Identifier(column.clone());
            }
            ControlFlow::Continue(())
        });
        if walk.is_break() {
            return Err(refused("a subquery"));
        }
        Ok(Self {
            name: check.name.clone(),
            on: check.on,
            predicate: predicate.to_string(),
            message: check.message.clone(),
        })
    }
}

fn plain_select(query: &Query) -> Result<&Select, &'static str> {
    let Query { with, body, order_by, limit_clause, fetch, .. } = query;
    if with.is_some() {
        return Err("a `with`");
    }
    if order_by.is_some() || limit_clause.is_some() || fetch.is_some() {
        return Err("an order or a limit");
    }
    let SetExpr::Select(select) = &**body else {
        return Err("no plain select");
    };
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
    };
    if grouped || select.having.is_some() || select.distinct.is_some() {
        return Err("a grouping");
    }
    if select.qualify.is_some() || select.top.is_some() || !select.lateral_views.is_empty() {
        return Err("more than a filter");
    }
    let plain = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_)
                | SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        )
    };
    if select.projection.iter().all(plain) { Ok(select) } else { Err("a computed column") }
}

/// The name under which the query knows `rows`.
fn only_rows(select: &Select) -> Result<String, &'static str> {
    let [from] = select.from.as_slice() else {
        return Err("several relations");
    };
    if !from.joins.is_empty() {
        return Err("a join");
    }
    match &from.relation {
        TableFactor::Table { name, alias, args: None, sample: None, .. }
            if name.to_string() == "rows" =>
        {
            Ok(alias.as_ref().map_or_else(|| "rows".to_owned(), |alias| alias.name.value.clone()))
        }
        _ => Err("a relation other than `rows`"),
    }
}
