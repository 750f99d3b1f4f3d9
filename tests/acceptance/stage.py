"""The real command in subprocesses, a simulated Stripe, and Postgres: embedded or one's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import asyncpg

from tests.acceptance.truth import broken_invariants, differences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

KEY = "rk_test_acceptanceSECRET00000000TAIL"
ROOT = Path(__file__).resolve().parents[2]
SINCE = "2025-01-01"
UNTIL = "2026-01-01"


@dataclass
class Stripe:
    """The simulator, in a process of its own."""

    url: str

    def call(self, method: str, what: str, **values: object) -> Any:
        body = json.dumps(values).encode() if method == "POST" else None
        request = Request(
            f"{self.url}/_sim/{what}",
            data=body,
            method=method,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urlopen(request, timeout=60) as answer:
                text = answer.read().decode()
        except HTTPError as error:
            raise AssertionError(f"{what}: {error.read().decode()}") from error
        return text

    def truth(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.call("GET", "truth").splitlines()]

    def stats(self) -> dict[str, Any]:
        return dict(json.loads(self.call("GET", "stats")))

    def change(self, kind: str, count: int = 1, **values: object) -> list[str]:
        reported = json.loads(self.call("POST", "change", kind=kind, count=count, **values))
        return list(reported["ids"])

    def faults(self, **values: object) -> None:
        self.call("POST", "faults", **values)

    def heal(self) -> None:
        self.call("DELETE", "faults")

    def requests_of(self, work: Callable[[], object]) -> dict[str, int]:
        """What is asked of the simulator while *work* goes on, by endpoint."""
        before = Counter(self.stats()["requests"])
        work()
        return dict(Counter(self.stats()["requests"]) - before)


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()


@contextmanager
def simulated_stripe(**options: object) -> Iterator[Stripe]:
    given = {"refunds": 3_000, "from": SINCE, "to": UNTIL, "seed": 7, "limits": "none", **options}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "service.simulator", "--port=0", "--with-parent", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        yield Stripe(json.loads(process.stdout.readline())["url"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@dataclass
class Stage:
    """One place to run commands in, with nothing of the caller's own settings."""

    stripe: Stripe
    folder: Path
    dsn: str | None = None
    settings: dict[str, object] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG"}}
        if self.dsn:
            kept["DATABASE_URL"] = self.dsn
        fast = {
            "endpoint_rate": 1_000_000,
            "global_rate": 1_000_000,
            "deadline_s": 60,
            "since": SINCE,
        }
        return {
            **kept,
            "HOME": str(self.folder),
            "STRIPE_API_KEY": KEY,
            "REFUND_SYNC_STRIPE_API_BASE": self.stripe.url,
            "REFUND_SYNC_DATA_DIR": str(self.folder / "data"),
            **{f"REFUND_SYNC_{k.upper()}": str(v) for k, v in (fast | self.settings).items()},
        }

    def program(self) -> list[str]:
        return [sys.executable, "-m", "service"]

    def start(self, *arguments: str, as_json: bool = True) -> subprocess.Popen[str]:
        options = ["--json"] if as_json else []
        return subprocess.Popen(
            [*self.program(), *options, *arguments],
            env=self.environ(), cwd=self.folder, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(
        self, *arguments: str, expect: int = 0, timeout: float = 120, as_json: bool = True
    ) -> Ran:
        process = self.start(*arguments, as_json=as_json)
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == expect, (
            f"ended with {process.returncode}:\n{err[-4000:]}{out[-500:]}"
        )
        return Ran(out, err)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        dsn = self.dsn or f"postgresql://postgres@/refund_sync?host={self.socket_folder()}"
        connection = await asyncpg.connect(dsn)
        try:
            yield connection
        finally:
            await connection.close()

    async def select(self, sql: str, *values: object) -> list[asyncpg.Record]:
        async with self.connection() as connection:
            return list(await connection.fetch(sql, *values))

    async def execute(self, sql: str, *values: object) -> str:
        async with self.connection() as connection:
            return str(await connection.execute(sql, *values))

    async def assert_no_invariant_is_broken(self) -> None:
        async with self.connection() as connection:
            broken = await broken_invariants(connection)
            assert not broken, f"{len(broken)} broken invariants: {broken[:5]}"

    def socket_folder(self) -> Path:
        """Where the embedded server listens: line 5 of its postmaster.pid."""
        for pid_file in (self.folder / "data").glob("pg*/postmaster.pid"):
            lines = pid_file.read_text().splitlines()
            if len(lines) >= 5 and lines[4]:
                return Path(lines[4])
        raise FileNotFoundError("no embedded server runs")

    async def assert_equal_to_stripe(self) -> None:
        async with self.connection() as connection:
            found = await differences(connection, self.stripe.truth())
            assert not found, f"{len(found)} differences: {found[:5]}"
        await self.assert_no_invariant_is_broken()


@dataclass(frozen=True)
class Ran:
    out: str
    err: str

    @property
    def reported(self) -> Any:
        return json.loads(self.out)


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    return [process.wait(timeout=120) for process in processes]
