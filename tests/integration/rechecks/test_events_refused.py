"""A key that may not read events: rechecks alone find changes, and nothing is made up for month after month."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.adapters.postgres.session.connect import create_pool
from tests.simulated import DAY, Life, Nets, a_life

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GAPS = "SELECT count(*) FROM refund_sync.event_gap WHERE account_id = $1"


@asynccontextmanager
async def refused(database: str) -> AsyncIterator[Life]:
    """A life beyond the age of any event, without the permission to read one."""
    pool = await create_pool(database, size=4)
    try:
        async with a_life(pool, refunds=300, nets=Nets(events=False)) as life:
            await life.pass_time(60)
            await life.pass_time(31 * DAY)
            yield life
    finally:
        await pool.close()


async def test_without_the_permission_no_event_is_held_to_have_expired_unread(
    database: str,
) -> None:
    async with refused(database) as life:
        before = life.reads["rechecks"]
        for _ in range(3):
            await life.pass_time(3_600)
        assert await life.pool.fetchval(GAPS, life.account.id) == 0
        assert life.reads["rechecks"] - before < 5


async def test_once_it_is_granted_what_expired_before_is_made_up_for_once(database: str) -> None:
    async with refused(database) as life:
        life.stripe.faults.permissions_removed = []
        await life.pass_time(3_600)
        before = life.reads["rechecks"]
        for _ in range(3):
            await life.pass_time(3_600)
        assert await life.pool.fetchval(GAPS, life.account.id) == 1
        assert life.reads["rechecks"] - before < 5
