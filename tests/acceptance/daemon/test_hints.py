"""Hints that wait are read whatever happens to the daemon, and before history."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from tests.acceptance.daemons import OFTEN, becomes_equal, more_than, running, until
from tests.acceptance.stage import Stage, days_ago, simulated_stripe
from tests.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.daemons import Daemon
    from tests.acceptance.stage import Stripe

SECRET = "whsec_acceptance"
BY_ID = "GET /v1/refunds/{id}"
YEAR = {"from": days_ago(400), "to": days_ago(0)}
SELDOM = OFTEN | {"since": days_ago(400), "sync_interval_s": 300, "webhook_secrets": SECRET}
KILLS = 4
WAITING = "SELECT count(*) FROM refund_sync.recheck WHERE hinted_at IS NOT NULL"


def push(stripe: Stripe, address: str) -> None:
    """From now on Stripe's events go there; what meets nobody is tried again for long."""
    url = f"http://{address}/webhooks/stripe"
    stripe.call("POST", "webhooks", url=url, secret=SECRET, tries=50)


async def test_killed_again_and_again_while_hints_drain_it_loses_none(
    database: str, open_folder: Path
) -> None:
    """Nothing but webhooks finds the changes: the key may not read events."""
    chance = random.Random(9)
    address = f"127.0.0.1:{free_port()}"
    with simulated_stripe(refunds=16_000, **YEAR) as stripe:
        settings = SELDOM | {"lease_s": 1, "http": address}
        stage = Stage(stripe, open_folder, database, settings)
        stage.run("sync")
        stripe.faults(permissions_removed=["rak_event_read"])
        push(stripe, address)
        slow = Stage(stripe, open_folder, database, settings | {"endpoint_rate": 40})
        left = []
        for _ in range(KILLS):
            with running(slow) as daemon:
                stripe.change("metadata", 160)
                await _drains(stage)
                time.sleep(chance.uniform(0, 0.7))
                daemon.process.kill()
                daemon.process.wait()
            left.append((await stage.select(WAITING))[0][0] + stripe.stats()["deliveries_waiting"])
        print(f"{left} hints and deliveries waited at the kills")
        assert min(left) > 0, "a kill came too late to show anything"
        with running(stage) as daemon:
            until(lambda: stripe.stats()["deliveries_waiting"] == 0, within_s=60)
            await becomes_equal(stage)
            assert stripe.stats()["requests"][BY_ID] > 20, "all were read by listing their days"
            daemon.is_stopped()
        await stage.assert_equal_to_stripe()


async def _drains(stage: Stage) -> None:
    """Until fewer hints wait than did."""
    async with stage.connection() as connection:
        most = 0
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            waiting = await connection.fetchval(WAITING)
            if waiting < most:
                return
            most = waiting
    raise AssertionError("no hint was ever read")


async def test_the_fill_of_history_gives_way_to_hints(database: str, open_folder: Path) -> None:
    with simulated_stripe(refunds=6_000, latency_ms=20, **YEAR) as stripe:
        settings = SELDOM | {"endpoint_rate": 20, "concurrency": 3}
        stage = Stage(stripe, open_folder, database, settings)
        with running(stage) as daemon:
            await more_than(stage, 1_000)
            push(stripe, str(daemon.address))
            changed = await stage.select(ONE_OF_EACH_DAY)
            assert len(changed) == 40
            stripe.change("metadata", ids=[row["id"] for row in changed])
            until(lambda: stripe.stats()["deliveries_waiting"] == 0)
            filling = _reads(daemon, "backfill")
            hinted = await _until_drained(stage)
            passed = _reads(daemon, "backfill") - filling
            print(f"{passed:.0f} reads of history while {hinted} hints were drained")
            assert passed < MOST_AT_ONCE
            await becomes_equal(stage)
            assert _reads(daemon, "hints") > 0
            assert _reads(daemon, "backfill") > 50
            daemon.is_stopped()
        await stage.assert_equal_to_stripe()


MOST_AT_ONCE = 15
"""Reads of history that may be under way as hints arrive, or begin between two batches of them."""


async def _until_drained(stage: Stage) -> int:
    """Until no hint is pending. Returns how many were at first."""
    async with stage.connection() as connection:
        first = left = int(await connection.fetchval(WAITING))
        deadline = time.monotonic() + 40
        while left:
            assert time.monotonic() < deadline, f"{left} of {first} hints are still pending"
            await asyncio.sleep(0.02)
            left = await connection.fetchval(WAITING)
    return first


ONE_OF_EACH_DAY = (
    "SELECT DISTINCT ON (created_at::date) id FROM refund_sync.refund"
    " ORDER BY created_at::date DESC LIMIT 40"
)


def _reads(daemon: Daemon, kind: str) -> float:
    return daemon.metric("reads_used_total", **{"class": kind})
