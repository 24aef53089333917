"""A MinIO on loopback for the contestant `minio`: our own job with its lake in a bucket.

    <work>/minio-template/      the folder of a server whose bucket holds the lake after all dates
                                but the last; no server works on it any more
    <work>/runs/minio/          a copy of it for every run
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BUCKET = "bench"
LAKE = f"s3://{BUCKET}/lake"
USER, PASSWORD = "bench", "bench-password"
START_SECONDS = 30


@dataclass(frozen=True)
class Server:
    pid: int
    endpoint: str

    def environment(self) -> dict[str, str]:
        """What a program needs to reach the bucket."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_ALLOW_HTTP": "true",
        }


def program() -> str:
    found = os.environ.get("SESSIONLAKE_MINIO") or shutil.which("minio")
    if not found:
        raise SystemExit("no MinIO here: put minio on PATH, or name it with SESSIONLAKE_MINIO")
    return found


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server over `folder`; it is gone when the block ends."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    secrets = {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD}
    process = subprocess.Popen(
        [program(), "server", "--quiet", "--address", address, str(folder)],
        env=os.environ | secrets,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_ready(process, f"http://{address}/minio/health/ready")
        yield Server(process.pid, f"http://{address}")
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(process: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            with urllib.request.urlopen(url, timeout=1):
                return
        time.sleep(0.1)
    raise SystemExit(f"MinIO is not ready at {url} after {START_SECONDS} s")
