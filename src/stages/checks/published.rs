//! ODS as a commit would leave it, read before that commit.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{ParquetReadOptions, SessionContext, ident};
use deltalake::DeltaTable;

use super::relations::Relation;
use crate::lake::contracts::{self, PDATE};
use crate::lake::files::by_date;
use crate::lake::{Lake, TableName};
use crate::stages::error::BuildError;
use crate::stages::events::date_literal;
use crate::stages::mapping::CompiledBook;
use crate::stages::merge::Merged;
use crate::stages::raw_rows::scan;

/// The table before a commit, and the files that it adds and removes.
pub(crate) struct Unpublished<'a> {
    pub(crate) lake: &'a Lake,
    pub(crate) name: &'a TableName,
    pub(crate) ods: &'a DeltaTable,
    pub(crate) book: &'a CompiledBook,
    pub(crate) merged: &'a Merged,
}

impl Unpublished<'_> {
    /// `rows`, those that are new or differ from before, and `ods`, all of them.
    pub(crate) async fn relations(
        &self,
        context: &SessionContext,
    ) -> Result<(Relation, Relation), BuildError> {
        let failed =
            |source| BuildError::Rows { table: self.name.clone(), source: Box::new(source) };
        let after = self.files_after()?;
        let dates: Vec<Expr> = after.keys().map(|date| date_literal(*date)).collect();
        let columns = self.columns();
        let before = || async {
            scan(context, self.name, self.ods).await?.select(columns.clone()).map_err(failed)
        };
        let is_changed = ident(PDATE).in_list(dates.clone(), false);
        let changed_before = before().await?.filter(is_changed).map_err(failed)?;
        let untouched =
            before().await?.filter(ident(PDATE).in_list(dates, true)).map_err(failed)?;
        let mut ods = untouched;
        let mut changed_after: Option<DataFrame> = None;
        for (date, paths) in &after {
            let of_date = self.of_date(context, *date, paths).await?;
            ods = ods.union(of_date.clone()).map_err(failed)?;
            changed_after = Some(match changed_after {
                Some(others) => others.union(of_date).map_err(failed)?,
                None => of_date,
            });
        }
        let rows = match changed_after {
            Some(after) => after.except(changed_before).map_err(failed)?,
            None => changed_before,
        };
        Ok((rows.into_view(), ods.into_view()))
    }

    /// Of each date that changes the files it will consist of, by path.
    fn files_after(&self) -> Result<BTreeMap<NaiveDate, Vec<String>>, BuildError> {
        let removed: BTreeSet<&str> =
            self.merged.removes.iter().map(|remove| remove.path.as_str()).collect();
        let mut after: BTreeMap<NaiveDate, Vec<String>> = BTreeMap::new();
        for add in &self.merged.adds {
            let date = add.partition_values.get(PDATE).and_then(Option::as_deref);
            if let Some(date) = date.and_then(|date| date.parse().ok()) {
                after.entry(date).or_default().push(add.path.clone());
            }
        }
        for (date, files) in by_date(self.name, self.ods, PDATE)? {
            if let Some(paths) = after.get_mut(&date) {
                let kept = files.iter().filter(|file| !removed.contains(file.remove.path.as_str()));
                paths.extend(kept.map(|file| file.remove.path.clone()));
            }
        }
        Ok(after)
    }

    async fn of_date(
        &self,
        context: &SessionContext,
        date: NaiveDate,
        paths: &[String],
    ) -> Result<DataFrame, BuildError> {
        let root = self.lake.location(self.name)?;
        let urls: Vec<String> = paths.iter().map(|path| format!("{root}{path}")).collect();
        let schema = contracts::ods_file(&self.book.attributes);
        let failed = |source: DataFusionError| BuildError::Rows {
            table: self.name.clone(),
            source: Box::new(source),
        };
        let rows = context.read_parquet(urls, ParquetReadOptions::default().schema(&schema)).await;
        rows.and_then(|rows| rows.with_column(PDATE, date_literal(date)))
            .and_then(|rows| rows.select(self.columns()))
            .map_err(failed)
    }

    fn columns(&self) -> Vec<Expr> {
        let schema = contracts::ods(&self.book.attributes);
        schema.fields().iter().map(|field| ident(field.name())).collect()
    }
}
