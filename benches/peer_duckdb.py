"""The daily job as DuckDB and the Python package deltalake do it."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
from deltalake import write_deltalake

from contestant import (
    LOOKBACK_MICROS,
    RAW_COLUMNS,
    TIMEOUT_MICROS,
    Task,
    merge,
)

DELIVERED = """
    create temp table delivered as
    select *, row_number() over () + 1 as _line
    from read_csv($batch, header = true, all_varchar = true)
"""
RAW = """
    select
        user_id, product_code, event_id, "timestamp", page, price,
        cast(null as varchar) as _extra,
        '{file}' as _file,
        _line,
        false as _accept_late,
        timestamptz '{ingested_at}' as _ingested_at,
        date '{arrival_date}' as _updated_at
    from delivered
"""
SESSIONS = (Path(__file__).parent / "peer_duckdb.sql").read_text()


def append_raw(connection: duckdb.DuckDBPyConnection, task: Task) -> None:
    # Literals, because a relation with parameters is made of its rows one by one: that took 8 s.
    query = RAW.format(
        file=task.batch.name.replace("'", "''"),
        ingested_at=datetime.now(UTC),
        arrival_date=task.arrival_date,
    )
    rows = connection.sql(query)
    assert tuple(rows.columns) == RAW_COLUMNS
    write_deltalake(task.raw, rows, mode="append")


def changed_rows(connection: duckdb.DuckDBPyConnection, task: Task) -> None:
    parameters = {
        "files": task.window_files(),
        "arrival_date": task.arrival_date,
        "first_date": task.first_valid_date,
        "last_date": task.last_valid_date,
        "timeout_micros": TIMEOUT_MICROS,
        "lookback_micros": LOOKBACK_MICROS,
    }
    connection.execute(SESSIONS, parameters)


def main() -> None:
    task = Task.from_arguments()
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    with task.timed("read"):
        connection.execute(DELIVERED, {"batch": str(task.batch)})
    with task.timed("raw"):
        append_raw(connection, task)
    with task.timed("sessions"):
        changed_rows(connection, task)
    with task.timed("merge"):
        dates = connection.sql("select distinct pdate from changed_rows").fetchall()
        merge(task.ods, connection.sql("from changed_rows"), [pdate for (pdate,) in dates])
    [(rows_changed,)] = connection.sql("select count(*) from changed_rows").fetchall()
    task.finish(rows_changed)


if __name__ == "__main__":
    main()
