"""Two daemons on one database: one works, one stands by; killed, stopped or frozen, the first is succeeded."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.postgres.operations.lease import application_name
from tests.acceptance.daemons import (
    OFTEN,
    Place,
    becomes_equal,
    more_than,
    recent_stripe,
    running,
    systemd,
    until,
)
from tests.acceptance.stage import SINCE, Stage, days_ago, simulated_stripe

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from tests.acceptance.daemons import Daemon
    from tests.acceptance.stage import Stripe

LEASE_S = 2
SETTINGS = OFTEN | {"lease_s": LEASE_S}
ACCOUNT = "acct_1Simulated"
LIST = "GET /v1/refunds"


async def now(stage: Stage) -> datetime:
    reported: datetime = (await stage.select("SELECT clock_timestamp()"))[0][0]
    return reported


async def lease(stage: Stage) -> Any:
    (found,) = await stage.select(
        "SELECT l.holder, l.epoch, l.taken_at, n.expires_at"
        " FROM refund_sync.lease l JOIN refund_sync.lease_renewal n USING (account_id)"
    )
    return found


async def assert_succeeded_by(second: Daemon, stage: Stage, *, since: datetime, epoch: int) -> None:
    """Within the lease time; it is ready after its first pass."""
    until(second.is_ready)
    taken = await lease(stage)
    assert taken["holder"].endswith(f" pid {second.process.pid}")
    assert taken["epoch"] == epoch
    waited_s = (taken["taken_at"] - since).total_seconds()
    print(f"taken over after {waited_s:.2f} s")
    assert waited_s < LEASE_S


def happen(stripe: Stripe) -> None:
    for kind in ("new", "fail", "arn"):
        stripe.change(kind, 3)


async def test_a_killed_daemon_is_succeeded_within_the_lease_time_by_one_that_stood_by(
    database: str, open_folder: Path
) -> None:
    with recent_stripe() as stripe, systemd(open_folder) as (boss, environ):
        stage = Stage(stripe, open_folder, database, SETTINGS)
        standby = Place(stripe, open_folder, database, SETTINGS, environ)
        with running(stage) as first:
            until(first.is_ready)
            refused = stage.run("run", "--no-wait", expect=9)
            assert f"pid {first.process.pid} works for {ACCOUNT}" in refused.err
            with running(standby) as second:
                boss.hears("READY=1")
                until(lambda: f"pid {first.process.pid} works for {ACCOUNT}" in second.wrong())
                assert second.get("/livez")[0] == 200
                await becomes_equal(stage)
                since = await now(stage)
                first.process.kill()
                happen(stripe)
                await assert_succeeded_by(second, stage, since=since, epoch=2)
                await becomes_equal(stage)
                second.is_stopped()
        await stage.assert_equal_to_stripe()


async def test_a_stopped_daemon_lets_the_next_one_in_before_its_lease_runs_out(
    database: str, open_folder: Path
) -> None:
    with recent_stripe() as stripe:
        stage = Stage(stripe, open_folder, database, SETTINGS | {"lease_s": 10})
        with running(stage) as first:
            until(first.is_ready)
            with running(stage) as second:
                assert second.wrong()
                expires_at = (await lease(stage))["expires_at"]
                first.is_stopped()
                until(second.is_ready)
                taken = await lease(stage)
                assert taken["epoch"] == 2
                assert taken["taken_at"] < expires_at
                happen(stripe)
                await becomes_equal(stage)
                second.is_stopped()
        await stage.assert_equal_to_stripe()


INSIDE = {
    "a transaction": "state = 'idle in transaction' AND backend_xid IS NOT NULL",
    "a COPY": "state = 'active' AND query LIKE 'COPY%' AND wait_event = 'ClientRead'",
}


@pytest.mark.parametrize("place", INSIDE)
async def test_a_daemon_frozen_while_it_fills_history_is_succeeded_and_commits_nothing_when_it_wakes(
    place: str, database: str, open_folder: Path
) -> None:
    history = SETTINGS | {"since": SINCE}
    with simulated_stripe(refunds=7_000, latency_ms=20, to=days_ago(0)) as stripe:
        slow = Stage(stripe, open_folder, database, history | {"endpoint_rate": 20})
        stage = Stage(stripe, open_folder, database, history)
        with running(slow) as zombie, running(stage) as second:
            await more_than(stage, 500)
            await _frozen_inside(stage, INSIDE[place], zombie)
            since = await now(stage)
            happen(stripe)
            await assert_succeeded_by(second, stage, since=since, epoch=2)
            assert not await stage.select(f"SELECT {SESSIONS_OF_THE_FIRST}")
            before = await _left_by_the_first(stage)
            assert before["claims"]
            assert before["running"]
            zombie.process.send_signal(signal.SIGCONT)
            assert zombie.ends() == 9, zombie.said
            assert "Traceback" not in zombie.said, zombie.said
            after = await _left_by_the_first(stage)
            assert after["runs"] == before["runs"]
            assert after["claims"] <= before["claims"], (
                "its successor extends and folds, it adds none"
            )
            await becomes_equal(stage)
            until(lambda: second.metric("gap_seconds", stream="refunds") < 60)
            second.is_stopped()
        await stage.assert_equal_to_stripe()


SESSIONS_OF_THE_FIRST = (
    f"FROM pg_stat_activity WHERE application_name = '{application_name(ACCOUNT, 1)}'"
)


async def _frozen_inside(stage: Stage, place: str, daemon: Daemon) -> None:
    """Stops the process again and again until one of its sessions is seen there; leaves it stopped."""
    async with stage.connection() as connection:
        for _ in range(3_000):
            os.kill(daemon.process.pid, signal.SIGSTOP)
            await asyncio.sleep(0.01)
            if await connection.fetchval(
                f"SELECT exists(SELECT {SESSIONS_OF_THE_FIRST} AND {place})"
            ):
                return
            os.kill(daemon.process.pid, signal.SIGCONT)
            await asyncio.sleep(0.005)
    raise AssertionError("never seen there")


async def _left_by_the_first(stage: Stage) -> dict[str, Any]:
    """All that bears the mark of a run of the first daemon."""
    taken_at = (await lease(stage))["taken_at"]
    runs = await stage.select(
        "SELECT * FROM refund_sync.run WHERE started_at < $1 ORDER BY started_at", taken_at
    )
    claims = await stage.select(
        "SELECT seq FROM refund_sync.coverage_claim WHERE run_id = ANY($1::uuid[])",
        [run["id"] for run in runs],
    )
    running = sum(run["outcome"] == "running" for run in runs)
    return {"runs": runs, "claims": {claim["seq"] for claim in claims}, "running": running}


async def test_commands_next_to_a_daemon_that_fills_history_do_the_same_work_and_nothing_comes_out_wrong(
    database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=5_000, latency_ms=20, to=days_ago(0)) as stripe:
        settings = SETTINGS | {"since": SINCE, "endpoint_rate": 30}
        stage = Stage(stripe, open_folder, database, settings)
        known = stripe.truth()[-1]["id"]
        with running(stage) as daemon:
            await more_than(stage, 300)
            commands = [
                stage.start("backfill", "--from", SINCE, "--to", "2025-07-01"),
                stage.start("sync"),
                stage.start("fetch", known),
            ]
            happen(stripe)
            for command in commands:
                _, err = command.communicate(timeout=60)
                assert command.returncode == 0, err
            await becomes_equal(stage)
            daemon.is_stopped()
        await stage.assert_equal_to_stripe()


async def test_a_command_goes_at_half_the_rate_while_a_daemon_lives(
    database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=18_000, to=days_ago(0)) as stripe:
        quiet = {"since": days_ago(30), "sync_interval_s": 300, "endpoint_rate": 16}
        stage = Stage(stripe, open_folder, database, SETTINGS | quiet)
        spans = (SINCE, "2025-05-01"), ("2025-05-01", "2025-09-01")
        with running(stage) as daemon:
            until(daemon.is_ready)
            until(lambda: daemon.metric("runs_total", job="fill of history", outcome="ok"))
            shared = _rate_of(stage, *spans[0])
            daemon.is_stopped()
        alone = _rate_of(stage, *spans[1])
        print(f"{shared:.1f} reads a second next to a daemon, {alone:.1f} without one")
        assert shared < 8.5
        assert alone > 1.3 * shared
        await stage.assert_no_invariant_is_broken()


def _rate_of(stage: Stage, start: str, end: str) -> float:
    """Lists read in a second by a backfill."""
    stage.stripe.call("POST", "reset_stats")
    stage.run("backfill", "--from", start, "--to", end)
    stats = stage.stripe.stats()
    reads: int = stats["requests"][LIST]
    assert reads > 25, "too few for a rate"
    return (reads - 1) / float(stats["last_request_at"] - stats["first_request_at"])
