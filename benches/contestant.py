"""What every contestant written in Python is given, and what it says at its end."""

import argparse
import json
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from arro3.core.types import ArrowStreamExportable
from deltalake import DeltaTable

from tables import ODS, RAW, literal_dates, live_files

# The rules of the sample configuration; daily.py refuses to run with others.
USER_ACTIONS = ("view", "click", "add_to_cart", "purchase")
TIMEOUT_MICROS = 5 * 60 * 1_000_000
UPDATE_DEPTH_DAYS = 5
LOOKBACK_DAYS = 1
LOOKBACK_MICROS = LOOKBACK_DAYS * 24 * 3600 * 1_000_000

# The order in which the files of both tables hold their columns.
RAW_COLUMNS = (
    "user_id", "product_code", "event_id", "timestamp", "page", "price",
    "_extra", "_file", "_line", "_accept_late", "_ingested_at", "_updated_at",
)  # fmt: skip
ODS_COLUMNS = (
    "user_id", "product_code", "event_id", "timestamp", "is_user_action", "time_diff_ms",
    "session_start", "session_id", "pdate", "_updated_at", "page", "price",
)  # fmt: skip


@dataclass
class Task:
    """One arrival date to bring into a lake."""

    batch: Path
    arrival_date: date
    lake: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_arguments(cls) -> "Task":
        parser = argparse.ArgumentParser()
        parser.add_argument("--batch", type=Path, required=True)
        parser.add_argument("--arrival-date", type=date.fromisoformat, required=True)
        parser.add_argument("--lake", type=Path, required=True)
        return cls(**vars(parser.parse_args()))

    @property
    def raw(self) -> str:
        return str(self.lake / RAW)

    @property
    def ods(self) -> str:
        return str(self.lake / ODS)

    @property
    def first_valid_date(self) -> date:
        return self.arrival_date - timedelta(days=UPDATE_DEPTH_DAYS)

    @property
    def last_valid_date(self) -> date:
        return self.arrival_date + timedelta(days=1)

    def window_files(self) -> list[str]:
        """The files of ODS that hold duplicates or context of the batch."""
        first = self.first_valid_date - timedelta(days=LOOKBACK_DAYS)
        by_date = live_files(Path(self.ods), "pdate")
        return [
            path
            for pdate, paths in by_date.items()
            if first <= pdate <= self.last_valid_date
            for path in paths
        ]

    def timed(self, step: str) -> "Step":
        return Step(self, step)

    def finish(self, rows_changed: int) -> None:
        print(json.dumps({"rows_changed": rows_changed, "seconds": self.seconds}))


class Step:
    """Adds what a `with` block took to its task."""

    def __init__(self, task: Task, name: str) -> None:
        self.task, self.name = task, name

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.task.seconds[self.name] = time.perf_counter() - self.began


def merge(ods: str, changed_rows: ArrowStreamExportable, dates: list[date]) -> None:
    """deltalake's MERGE of the changed rows; the source is in memory, and read twice."""
    predicate = (
        f"target.pdate in ({literal_dates(dates)}) and target.pdate = source.pdate"
        " and target.user_id = source.user_id and target.product_code = source.product_code"
        " and target.timestamp = source.timestamp and target.event_id = source.event_id"
    )
    (
        DeltaTable(ods)
        .merge(
            changed_rows,
            predicate,
            source_alias="source",
            target_alias="target",
            streamed_exec=False,
        )
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )
