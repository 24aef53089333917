"""ODS as other engines see it: counts and sums from the packages deltalake, polars and duckdb,
compared with each other, with a recomputation from the batch files by the plain rules of the
design, and with the row balance that the run itself reported.

usage: readers.py --batches DIR --run FILE ODS...

FILE is the document of `sessionlake --output json run`, each ODS the folder of a table. Exit code
1 when any figure differs.
"""

import argparse
import csv
import json
import sys
import tomllib
from collections import defaultdict
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

# The rules of the sample feed that are recomputed here; checked against its configuration.
USER_ACTIONS = {"view", "click", "add_to_cart", "purchase"}
RULES = {
    "event": {
        "user_id": "user_id",
        "product_code": "product_code",
        "event_id": "event_id",
        "timestamp": "timestamp",
        "zone": "UTC",
    },
    "session": {
        "user_action": "event_id in ('view','click','add_to_cart','purchase')",
        "opens_on": "is_user_action",
        "closes_on": "false",
        "timeout": "5m",
        "max_duration": "",
    },
    "window": {"update_depth_days": 5, "lookback_days": 1},
}
TIMEOUT = timedelta(minutes=5)
UPDATE_DEPTH = timedelta(days=5)
LOOKBACK = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Figures(NamedTuple):
    """What is compared. Times are summed in whole milliseconds since 1970."""

    rows: int
    time_diff_ms: int
    sessions: int
    without_session: int
    user_actions: int
    timestamps_ms: int
    session_starts_ms: int
    updated_at_days: int


class NotAvailable(Exception):
    """A reader that this machine cannot have."""


# The figures for the two readers that speak SQL; each says times in numbers in its own way.
QUERY = """
    select
        count(*),
        sum(time_diff_ms),
        count(distinct session_id),
        count(*) filter (where session_id is null),
        count(*) filter (where is_user_action),
        sum({timestamp_ms}),
        sum({session_start_ms}),
        sum({updated_at_days})
    from {ods}
"""


def with_deltalake(ods: Path) -> Figures:
    import deltalake

    query = QUERY.format(
        timestamp_ms='cast("timestamp" as bigint) / 1000',
        session_start_ms="cast(session_start as bigint) / 1000",
        updated_at_days="cast(cast(_updated_at as int) as bigint)",
        ods="ods",
    )
    table = deltalake.DeltaTable(str(ods))
    result = deltalake.QueryBuilder().register("ods", table).execute(query).read_all()
    return Figures(*(result.column(index)[0].as_py() for index in range(result.num_columns)))


def with_polars(ods: Path) -> Figures:
    import polars as pl

    def milliseconds(name: str) -> pl.Expr:
        return pl.col(name).dt.epoch("ms").sum().alias(f"{name} in ms")

    figures = pl.scan_delta(str(ods)).select(
        pl.len(),
        pl.col("time_diff_ms").sum(),
        pl.col("session_id").drop_nulls().n_unique(),
        pl.col("session_id").null_count().alias("without session"),
        pl.col("is_user_action").sum(),
        milliseconds("timestamp"),
        milliseconds("session_start"),
        pl.col("_updated_at").dt.epoch("d").cast(pl.Int64).sum(),
    )
    return Figures(*figures.collect().row(0))


def with_duckdb(ods: Path) -> Figures:
    import duckdb

    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    try:
        import duckdb_extension_delta

        package = Path(duckdb_extension_delta.__file__).parent
        extension = next(package.rglob("delta.duckdb_extension"))
        connection.execute(f"load '{extension}'")
    except (ModuleNotFoundError, StopIteration, duckdb.Error) as reason:
        raise NotAvailable(f"its Delta extension does not load: {reason!r}") from reason
    query = QUERY.format(
        timestamp_ms='epoch_ms("timestamp")',
        session_start_ms="epoch_ms(session_start)",
        updated_at_days="_updated_at - date '1970-01-01'",
        ods=f"delta_scan('{ods}')",
    )
    return Figures(*connection.execute(query).fetchone())


READERS = {"deltalake": with_deltalake, "polars": with_polars, "duckdb": with_duckdb}


class Event(NamedTuple):
    user_id: str
    product_code: str
    event_id: str
    timestamp: datetime


def recomputed(batches: Path) -> Figures:
    """Sections 3 and 4 of the design, as plainly as they can be written."""
    first_arrival: dict[Event, date] = {}
    for file in sorted(batches.glob("*.csv")):
        arrival = date.fromisoformat(file.stem)
        for event in delivered(file):
            happened = event.timestamp.date()
            if arrival - UPDATE_DEPTH <= happened <= arrival + timedelta(days=1):
                first_arrival.setdefault(event, arrival)
    keys: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in first_arrival:
        keys[event.user_id, event.product_code].append(event)

    gaps_ms, starts, without_session = [], [], 0
    sessions: set[tuple[str, str, datetime]] = set()
    for key, events in keys.items():
        events.sort(key=lambda event: event.timestamp)
        action_times = {e.timestamp for e in events if e.event_id in USER_ACTIONS}
        previous, start = None, None
        for event in events:
            gap = None if previous is None else event.timestamp - previous
            if gap is None or gap > TIMEOUT:
                start = None
            if start is None and event.timestamp in action_times:
                start = event.timestamp
            if gap is not None and gap <= LOOKBACK:
                gaps_ms.append(gap // timedelta(milliseconds=1))
            if start is None:
                without_session += 1
            else:
                starts.append(start)
                sessions.add((*key, start))
            previous = event.timestamp
    return Figures(
        rows=len(first_arrival),
        time_diff_ms=sum(gaps_ms),
        sessions=len(sessions),
        without_session=without_session,
        user_actions=sum(event.event_id in USER_ACTIONS for event in first_arrival),
        timestamps_ms=sum(milliseconds(event.timestamp) for event in first_arrival),
        session_starts_ms=sum(milliseconds(start) for start in starts),
        updated_at_days=sum((arrival - EPOCH.date()).days for arrival in first_arrival.values()),
    )


def delivered(file: Path) -> list[Event]:
    with file.open(newline="", encoding="utf-8") as lines:
        return [
            Event(
                row["user_id"],
                row["product_code"],
                row["event_id"],
                datetime.fromisoformat(row["timestamp"]),
            )
            for row in csv.DictReader(lines)
            if row["user_id"] and row["product_code"] and row["event_id"]
        ]


def milliseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(milliseconds=1)


def check_rules(configuration: Path) -> None:
    with configuration.open("rb") as file:
        [feed] = tomllib.load(file)["feed"]
    for section, rules in RULES.items():
        for key, value in rules.items():
            if feed[section][key] != value:
                raise SystemExit(
                    f"{configuration}: {section}.{key} is {feed[section][key]!r}, but "
                    f"{Path(__file__).name} recomputes with {value!r}; change it there too"
                )


def rows_new(run: Path) -> int:
    stages = json.loads(run.read_text())["stages"]
    return sum(stage["rows_new"] for stage in stages if stage["stage"] == "build")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batches", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("ods", type=Path, nargs="+")
    arguments = parser.parse_args()
    check_rules(arguments.batches.parent / "sessionlake.toml")

    expected = recomputed(arguments.batches)
    print(f"{'recomputed':>24}: {expected}")
    differences = 0
    if rows_new(arguments.run) != expected.rows:
        print(f"DIFFERENT: the run reported {rows_new(arguments.run)} new events")
        differences += 1
    for ods in arguments.ods:
        print(ods)
        for name, read in READERS.items():
            try:
                figures = read(ods.resolve())
            except NotAvailable as reason:
                print(f"{name:>24}: SKIPPED, {reason}")
                continue
            version = sys.modules[name].__version__
            print(f"{name + ' ' + version:>24}: {figures}")
            if figures != expected:
                print("DIFFERENT from what was recomputed")
                differences += 1
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
