"""Old claims are folded by month: fewer rows, the same coverage, and an audit that still sees everything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from service.adapters.postgres.coverage.claims import revoke
from service.adapters.postgres.coverage.fold import fold_claims
from service.adapters.postgres.queries import query
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.store import PostgresStore
from service.domain.coverage.span import Span
from tests.builders import a_batch, a_proof, a_reading, a_refund, an_observation
from tests.integration.warehouse import ACCOUNT, audit, rows

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool

MONTH = int(datetime(2025, 10, 1, tzinfo=UTC).timestamp())
HOUR = 3_600
CLAIMS = 50
LATER = datetime(2026, 3, 1, tzinfo=UTC)


async def a_month_of_claims(store: PostgresStore, *, gap: bool = False) -> None:
    """An hour each, with a refund in it; the tenth is left out where a gap is wanted."""
    for n in range(CLAIMS):
        if gap and n == 10:
            continue
        span = Span(MONTH + n * HOUR, MONTH + (n + 1) * HOUR)
        refund = a_refund(f"re_{n:03}", created=span.start + 7)
        reading = a_reading(an_observation(refund, seen=n), seen=n)
        await store.write(a_batch(reading, proofs=[a_proof(reading, span)]))


def account_of(pool: Pool) -> tuple[Database, PostgresStore]:
    database = Database(pool, deadline_s=20)
    return database, PostgresStore(database, ACCOUNT, None)


async def test_a_month_of_claims_becomes_one_for_each_stretch(pool: Pool) -> None:
    database, store = account_of(pool)
    await a_month_of_claims(store, gap=True)
    before = await store.covered("refunds")
    assert len(await rows(pool, "coverage_claim")) == CLAIMS - 1
    assert await fold_claims(database, ACCOUNT, LATER) == 4, "three days, then their month"
    claims = await rows(pool, "coverage_claim")
    assert [claim["rows"] for claim in claims] == [10, CLAIMS - 11]
    assert await store.covered("refunds") == before
    assert not await audit(pool)
    assert await fold_claims(database, ACCOUNT, LATER) == 0


async def test_a_folded_claim_still_says_that_a_row_was_lost(pool: Pool) -> None:
    database, store = account_of(pool)
    await a_month_of_claims(store)
    await fold_claims(database, ACCOUNT, LATER)
    for table, key in (("refund", "id"), ("charge_link", "refund_id")):
        await pool.execute(f"DELETE FROM refund_sync.{table} WHERE {key} = 're_017'")
    assert await audit(pool)


async def test_a_refund_that_is_listed_no_more_keeps_no_month_from_being_folded(pool: Pool) -> None:
    database, store = account_of(pool)
    await a_month_of_claims(store)
    await pool.execute(
        "UPDATE refund_sync.refund SET hidden_at = observed_at - interval '1 second' WHERE id = 're_017'"
    )
    assert not await audit(pool)
    assert await fold_claims(database, ACCOUNT, LATER) == 4
    assert not await audit(pool)


async def test_claims_that_the_rows_contradict_are_revoked_so_that_their_span_is_read_again(
    pool: Pool,
) -> None:
    database, store = account_of(pool)
    await a_month_of_claims(store)
    await pool.execute("DELETE FROM refund_sync.refund WHERE id = 're_017'")
    await fold_claims(database, ACCOUNT, LATER)
    lost = Span(MONTH + 17 * HOUR, MONTH + 18 * HOUR)
    covered = await store.covered("refunds")
    assert covered == [Span(MONTH, lost.start), Span(lost.end, MONTH + CLAIMS * HOUR)]
    assert not await pool.fetch(query("audit_coverage"))
    await fold_claims(database, ACCOUNT, LATER)
    assert await store.covered("refunds") == covered, "what was revoked is not revoked again"


async def test_days_are_folded_after_three_days_and_months_after_five_weeks(pool: Pool) -> None:
    database, store = account_of(pool)
    await a_month_of_claims(store)
    begin = datetime.fromtimestamp(MONTH, UTC)
    assert await fold_claims(database, ACCOUNT, begin + timedelta(days=3)) == 0
    assert await fold_claims(database, ACCOUNT, begin + timedelta(days=4)) == 1
    assert len(await rows(pool, "coverage_claim")) == CLAIMS - 24 + 1
    assert await fold_claims(database, ACCOUNT, begin + timedelta(days=31 + 34)) == 2
    assert len(await rows(pool, "coverage_claim")) == 3
    assert await fold_claims(database, ACCOUNT, begin + timedelta(days=31 + 35)) == 1
    assert len(await rows(pool, "coverage_claim")) == 1
    assert not await audit(pool)


async def test_a_revocation_keeps_only_the_claims_that_it_touches_from_being_folded(
    pool: Pool,
) -> None:
    database, store = account_of(pool)
    await a_month_of_claims(store)
    revoked = Span(MONTH + 5 * HOUR + 100, MONTH + 6 * HOUR + 100)
    async with pool.acquire() as connection, connection.transaction():
        await revoke(connection, ACCOUNT, None, [revoked], LATER - timedelta(days=99))
    before = await store.covered("refunds")
    await fold_claims(database, ACCOUNT, LATER)
    claims = [
        (c["kind"], c["span"].lower, c["span"].upper) for c in await rows(pool, "coverage_claim")
    ]
    assert sorted(claims) == sorted([
        ("covered", MONTH, MONTH + 5 * HOUR),
        ("covered", MONTH + 5 * HOUR, MONTH + 6 * HOUR), ("covered", MONTH + 6 * HOUR, MONTH + 7 * HOUR),
        ("revoked", revoked.start, revoked.end),
        ("covered", MONTH + 7 * HOUR, MONTH + CLAIMS * HOUR),
    ])  # fmt: skip
    assert await store.covered("refunds") == before
    assert not await audit(pool)
