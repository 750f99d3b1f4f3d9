"""The daemon as a process: ready, current, watched, drained, and unmoved by a database that restarts."""

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
from tests.acceptance.truth import broken_invariants

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.stage import Stripe
    from tests.databases import OwnServer

TODAY = datetime.now(UTC).date()
BEGIN = (TODAY - timedelta(days=40)).isoformat()
OFTEN = {"sync_interval_s": 1, "read_allowance": 100_000_000, "http": "127.0.0.1:0", "since": BEGIN}
NAMES = {
    "requests_total", "wait_seconds_total", "rows_total", "covered_until_seconds", "gap_seconds",
    "runs_total", "last_success_timestamp_seconds", "quarantined", "reads_used_total",
}  # fmt: skip


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
        told = re.search(r"127\.0\.0\.1:\d+", found[0]) if found else None
        return told[0] if told else None

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
        return sum(float(value) for told, value in samples if all(w in told for w in wanted))

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
        yield Daemon(process)
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


async def assert_nothing_false(stage: Stage) -> None:
    async with stage.connection() as connection:
        assert not await broken_invariants(connection)
        open_runs = await connection.fetch(
            "SELECT job FROM refund_sync.run WHERE outcome = 'running' OR ended_at IS NULL"
        )
        assert not open_runs


async def test_it_fills_history_finds_new_refunds_and_tells_metrics(
    database: str, open_folder: Path
) -> None:
    with recent_stripe() as stripe:
        stage = Stage(stripe, open_folder, database, OFTEN)
        with running(stage) as daemon:
            until(daemon.is_ready)
            until(lambda: daemon.metric("gap_seconds", stream="refunds") == 0)
            stripe.change("new", 3)
            until(lambda: daemon.metric("rows_total", outcome="inserted") >= 2_003)
            assert daemon.get("/livez")[0] == 200
            text = daemon.get("/metrics")[1]
            assert {f"refund_sync_{name}" for name in NAMES} <= set(
                re.findall(r"^(refund_sync_\w+)[ {]", text, re.MULTILINE)
            )
            covered_until = daemon.metric("covered_until_seconds", stream="refunds")
            assert 0 < time.time() - covered_until < 700
            assert daemon.metric("last_success_timestamp_seconds") > 0
            daemon.is_stopped()
        await stage.assert_equal_to_stripe()
        await assert_nothing_false(stage)


async def test_it_is_ready_while_history_still_fills_and_stops_in_the_middle_of_it(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=6_000, latency_ms=700) as stripe:
        stage = Stage(stripe, open_folder, database, OFTEN | {"concurrency": 2})
        with running(stage) as daemon:
            assert daemon.wrong()
            assert daemon.get("/livez")[0] == 200
            until(daemon.is_ready)
            await more_than(stage, 500)
            assert daemon.metric("gap_seconds", stream="refunds") > 86_400
            assert daemon.is_ready()
            daemon.is_stopped()
        assert 500 < await rows(stage) < 6_000
        await assert_nothing_false(stage)


async def test_it_is_not_ready_without_its_database_and_goes_on_when_that_returns(
    own_server: OwnServer, open_folder: Path
) -> None:
    with recent_stripe(refunds=300) as stripe:
        stage = Stage(stripe, open_folder, own_server.dsn, OFTEN)
        stage.run("migrate")
        with running(stage) as daemon:
            until(daemon.is_ready)
            own_server.stop_immediately()
            until(lambda: not daemon.is_ready())
            assert "database" in daemon.wrong()
            assert daemon.get("/livez")[0] == 200
            assert daemon.get("/metrics")[0] == 200
            own_server.start()
            until(daemon.is_ready)
            stripe.change("new", 2)
            until(lambda: daemon.metric("rows_total", outcome="inserted") >= 302)
            daemon.is_stopped()
        await stage.assert_equal_to_stripe()


async def test_it_is_not_ready_with_another_schema_than_its_own(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=100) as stripe:
        stage = Stage(stripe, open_folder, database, OFTEN)
        with running(stage) as daemon:
            until(daemon.is_ready)
            async with stage.connection() as connection:
                now = await connection.fetchval("SELECT * FROM refund_sync.alembic_version")
                await connection.execute(
                    "UPDATE refund_sync.alembic_version SET version_num = '9999'"
                )
                assert "schema" in daemon.wrong()
                await connection.execute(
                    "UPDATE refund_sync.alembic_version SET version_num = $1", now
                )
            until(daemon.is_ready)
            daemon.is_stopped()


def test_without_a_schema_it_does_not_start(own_server: OwnServer, open_folder: Path) -> None:
    with recent_stripe(refunds=10) as stripe:
        ran = Stage(stripe, open_folder, own_server.dsn, OFTEN).run("run", expect=5)
        assert "refund-sync migrate" in ran.err


def test_a_port_that_is_taken_is_said(database: str, open_folder: Path) -> None:
    with recent_stripe(refunds=10) as stripe, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ran = Stage(stripe, open_folder, database, OFTEN | {"http": address}).run("run", expect=3)
        assert address in ran.err
        assert "REFUND_SYNC_HTTP" in ran.err


async def test_a_key_that_is_withdrawn_ends_it_for_a_person_to_look(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=100) as stripe:
        stage = Stage(stripe, open_folder, database, OFTEN)
        with running(stage) as daemon:
            until(daemon.is_ready)
            stripe.faults(unauthorized=True)
            assert daemon.ends() == 4
            assert "Traceback" not in daemon.said
        await assert_nothing_false(stage)


@dataclass
class Systemd:
    """The receiving end of its notifications."""

    inbox: socket.socket

    def hears(self, text: str, *, within_s: float = 30) -> None:
        until(lambda: text in self.all_told(), within_s=within_s)

    def all_told(self) -> list[str]:
        """What came since it was last asked."""
        told = []
        while True:
            try:
                told.append(self.inbox.recv(1_000, socket.MSG_DONTWAIT).decode())
            except BlockingIOError:
                return told

    def hears_nothing(self, *, for_s: float) -> bool:
        self.all_told()
        time.sleep(for_s)
        return not self.all_told()


@contextmanager
def systemd(folder: Path) -> Iterator[tuple[Systemd, dict[str, str]]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(folder / "notify"))
        yield Systemd(inbox), {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "450000"}


def test_systemd_hears_of_it_while_something_moves_and_not_while_it_is_stuck(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=200) as stripe, systemd(open_folder) as (boss, environ):
        stage = Place(stripe, open_folder, database, OFTEN, environ)
        with running(stage) as daemon:
            boss.hears("READY=1")
            until(daemon.is_ready)
            for _ in range(4):
                boss.hears("WATCHDOG=1")
            stripe.faults(stall=1, stall_s=4)
            until(lambda: boss.hears_nothing(for_s=1))
            stripe.heal()
            boss.hears("WATCHDOG=1")
            until(daemon.is_ready)
            boss.all_told()
            daemon.is_stopped()
            assert "STOPPING=1" in boss.all_told()


def test_standing_by_for_another_daemon_it_is_fed_and_takes_over(
    database: str, open_folder: Path
) -> None:
    with (
        recent_stripe(refunds=200) as stripe,
        systemd(open_folder) as (boss, environ),
        running(Stage(stripe, open_folder, database, OFTEN)) as first,
    ):
        until(first.is_ready)
        with running(Place(stripe, open_folder, database, OFTEN, environ)) as second:
            assert "lease" in second.wrong()
            for _ in range(4):
                boss.hears("WATCHDOG=1")
            assert first.is_ready()
            first.is_stopped()
            until(second.is_ready)
            second.is_stopped()


def test_a_second_signal_ends_it_at_once_and_its_database_too(open_folder: Path) -> None:
    with recent_stripe(refunds=200) as stripe, systemd(open_folder) as (boss, environ):
        stage = Place(stripe, open_folder, None, OFTEN, environ)
        with running(stage) as daemon:
            until(daemon.is_ready)
            stripe.faults(stall=1, stall_s=20)
            until(lambda: boss.hears_nothing(for_s=0.8))
            daemon.process.send_signal(signal.SIGTERM)
            boss.hears("STOPPING=1", within_s=5)
            time.sleep(0.3)
            assert daemon.process.poll() is None, "nothing was under way that could be drained"
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.ends(within_s=5) == 143, daemon.said
        until(lambda: not list((open_folder / "data").glob("pg*/postmaster.pid")))
