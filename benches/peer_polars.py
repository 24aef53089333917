"""The daily job as Polars and the Python package deltalake do it."""

from datetime import UTC, datetime

import polars as pl
from deltalake import write_deltalake

from contestant import (
    LOOKBACK_MICROS,
    ODS_COLUMNS,
    RAW_COLUMNS,
    TIMEOUT_MICROS,
    USER_ACTIONS,
    Task,
    merge,
)

KEY = ["user_id", "product_code"]
EVENT = [*KEY, "timestamp", "event_id"]
DELIVERED = pl.Schema(dict.fromkeys(RAW_COLUMNS[:6], pl.String))
FIRST_LINE = 2  # the header is line 1


def read_batch(task: Task) -> pl.DataFrame:
    delivered = pl.scan_csv(
        task.batch, schema=DELIVERED, row_index_name="_line", row_index_offset=FIRST_LINE
    )
    return delivered.collect()


def append_raw(delivered: pl.DataFrame, task: Task) -> None:
    rows = delivered.with_columns(
        pl.lit(None, pl.String).alias("_extra"),
        pl.lit(task.batch.name).alias("_file"),
        pl.col("_line").cast(pl.Int64),
        pl.lit(False).alias("_accept_late"),
        pl.lit(datetime.now(UTC)).alias("_ingested_at"),
        pl.lit(task.arrival_date).alias("_updated_at"),
    )
    write_deltalake(task.raw, rows.select(RAW_COLUMNS), mode="append")


def candidates(delivered: pl.LazyFrame, task: Task) -> pl.LazyFrame:
    """One row per event of the batch: of duplicates with one arrival date the smallest
    (page, price) wins, nulls last."""
    return (
        delivered.filter(pl.all_horizontal(pl.col(*KEY, "event_id").is_not_null()))
        .select(
            *KEY,
            "event_id",
            pl.col("timestamp").str.to_datetime(
                "%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC"
            ),
            "page",
            pl.col("price").cast(pl.Float64),
        )
        .filter(
            pl.col("timestamp").dt.date().is_between(task.first_valid_date, task.last_valid_date)
        )
        .sort(*EVENT, "page", "price", nulls_last=True)
        .filter(~same_as_before(EVENT))
    )


def same_as_before(columns: list[str]) -> pl.Expr:
    """Whether a row of a sorted frame equals the one before it in `columns`, none of them null."""
    return pl.all_horizontal(
        (pl.col(name) == pl.col(name).shift()).fill_null(False) for name in columns
    )


def known_events(task: Task) -> pl.LazyFrame:
    columns = [name for name in ODS_COLUMNS if name not in ("session_id", "pdate")]
    return pl.scan_parquet(task.window_files(), hive_partitioning=False).select(columns)


def changed_events(delivered: pl.DataFrame, known: pl.LazyFrame, task: Task) -> pl.DataFrame:
    """Events that ODS does not hold, or holds with a worse winner."""
    held = known.select(*EVENT, "_updated_at", "page", "price")
    joined = candidates(delivered.lazy(), task).join(held, on=EVENT, how="left", suffix="_known")
    arrival = pl.lit(task.arrival_date)
    is_known = pl.col("_updated_at").is_not_null()
    is_better = (pl.col("_updated_at") > arrival) | (
        (pl.col("_updated_at") == arrival) & attributes_are_smaller()
    )
    is_action = pl.col("event_id").is_in(USER_ACTIONS)
    return (
        joined.filter(~is_known | is_better)
        .select(
            *EVENT,
            is_action.alias("is_user_action"),
            arrival.alias("_updated_at"),
            "page",
            "price",
            is_known.alias("is_known"),
        )
        .collect()
    )


def attributes_are_smaller() -> pl.Expr:
    """(page, price) < (page_known, price_known), nulls last."""

    def smaller(name: str) -> pl.Expr:
        ours, theirs = pl.col(name), pl.col(f"{name}_known")
        return (ours < theirs).fill_null(ours.is_not_null() & theirs.is_null())

    same_page = pl.col("page").eq_missing(pl.col("page_known"))
    return smaller("page") | (same_page & smaller("price"))


def rows_of_scope(changed: pl.DataFrame, known: pl.LazyFrame) -> pl.LazyFrame:
    """The changed events, and of their keys what may move and what it is judged by."""
    scope = changed.lazy().group_by(KEY).agg(pl.col("timestamp").min().alias("earliest"))
    replaced = changed.lazy().filter("is_known").select(EVENT)
    context = (
        known.join(scope, on=KEY)
        .filter(
            pl.col("timestamp") >= pl.col("earliest") - pl.duration(microseconds=LOOKBACK_MICROS)
        )
        .join(replaced, on=EVENT, how="anti")
        .with_columns(
            pl.lit(False).alias("is_changed_event"),
            (pl.col("timestamp") >= pl.col("earliest")).alias("is_recomputed"),
        )
        .drop("earliest")
    )
    events = (
        changed.lazy()
        .drop("is_known")
        .with_columns(
            pl.lit(None, pl.Int64).alias("time_diff_ms"),
            pl.lit(None, pl.Datetime("us", "UTC")).alias("session_start"),
            pl.lit(True).alias("is_changed_event"),
            pl.lit(True).alias("is_recomputed"),
        )
    )
    return pl.concat([context, events], how="diagonal")


def changed_rows(rows: pl.LazyFrame) -> pl.DataFrame:
    """Rows of ODS that are new or differ. Lag, running sum and first value over rows sorted by
    key and time; the order within a key is total."""
    gap_micros = (pl.col("timestamp") - pl.col("timestamp").shift()).dt.total_microseconds()
    is_break = pl.col("gap_micros").is_null() | (pl.col("gap_micros") > TIMEOUT_MICROS)
    # Before the earliest change the session is known, however long ago it began.
    opening = (
        pl.when(~pl.col("is_recomputed"))
        .then(pl.col("known_start"))
        .when("is_user_action")
        .then(pl.col("timestamp"))
    )
    opened = pl.col("opening").min().over("stretch")
    return (
        rows.rename({"session_start": "known_start", "time_diff_ms": "known_diff_ms"})
        .sort(*KEY, "timestamp", ~pl.col("is_user_action"), "event_id")
        .with_columns(pl.when(same_as_before(KEY)).then(gap_micros).alias("gap_micros"))
        .with_columns(is_break.cum_sum().alias("stretch"), opening.alias("opening"))
        .with_columns(opened.alias("opened"))
        .filter("is_recomputed")
        .with_columns(
            pl.when(pl.col("opened") <= pl.col("timestamp"))
            .then(pl.col("opened"))
            .alias("session_start"),
            pl.when(pl.col("gap_micros") <= LOOKBACK_MICROS)
            .then(pl.col("gap_micros") // 1000)
            .alias("time_diff_ms"),
        )
        .filter(
            pl.col("is_changed_event")
            | pl.col("session_start").ne_missing(pl.col("known_start"))
            | pl.col("time_diff_ms").ne_missing(pl.col("known_diff_ms"))
        )
        .with_columns(session_id(), pl.col("timestamp").dt.date().alias("pdate"))
        .select(ODS_COLUMNS)
        .collect()
    )


def session_id() -> pl.Expr:
    """`user#product#start`; `%.f` writes a fraction of 3 or 6 digits only when there is one."""

    def encoded(name: str) -> pl.Expr:
        return (
            pl.col(name)
            .str.replace_all("%", "%25", literal=True)
            .str.replace_all("#", "%23", literal=True)
        )

    start = pl.col("session_start").dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ")
    return pl.concat_str(encoded("user_id"), encoded("product_code"), start, separator="#").alias(
        "session_id"
    )


def main() -> None:
    task = Task.from_arguments()
    with task.timed("read"):
        delivered = read_batch(task)
    with task.timed("raw"):
        append_raw(delivered, task)
    with task.timed("sessions"):
        known = known_events(task)
        changed = changed_events(delivered, known, task)
        rows = changed_rows(rows_of_scope(changed, known))
    with task.timed("merge"):
        merge(task.ods, rows, rows["pdate"].unique().to_list())
    task.finish(rows.height)


if __name__ == "__main__":
    main()
