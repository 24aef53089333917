//! Which statements are let through.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{SchemaReference, TableReference};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, Statement};

use crate::inspect::catalog::{Catalog, ROOT_CATALOG};

/// What statements may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Ask, and nothing else.
    Read,
    /// Also make tables and views of this session, and write files outside of the lake.
    Write,
}

/// A statement that is not let through; nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It would write.
    #[error("{what} writes, and `sql` only reads; start it with --write if that is meant")]
    Writes {
        /// What it is.
        what: String,
    },
    /// It would write into the lake.
    #[error(
        "{what} into {table} is refused, --write or not: a table of the lake is written by its own \
         commands alone (run, reprocess, withdraw, ...), so that it stays what was delivered"
    )]
    LakeTable {
        /// What it is.
        what: String,
        /// The table, as written.
        table: String,
    },
    /// It names a place within the lake.
    #[error(
        "{what} at {location} is refused, --write or not: that is within the lake; name another \
         place"
    )]
    LakeFolder {
        /// What it is.
        what: String,
        /// The place, as written.
        location: String,
    },
    /// A setting of the process.
    #[error(
        "{setting} cannot be set here: start with --memory-limit or --spill-dir, or change \
         [engine] in the configuration"
    )]
    Setting {
        /// Its name.
        setting: String,
    },
}

/// What a statement does that is not allowed, in it or anywhere below: `explain analyze` runs
/// what it explains.
pub(super) fn refusal(
    plan: &LogicalPlan,
    catalog: &Catalog,
    access: Access,
) -> Result<Option<Refusal>, DataFusionError> {
    let mut refusal = None;
    plan.apply_with_subqueries(|node| {
        refusal = match access {
            Access::Read => of_reader(node),
            Access::Write => of_writer(node, catalog),
        };
        Ok(match refusal {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(refusal)
}

fn of_reader(node: &LogicalPlan) -> Option<Refusal> {
    let what = match node {
        LogicalPlan::Ddl(ddl) => ddl.name().to_owned(),
        LogicalPlan::Dml(dml) => dml.op.to_string(),
        LogicalPlan::Copy(_) => "COPY".to_owned(),
        _ => return setting(node),
    };
    Some(Refusal::Writes { what })
}

fn of_writer(node: &LogicalPlan, catalog: &Catalog) -> Option<Refusal> {
    match node {
        LogicalPlan::Dml(dml) => of_table(catalog, &dml.op.to_string(), &dml.table_name),
        LogicalPlan::Copy(copy) => of_places(catalog, "COPY", [&copy.output_url]),
        LogicalPlan::Ddl(ddl) => of_definition(ddl, catalog),
        _ => setting(node),
    }
}

fn of_definition(ddl: &DdlStatement, catalog: &Catalog) -> Option<Refusal> {
    let what = ddl.name();
    let table = |reference| of_table(catalog, what, reference);
    match ddl {
        DdlStatement::CreateExternalTable(made) => {
            table(&made.name).or_else(|| of_places(catalog, what, &made.locations))
        }
        DdlStatement::CreateMemoryTable(made) => table(&made.name),
        DdlStatement::CreateView(made) => table(&made.name),
        DdlStatement::DropTable(dropped) => table(&dropped.name),
        DdlStatement::DropView(dropped) => table(&dropped.name),
        DdlStatement::DropCatalogSchema(dropped) => {
            let (of_catalog, schema) = match &dropped.name {
                SchemaReference::Bare { schema } => (ROOT_CATALOG, schema),
                SchemaReference::Full { catalog, schema } => (&**catalog, schema),
            };
            catalog.has_schema(of_catalog, schema).then(|| Refusal::LakeTable {
                what: what.to_owned(),
                table: dropped.name.to_string(),
            })
        }
        _ => None,
    }
}

fn of_table(catalog: &Catalog, what: &str, reference: &TableReference) -> Option<Refusal> {
    catalog
        .table(reference)
        .map(|_| Refusal::LakeTable { what: what.to_owned(), table: reference.to_string() })
}

fn of_places<'l>(
    catalog: &Catalog,
    what: &str,
    locations: impl IntoIterator<Item = &'l String>,
) -> Option<Refusal> {
    let location = locations.into_iter().find(|location| catalog.holds_place(location))?;
    Some(Refusal::LakeFolder { what: what.to_owned(), location: location.clone() })
}

/// Memory and spill folder are the process's.
fn setting(node: &LogicalPlan) -> Option<Refusal> {
    let setting = match node {
        LogicalPlan::Statement(Statement::SetVariable(set)) => &set.variable,
        LogicalPlan::Statement(Statement::ResetVariable(reset)) => &reset.variable,
        _ => return None,
    };
    let is_of_process = setting.to_lowercase().starts_with("datafusion.runtime.");
    is_of_process.then(|| Refusal::Setting { setting: setting.clone() })
}
