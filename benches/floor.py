"""The copy floor: reads the batch and the files that the run must replace, and writes them back.

No duplicate is looked for, no session computed, nothing merged or committed: one `copy` of DuckDB,
timed inside the process. It is what any engine that rewrites these files has to do at least.
"""

import argparse
import json
import time
from pathlib import Path

import duckdb

# Event dates come from the timestamp's text, and instants are parsed as UTC: DuckDB is slower
# when it asks its calendar for them.
BATCH = """
    select
        user_id,
        product_code,
        event_id,
        make_timestamptz(epoch_us("timestamp")) as "timestamp",
        page,
        price,
        cast("timestamp" as date) as pdate
    from read_csv(
        {batch},
        header = true,
        auto_detect = false,
        columns = {{
            'user_id': 'varchar', 'product_code': 'varchar', 'event_id': 'varchar',
            'timestamp': 'timestamp', 'page': 'varchar', 'price': 'double'
        }}
    )
"""
FILES = "select * from read_parquet({files}, hive_partitioning = true)"
COPY = """
    copy ({rows}) to {out} (format parquet, partition_by (pdate), compression {compression})
"""


def quoted(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def copy(batch: Path, files: list[str], out: Path, compression: str) -> str:
    """The statement that is timed."""
    sources = [BATCH.format(batch=quoted(batch))]
    if files:
        sources.append(FILES.format(files="[" + ", ".join(map(quoted, files)) + "]"))
    return COPY.format(
        rows=" union all by name ".join(sources), out=quoted(out), compression=compression
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=Path, required=True)
    parser.add_argument("--files", type=Path, required=True, help="a JSON list of paths")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--compression", default="snappy")
    parser.add_argument("--memory-limit", help="as DuckDB writes it, such as 512MB")
    arguments = parser.parse_args()

    files = json.loads(arguments.files.read_text())
    connection = duckdb.connect()
    connection.execute(f"set threads = {arguments.threads}")
    connection.execute("set TimeZone = 'UTC'")
    if arguments.memory_limit:
        connection.execute(f"set memory_limit = {quoted(arguments.memory_limit)}")
    statement = copy(arguments.batch, files, arguments.out, arguments.compression)
    began = time.perf_counter()
    [(rows,)] = connection.execute(statement).fetchall()
    print(json.dumps({"copy_seconds": time.perf_counter() - began, "rows_copied": rows}))


if __name__ == "__main__":
    main()
