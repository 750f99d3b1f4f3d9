"""Claims commit with their rows or not at all, and bear an audit; what could not be decoded waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.domain.coverage.span import HOUR_S as HOUR
from service.domain.coverage.span import Span
from tests.builders import (
    CREATED,
    NEAR,
    a_batch,
    a_line,
    a_proof,
    a_reading,
    a_refund,
    an_observation,
    an_undecodable,
    at,
    batch_of,
)
from tests.integration.warehouse import audit, rows, the_refund, written

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool
    from service.adapters.postgres.warehouse.store import PostgresStore


async def test_rows_and_their_claim_commit_together(store: PostgresStore, pool: Pool) -> None:
    assert await store.covered("refunds") == []
    await store.write(batch_of(an_observation(), claimed=True))
    assert await store.covered("refunds") == [NEAR]
    (claim,) = await rows(pool, "coverage_claim")
    assert (claim["rows"], claim["kind"], claim["observed_at"]) == (1, "covered", at(0))
    assert not await audit(pool)


@pytest.mark.parametrize("table", ["charge_link", "balance_transaction", "coverage_claim"])
async def test_a_batch_that_fails_anywhere_leaves_nothing_behind(
    table: str, store: PostgresStore, pool: Pool
) -> None:
    await pool.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$"
    )
    await pool.execute(
        f"CREATE TRIGGER refuse AFTER INSERT ON refund_sync.{table} EXECUTE FUNCTION refuse()"
    )
    batch = batch_of(an_observation(ledger=[a_line()]), claimed=True)
    with pytest.raises(asyncpg.RaiseError):
        await store.write(batch)
    for kept in ("refund", "refund_version", "balance_transaction", "coverage_claim"):
        assert not await rows(pool, kept), kept
    assert await store.covered("refunds") == []
    await pool.execute(f"DROP TRIGGER refuse ON refund_sync.{table}")
    assert await store.write(batch) == written(inserted=1)
    assert not await audit(pool)


async def test_a_claim_of_what_is_covered_writes_nothing(store: PostgresStore, pool: Pool) -> None:
    await store.write(batch_of(an_observation(), claimed=True))
    reading = a_reading(an_observation(seen=50))
    inside = Span(NEAR.start + 5, NEAR.end - 5)
    await store.write(a_batch(reading, proofs=[a_proof(reading), a_proof(reading, inside)]))
    assert len(await rows(pool, "coverage_claim")) == 1
    beyond = Span(NEAR.start, NEAR.end + 10)
    await store.write(a_batch(reading, proofs=[a_proof(reading, beyond)]))
    assert len(await rows(pool, "coverage_claim")) == 2
    assert await store.covered("refunds") == [beyond]
    assert not await audit(pool)


async def test_streams_are_covered_each_for_itself(store: PostgresStore) -> None:
    reading = a_reading(an_observation())
    await store.write(a_batch(reading, proofs=[a_proof(reading, stream="refunds:settled")]))
    assert await store.covered("refunds") == []
    assert await store.covered("refunds:settled") == [NEAR]


async def test_what_turns_up_in_a_covered_second_is_counted_as_late(store: PostgresStore) -> None:
    await store.write(batch_of(an_observation(), claimed=True))
    late = an_observation(a_refund("re_late"), seen=90)
    beside = an_observation(a_refund("re_new", created=NEAR.end), seen=90)
    assert await store.write(batch_of(late, beside)) == written(inserted=2, late=1)


PLANTED = {
    "a row that is gone": "DELETE FROM refund_sync.refund WHERE id = 're_1'",
    "a row of another id": "UPDATE refund_sync.refund SET id = 're_9' WHERE id = 're_1'",
    "a row too many": 'INSERT INTO refund_sync.refund SELECT (jsonb_populate_record(r, \'{"id": "re_0"}\')).*'
    " FROM refund_sync.refund r LIMIT 1",
    "coverage without a claim": "UPDATE refund_sync.coverage SET covered = covered + '{[1,9)}'",
    "coverage that shrank": "UPDATE refund_sync.coverage SET covered = '{}'",
    "a claim of fewer rows": "UPDATE refund_sync.coverage_claim SET rows = rows - 1",
    "a version that is gone": "DELETE FROM refund_sync.refund_superseded",
    "a change told wrongly": "UPDATE refund_sync.refund"
    """ SET changes = '{"status": ["pending", "failed"]}' WHERE version = 2""",
    "a row that was touched": "UPDATE refund_sync.refund SET raw = raw || '{\"status\": 1}'",
}


@pytest.mark.parametrize("planted", PLANTED)
async def test_the_audit_finds_what_was_tampered_with(
    planted: str, store: PostgresStore, pool: Pool
) -> None:
    both = [an_observation(a_refund("re_1")), an_observation(a_refund("re_2"))]
    await store.write(batch_of(*both, claimed=True))
    await store.write(batch_of(an_observation(a_refund("re_2", status="failed"), seen=5)))
    assert not await audit(pool)
    await pool.execute(PLANTED[planted])
    assert await audit(pool)


async def test_undecodable_objects_are_kept_once_and_resolved_when_they_can_be_read(
    store: PostgresStore, pool: Pool
) -> None:
    odd = a_reading(seen=0, undecodable=[an_undecodable("re_1")])
    assert await store.write(a_batch(odd, proofs=[a_proof(odd)])) == written(quarantined=1)
    again = a_reading(seen=9, undecodable=[an_undecodable("re_1", error="still odd")])
    await store.write(a_batch(again))
    (kept,) = await rows(pool, "quarantine")
    assert (kept["error"], kept["seen_at"], kept["resolved_at"]) == ("still odd", at(9), None)
    await store.write(batch_of(an_observation(a_refund("re_1"), seen=20)))
    (kept,) = await rows(pool, "quarantine")
    assert kept["resolved_at"]
    assert not await audit(pool)


async def test_an_object_without_a_name_is_gone_once_its_whole_time_was_listed_twice_without_it(
    store: PostgresStore, pool: Pool
) -> None:
    """All of the seconds that it may have been created in must have been listed since, an hour apart."""

    async def read(seen: float, *payloads: str, span: Span = NEAR) -> list[str]:
        odd = [an_undecodable(None, payload=p, earliest=CREATED - 50) for p in payloads]
        reading = a_reading(seen=seen, undecodable=odd)
        await store.write(a_batch(reading, proofs=[a_proof(reading, span)]))
        assert len(await rows(pool, "quarantine")) == 2
        return [r["payload"] for r in await rows(pool, "quarantine") if not r["resolved_at"]]

    both = ['{"a": 1}', '{"b": 2}']
    assert await read(0, *both) == both
    assert await read(10, *both) == both
    assert await read(20, span=Span(NEAR.start, CREATED)) == both
    assert await read(20, span=Span(CREATED - 49, NEAR.end)) == both
    assert await read(30, both[0]) == both
    assert await read(3_619, both[0]) == both, "not quite an hour"
    assert await read(3_621, both[0]) == both[:1]
    assert await read(5) == both[:1], "a listing from before it was last received"
    assert await read(3_640) == both[:1]
    assert await read(3_650 + HOUR) == []
    assert {r["resolution"] for r in await rows(pool, "quarantine")} == {"gone"}


async def test_a_claim_holds_though_its_refund_was_fetched_first_and_changed_since(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0, listed=False), source="fetch"))
    changed = an_observation(a_refund(status="failed"), seen=10)
    await store.write(batch_of(changed, claimed=True))
    assert (await the_refund(pool))["first_listed_at"] == at(10)
    assert not await audit(pool)


async def test_a_claim_holds_though_a_newer_read_of_its_refund_was_committed_first(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(a_refund(status="failed"), seen=10)))
    older = an_observation(a_refund(status="pending"), seen=0)
    await store.write(batch_of(older, claimed=True))
    refund = await the_refund(pool)
    assert (refund["status"], refund["first_listed_at"]) == ("failed", at(0))
    assert not await audit(pool)
