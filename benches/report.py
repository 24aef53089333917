"""The figures of all rounds as one table, with the machine they were taken on."""

import os
import statistics
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from measure import Measured

MB = 1_000_000


@dataclass
class Series:
    """All measured runs of one contestant. The seconds of the floor are those of its statement,
    of all others those of the whole process."""

    name: str
    runs: list[Measured] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows_changed: int | None = None
    details: list[dict] = field(default_factory=list)

    @property
    def median_seconds(self) -> float:
        return statistics.median(self.seconds)

    @property
    def peak_memory_bytes(self) -> int:
        return max(run.peak_memory_bytes for run in self.runs)

    def median(self, figure: str) -> float:
        return statistics.median(getattr(run, figure) for run in self.runs)


def table(series: list[Series], floor: Series | None) -> str:
    """Markdown, as README.md carries it."""
    header = [
        "", "median s", "min s", "max s", "x floor", "CPU s", "peak MB", "rows changed",
        "read MB", "written MB",
    ]  # fmt: skip
    lines = [row(header), "|---|" + "---:|" * (len(header) - 1)]
    for one in series:
        ratio = f"{one.median_seconds / floor.median_seconds:.2f}" if floor else ""
        lines.append(
            row(
                [
                    one.name,
                    f"{one.median_seconds:.2f}",
                    f"{min(one.seconds):.2f}",
                    f"{max(one.seconds):.2f}",
                    ratio,
                    f"{one.median('cpu_seconds'):.2f}",
                    f"{one.peak_memory_bytes / MB:,.0f}",
                    "" if one.rows_changed is None else f"{one.rows_changed:,}",
                    f"{one.median('read_bytes') / MB:,.0f}",
                    f"{one.median('written_bytes') / MB:,.0f}",
                ]
            )
        )
    return "\n".join(lines)


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def machine(cores_used: int) -> str:
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{cores_used} cores of {cpu_model()}, {memory_bytes / 2**30:.0f} GiB of memory"


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(": ", 1)[1]
    return "an unnamed CPU"


def document(series: list[Series], about: dict[str, object]) -> dict[str, object]:
    """Everything measured, for `--json`."""
    contestants = [{**asdict(one), "median_seconds": one.median_seconds} for one in series]
    for run in (run for one in contestants for run in one["runs"]):
        # Parsed already, in the details.
        del run["stdout"]
    return {**about, "date": str(date.today()), "contestants": contestants}
