"""What the daemon's rounds leave behind: metrics without false alarms, no run that goes on for ever."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import pytest

from service.adapters.postgres.session.database import Database
from service.adapters.stripe.lists.events import StripeEvents
from service.app import passes
from service.app.passes import recorded_run
from service.domain.errors import RefusedError, StripeAwayError
from service.jobs import plan
from service.ports.runs import Progress
from tests.simulated import BEGIN, DAY, a_life

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from service.adapters.postgres.session.connect import Connection, Pool
    from service.domain.coverage.walk import Ask
    from tests.simulated import Life

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


@contextmanager
def failing(life: Life, fails: Callable[[Ask], bool]) -> Iterator[None]:
    """Stripe answers no list for which that is so."""
    source = life.account.source
    real = source.read

    async def read(ask: Ask) -> object:
        if fails(ask):
            raise StripeAwayError("GET /v1/refunds: HTTP 500")
        return await real(ask)

    vars(source)["read"] = read
    yield
    del vars(source)["read"]


async def stored(life: Life) -> int:
    count: int = await life.pool.fetchval(
        "SELECT count(*) FROM refund_sync.refund WHERE account_id = $1", life.account.id
    )
    return count


async def test_a_gap_that_a_broken_poll_left_in_the_newest_day_is_closed_by_the_next(
    pool: Pool,
) -> None:
    async with a_life(pool) as life:
        await life.pass_time(3600)
        for _ in range(40):
            life.change("new", count=10, events=False)
            life.clock.second += 1200
        asked = count()
        with failing(life, lambda _: next(asked) == 2), pytest.raises(StripeAwayError):
            await life.rounds.poll()
        assert 0 < await stored(life) < 400
        await life.pass_time(600)
        assert await stored(life) == 400


async def test_what_is_wanted_only_since_a_few_minutes_ago_is_no_bug(pool: Pool) -> None:
    since = datetime.fromtimestamp(BEGIN - 300, UTC)
    async with a_life(pool, refunds=5, since=since) as life:
        life.clock.second += 0.5
        assert await life.rounds.poll()
        await life.rounds.measure()


async def test_refunds_are_polled_though_events_cannot_be_read(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: object) -> None:
        raise StripeAwayError("GET /v1/events: HTTP 500")

    async with a_life(pool, refunds=5) as life:
        await life.pass_time(60)
        life.change("new", count=3)
        life.clock.second += 3600
        monkeypatch.setattr(StripeEvents, "read", read)
        with pytest.raises(StripeAwayError, match="events"):
            await life.rounds.poll()
        assert await stored(life) == 8
        assert not await life.rounds.poll(), "it keeps its pace"


async def test_a_poll_is_due_an_interval_after_the_last_began_or_when_the_clock_was_set_back(
    pool: Pool,
) -> None:
    def takes_its_time(_: Ask) -> bool:
        life.clock.second += 20
        return False

    async with a_life(pool, refunds=5, sync_interval_s=300) as life:
        begin = life.clock.second
        with failing(life, takes_its_time):
            assert await life.rounds.poll()
        life.clock.second = begin + 290
        assert not await life.rounds.poll()
        life.clock.second = begin + 301
        assert await life.rounds.poll()
        life.clock.second -= 6 * 3600
        assert await life.rounds.poll()


async def test_a_second_look_that_fails_makes_no_poll_come_sooner(pool: Pool) -> None:
    async with a_life(pool, refunds=50) as life:
        await life.pass_time(60)
        life.clock.second += DAY
        assert await life.rounds.poll()
        with failing(life, lambda _: True):
            with pytest.raises(StripeAwayError):
                await life.rounds.look_again()
            assert not await life.rounds.poll()
            await life.rounds.look_again()  # waits for the next poll


async def test_a_day_that_cannot_be_listed_keeps_no_refund_from_being_read(pool: Pool) -> None:
    async with a_life(pool, refunds=300) as life:
        await life.pass_time(60)
        life.clock.second += 10 * DAY
        await life.rounds.poll()
        overdue = "SELECT count(*) FROM refund_sync.recheck WHERE account_id = $1 AND due_at < $2"
        assert await pool.fetchval(overdue, life.account.id, life.clock.now())
        with failing(life, lambda _: True), pytest.raises(StripeAwayError):
            await life.rounds.recheck()
        assert not await pool.fetchval(overdue, life.account.id, life.clock.now())


async def test_the_planner_learns_of_many_new_refunds(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = "SELECT reltuples FROM pg_class WHERE oid = 'refund_sync.refund'::regclass"
    monkeypatch.setattr(passes, "MANY", 40)
    async with a_life(pool, refunds=50) as life:
        await life.pass_time(60)
        assert await stored(life) == 50
        assert await pool.fetchval(known) >= 50


async def test_the_interval_between_polls_is_computed_again_when_a_fill_ends(pool: Pool) -> None:
    async with a_life(pool, refunds=3_000, read_allowance=None) as life:
        await life.rounds.poll()
        empty_s = life.rounds._metrics.poll_interval_s
        await life.rounds.fill()
        life.clock.second += 1
        assert await life.rounds.poll_interval_s() < empty_s / 2
        assert life.rounds._metrics.poll_interval_s < empty_s / 2


async def test_the_interval_between_polls_follows_the_rows_while_a_fill_goes_on(pool: Pool) -> None:
    async with a_life(pool, refunds=3_000, read_allowance=None) as life:
        empty_s = await life.rounds.poll_interval_s()
        wanted = await life.account.wanted()
        await life.rounds._cover(
            "backfill", wanted, lambda store: plan.fill_of_history(store, wanted), Progress()
        )
        life.clock.second += 60
        assert await life.rounds.poll_interval_s() < empty_s / 2


async def test_a_poll_that_failed_is_named_until_one_passes(pool: Pool) -> None:
    async with a_life(pool, refunds=20) as life:
        life.stripe.faults.list_400 = 1
        with pytest.raises(RefusedError, match="This list cannot be given"):
            await life.rounds.poll()
        assert "This list cannot be given" in life.rounds.failed
        life.stripe.faults.list_400 = 0
        await life.pass_time(60)
        assert not life.rounds.failed
