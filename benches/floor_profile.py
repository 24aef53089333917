"""Where the copy floor spends its time, and how large ODS is under each compression.

usage: floor_profile.py WORK [--rounds N] [--threads N]

WORK is a folder that benches/run has left, such as ~/.cache/sessionlake-bench/work/9x1000000.
Every figure is a process of its own, as the floor is; medians, of seconds inside the process.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

import floor
from measure import Conditions, Measured, measure

READ = "select bit_xor(hash({columns})) from ({rows})"
BATCH_COLUMNS = 'user_id, product_code, event_id, "timestamp", page, price, pdate'
FILE_COLUMNS = (
    f"{BATCH_COLUMNS}, is_user_action, time_diff_ms, session_start, session_id, _updated_at"
)
WRITE = "copy ({rows}) to {out} (format parquet, {options})"
BY_DATE = "partition_by (pdate), compression {compression}"
# How the new engine lays ODS files out.
SORTED = 'select * from ({rows}) order by pdate, user_id, product_code, "timestamp", event_id'
COMPRESSIONS = ("uncompressed", "snappy", "lz4_raw", "zstd")


@dataclass(frozen=True)
class Step:
    """One statement, and settings that come before it."""

    title: str
    statement: str
    settings: tuple[str, ...] = ()


def steps(batch: str, files: str, out: str) -> list[Step]:
    both = f"{batch} union all by name {files}"

    def written(title: str, rows: str, options: str, *settings: str) -> Step:
        return Step(title, WRITE.format(rows=rows, out=out, options=options), settings)

    snappy = BY_DATE.format(compression="snappy")
    unordered = "set preserve_insertion_order = false"
    return [
        written("the floor: copy all", both, snappy),
        written("copy the batch alone", batch, snappy),
        written("copy the files alone", files, snappy),
        Step("read the batch", READ.format(columns=BATCH_COLUMNS, rows=batch)),
        Step("read the files", READ.format(columns=FILE_COLUMNS, rows=files)),
        written("the floor, order not preserved", both, snappy, unordered),
        written("copy all, one file", both, "compression snappy"),
        written("copy all, one file, order not preserved", both, "compression snappy", unordered),
        *(
            written(f"copy all, {name}", both, BY_DATE.format(compression=name))
            for name in COMPRESSIONS
            if name != "snappy"
        ),
        # The memory holds the rows when the clock starts: encoding, compression and writing.
        *(
            written(
                f"write from memory, {name}", "from rows_in_memory", f"compression {name}", load
            )
            for load in [f"create temp table rows_in_memory as {both}"]
            for name in COMPRESSIONS
        ),
    ]


def sizes(files: str, out: str) -> Iterator[Step]:
    """ODS as it is stored, and sorted by date and key."""
    for order, rows in (("as stored", files), ("sorted", SORTED.format(rows=files))):
        for name in COMPRESSIONS:
            options = f"{BY_DATE.format(compression=name)}, row_group_size 131072"
            yield Step(
                f"ODS {order}, {name}",
                WRITE.format(rows="from rows_in_memory", out=out, options=options),
                (f"create temp table rows_in_memory as {rows}",),
            )


def take(step: Step, threads: int, out: Path) -> dict[str, float]:
    """Runs one step in this process."""
    connection = duckdb.connect()
    connection.execute(f"set threads = {threads}")
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set enable_progress_bar = false")
    for setting in step.settings:
        connection.execute(setting)
    connection.execute("pragma enable_profiling = 'no_output'")
    cpu_before, began = cpu_seconds(), time.perf_counter()
    connection.execute(step.statement).fetchall()
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu_before
    profile = json.loads(connection.get_profiling_information(format="json"))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "bytes": written_bytes(out),
        **operators(profile),
    }


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def written_bytes(out: Path) -> int:
    files = [out] if out.is_file() else out.rglob("*.parquet")
    return sum(file.stat().st_size for file in files)


def operators(profile: dict) -> dict[str, float]:
    """Seconds of all threads inside each kind of operator, by DuckDB's own profile. What a sink
    does while it combines and finishes is not in it."""
    totals: dict[str, float] = {}
    pending = list(profile["children"])
    while pending:
        node = pending.pop()
        pending += node["children"]
        name = node["operator_name"].strip()
        totals[name] = totals.get(name, 0.0) + node["operator_timing"]
    return totals


def all_steps(work: Path, out: Path) -> list[Step]:
    [batch] = sorted((work / "batches").glob("*.csv"))[-1:]
    listed = json.loads((work / "files_that_change.json").read_text())
    files = floor.FILES.format(files="[" + ", ".join(map(floor.quoted, listed)) + "]")
    rows = floor.BATCH.format(batch=floor.quoted(batch))
    target = floor.quoted(out)
    return [*steps(rows, files, target), *sizes(files, target)]


def measured(number: int, arguments: argparse.Namespace, out: Path) -> dict[str, float]:
    command = [sys.executable, __file__, arguments.work, "--step", number]
    command += ["--threads", arguments.threads]
    conditions = Conditions(arguments.quiet, arguments.lock)
    return json.loads(conditions.take(lambda: fresh(list(map(str, command)), out)).stdout)


def fresh(command: list[str], out: Path) -> Measured:
    if out.is_dir():
        shutil.rmtree(out)
    out.unlink(missing_ok=True)
    os.sync()
    return measure(command)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="steps with this text in their title")
    parser.add_argument("--quiet", action="store_true", help="as in benches/run")
    parser.add_argument("--lock", type=Path, help="as in benches/run")
    parser.add_argument("--step", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    out = arguments.work / "runs" / "floor_profile"
    every = all_steps(arguments.work, out)
    if arguments.step is not None:
        print(json.dumps(take(every[arguments.step], arguments.threads, out)))
        return
    for number, step in enumerate(every):
        if arguments.only not in step.title:
            continue
        runs = [measured(number, arguments, out) for _ in range(arguments.rounds)]
        print(f"{step.title:<42}" + shown(runs), flush=True)


def shown(runs: list[dict[str, float]]) -> str:
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    seconds, cpu = medians.pop("seconds"), medians.pop("cpu_seconds")
    size = f"{medians.pop('bytes') / 1e6:8.1f} MB"
    parts = [f"{name} {value:.2f}" for name, value in medians.items() if value >= 0.005]
    return f"{seconds:6.2f} s {cpu:6.2f} CPU s {size}   " + ", ".join(parts)


if __name__ == "__main__":
    main()
