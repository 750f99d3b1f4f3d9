"""What the daemon's rounds leave behind: metrics without false alarms, no run that goes on for ever."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import pytest

from service.adapters.postgres.store import Database
from service.ports import Progress
from service.wiring.passes import recorded_run
from tests.simulated import DAY, a_life

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.adapters.postgres.connect import Connection, Pool

T = TypeVar("T")


async def test_time_that_passed_since_the_last_poll_is_no_gap(pool: Pool) -> None:
    async with a_life(pool, refunds=50) as life:
        metrics = life.rounds._metrics
        await life.rounds.measure()
        assert metrics.measured[0].gap_s > DAY
        await life.pass_time(DAY)
        life.clock.second += 30
        await life.rounds.measure()
        assert metrics.measured[0].gap_s == 0


class Unlucky(Database):
    """Whoever is the first to make a transaction is stopped as that is committed, before it hears of it."""

    _struck = False

    async def patiently(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        done = await super().patiently(work)
        if not self._struck:
            self._struck = True
            raise asyncio.CancelledError
        return done


async def test_a_run_stopped_as_it_begins_is_on_record_as_stopped(pool: Pool) -> None:
    async with a_life(pool) as life:
        account = replace(life.account, database=Unlucky(pool, deadline_s=20))
        with pytest.raises(asyncio.CancelledError):
            async with recorded_run(account, "hints", None, Progress()):
                pass
        outcomes = await pool.fetch(
            "SELECT outcome FROM refund_sync.run WHERE account_id = $1", account.id
        )
        assert [row["outcome"] for row in outcomes] == ["stopped"]
