"""Rows that a clock dated which was ahead: nobody knows when they were read, so they win against nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.adapters.postgres.rechecks.due import PostgresDue
from service.adapters.postgres.session.clock import SystemClock
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.compare import PostgresComparison
from service.adapters.postgres.warehouse.order import known_at
from service.adapters.postgres.warehouse.received import PostgresReceivedDigests
from service.domain.batch import Batch, Check
from service.domain.coverage.span import DAY_S, Span
from service.domain.reads import Due
from service.domain.refund import Hint
from tests.builders import (
    CREATED,
    NEAR,
    a_charge,
    a_proof,
    a_reading,
    a_refund,
    an_observation,
    at,
    batch_of,
)
from tests.integration.warehouse import ACCOUNT, report, rows, the_refund

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool
    from service.adapters.postgres.warehouse.store import PostgresStore
    from service.domain.refund import Observation

AHEAD = "now() + interval '9 days'"
"""Where a clock stood that was ahead when these rows were written."""
A_DAY = Span(CREATED // DAY_S * DAY_S, CREATED // DAY_S * DAY_S + DAY_S)


@pytest.fixture
def patient(pool: Pool) -> Database:
    return Database(pool, deadline_s=20)


@pytest.fixture
async def misdated(store: PostgresStore, pool: Pool) -> PostgresStore:
    """Holds a refund, its charge and a claim, all as read in nine days."""
    seen = an_observation(a_refund(status="pending"), charge=a_charge(amount_minor=1), seen=0)
    await store.write(batch_of(seen, claimed=True))
    await pool.execute("DELETE FROM refund_sync.recheck")
    await pool.execute(
        f"UPDATE refund_sync.refund SET observed_at = {AHEAD}, first_seen_at = {AHEAD},"
        f" first_listed_at = {AHEAD}"
    )
    await pool.execute(f"UPDATE refund_sync.charge SET observed_at = {AHEAD}")
    await pool.execute(f"UPDATE refund_sync.coverage_claim SET observed_at = {AHEAD}")
    return store


def listing(*seen: Observation, asked: float) -> Batch:
    reading = a_reading(*seen, seen=asked)
    checks = [Check("refunds", A_DAY, at(asked))]
    return Batch([reading], [a_proof(reading)], "recheck", checks)


def test_times_of_the_future_sort_before_all_others_in_their_own_order() -> None:
    now = at(0)
    times = [at(9e6), at(4), at(-1), at(8e6), at(5)]
    assert sorted(times, key=lambda one: known_at(one, now)) == [
        at(8e6), at(9e6), at(-1), at(4), at(5),
    ]  # fmt: skip


async def test_a_read_of_now_replaces_a_row_of_the_future_and_is_looked_at_once_more(
    misdated: PostgresStore, pool: Pool
) -> None:
    failed = an_observation(
        a_refund(status="failed"), charge=a_charge(amount_minor=2), seen=10, listed=False
    )
    written = await misdated.write(batch_of(failed, source="hint"))
    assert (written.changed, written.stale) == (1, 0)
    refund = await the_refund(pool)
    assert (refund["status"], refund["observed_at"]) == ("failed", at(10))
    assert (await rows(pool, "charge"))[0]["amount_minor"] == 2
    assert (await rows(pool, "recheck"))[0]["why"] == "overlapping reads differ"


async def test_a_listing_that_confirms_a_row_of_the_future_dates_it(
    misdated: PostgresStore, pool: Pool
) -> None:
    same = an_observation(a_refund(status="pending"), charge=a_charge(amount_minor=1), seen=10)
    await misdated.write(listing(same, asked=10))
    refund = await the_refund(pool)
    assert refund["observed_at"] == refund["first_seen_at"] == refund["first_listed_at"] == at(10)
    assert refund["version"] == 1


async def test_a_page_that_holds_a_row_of_the_future_is_decoded_though_it_looks_the_same(
    misdated: PostgresStore, pool: Pool, patient: Database
) -> None:
    await pool.execute(
        "UPDATE refund_sync.refund SET received_hash = 'so', first_listed_at = $1", at(0)
    )
    memory = PostgresReceivedDigests(patient, ACCOUNT, SystemClock())
    assert await memory.same([b"so"], NEAR.start, NEAR.end, at(99)) == {}
    await pool.execute("UPDATE refund_sync.refund SET observed_at = $1", at(0))
    assert list(await memory.same([b"so"], NEAR.start, NEAR.end, at(99))) == [b"so"]


async def test_a_read_dated_in_the_future_loses_against_a_row_of_now(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(a_refund(status="failed"), seen=0)))
    later = datetime.now(UTC) + timedelta(days=9)
    seen = an_observation(a_refund(status="pending"), seen=(later - at(0)).total_seconds())
    assert (await store.write(batch_of(seen))).stale == 1
    assert (await the_refund(pool))["status"] == "failed"
    assert (await rows(pool, "recheck"))[0]["why"] == "overlapping reads differ"


@pytest.mark.parametrize("what", ["refund", "its day"])
async def test_a_hint_is_kept_though_the_row_was_read_in_the_future(
    what: str, store: PostgresStore, pool: Pool
) -> None:
    seen = an_observation(seen=0)
    await store.write(listing(seen, asked=0))
    await pool.execute("DELETE FROM refund_sync.recheck")
    table = "refund" if what == "refund" else "span_check"
    await pool.execute(f"UPDATE refund_sync.{table} SET observed_at = {AHEAD}")
    assert await report(store, Hint("refund", "re_1", at(50))) == 1
    await store.write(batch_of(an_observation(seen=60, listed=False), source="hint"))
    assert await rows(pool, "recheck") == []


async def test_a_hint_of_the_future_is_settled_by_a_read_of_now_and_replaced_by_a_hint_of_now(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0)))
    await report(store, Hint("refund", "re_1", at(10)))
    await pool.execute(f"UPDATE refund_sync.recheck SET hinted_at = {AHEAD}")
    assert await report(store, Hint("refund", "re_1", at(20))) == 1
    assert (await rows(pool, "recheck"))[0]["hinted_at"] == at(20)
    await pool.execute(f"UPDATE refund_sync.recheck SET hinted_at = {AHEAD}")
    await store.write(batch_of(an_observation(seen=30, listed=False), source="hint"))
    assert await rows(pool, "recheck") == []


async def test_verify_counts_a_drifted_row_of_the_future_as_different(
    misdated: PostgresStore, patient: Database
) -> None:
    comparison = PostgresComparison(patient, ACCOUNT, None)
    found = await comparison.compare(
        listing(an_observation(a_refund(status="failed"), seen=50), asked=50)
    )
    assert (found.differing, found.equal) == (["re_1"], 0)
    unlisted = await comparison.compare(listing(asked=60))
    assert unlisted.unlisted == [("re_1", CREATED)]
    assert await comparison.hinted_since(["re_1"], at(55)) == []
    assert await comparison.unread_since(["re_1"], at(55)) == ["re_1"]


async def test_a_refund_first_seen_in_the_future_is_missed_by_a_listing_of_now(
    misdated: PostgresStore, pool: Pool
) -> None:
    await misdated.write(listing(asked=60))
    refund = await the_refund(pool)
    assert refund["hidden_at"] == at(60)
    due = PostgresDue(Database(pool, deadline_s=20), ACCOUNT, hinted=False)
    one = Due("refund", "re_1", "not listed", CREATED)
    assert not await due.not_found(one, at(70), at(70))
    assert await due.not_found(one, at(70 + 3_600), at(70 + 3_600))
