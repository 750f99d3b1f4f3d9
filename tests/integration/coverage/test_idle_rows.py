"""An account at rest leaves no rows: passes that found nothing share theirs, empty listings move a claim's end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from service.adapters.postgres.coverage.claims import revoke
from service.adapters.postgres.operations.runs import Runs
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.store import PostgresStore
from service.domain.batch import Written
from service.domain.coverage.span import Span
from service.ports.runs import Progress
from tests.builders import (
    CREATED,
    NEAR,
    a_batch,
    a_proof,
    a_reading,
    a_refund,
    an_observation,
    at,
    batch_of,
)
from tests.integration.warehouse import ACCOUNT, audit, rows
from tests.simulated import DAY, a_life

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool
    from service.domain.batch import Batch

NEXT = Span(NEAR.end, NEAR.end + 60)


def empty(span: Span, asked: float, stream: str = "refunds") -> Batch:
    reading = a_reading(seen=asked)
    return a_batch(reading, proofs=[a_proof(reading, span, stream=stream)])


async def claims(pool: Pool) -> list[tuple[str, int, int]]:
    found = await rows(pool, "coverage_claim")
    return [(c["kind"], c["span"].lower, c["span"].upper) for c in found]


@pytest.mark.parametrize("stream", ["refunds", "events"])
async def test_a_listing_that_returned_nothing_moves_the_end_of_the_newest_claim(
    stream: str, store: PostgresStore, pool: Pool
) -> None:
    reading = a_reading(an_observation(seen=0))
    await store.write(a_batch(reading, proofs=[a_proof(reading, stream=stream)]))
    for minute in range(5):
        span = Span(NEAR.end + 60 * minute, NEAR.end + 60 * (minute + 1))
        await store.write(empty(span, 100 + minute, stream))
    assert await claims(pool) == [("covered", NEAR.start, NEAR.end + 300)]
    assert (await rows(pool, "coverage_claim"))[0]["observed_at"] == at(0)
    assert await store.covered(stream) == [Span(NEAR.start, NEAR.end + 300)]
    assert not await audit(pool)


async def test_a_claim_of_its_own_follows_a_revocation(store: PostgresStore, pool: Pool) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    async with pool.acquire() as connection, connection.transaction():
        await revoke(connection, ACCOUNT, None, [Span(NEAR.start, NEAR.start + 9)], at(50))
    await store.write(empty(NEXT, 100))
    assert len(await claims(pool)) == 3
    assert not await audit(pool)


async def test_what_a_later_listing_contradicted_is_covered_by_no_longer_claim_either(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    await store.write(empty(NEXT, 10))
    async with pool.acquire() as connection, connection.transaction():
        await revoke(connection, ACCOUNT, None, [NEXT], at(200))
    before = Span(NEXT.end, NEXT.end + 60)
    await store.write(empty(before, 300))
    await store.write(empty(NEXT, 100))
    assert await store.covered("refunds") == [NEAR, before]
    await store.write(empty(NEXT, 300))
    assert await store.covered("refunds") == [Span(NEAR.start, before.end)]
    assert not await audit(pool)


@pytest.mark.parametrize("what", ["one elsewhere", "a refund that was listed there once"])
async def test_a_claim_is_not_made_longer_where_its_audit_would_not_stay_true(
    what: str, store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    span = Span(NEXT.start + 5, NEXT.end) if what == "one elsewhere" else NEXT
    if span == NEXT:
        young = an_observation(a_refund("re_young", created=NEXT.start + 1), seen=0)
        await store.write(batch_of(young))
        await pool.execute(
            "UPDATE refund_sync.refund SET gone_at = $1 WHERE id = 're_young'", at(50)
        )
    await store.write(empty(span, 100))
    assert len(await claims(pool)) == 2
    assert not await audit(pool)


async def run(pool: Pool, job: str = "newest part", **written: int) -> UUID:
    runs, run_id = Runs(Database(pool, deadline_s=20)), uuid4()
    await runs.begin(run_id, job, ACCOUNT, NEAR)
    await runs.progress(run_id, Progress(requests=1, written=Written(**written)))
    await runs.end(run_id, "ok")
    return run_id


async def kept(pool: Pool) -> dict[UUID, dict[str, Any]]:
    return {row["id"]: row for row in await rows(pool, "run")}


async def test_runs_in_a_row_that_found_nothing_share_one_row(pool: Pool) -> None:
    first = await run(pool)
    begun = (await kept(pool))[first]["started_at"]
    for _ in range(3):
        events, newest = await run(pool, "events"), await run(pool, unchanged=2)
    found = await kept(pool)
    assert set(found) == {events, newest}
    assert (found[newest]["passes"], found[newest]["requests"], found[newest]["unchanged"]) == (
        4,
        4,
        6,
    )
    assert found[newest]["first_started_at"] == begun
    assert found[events]["passes"] == 3


async def test_a_run_that_found_something_keeps_its_row_and_so_does_one_that_a_claim_names(
    pool: Pool,
) -> None:
    found = await run(pool, inserted=1)
    claiming = await run(pool)
    store = PostgresStore(Database(pool, deadline_s=20), ACCOUNT, claiming)
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    idle = await run(pool)
    last = await run(pool, returned=1)
    assert set(await kept(pool)) == {found, claiming, idle, last}


async def test_a_row_stands_for_the_runs_of_one_day_at_most(pool: Pool) -> None:
    old = await run(pool)
    await pool.execute("UPDATE refund_sync.run SET started_at = started_at - interval '23 hours'")
    merged = await run(pool)
    await pool.execute("UPDATE refund_sync.run SET first_started_at = now() - interval '25 hours'")
    assert set(await kept(pool)) == {merged}
    new = await run(pool)
    assert set(await kept(pool)) == {merged, new}
    assert old not in await kept(pool)


async def test_an_account_at_rest_leaves_no_more_rows_after_two_days_than_after_one(
    pool: Pool,
) -> None:
    async def counted() -> dict[str, int]:
        tables = ("run", "coverage_claim", "recheck", "refund_version", "event_gap")
        return {table: len(await rows(pool, table, "1")) for table in tables}

    async with a_life(pool) as life:
        for _ in range(2):
            await life.pass_time(DAY)
        for _ in range(60):
            await life.pass_time(60)
        before = await counted()
        for _ in range(120):
            await life.pass_time(60)
        assert await counted() == before
        assert not await audit(pool)
        (newest,) = await pool.fetch(
            "SELECT passes FROM refund_sync.run WHERE job = 'newest part' ORDER BY started_at DESC LIMIT 1"
        )
        assert newest["passes"] > 150


async def test_revocations_are_found_by_an_index_of_their_own(pool: Pool) -> None:
    from service.adapters.postgres.queries import query

    await pool.execute("ALTER TABLE refund_sync.coverage_claim SET (autovacuum_enabled = off)")
    await pool.execute(
        "INSERT INTO refund_sync.coverage_claim (account_id, stream, kind, span, rows, digest, observed_at)"
        " SELECT $1, 'refunds', CASE WHEN n % 10000 = 0 THEN 'revoked' ELSE 'covered' END,"
        " int8range(n, n + 1), 0, 0, $2 FROM generate_series(1, 50000) AS n",
        ACCOUNT, at(0),
    )  # fmt: skip
    plan = await pool.fetch(
        f"EXPLAIN {query('add_claims')}",
        ACCOUNT, "refunds", None, [], [], [], [at(0) - timedelta(days=1)],
    )  # fmt: skip
    text = "\n".join(row[0] for row in plan)
    assert "coverage_claim_revoked" in text, text
    assert CREATED
