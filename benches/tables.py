"""Delta tables as the peers, the floor and the comparison see them: through their log."""

from datetime import date
from pathlib import Path

from deltalake import DeltaTable

ODS = "ods/events"
RAW = "raw/events"


def live_files(table: Path, partition: str) -> dict[date, list[str]]:
    """Absolute paths of the files that the log of `table` names, by partition value."""
    actions = DeltaTable(str(table)).get_add_actions(flatten=True)
    paths = actions.column("path").to_pylist()
    dates = actions.column(f"partition.{partition}").to_pylist()
    files: dict[date, list[str]] = {}
    for path, value in sorted(zip(paths, dates, strict=True)):
        files.setdefault(as_date(value), []).append(str(table / path))
    return files


def as_date(value: date | str) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


def literal_dates(dates: list[date]) -> str:
    """`'2026-01-08', '2026-01-09'`: a literal list lets MERGE skip the other dates' files."""
    return ", ".join(f"'{value}'" for value in sorted(dates))
