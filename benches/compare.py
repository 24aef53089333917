"""What a lake holds after a run, as one reader sees it for every contestant.

usage: compare.py figures LAKE --arrival-date D     digests of ODS and of the delivered raw rows
       compare.py changed BEFORE AFTER              rows of ODS that are new or differ, by date
       compare.py files LAKE DATE...                files of ODS for these event dates

Each prints one JSON document.
"""

import argparse
import json
from datetime import date
from pathlib import Path

import duckdb

from tables import ODS, RAW, live_files

# What identifies a row; the digest of every other column is bound to it.
ODS_KEY = ("user_id", "product_code", "timestamp", "event_id")
RAW_KEY = ("_file", "_line")
# Wall time, which no two runs share.
NOT_COMPARED = ("_ingested_at",)


class Reader:
    """DuckDB over the live files of a table. Sums of hashes do not depend on the order of rows."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("set TimeZone = 'UTC'")

    def rows(self, files: list[str]) -> duckdb.DuckDBPyRelation:
        return self.connection.read_parquet(files, hive_partitioning=True)

    def figures(self, files: list[str], key: tuple[str, ...]) -> dict[str, str]:
        """Rows, the types of all columns, and one digest per column."""
        rows = self.rows(files)
        columns = [name for name in sorted(rows.columns) if name not in NOT_COMPARED]
        identity = ", ".join(f'"{name}"' for name in key)
        digests = [f'sum(hash({identity}, "{name}"))' for name in columns]
        [values] = rows.aggregate(", ".join(["count(*)", *digests])).fetchall()
        types = dict(zip(rows.columns, map(str, rows.types), strict=True))
        named = {name: f"{types[name]} {value}" for name, value in zip(columns, values[1:])}
        return {"rows": str(values[0]), **named}

    def rows_changed(self, before: list[str], after: list[str]) -> int:
        """Rows of `after` that `before` does not hold in every column."""
        columns = ", ".join(f'"{name}"' for name in sorted(self.rows(after).columns))
        new = self.rows(after).project(f"hash({columns}) as row_hash")
        if not before:
            return count(new)
        old = self.rows(before).project(f"hash({columns}) as row_hash")
        joined = new.set_alias("new").join(old.set_alias("old"), "row_hash", how="anti")
        return count(joined)


def count(rows: duckdb.DuckDBPyRelation) -> int:
    [(number,)] = rows.aggregate("count(*)").fetchall()
    return number


def figures(lake: Path, arrival_date: date) -> dict[str, dict[str, str]]:
    reader = Reader()
    result = {
        f"ods {pdate}": reader.figures(files, ODS_KEY)
        for pdate, files in live_files(lake / ODS, "pdate").items()
    }
    raw = live_files(lake / RAW, "_updated_at")
    result[f"raw {arrival_date}"] = reader.figures(raw[arrival_date], RAW_KEY)
    return result


def changed(before: Path, after: Path) -> dict[str, int]:
    reader = Reader()
    old, new = live_files(before / ODS, "pdate"), live_files(after / ODS, "pdate")
    rewritten = [
        pdate for pdate, files in new.items() if set(names(files)) != set(names(old.get(pdate, [])))
    ]
    counts = {
        str(pdate): reader.rows_changed(old.get(pdate, []), new[pdate]) for pdate in rewritten
    }
    return {pdate: count for pdate, count in counts.items() if count}


def names(files: list[str]) -> list[str]:
    return [Path(file).name for file in files]


def files_of(lake: Path, dates: list[date]) -> list[str]:
    by_date = live_files(lake / ODS, "pdate")
    return [file for pdate in dates for file in by_date.get(pdate, [])]


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("figures")
    command.add_argument("lake", type=Path)
    command.add_argument("--arrival-date", type=date.fromisoformat, required=True)
    command = commands.add_parser("changed")
    command.add_argument("before", type=Path)
    command.add_argument("after", type=Path)
    command = commands.add_parser("files")
    command.add_argument("lake", type=Path)
    command.add_argument("dates", type=date.fromisoformat, nargs="*")
    arguments = parser.parse_args()

    match arguments.command:
        case "figures":
            result: object = figures(arguments.lake, arguments.arrival_date)
        case "changed":
            result = changed(arguments.before, arguments.after)
        case _:
            result = files_of(arguments.lake, arguments.dates)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
