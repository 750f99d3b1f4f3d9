"""Daemons that are killed or frozen, as real processes: the standby takes over, the zombie commits nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.postgres.operations.lease import application_name
from tests.integration.lease_process import BEFORE_COMMIT, IN_COPY
from tests.integration.warehouse import ACCOUNT, rows, the_refund

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from datetime import datetime

    from service.adapters.postgres.session.connect import Pool

LEASE_S = 2.0
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Daemon:
    """The process of ``lease_process``."""

    process: Process

    async def says(self, event: str) -> Any:
        assert self.process.stdout
        line = await asyncio.wait_for(self.process.stdout.readline(), 25)
        assert line, f"it ended before it said {event!r}"
        said, reported = json.loads(line)
        assert said == event, (said, reported)
        return reported

    def go_on(self) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"\n")

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)


@asynccontextmanager
async def a_daemon(dsn: str, name: str, *, status: str, pause: str = "") -> AsyncIterator[Daemon]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.lease_process", dsn, name, str(LEASE_S), status,
        pause, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Daemon(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def now(pool: Pool) -> datetime:
    reported: datetime = await pool.fetchval("SELECT clock_timestamp()")
    return reported


@asynccontextmanager
async def a_leader_and_a_standby(
    dsn: str, *, pause: str = ""
) -> AsyncIterator[tuple[Daemon, Daemon]]:
    async with a_daemon(dsn, "leader", status="pending", pause=pause) as leader:
        assert await leader.says("taken") == 1
        async with a_daemon(dsn, "standby", status="succeeded") as standby:
            assert await standby.says("waits") == f"standing by: leader works for {ACCOUNT}"
            yield leader, standby


async def assert_succeeded_in_time(pool: Pool, standby: Daemon, since: datetime) -> None:
    assert await standby.says("taken") == 2
    (lease,) = await rows(pool, "lease", "1")
    assert (lease["holder"], lease["epoch"]) == ("standby", 2)
    assert (lease["taken_at"] - since).total_seconds() < LEASE_S
    standby.go_on()
    assert await standby.says("written") == ""
    assert (await now(pool) - since).total_seconds() < 2 * LEASE_S, "it had to wait for old locks"


async def test_a_killed_daemon_is_succeeded_within_the_lease_time_and_not_before(
    database: str, pool: Pool
) -> None:
    async with a_leader_and_a_standby(database) as (leader, standby):
        (renewal,) = await rows(pool, "lease_renewal", "1")
        while await now(pool) < renewal["expires_at"] + timedelta(seconds=LEASE_S / 5):
            await asyncio.sleep(0.05)
        assert (await rows(pool, "lease", "1"))[0]["holder"] == "leader"
        since = await now(pool)
        leader.send(signal.SIGKILL)
        await assert_succeeded_in_time(pool, standby, since)


INSIDE = {
    BEFORE_COMMIT: "SELECT query ILIKE '%FOR SHARE' AND state = 'idle in transaction'",
    IN_COPY: "SELECT query ILIKE 'COPY%' AND state = 'active'",
}


@pytest.mark.parametrize("place", INSIDE)
async def test_a_daemon_frozen_in_a_transaction_is_succeeded_and_commits_nothing_when_it_wakes(
    place: str, database: str, pool: Pool
) -> None:
    async with a_leader_and_a_standby(database, pause=place) as (zombie, standby):
        zombie.go_on()
        await zombie.says("paused")
        since = await now(pool)
        zombie.send(signal.SIGSTOP)
        assert await pool.fetchval(
            f"{INSIDE[place]} FROM pg_stat_activity WHERE application_name = $1",
            application_name(ACCOUNT, 1),
        )
        await assert_succeeded_in_time(pool, standby, since)
        zombie.go_on()
        zombie.send(signal.SIGCONT)
        assert await zombie.says("written") == "LeaseLostError"
        zombie.go_on()
        assert await zombie.says("kept") == "LeaseLostError"
    assert (await the_refund(pool))["status"] == "succeeded"
    assert len(await rows(pool, "refund_version")) == 1
    assert not await rows(pool, "read_count")
