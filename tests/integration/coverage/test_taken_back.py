"""Claims that are made, revoked and folded at once are numbered in the order in which coverage was changed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.postgres.coverage.claims import revoke
from service.adapters.postgres.coverage.fold import fold_claims
from service.adapters.postgres.session.database import Database
from service.domain.coverage.span import Span
from tests.builders import NEAR, a_batch, a_proof, a_reading, an_observation, at, batch_of
from tests.integration.coverage.test_fold import CLAIMS, HOUR, LATER, MONTH, a_month_of_claims
from tests.integration.warehouse import ACCOUNT, audit, rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.adapters.postgres.session.connect import Connection, Pool
    from service.adapters.postgres.warehouse.store import PostgresStore

BEYOND = Span(NEAR.start, NEAR.end + 50)
REFUTED = Span(NEAR.start + 10, NEAR.start + 20)
GATE = 7
WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@asynccontextmanager
async def uncommitted(pool: Pool, span: Span, seen: float) -> AsyncIterator[Connection]:
    """Something was revoked of that span, by a transaction that commits as the body ends."""
    async with pool.acquire() as connection, connection.transaction():
        assert await revoke(connection, ACCOUNT, None, [span], at(seen))
        yield connection


async def ended_or_stuck(task: asyncio.Task[Any], pool: Pool, *, sessions: int = 1) -> None:
    """When it is over, or so many sessions wait for others."""
    async with asyncio.timeout(15):
        while not task.done() and await pool.fetchval(WAITING) < sessions:
            await asyncio.sleep(0.01)


async def test_a_claim_that_was_numbered_before_a_revocation_covers_nothing_after_it(
    pool: Pool, store: PostgresStore
) -> None:
    """The writer is held up between numbering its claim and adding it, and the revocation tries to pass."""
    await store.write(batch_of(an_observation(), claimed=True))
    await pool.execute(
        "CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql"
        f" AS $$ BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NEW; END $$;"
        "CREATE TRIGGER hold_up BEFORE INSERT ON refund_sync.coverage_claim FOR EACH ROW"
        " WHEN (NEW.kind = 'covered') EXECUTE FUNCTION hold_up()"
    )
    reading = a_reading(an_observation(seen=50), seen=50)
    batch = a_batch(reading, proofs=[a_proof(reading, BEYOND)])

    async def take_back(connection: Connection) -> list[Span]:
        return await revoke(connection, ACCOUNT, None, [REFUTED], at(60))

    async with pool.acquire() as keeper:
        await keeper.execute(f"SELECT pg_advisory_lock({GATE})")
        writing = asyncio.create_task(store.write(batch))
        await ended_or_stuck(writing, pool)
        taking = asyncio.create_task(Database(pool, deadline_s=20).patiently(take_back))
        await ended_or_stuck(taking, pool, sessions=2)
        await keeper.execute(f"SELECT pg_advisory_unlock({GATE})")
    await asyncio.gather(writing, taking)
    assert await store.covered("refunds") == [
        Span(NEAR.start, REFUTED.start),
        Span(REFUTED.end, BEYOND.end),
    ]
    assert not await audit(pool)


@pytest.mark.parametrize(
    ("seen", "covered"),
    [
        (50, [Span(NEAR.start, REFUTED.start), Span(REFUTED.end, NEAR.end)]),
        (70, [BEYOND]),
    ],
)
async def test_what_was_read_before_the_read_that_contradicted_it_is_not_claimed_again(
    seen: float, covered: list[Span], pool: Pool, store: PostgresStore
) -> None:
    await store.write(batch_of(an_observation(), claimed=True))
    reading = a_reading(an_observation(seen=seen), seen=seen)
    async with uncommitted(pool, REFUTED, 60):
        writing = asyncio.create_task(
            store.write(a_batch(reading, proofs=[a_proof(reading, BEYOND)]))
        )
        await ended_or_stuck(writing, pool)
        assert not writing.done()
    await writing
    assert await store.covered("refunds") == covered
    assert not await audit(pool)


async def test_claims_that_a_revocation_touches_just_now_are_not_folded(
    pool: Pool, store: PostgresStore
) -> None:
    await a_month_of_claims(store)
    revoked = Span(MONTH + HOUR, MONTH + 2 * HOUR)
    async with uncommitted(pool, revoked, 1000):
        folding = asyncio.create_task(fold_claims(Database(pool, deadline_s=20), ACCOUNT, LATER))
        await ended_or_stuck(folding, pool)
        assert not folding.done()
    await folding
    end = MONTH + CLAIMS * HOUR
    assert await store.covered("refunds") == [
        Span(MONTH, revoked.start), Span(revoked.end, end),
    ]  # fmt: skip
    kept = [
        c["kind"] for c in await rows(pool, "coverage_claim") if c["span"].lower == revoked.start
    ]
    assert sorted(kept) == ["covered", "revoked"]
    assert not await audit(pool)
