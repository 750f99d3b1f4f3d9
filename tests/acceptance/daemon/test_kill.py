"""Killed at any instant it loses nothing, claims nothing false, and repeats at most what was in flight."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from service.jobs.cover import BATCH_ROWS, QUEUE_PAGES, WRITERS
from tests.acceptance.daemons import more_than
from tests.acceptance.stage import SINCE, UNTIL, Stage, simulated_stripe

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.databases import OwnServer

SPAN = ("backfill", "--from", SINCE, "--to", UNTIL)
KILLS = 20
INSIDE_A_TRANSACTION = 5
CONCURRENCY = 6
REFUNDS = 60_000
STOPPED = re.compile(
    r"stopped: ([\d,]+) refunds stored; (\d+) % of the span is proven; the same command goes on"
)


async def test_killed_twenty_times_it_ends_equal_and_repeats_only_what_was_in_flight(
    open_folder: Path,
) -> None:
    chance = random.Random(20)
    with simulated_stripe(refunds=REFUNDS, latency_ms=20) as stripe:
        stage = Stage(
            stripe, open_folder, settings={"concurrency": CONCURRENCY, "endpoint_rate": 60}
        )
        stage.run("status")
        inside = 0
        for _ in range(KILLS):
            process = stage.start(*SPAN)
            await _until_it_writes(stage, process)
            await asyncio.sleep(chance.uniform(0, 0.5))
            if inside < INSIDE_A_TRANSACTION and await _stopped_inside_a_transaction(
                stage, process
            ):
                inside += 1
            process.kill()
            process.communicate()
        assert inside >= INSIDE_A_TRANSACTION
        async with stage.connection() as connection:
            so_far = await connection.fetchval("SELECT count(*) FROM refund_sync.refund")
        assert 0 < so_far < REFUNDS, "the kills came too early or too late to show anything"
        stage.run(*SPAN)
        await _assert_equal(stage)
        in_flight = CONCURRENCY + QUEUE_PAGES + WRITERS * BATCH_ROWS // 100
        pages = stripe.stats()["requests"]["GET /v1/refunds"]
        assert pages <= REFUNDS / 100 * 1.15 + KILLS * in_flight


async def _until_it_writes(stage: Stage, process: subprocess.Popen[str]) -> None:
    """Until the process has begun to commit, or a few seconds have passed."""
    began = datetime.now(UTC)
    for _ in range(400):
        if process.poll() is not None:
            raise AssertionError(f"ended by itself: {process.communicate()}")
        try:
            async with stage.connection() as connection:
                if await connection.fetchval(
                    "SELECT exists(SELECT FROM refund_sync.coverage_claim k WHERE k.run_id = r.id)"
                    " FROM refund_sync.run r WHERE outcome = 'running' AND started_at > $1"
                    " ORDER BY started_at DESC LIMIT 1",
                    began,
                ):
                    return
        except (OSError, IndexError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass
        await asyncio.sleep(0.02)


async def _stopped_inside_a_transaction(stage: Stage, process: subprocess.Popen[str]) -> bool:
    """Stops the process again and again until its session is seen idle in a transaction it holds open."""
    async with stage.connection() as connection:
        for _ in range(200):
            os.kill(process.pid, signal.SIGSTOP)
            await asyncio.sleep(0.01)
            writing = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'refund-sync%'"
                " AND state = 'idle in transaction' AND backend_xid IS NOT NULL"
            )
            if writing:
                return True
            os.kill(process.pid, signal.SIGCONT)
            await asyncio.sleep(0.005)
    return False


async def _assert_equal(stage: Stage) -> None:
    """The embedded server ends with the last command: psql's own session keeps it for the look."""
    holder = stage.start("psql", "--", "-c", "select pg_sleep(30)")
    try:
        for _ in range(200):
            try:
                async with stage.connection():
                    break
            except (OSError, IndexError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
        await stage.assert_equal_to_stripe()
    finally:
        holder.send_signal(signal.SIGTERM)
        holder.communicate(timeout=30)


async def test_a_signal_commits_what_is_proven_and_says_what_remains(
    database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=20_000, latency_ms=20) as stripe:
        stage = Stage(stripe, open_folder, database, {"concurrency": 4, "endpoint_rate": 40})
        reported = []
        stage.run("migrate")
        for number, code, enough in ((signal.SIGTERM, 143, 2_000), (signal.SIGINT, 130, 8_000)):
            process = stage.start(*SPAN)
            await more_than(stage, enough)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
            assert process.returncode == code, err
            reported.append(STOPPED.search(err))
            assert reported[-1], err
        async with stage.connection() as connection:
            outcomes = await connection.fetch("SELECT outcome FROM refund_sync.run")
            assert [row[0] for row in outcomes] == ["stopped", "stopped"]
            stored = await connection.fetchval("SELECT count(*) FROM refund_sync.refund")
        assert sum(int(found[1].replace(",", "")) for found in reported if found) == stored
        first, second = (int(found[2]) for found in reported if found)
        assert 0 < first < second < 100
        stage.run(*SPAN)
        await stage.assert_equal_to_stripe()


async def test_postgres_stopped_at_once_and_started_again_is_waited_for(
    own_server: OwnServer, open_folder: Path
) -> None:
    with simulated_stripe(refunds=20_000, latency_ms=20) as stripe:
        stage = Stage(stripe, open_folder, own_server.dsn, {"concurrency": 4, "endpoint_rate": 60})
        stage.run("migrate")
        process = stage.start(*SPAN)
        await _until_it_writes(stage, process)
        own_server.stop_immediately()
        time.sleep(2)
        own_server.start()
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        await stage.assert_equal_to_stripe()


async def test_a_full_disk_is_said_clearly_and_continued_from(
    own_server: OwnServer, small_disk: Path, tmp_path: Path
) -> None:
    with simulated_stripe(refunds=20_000) as stripe:
        stage = Stage(stripe, tmp_path, own_server.dsn)
        stage.run("migrate")
        async with stage.connection() as connection:
            await connection.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
            for table in ("refund", "refund_superseded"):
                await connection.execute(f"ALTER TABLE refund_sync.{table} SET TABLESPACE small")
        ran = stage.run(*SPAN, expect=5)
        assert "disk" in ran.err
        async with stage.connection() as connection:
            for table in ("refund", "refund_superseded"):
                await connection.execute(
                    f"ALTER TABLE refund_sync.{table} SET TABLESPACE pg_default"
                )
        stage.run(*SPAN)
        await stage.assert_equal_to_stripe()
