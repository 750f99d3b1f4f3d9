"""Refunds asked for by id are read in the fewest reads, each once, and those that no list returns by their id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from service.adapters.postgres.queries import query
from service.app import passes
from service.ports.runs import Progress
from tests.simulated import a_life

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool
    from tests.simulated import Life

COUNT = 250


async def statuses(life: Life) -> dict[str, str]:
    found = await life.pool.fetch("SELECT id, status FROM refund_sync.refund")
    return {row["id"]: row["status"] for row in found}


async def test_hundreds_of_scattered_refunds_are_read_in_a_few_pages(pool: Pool) -> None:
    async with a_life(pool, refunds=COUNT) as life:
        await life.pass_time(60)
        life.change("fail", count=20, events=False)
        truth = {plain["id"]: plain["status"] for plain in life.listed()}
        assert await statuses(life) != truth
        progress = Progress()
        fetched = await passes.fetch(life.account, sorted(truth), progress)
        assert (sorted(fetched.refund_ids), fetched.not_found) == (sorted(truth), [])
        assert progress.requests <= COUNT / 100 + 3
        assert progress.written.changed == 20
        assert await statuses(life) == truth
        assert not await pool.fetch(query("audit_claims"))


async def test_what_the_list_lacks_is_read_by_its_id_and_so_is_what_is_not_stored(
    pool: Pool,
) -> None:
    async with a_life(pool, refunds=40) as life:
        await life.pass_time(60)
        ids = sorted(plain["id"] for plain in life.listed())
        hidden, deleted = ids[3], ids[5]
        life.change("hide", ids=[hidden], events=False)
        life.change("metadata", ids=[hidden], events=False)
        life.change("delete", ids=[deleted], events=False)
        (new,) = life.change("new", events=False)
        fetched = await passes.fetch(life.account, [*ids, new, "re_unknown"], Progress())
        assert set(fetched.refund_ids) == {*ids, new} - {deleted}
        assert fetched.not_found == [deleted, "re_unknown"]
        stored = await pool.fetchval(
            "SELECT metadata FROM refund_sync.refund WHERE id = $1", hidden
        )
        assert "changed at" in json.loads(stored)["note"]
        assert (
            await pool.fetchval("SELECT count(*) FROM refund_sync.refund WHERE id = $1", new) == 1
        )
