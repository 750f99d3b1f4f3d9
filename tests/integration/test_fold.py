"""Old claims are folded by month: fewer rows, the same coverage, and an audit that still sees everything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from service.adapters.postgres.fold import FEW, fold_claims
from service.adapters.postgres.store import Database, PostgresStore
from service.domain.span import Span
from tests.builders import a_batch, a_proof, a_reading, a_refund, an_observation
from tests.integration.warehouse import ACCOUNT, audit, rows

if TYPE_CHECKING:
    from service.adapters.postgres.connect import Pool

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
    assert await fold_claims(database, ACCOUNT, LATER) == 1
    claims = await rows(pool, "coverage_claim")
    assert [claim["rows"] for claim in claims] == [10, CLAIMS - 11]
    assert await store.covered("refunds") == before
    assert not await audit(pool)
    assert await fold_claims(database, ACCOUNT, LATER) == 0


async def test_a_folded_claim_still_tells_that_a_row_was_lost(pool: Pool) -> None:
    database, store = account_of(pool)
    await a_month_of_claims(store)
    await fold_claims(database, ACCOUNT, LATER)
    for table, key in (
        ("refund", "id"),
        ("charge_link", "refund_id"),
        ("refund_version", "refund_id"),
    ):
        await pool.execute(f"DELETE FROM refund_sync.{table} WHERE {key} = 're_017'")
    assert await audit(pool)


async def test_a_refund_that_is_listed_no_more_keeps_no_month_from_being_folded(pool: Pool) -> None:
    database, store = account_of(pool)
    await a_month_of_claims(store)
    await pool.execute(
        "UPDATE refund_sync.refund SET hidden_at = observed_at - interval '1 second' WHERE id = 're_017'"
    )
    assert not await audit(pool)
    assert await fold_claims(database, ACCOUNT, LATER) == 1
    assert not await audit(pool)


async def test_claims_that_the_rows_do_not_bear_out_are_kept_for_whoever_looks(pool: Pool) -> None:
    database, store = account_of(pool)
    await a_month_of_claims(store)
    await pool.execute("DELETE FROM refund_sync.refund WHERE id = 're_017'")
    assert await fold_claims(database, ACCOUNT, LATER) == 0
    assert len(await rows(pool, "coverage_claim")) == CLAIMS


async def test_recent_months_few_claims_and_months_with_a_revocation_are_left_alone(
    pool: Pool,
) -> None:
    database, store = account_of(pool)
    await a_month_of_claims(store)
    soon = datetime.fromtimestamp(MONTH, UTC) + timedelta(days=32)
    assert await fold_claims(database, ACCOUNT, soon) == 0
    await pool.execute(
        "INSERT INTO refund_sync.coverage_claim (account_id, stream, kind, span, rows, digest, observed_at)"
        " VALUES ($1, 'refunds', 'revoked', int8range($2, $3), 0, 0, now())",
        ACCOUNT, MONTH + HOUR, MONTH + 2 * HOUR,
    )  # fmt: skip
    assert await fold_claims(database, ACCOUNT, LATER) == 0
    assert FEW < CLAIMS
