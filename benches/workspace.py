"""The files that all contestants work on: generated batches, and a lake that holds all but the
last of them.

    <work>/sessionlake.toml     the sample configuration, as it is
    <work>/batches/             one file per arrival date
    <work>/template/            the lake after all dates but the last; no run writes to it
    <work>/runs/<contestant>/   a fresh lake for every run

minio.py says what the contestant `minio` has beside them.
"""

import hashlib
import json
import os
import shutil
import tomllib
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import minio
from measure import measure

FIRST_DATE = date(2026, 1, 1)
STAMP = "workspace.json"

# What the peers and the floor have built in. A sample configuration that says otherwise would
# make them do another job.
RULES: dict[str, dict[str, object]] = {
    "event": {
        "user_id": "user_id",
        "product_code": "product_code",
        "event_id": "event_id",
        "timestamp": "timestamp",
        "zone": "UTC",
        "attributes": ["page", "cast(price as double) as price"],
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


@dataclass(frozen=True)
class Sizes:
    """How much is generated."""

    days: int
    events_per_day: int
    users: int


@dataclass(frozen=True)
class Workspace:
    root: Path
    binary: Path
    sizes: Sizes

    @property
    def configuration(self) -> Path:
        return self.root / "sessionlake.toml"

    @property
    def template(self) -> Path:
        return self.root / "template"

    @property
    def arrival_date(self) -> date:
        """The date that is measured: the last one."""
        return FIRST_DATE + timedelta(days=self.sizes.days - 1)

    @property
    def batch(self) -> Path:
        return self.root / "batches" / f"{self.arrival_date}.csv"

    def sessionlake(self, lake: Path | str, *arguments: str) -> list[str]:
        options = ["--config", str(self.configuration), "--lake", str(lake), "--output", "json"]
        return [str(self.binary), *options, *arguments]

    def prepare(self, configuration: Path) -> None:
        """Generates the batches and loads the template, unless the same program has left them
        here for the same sizes and configuration."""
        check_rules(configuration)
        stamp = {
            "sizes": asdict(self.sizes),
            "binary": digest(self.binary),
            "configuration": digest(configuration),
        }
        if read_json(self.root / STAMP) == stamp:
            return
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        shutil.copyfile(configuration, self.configuration)
        self.generate()
        self.load()
        (self.root / STAMP).write_text(json.dumps(stamp))

    def generate(self) -> None:
        sizes = self.sizes
        measure(
            [
                str(self.binary), "generate", "--out", str(self.batch.parent),
                "--start-date", str(FIRST_DATE), "--days", str(sizes.days),
                "--events-per-day", str(sizes.events_per_day), "--users", str(sizes.users),
            ]
        )  # fmt: skip

    def load(self) -> None:
        measure(self.sessionlake(self.template, *self.all_but_the_last()))

    def all_but_the_last(self) -> list[str]:
        last = self.arrival_date - timedelta(days=1)
        return ["run", "--from", str(FIRST_DATE), "--to", str(last)]

    def fresh_bucket(self) -> Path:
        """The folder of a MinIO whose lake is as the template is."""
        template = self.root / "minio-template"
        if not template.exists():
            loading = self.fresh_folder("minio")
            with minio.serving(loading) as server:
                command = self.sessionlake(minio.LAKE, *self.all_but_the_last())
                measure(command, server.environment())
            loading.rename(template)
        folder = self.fresh_folder("minio")
        shutil.copytree(template, folder)
        os.sync()
        return folder

    def fresh_lake(self, contestant: str) -> Path:
        """A lake as the template is. Data files are never written to again, so that hard links
        do; the log is copied. Everything is on disk before the caller starts its clock."""
        lake = self.root / "runs" / contestant
        shutil.rmtree(lake, ignore_errors=True)
        shutil.copytree(self.template, lake, copy_function=link_data_files)
        os.sync()
        return lake

    def fresh_folder(self, contestant: str) -> Path:
        folder = self.root / "runs" / contestant
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        os.sync()
        return folder


def link_data_files(source: str, target: str) -> str:
    if "_delta_log" in Path(source).parts:
        return shutil.copy2(source, target)
    os.link(source, target)
    return target


def check_rules(configuration: Path) -> None:
    [feed] = tomllib.loads(configuration.read_text())["feed"]
    for section, rules in RULES.items():
        for key, value in rules.items():
            if feed[section][key] != value:
                raise SystemExit(
                    f"{configuration}: {section}.{key} is {feed[section][key]!r}, but the peers "
                    f"work with {value!r}; change them too, and RULES in {Path(__file__).name}"
                )


def digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_json(file: Path) -> object:
    return json.loads(file.read_text()) if file.exists() else None
