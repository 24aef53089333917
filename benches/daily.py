"""The daily job against its copy floor and its peers, on the same files. Start it with
benches/run; benches/README.md says what is counted."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import minio
from measure import DISTURBED_FROM, Conditions, Measured, ProcessFailed, measure
from report import Series, document, machine, table
from workspace import Sizes, Workspace

HERE = Path(__file__).resolve().parent
EVENTS_PER_DAY, USERS, DAYS = 1_000_000, 125_000, 9
OURS, MINIO, FLOOR = "ours", "minio", "floor"
TITLES = {
    OURS: "sessionlake",
    MINIO: "sessionlake, lake on MinIO",
    FLOOR: "copy floor (DuckDB)",
    "duckdb": "DuckDB + deltalake",
    "polars": "Polars + deltalake",
}


@dataclass
class Benchmark:
    """One set of rounds over one workspace."""

    workspace: Workspace
    options: argparse.Namespace
    series: dict[str, Series] = field(default_factory=dict)
    # What our lake holds after the run; every other lake must hold the same.
    expected: dict[str, dict[str, str]] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)

    def contestants(self) -> dict[str, Callable[[], Measured]]:
        known = {
            OURS: self.ours,
            MINIO: self.ours_on_minio,
            FLOOR: self.floor,
            "duckdb": lambda: self.peer("duckdb"),
            "polars": lambda: self.peer("polars"),
        }
        return {name: known[name] for name in self.options.only}

    def ours(self) -> Measured:
        lake = self.workspace.fresh_lake(OURS)
        return measure(self.workspace.sessionlake(lake, *self.daily_run()))

    def ours_on_minio(self) -> Measured:
        with minio.serving(self.workspace.fresh_bucket()) as server:
            command = self.workspace.sessionlake(minio.LAKE, *self.daily_run())
            return measure(command, server.environment(), server.pid)

    def daily_run(self) -> list[str]:
        return ["run", "--arrival-date", str(self.workspace.arrival_date), *self.engine_options()]

    def peer(self, name: str) -> Measured:
        lake = self.workspace.fresh_lake(name)
        task = ["--batch", self.workspace.batch, "--lake", lake]
        date_option = ["--arrival-date", self.workspace.arrival_date]
        return measure(python(f"peer_{name}.py", *task, *date_option))

    def floor(self) -> Measured:
        out = self.workspace.fresh_folder(FLOOR)
        files = ["--batch", self.workspace.batch, "--files", self.files_that_change(), "--out", out]
        limit = self.options.memory_limit
        limit_option = ["--memory-limit", limit] if limit else []
        return measure(python("floor.py", *files, "--threads", self.options.threads, *limit_option))

    def engine_options(self) -> list[str]:
        limit = self.options.memory_limit
        return ["--memory-limit", limit] if limit else []

    def files_that_change(self) -> Path:
        """The files of the template for exactly the event dates that our run changes."""
        listed = self.workspace.root / "files_that_change.json"
        files = ask("compare.py", "files", self.workspace.template, *self.changed)
        listed.write_text(json.dumps(files))
        return listed

    def figures(self, contestant: str) -> dict[str, dict[str, str]]:
        lake = self.workspace.root / "runs" / contestant
        return ask("compare.py", "figures", lake, "--arrival-date", self.workspace.arrival_date)

    def learn_expected(self) -> None:
        """One run of ours before all rounds says what changes, and warms the page cache."""
        self.ours()
        lake = self.workspace.root / "runs" / OURS
        self.expected = self.figures(OURS)
        self.changed = ask("compare.py", "changed", self.workspace.template, lake)
        for pdate, rows in self.changed.items():
            say(f"  {pdate}: {rows:,} rows change")

    def measure_round(self, number: int) -> None:
        """Every contestant once, each round beginning with another one. Round 0 is not counted."""
        names = list(self.contestants())
        start = number % len(names)
        for name in names[start:] + names[:start]:
            run = self.contestants()[name]
            measured = self.conditions.take(run) if number > 0 else run()
            result = json.loads(measured.stdout)
            if name != FLOOR:
                self.check(name, rows_changed(name, result))
            seconds = result["copy_seconds"] if name == FLOOR else measured.seconds
            say(f"  round {number}: {name:<8} {seconds:6.2f} s, {self.circumstances(measured)}")
            if number > 0:
                self.record(name, measured, seconds, result)

    def circumstances(self, measured: Measured) -> str:
        memory_mb = measured.peak_memory_bytes / 1e6
        disturbance = measured.disturbance
        return f"{memory_mb:6,.0f} MB, others took {disturbance:.0%} of the cores"

    @property
    def conditions(self) -> Conditions:
        return Conditions(self.options.quiet, self.options.lock)

    def record(self, name: str, measured: Measured, seconds: float, result: dict) -> None:
        series = self.series.setdefault(name, Series(TITLES[name]))
        series.runs.append(measured)
        series.seconds.append(seconds)
        series.details.append(result)
        series.rows_changed = None if name == FLOOR else rows_changed(name, result)

    def check(self, name: str, rows: int) -> None:
        """The same rows of ODS and raw in every column, and as many changed."""
        # The reader of compare.py knows folders alone; the tests compare MinIO with a disk.
        figures = self.expected if name == MINIO else self.figures(name)
        problems = [
            f"{part}: {column} differs"
            for part in sorted(self.expected.keys() | figures.keys())
            for column in sorted(differing(self.expected.get(part, {}), figures.get(part, {})))
        ]
        if rows != sum(self.changed.values()):
            problems.append(f"{rows} rows changed, not {sum(self.changed.values())}")
        if problems:
            raise SystemExit(f"{TITLES[name]} made another lake than ours:\n" + "\n".join(problems))


def differing(these: dict[str, str], those: dict[str, str]) -> set[str]:
    return {key for key in these.keys() | those.keys() if these.get(key) != those.get(key)}


def rows_changed(name: str, result: dict) -> int:
    if name not in (OURS, MINIO):
        return result["rows_changed"]
    return sum(stage["rows_changed"] or 0 for stage in result["stages"])


def python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / script), *map(str, arguments)]


def ask(script: str, *arguments: object) -> dict:
    return json.loads(measure(python(script, *arguments)).stdout)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/run", description=__doc__)
    add = parser.add_argument
    add("--binary", type=Path, help="the program [default: built from this folder]")
    add("--rounds", type=int, default=5, help="measured rounds [default: 5]")
    add("--days", type=int, default=DAYS, help="arrival dates; the last is measured [default: 9]")
    add("--events-per-day", type=int, default=EVENTS_PER_DAY, help="[default: %(default)s]")
    add("--users", type=int, help="[default: one for 8 events a day]")
    add("--scale", type=int, default=1, help="multiplies events and users [default: 1]")
    add("--only", help="of ours,minio,floor,duckdb,polars [default: all but minio; ours,floor when scaled]")
    add("--threads", type=int, default=2, help="cores that everything may use [default: 2]")
    add("--memory-limit", help="passed to ours and to the floor, such as 512MB")
    add("--configuration", type=Path, default=HERE.parent / "sessionlake.toml")
    add("--work", type=Path, default=Path.home() / ".cache" / "sessionlake-bench" / "work")
    add("--json", type=Path, help="writes everything measured to this file")
    add("--markdown", type=Path, help="writes the table to this file, too")
    add("--quiet", action="store_true", help="waits for idle cores, repeats what was disturbed")
    add(
        "--lock",
        type=Path,
        help="holds this file's lock in each run, on a machine that also builds",
    )
    chosen = parser.parse_args()
    if chosen.binary is None:
        parser.error("name the program with --binary, or start benches/run, which builds it")
    default = "ours,floor" if chosen.scale > 1 else "ours,floor,duckdb,polars"
    chosen.only = (chosen.only or default).split(",")
    if unknown := set(chosen.only) - TITLES.keys():
        parser.error(f"--only knows {', '.join(TITLES)}, not {', '.join(sorted(unknown))}")
    return chosen


def sizes(chosen: argparse.Namespace) -> Sizes:
    events = chosen.events_per_day * chosen.scale
    users = chosen.users * chosen.scale if chosen.users else events * USERS // EVENTS_PER_DAY
    return Sizes(chosen.days, events, max(users, 1))


def keep_to_cores(count: int) -> None:
    """Every child inherits the cores of this process, so all engines count the same number."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def main() -> None:
    chosen = options()
    keep_to_cores(chosen.threads)
    size = sizes(chosen)
    root = chosen.work / f"{size.days}x{size.events_per_day}"
    workspace = Workspace(root, chosen.binary.resolve(), size)
    benchmark = Benchmark(workspace, chosen)
    say(f"generating {size.days} dates of {size.events_per_day:,} events, loading all but the last")
    workspace.prepare(chosen.configuration)
    benchmark.learn_expected()
    for number in range(chosen.rounds + 1):
        benchmark.measure_round(number)
    publish(benchmark, chosen, size)


def publish(benchmark: Benchmark, chosen: argparse.Namespace, size: Sizes) -> None:
    series = [benchmark.series[name] for name in TITLES if name in benchmark.series]
    if not series:
        return
    where = machine(len(os.sched_getaffinity(0)))
    caption = (
        f"{size.events_per_day:,} events into a lake of {size.days - 1} dates, "
        f"{chosen.rounds} rounds, {date.today()}, {where}"
    )
    text = f"{caption}:\n\n{table(series, benchmark.series.get(FLOOR))}\n"
    if note := disturbed(series):
        text += f"\n{note}\n"
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(text)
    if chosen.json:
        about = {"machine": where, "sizes": vars(size), "rounds": chosen.rounds}
        about |= {"memory_limit": chosen.memory_limit, "rows_changed": benchmark.changed}
        chosen.json.write_text(json.dumps(document(series, about), indent=2))


def disturbed(series: list[Series]) -> str:
    """A word of caution below a table whose runs did not have the machine to themselves."""
    shares = [run.disturbance for one in series for run in one.runs]
    many = sum(share >= DISTURBED_FROM for share in shares)
    if many == 0:
        return ""
    return (
        f"Not to be relied on: in {many} of {len(shares)} runs other processes took "
        f"{DISTURBED_FROM:.0%} of the cores or more, at worst {max(shares):.0%}."
    )


if __name__ == "__main__":
    try:
        main()
    except ProcessFailed as failure:
        sys.exit(str(failure))
