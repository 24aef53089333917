"""What can be said of Dockerfile, docker-compose.yml and .dockerignore without a Docker engine.

usage: compose.py        exit code 1 when anything does not fit
"""

import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
# A tag that somebody moves: none, latest, or a name without a version.
PINNED = re.compile(r"^[a-z0-9./-]+:(?=.*\d+[.-]\d+|.*\d{8})[\w.-]+$")
problems: list[str] = []


def expect(holds: object, problem: str) -> None:
    if not holds:
        problems.append(problem)


def dockerfile() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    images = [line.split()[1] for line in lines if line.startswith("FROM ")]
    expect(len(images) == 2, f"Dockerfile: two stages are expected, not {images}")
    for image in images:
        expect(PINNED.match(image), f"Dockerfile: {image} is not pinned")
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    expect(images[0].startswith(f"rust:{toolchain}-"), f"Dockerfile: {images[0]} is not {toolchain}")
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    expect(users and users[-1].split(":")[0] not in ("root", "0"), "Dockerfile: runs as root")
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                expect((ROOT / source).exists(), f"Dockerfile: {source} is not there")
                expect(source in allowed, f".dockerignore: keeps {source} out")


def compose() -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = document["services"]
    for name, service in services.items():
        if "build" not in service:
            expect(PINNED.match(service["image"]), f"{name}: {service['image']} is not pinned")
        for other, on in service.get("depends_on", {}).items():
            expect(other in services, f"{name}: depends on {other}, which is not there")
            healthy = on["condition"] != "service_healthy" or "healthcheck" in services[other]
            expect(healthy, f"{name}: waits for the health of {other}, which has no check")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (ROOT / source).exists() if source[0] == "." else source in document["volumes"]
            expect(known, f"{name}: the volume {source} is not there")
    job, minio = services["sessionlake"]["environment"], services["minio"]["environment"]
    pairs = [
        ("AWS_ACCESS_KEY_ID", "MINIO_ROOT_USER"),
        ("AWS_SECRET_ACCESS_KEY", "MINIO_ROOT_PASSWORD"),
    ]
    for ours, theirs in pairs:
        expect(job[ours] == minio[theirs], f"sessionlake: {ours} is not minio's {theirs}")
    bucket = job["SESSIONLAKE__LAKE__URL"].removeprefix("s3://").split("/")[0]
    made = services["bucket"]["command"][0].split()[-1]
    expect(made == f"lake/{bucket}", f"bucket: makes {made}, the lake is in {bucket}")
    # A test runs the program with these: they are those that it reads.
    test = (ROOT / "tests/object_storage/sources.rs").read_text()
    for variable in job:
        expect(f'"{variable}"' in test, f"sessionlake: no test sets {variable}")


dockerfile()
compose()
for problem in problems:
    print(problem)
sys.exit(1 if problems else 0)
