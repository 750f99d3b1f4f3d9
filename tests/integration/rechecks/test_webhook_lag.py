"""A webhook is followed at once, perhaps by a read of a copy that lags: the listed event has it read once more."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.simulated import Nets, a_life

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from service.adapters.postgres.session.connect import Pool
    from tests.simulated import Life

WHOLE = ["charge", "balance_transaction", "failure_balance_transaction"]
OLD = """
SELECT r.id FROM refund_sync.refund r
JOIN refund_sync.charge_link l ON l.account_id = r.account_id AND l.refund_id = r.id
WHERE r.account_id = $1 AND r.status = 'succeeded' AND l.balance_transaction_id IS NOT NULL
ORDER BY r.created_at LIMIT 1
"""
STATUS = "SELECT status FROM refund_sync.refund WHERE account_id = $1 AND id = $2"


async def an_old_refund(life: Life) -> str:
    """One that succeeded so long ago that no poll lists it."""
    found: str = await life.pool.fetchval(OLD, life.account.id)
    life.clock.second = int(life.clock.second) + 100.1
    return found


async def status_of(life: Life, refund_id: str) -> str | None:
    status: str | None = await life.pool.fetchval(STATUS, life.account.id, refund_id)
    return status


async def reported(life: Life, refund_id: str, *, after_s: float) -> None:
    """It fails; so many seconds later its webhook comes, and is followed at once."""
    life.change("fail", ids=[refund_id])
    life.clock.second += after_s
    await life._deliver(away=False)
    await life.rounds.read_hints()


async def polled(life: Life) -> int:
    """How many hints the next poll has read."""
    before = life.reads.get("hints", 0)
    life.clock.second += 1800
    assert await life.rounds.poll()
    await life.rounds.read_hints()
    return life.reads.get("hints", 0) - before


@asynccontextmanager
async def a_life_with_an_old_refund(pool: Pool) -> AsyncIterator[tuple[Life, str]]:
    async with a_life(pool, refunds=30, nets=Nets(webhooks=True)) as life:
        await life.pass_time(60)
        yield life, await an_old_refund(life)


@contextmanager
def lagging(life: Life, refund_id: str, body: bytes) -> Iterator[None]:
    """Stripe answers from a copy that does not have the change yet."""
    client = life.account.client
    real = client.refund

    async def refund(asked: str, **options: Any) -> object:
        answer = await real(asked, **options)
        return replace(answer, body=body) if asked == refund_id else answer

    vars(client)["refund"] = refund
    yield
    del vars(client)["refund"]


async def test_a_change_that_the_read_after_its_webhook_did_not_see_is_read_at_the_next_poll(
    pool: Pool,
) -> None:
    async with a_life_with_an_old_refund(pool) as (life, refund_id):
        before = await life.account.client.refund(refund_id, expand=WHOLE)
        with lagging(life, refund_id, before.body):
            await reported(life, refund_id, after_s=0.3)
        assert await status_of(life, refund_id) == "succeeded"
        assert await polled(life) == 1
        assert await status_of(life, refund_id) == "failed"


async def test_a_webhook_that_was_followed_too_soon_costs_one_read_more_and_keeps_polls_rare(
    pool: Pool,
) -> None:
    async with a_life_with_an_old_refund(pool) as (life, refund_id):
        doublings = life.rounds._agreement.doublings
        await reported(life, refund_id, after_s=0.3)
        assert await status_of(life, refund_id) == "failed"
        assert [await polled(life), await polled(life)] == [1, 0]
        assert life.rounds._agreement.doublings >= doublings + 2


async def test_a_webhook_that_came_late_enough_to_be_believed_costs_no_further_read(
    pool: Pool,
) -> None:
    async with a_life_with_an_old_refund(pool) as (life, refund_id):
        await reported(life, refund_id, after_s=3.5)
        assert await polled(life) == 0


async def test_an_event_listed_before_it_is_two_seconds_old_waits_for_the_next_poll(
    pool: Pool,
) -> None:
    async with a_life_with_an_old_refund(pool) as (life, refund_id):
        life.clock.second += 1800
        await reported(life, refund_id, after_s=0.3)
        before = life.reads["hints"]
        assert await life.rounds.poll()
        await life.rounds.read_hints()
        assert life.reads["hints"] == before
        assert await polled(life) == 1
