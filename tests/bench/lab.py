"""Runs the real commands against the simulator, as processes of their own, and measures them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY = "rk_test_bench00000000000000000000"
UNLIMITED = {"endpoint_rate": 1_000_000, "global_rate": 1_000_000}


@dataclass(frozen=True, slots=True)
class Simulator:
    url: str
    pid: int = 0

    def cpu_s(self) -> float:
        """What its process has worked so far, as Linux counts."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stats(self) -> dict[str, Any]:
        return dict(self._call("GET", "stats"))

    def reset(self) -> None:
        self._call("POST", "reset_stats")

    def post(self, what: str, **values: object) -> dict[str, Any]:
        return dict(self._call("POST", what, json.dumps(values).encode()))

    def text(self, what: str) -> str:
        with urlopen(f"{self.url}/_sim/{what}", timeout=60) as answer:
            return str(answer.read().decode())

    def _call(self, method: str, what: str, body: bytes | None = None) -> Any:
        request = Request(f"{self.url}/_sim/{what}", method=method, data=body)
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"{}")


@contextmanager
def simulator(**options: object) -> Iterator[Simulator]:
    """A simulator in a process of its own; options as on its command line."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "service.simulator", "--port=0", "--with-parent", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield Simulator(json.loads(process.stdout.readline())["url"], process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@dataclass(frozen=True, slots=True)
class Measured:
    """One command: its wall time, the CPU and peak memory of its process alone, what it printed.

    *others_s* is the CPU of all else on the machine in that time but the simulator: Postgres's, mostly.
    """

    wall_s: float
    cpu_s: float
    others_s: float
    peak_mib: float
    reported: dict[str, Any]
    simulator_s: float = 0.0


def run(
    arguments: list[str], environ: Mapping[str, str], folder: Path, sim: Simulator | None = None
) -> Measured:
    """Runs a command to its end; one that fails ends the bench."""
    out = folder / "stdout"
    simulated = sim.cpu_s() if sim else 0.0
    began, busy = time.perf_counter(), _busy_s()
    with out.open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            arguments, env=dict(environ), stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
    wall, busy = time.perf_counter() - began, _busy_s() - busy
    simulated = sim.cpu_s() - simulated if sim else 0.0
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(
            f"{arguments} ended with {process.returncode}:\n{(folder / 'stderr').read_text()[-2000:]}"
        )
    text = out.read_text()
    reported = json.loads(text) if text.startswith("{") else {}
    own = usage.ru_utime + usage.ru_stime
    others = busy - own - simulated
    return Measured(wall, own, others, usage.ru_maxrss / 1024, reported, simulated)


def _busy_s() -> float:
    """How long the cores of this machine have worked since it started, summed, as Linux counts."""
    user, nice, system, _idle, _iowait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split()[1:8]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "service", "--no-progress", "-q", "--json", *arguments]


def environment(sim: Simulator, dsn: str, folder: Path, **settings: object) -> dict[str, str]:
    """Nothing of the caller's own settings."""
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "TMPDIR"}}
    config = folder / "refund-sync.toml"
    config.touch()
    return {
        **kept,
        "HOME": str(folder),
        "PYTHONPATH": str(Path.cwd()),
        "STRIPE_API_KEY": KEY,
        "DATABASE_URL": dsn,
        "REFUND_SYNC_STRIPE_API_BASE": sim.url,
        **{f"REFUND_SYNC_{name.upper()}": str(value) for name, value in settings.items()},
    }
