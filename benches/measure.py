"""One process, measured from its start to its exit.

Peak memory is the kernel's `ru_maxrss`. A child starts with the high-water mark of the process
that spawned it, so this process imports nothing large: whatever needs duckdb, deltalake or polars
runs as a child.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# `ru_maxrss` counts KiB on Linux.
MAXRSS_UNIT_BYTES = 1024
# A run is disturbed when this share of the cores went to others.
DISTURBED_FROM = 0.05
# Between two looks at whether the cores are idle.
BUSY_PAUSE_SECONDS = 3
# All of the machine's: others use them too.
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Measured:
    """What one process took. Bytes are those of its read and write calls, whether the page cache
    served them or the disk; pages read through a memory map are not among them."""

    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    read_bytes: int
    written_bytes: int
    # Time that other processes, or the host of this machine, took from the cores meanwhile.
    others_cpu_seconds: float
    stdout: str

    @property
    def disturbance(self) -> float:
        """The share of the machine's cores that was not to be had."""
        return self.others_cpu_seconds / (self.seconds * CORES)


@dataclass(frozen=True)
class Conditions:
    """When runs take place on a machine that does other things too."""

    quiet: bool
    lock: Path | None

    def take(self, run: Callable[[], Measured]) -> Measured:
        """One run; a quiet one has the cores to itself, however often that takes. The lock is
        not held while others keep them busy."""
        while True:
            with held(self.lock):
                if not self.quiet:
                    return run()
                if is_quiet():
                    measured = run()
                    if measured.disturbance < DISTURBED_FROM:
                        return measured
                    share = f"{measured.disturbance:.0%}"
                    print(f"  again: others took {share} of the cores", file=sys.stderr)
            time.sleep(BUSY_PAUSE_SECONDS)


@contextlib.contextmanager
def held(lock: Path | None) -> Iterator[None]:
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class ProcessFailed(Exception):
    """A measured process ended with another exit code than 0."""

    def __init__(self, command: list[str], code: int, stderr: str) -> None:
        tail = "\n".join(stderr.splitlines()[-20:])
        super().__init__(f"exit code {code}: {' '.join(command)}\n{tail}")


def measure(
    command: list[str], environment: dict[str, str] | None = None, server: int | None = None
) -> Measured:
    """Runs `command` to its end. The time of the process `server` is not that of others."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        busy_before = busy_cpu_seconds() - cpu_seconds_of(server)
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=stdout, stderr=stderr, env=os.environ | (environment or {})
        )
        # The ended process is looked at before it is reaped: its counters go with it.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.perf_counter() - began
        busy = busy_cpu_seconds() - cpu_seconds_of(server) - busy_before
        transferred = transferred_bytes(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise ProcessFailed(command, process.returncode, text_of(stderr))
        cpu_seconds = usage.ru_utime + usage.ru_stime
        return Measured(
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            peak_memory_bytes=usage.ru_maxrss * MAXRSS_UNIT_BYTES,
            read_bytes=transferred["rchar"],
            written_bytes=transferred["wchar"],
            others_cpu_seconds=max(busy - cpu_seconds, 0.0),
            stdout=text_of(stdout),
        )


def busy_cpu_seconds() -> float:
    """What all processes have used of all cores, and what the host withheld (steal)."""
    [first, *_] = Path("/proc/stat").read_text().splitlines()
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, first.split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of(pid: int | None) -> float:
    if pid is None:
        return 0.0
    # The name in parentheses may hold blanks; the 14th and 15th field are user and system time.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_quiet() -> bool:
    """Whether the cores were all but idle for two seconds."""
    before = busy_cpu_seconds()
    time.sleep(2)
    return busy_cpu_seconds() - before < 2 * DISTURBED_FROM * CORES


def transferred_bytes(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


def text_of(file) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
