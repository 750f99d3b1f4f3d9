"""Many writers at once are slower, never wrong."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.store import PostgresStore
from service.domain.batch import Written
from service.domain.coverage.span import Span
from tests.builders import (
    CREATED,
    a_batch,
    a_destination,
    a_proof,
    a_reading,
    a_refund,
    an_observation,
    at,
    batch_of,
)
from tests.integration.warehouse import ACCOUNT, audit, changes_of, rows, the_refund

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.adapters.postgres.session.connect import Pool
    from service.domain.batch import Batch


WRITERS = 8


async def test_eight_writers_at_once_number_versions_without_gap_and_say_each_change_right(
    pool: Pool,
) -> None:
    """Each refund goes through twelve states, read in all orders; the newest read must win."""
    chance = random.Random(8)
    database = Database(pool, deadline_s=60)
    states = [(seen, refund) for seen in range(12) for refund in range(40)]
    chance.shuffle(states)
    batches = [_of_states(states[n::60]) for n in range(60)]

    async def write(share: list[Batch]) -> Written:
        store, total = PostgresStore(database, ACCOUNT, None), Written()
        for batch in share:
            total.add(await store.write(batch))
        return total

    totals = await asyncio.gather(*(write(batches[n::WRITERS]) for n in range(WRITERS)))
    total = Written()
    for part in totals:
        total.add(part)
    assert total.inserted == 40
    assert total.changed > 40
    assert total.stale > 40
    versions = await rows(pool, "refund_version")
    assert len(versions) == total.inserted + total.changed
    assert {(r["status"], r["amount_minor"]) for r in await rows(pool, "refund")} == {("s11", 111)}
    assert not await audit(pool)


def _of_states(states: list[tuple[int, int]]) -> Batch:
    """A page for each state; a reference that comes and goes puts destinations to the test."""
    return a_batch(*(
        a_reading(
            an_observation(
                a_refund(f"re_{n:02}", status=f"s{seen}", amount_minor=100 + seen),
                seen=seen,
                destination=a_destination(reference=f"r{seen}") if seen % 3 else None,
            )
        )
        for seen, n in states
    ))  # fmt: skip


async def test_eight_writers_at_once_claim_neighbouring_spans_and_lose_none(pool: Pool) -> None:
    database = Database(pool, deadline_s=60)
    spans = [Span(CREATED + n * 10, CREATED + n * 10 + 10) for n in range(64)]
    random.Random(3).shuffle(spans)

    async def write(share: list[Span]) -> None:
        store = PostgresStore(database, ACCOUNT, None)
        for span in share:
            reading = a_reading(
                an_observation(a_refund(f"re_{span.start}", created=span.start + 1))
            )
            await store.write(a_batch(reading, proofs=[a_proof(reading, span)]))

    await asyncio.gather(*(write(spans[n::4]) for n in range(WRITERS)))
    store = PostgresStore(database, ACCOUNT, None)
    assert await store.covered("refunds") == [Span(CREATED, CREATED + 640)]
    assert len(await rows(pool, "refund")) == 64
    assert not await audit(pool)


async def test_a_writer_that_had_to_wait_says_what_changed_since_the_other_wrote(
    store: PostgresStore, pool: Pool
) -> None:
    def seen_with(reference: str, seen: float) -> Batch:
        return batch_of(an_observation(seen=seen, destination=a_destination(reference=reference)))

    await store.write(seen_with("first", 0))
    async with _row_held(pool):
        second = asyncio.create_task(store.write(seen_with("second", 5)))
        await _waiting_for_locks(pool, 1)
        third = asyncio.create_task(store.write(seen_with("third", 9)))
        await _waiting_for_locks(pool, 2)
    await asyncio.gather(second, third)
    reported = [changes and changes["reference"] for changes in await changes_of(pool)]
    assert reported == [None, ["first", "second"], ["second", "third"]]
    assert not await audit(pool)


async def test_a_row_that_changed_while_it_was_found_unchanged_keeps_a_hash_of_its_own(
    store: PostgresStore, pool: Pool
) -> None:
    """The newer read saw the old state: it must not put that state's hash on the new columns."""
    await store.write(batch_of(an_observation(a_refund(status="pending"), seen=0)))
    async with _row_held(pool):
        changed = an_observation(a_refund(status="failed"), seen=5)
        writing = asyncio.create_task(store.write(batch_of(changed)))
        await _waiting_for_locks(pool, 1)
        alone = an_observation(a_refund(status="pending"), seen=9, listed=False)
        touching = asyncio.create_task(store.write(batch_of(alone, source="fetch")))
        await _waiting_for_locks(pool, 2)
    await asyncio.gather(writing, touching)
    refund = await the_refund(pool)
    assert (
        refund["content_hash"]
        == {"failed": changed, "pending": alone}[refund["status"]].content_hash
    )
    assert not await audit(pool)


async def test_a_claim_holds_though_another_writer_changed_its_refund_in_between(
    store: PostgresStore, pool: Pool
) -> None:
    """The list that is claimed was the first to name the refund, whatever state it found it in."""
    pending = a_refund(status="pending")
    await store.write(batch_of(an_observation(pending, seen=0, listed=False), source="fetch"))
    async with _row_held(pool):
        changed = an_observation(a_refund(status="failed"), seen=5, listed=False)
        writing = asyncio.create_task(store.write(batch_of(changed, source="fetch")))
        await _waiting_for_locks(pool, 1)
        listing = batch_of(an_observation(pending, seen=9), claimed=True)
        claiming = asyncio.create_task(store.write(listing))
        await _waiting_for_locks(pool, 2)
    await asyncio.gather(writing, claiming)
    assert (await the_refund(pool))["first_listed_at"] == at(9)
    assert [row["object_id"] for row in await rows(pool, "recheck")] == ["re_1"]
    assert not await audit(pool)


@asynccontextmanager
async def _row_held(pool: Pool) -> AsyncIterator[None]:
    """Keeps every refund locked for as long as the body lasts."""
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT FROM refund_sync.refund FOR UPDATE")
        yield


async def _waiting_for_locks(pool: Pool, sessions: int) -> None:
    async with asyncio.timeout(10):
        while sessions > await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.01)
