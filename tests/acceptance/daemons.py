"""``run`` as a process: what it says, what it answers, how it ends; and a systemd that listens."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.acceptance.stage import Stage, simulated_stripe
from tests.acceptance.truth import differences

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.stage import Stripe

TODAY = datetime.now(UTC).date()
BEGIN = (TODAY - timedelta(days=40)).isoformat()
OFTEN = {"sync_interval_s": 1, "read_allowance": 100_000_000, "http": "127.0.0.1:0", "since": BEGIN}


@dataclass
class Place(Stage):
    """A stage with more in the environment."""

    more: dict[str, str] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        return super().environ() | self.more


@dataclass
class Daemon:
    """``run`` as a process; what it says is read all the time, so that it never waits for us."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: self.address or self.process.poll() is not None)
        assert self.address, self.said

    def _read(self) -> None:
        assert self.process.stderr
        self.lines.extend(iter(self.process.stderr.readline, ""))

    @property
    def said(self) -> str:
        return "".join(self.lines)

    @property
    def address(self) -> str | None:
        found = re.search(r'daemon\.started.*|"http".*daemon\.started.*', self.said)
        reported = re.search(r"127\.0\.0\.1:\d+", found[0]) if found else None
        return reported[0] if reported else None

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urlopen(f"http://{self.address}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def wrong(self) -> str:
        """What /readyz complains about; nothing where it is ready."""
        code, text = self.get("/readyz")
        assert (code == 200) == json.loads(text)["ok"]
        return "" if code == 200 else text

    def metric(self, name: str, **labels: str) -> float:
        """The sum of its samples that have these labels."""
        samples = re.findall(
            rf"^refund_sync_{name}(?:{{(.*)}})? (\S+)$", self.get("/metrics")[1], re.MULTILINE
        )
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(value) for reported, value in samples if all(w in reported for w in wanted)
        )

    def ends(self, *, within_s: float = 60) -> int:
        code = self.process.wait(within_s)
        self._reader.join(10)
        return code

    def is_stopped(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.ends() == 0, self.said
        assert "Traceback" not in self.said, self.said


def until(so: Callable[[], Any], *, within_s: float = 40) -> None:
    deadline = time.monotonic() + within_s
    while not so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


@contextmanager
def running(stage: Stage) -> Iterator[Daemon]:
    process = stage.start("run")
    try:
        daemon = Daemon(process)
        try:
            yield daemon
        except BaseException:
            print(daemon.said[-4_000:])
            raise
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


@contextmanager
def recent_stripe(**options: object) -> Iterator[Stripe]:
    given = {"refunds": 2_000, "from": BEGIN, "to": TODAY.isoformat(), **options}
    with simulated_stripe(**given) as stripe:
        yield stripe


async def becomes_equal(stage: Stage, *, within_s: float = 40) -> None:
    """Until the warehouse holds what Stripe holds; a daemon is at it."""
    deadline = time.monotonic() + within_s
    async with stage.connection() as connection:
        while found := await differences(connection, stage.stripe.truth()):
            assert time.monotonic() < deadline, f"{len(found)} differences: {found[:5]}"
            await asyncio.sleep(0.1)


async def rows(stage: Stage, table: str = "refund") -> int:
    async with stage.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM refund_sync.{table}"))


async def more_than(stage: Stage, count: int) -> None:
    async with stage.connection() as connection:
        for _ in range(2_000):
            if await connection.fetchval("SELECT count(*) FROM refund_sync.refund") > count:
                return
            await asyncio.sleep(0.02)
    raise AssertionError(f"never more than {count} refunds")


@dataclass
class Systemd:
    """The receiving end of its notifications."""

    inbox: socket.socket

    def hears(self, text: str, *, within_s: float = 30) -> None:
        until(lambda: text in self.all_reported(), within_s=within_s)

    def all_reported(self) -> list[str]:
        """What came since it was last asked."""
        reported = []
        while True:
            try:
                reported.append(self.inbox.recv(1_000, socket.MSG_DONTWAIT).decode())
            except BlockingIOError:
                return reported

    def hears_nothing(self, *, for_s: float) -> bool:
        self.all_reported()
        time.sleep(for_s)
        return not self.all_reported()


@contextmanager
def systemd(folder: Path) -> Iterator[tuple[Systemd, dict[str, str]]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(folder / "notify"))
        yield Systemd(inbox), {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "450000"}
