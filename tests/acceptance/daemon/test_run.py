"""The daemon as a process: ready, current, watched, drained, and unmoved by a database that restarts."""

from __future__ import annotations

import re
import signal
import socket
import time
from typing import TYPE_CHECKING

from tests.acceptance.daemons import (
    OFTEN,
    Place,
    more_than,
    recent_stripe,
    rows,
    running,
    systemd,
    until,
)
from tests.acceptance.stage import Stage
from tests.acceptance.truth import broken_invariants

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import OwnServer

NAMES = {
    "requests_total", "wait_seconds_total", "rows_total", "covered_until_seconds", "gap_seconds",
    "runs_total", "last_success_timestamp_seconds", "quarantined", "reads_used_total",
}  # fmt: skip


async def assert_nothing_false(stage: Stage) -> None:
    async with stage.connection() as connection:
        assert not await broken_invariants(connection)
        open_runs = await connection.fetch(
            "SELECT job FROM refund_sync.run WHERE outcome = 'running' OR ended_at IS NULL"
        )
        assert not open_runs


async def test_it_fills_history_finds_new_refunds_and_says_metrics(
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
            assert daemon.metric("rows_total", outcome="inserted") > 300
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
            boss.all_reported()
            daemon.is_stopped()
            assert "STOPPING=1" in boss.all_reported()


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
            until(lambda: "works for acct_" in second.wrong())
            for _ in range(4):
                boss.hears("WATCHDOG=1")
            assert first.is_ready()
            first.is_stopped()
            until(second.is_ready)
            second.is_stopped()


async def test_nobody_is_said_to_hold_the_lease_before_it_was_asked_for(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=200) as stripe:
        stage = Stage(stripe, open_folder, database, OFTEN)
        async with stage.connection() as connection:
            locked = connection.transaction()
            await locked.start()
            await connection.execute("LOCK TABLE refund_sync.lease")
            with running(stage) as daemon:
                assert "not asked for yet" in daemon.wrong()
                await locked.rollback()
                until(daemon.is_ready)
                daemon.is_stopped()


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
