"""What no list returns: it is asked for by its id, however it was read last, until a list returns it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from service.jobs.fetch import fetch
from service.ports.runs import Progress
from tests.simulated import DAY, a_life

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.adapters.postgres.session.connect import Pool
    from tests.simulated import Life


async def stored_as_at_stripe(life: Life, ids: Sequence[str]) -> bool:
    truth = {p["id"]: p for p in life.stripe.world.truth(hidden=True)}
    found = await life.pool.fetch(
        "SELECT id, status, metadata FROM refund_sync.refund WHERE account_id = $1 AND id = ANY($2)",
        life.account.id,
        list(ids),
    )
    assert len(found) == len(ids)
    return all(
        (row["status"], json.loads(row["metadata"]))
        == (truth[row["id"]]["status"], truth[row["id"]]["metadata"])
        for row in found
    )


async def waits(life: Life) -> dict[str, str]:
    found = await life.pool.fetch(
        "SELECT object_id, why FROM refund_sync.recheck WHERE account_id = $1",
        life.account.id,
    )
    return {row[0]: row[1] for row in found}


async def some_hidden(life: Life, count: int) -> list[str]:
    """So many refunds of one hour that no list returns any more, which was found out."""
    ids = life.change("new", count=count + 1)[:count]
    await life.pass_time(3_600)
    life.change("hide", ids=ids, events=False)
    for days in (2, 1):
        await life.pass_time(days * DAY)
    assert await waits(life) == dict.fromkeys(ids, "hidden")
    return ids


async def test_hidden_refunds_of_one_hour_are_read_each_when_events_report_them(
    pool: Pool,
) -> None:
    async with a_life(pool) as life:
        two = await some_hidden(life, 2)
        life.change("metadata", ids=two)
        assert not await stored_as_at_stripe(life, two)
        for _ in range(2):
            await life.pass_time(60)
        assert await stored_as_at_stripe(life, two)
        assert await waits(life) == dict.fromkeys(two, "hidden")


@pytest.mark.parametrize("by", ["a hint", "its id"])
async def test_a_hidden_refund_that_was_read_in_between_is_still_watched(
    by: str, pool: Pool
) -> None:
    async with a_life(pool) as life:
        hidden = await some_hidden(life, 1)
        if by == "a hint":
            life.change("metadata", ids=hidden)
            await life.pass_time(60)
        else:
            await fetch(life.account.source, life.account.store(), hidden, Progress())
        assert await waits(life) == dict.fromkeys(hidden, "hidden")
        life.change("fail", ids=hidden, events=False)
        for _ in range(8):
            await life.pass_time(DAY)
        assert await stored_as_at_stripe(life, hidden)
