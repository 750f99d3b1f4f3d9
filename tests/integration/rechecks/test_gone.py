"""What Stripe seems not to know: gone after two answers an hour apart and a listing without it, never before."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.postgres.rechecks.due import PostgresDue
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.compare import PostgresComparison
from service.domain.reads import Due
from service.domain.recheck import CONFIRM_S, GIVE_UP_AFTER
from tests.builders import (
    CREATED,
    NEAR,
    a_batch,
    a_proof,
    a_reading,
    a_refund,
    an_observation,
    an_undecodable,
    at,
    batch_of,
)
from tests.integration.warehouse import ACCOUNT, audit, rows, the_refund
from tests.simulated import DAY, Nets, a_life

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool
    from service.adapters.postgres.warehouse.store import PostgresStore
    from service.domain.batch import Batch
    from service.domain.coverage.span import Span
    from service.domain.refund import Observation, Undecodable
    from tests.simulated import Life

HOUR = 3_600
RE_1 = Due("refund", "re_1", "hint", CREATED)


def due_of(pool: Pool) -> PostgresDue:
    return PostgresDue(Database(pool, deadline_s=20), ACCOUNT, hinted=False)


def listing(
    *seen: Observation, asked: float, odd: list[Undecodable] | None = None, span: Span = NEAR
) -> Batch:
    """A whole listing of *span* that began then."""
    reading = a_reading(*seen, seen=asked, undecodable=odd or [])
    return a_batch(reading, proofs=[a_proof(reading, span)], source="recheck")


async def queued(pool: Pool) -> dict[str, str]:
    return {row["object_id"]: row["why"] for row in await rows(pool, "recheck")}


async def unknown(pool: Pool, seconds: float, due: Due = RE_1) -> bool:
    """Stripe answers then that it does not know it."""
    return await due_of(pool).not_found(due, at(seconds), at(seconds))


async def test_one_answer_that_a_refund_is_unknown_changes_nothing_and_queues_a_look_at_its_second(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    assert not await unknown(pool, 100)
    refund = await the_refund(pool)
    assert (refund["gone_at"], refund["hidden_at"], refund["unknown_at"]) == (None, None, at(100))
    assert len(await pool.fetch("SELECT FROM finance.refunds")) == 1
    (row,) = await rows(pool, "recheck")
    assert (row["why"], row["attempts"]) == ("unknown", 1)
    assert at(100 + CONFIRM_S) < row["due_at"] < at(100 + CONFIRM_S + 120)


async def test_answers_alone_make_no_refund_gone_without_a_listing_that_lacks_it(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    for second in (100, 100 + 2 * HOUR, 100 + 2 * DAY):
        assert not await unknown(pool, second)
    await store.write(listing(an_observation(seen=3 * DAY), asked=3 * DAY))
    refund = await the_refund(pool)
    assert (refund["gone_at"], refund["unknown_at"]) == (None, None)
    assert not await unknown(pool, 4 * DAY), "the answers before that listing count no more"


@pytest.mark.parametrize("listed_first", [True, False])
async def test_two_answers_an_hour_apart_and_a_listing_without_it_make_a_refund_gone(
    listed_first: bool, store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    if listed_first:
        await store.write(listing(asked=50))
    assert not await unknown(pool, 100)
    if not listed_first:
        await store.write(listing(asked=500))
    assert not await unknown(pool, 99 + HOUR), "not quite an hour"
    assert await unknown(pool, 100 + HOUR)
    assert (await the_refund(pool))["gone_at"] == at(100 + HOUR)
    assert await pool.fetch("SELECT FROM finance.refunds") == []
    assert len(await rows(pool, "refund_version")) == 1
    assert not await audit(pool)


async def test_a_gone_refund_is_asked_for_three_times_more_a_month_apart(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    await store.write(listing(asked=50))
    await unknown(pool, 100)
    now = at(200 + HOUR)
    asked = 0
    while due := await due_of(pool).due(now, 10):
        assert await due_of(pool).not_found(due[0], now, now)
        assert set((await queued(pool)).values()) <= {"gone"}
        now += timedelta(days=30)
        asked += 1
    assert asked == 4, "the answer that made it gone, and three more"
    assert await rows(pool, "recheck") == []


@pytest.mark.parametrize("mark", ["gone_at", "hidden_at"])
@pytest.mark.parametrize("changed", [False, True])
async def test_a_listing_that_meets_a_marked_refund_counts_it_and_clears_the_mark(
    mark: str, changed: bool, store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    await pool.execute(f"UPDATE refund_sync.refund SET {mark} = $1, unknown_at = $1", at(100))
    before = await store.write(listing(an_observation(seen=90), asked=90))
    assert before.returned == 0, "a listing from before it was marked"
    assert (await the_refund(pool))[mark] == at(100)
    refund = a_refund(status="failed" if changed else "succeeded")
    written = await store.write(listing(an_observation(refund, seen=300), asked=300))
    assert (written.returned, written.changed) == (1, int(changed))
    row = await the_refund(pool)
    assert (row["gone_at"], row["hidden_at"], row["unknown_at"]) == (None, None, None)


@pytest.mark.parametrize("mark", ["gone_at", "hidden_at"])
async def test_verify_reports_a_marked_refund_that_is_listed_and_clears_the_mark(
    mark: str, store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    await pool.execute(f"UPDATE refund_sync.refund SET {mark} = $1", at(100))
    comparison = PostgresComparison(Database(pool, deadline_s=20), ACCOUNT, None)
    older = await comparison.compare(listing(an_observation(seen=90), asked=90))
    assert (older.returned, older.differing) == ([], [])
    found = await comparison.compare(listing(an_observation(seen=300), asked=300))
    assert (found.returned, found.differing, found.missing) == (["re_1"], [], [])
    assert (await the_refund(pool))[mark] is None


async def test_an_id_that_stripe_never_knew_is_given_up_in_the_end(pool: Pool) -> None:
    due = Due("refund", "re_0", "hint")
    for asked in range(GIVE_UP_AFTER + 1):
        assert not await unknown(pool, asked * 10 * DAY, due)
        if row := await rows(pool, "recheck"):
            due = Due("refund", "re_0", row[0]["why"], attempts=row[0]["attempts"])
    assert await rows(pool, "recheck") == []


def odd_one(**fields: Any) -> Undecodable:
    return an_undecodable("re_odd", **fields)


async def the_odd_one(pool: Pool) -> dict[str, Any]:
    (row,) = await rows(pool, "quarantine")
    return row


async def test_an_object_in_quarantine_that_is_deleted_is_resolved_like_any_other_that_is_gone(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(listing(asked=0, odd=[odd_one()]))
    assert not await unknown(pool, 100, Due("refund", "re_odd", "in quarantine"))
    await store.write(listing(asked=200))
    assert (await the_odd_one(pool))["resolved_at"] is None
    (due,) = [o for o in await due_of(pool).due(at(DAY), 9) if o.id == "re_odd"]
    assert (due.why, due.created, due.hidden) == ("unknown", CREATED, True)
    assert await unknown(pool, 200 + HOUR, due)
    row = await the_odd_one(pool)
    assert (row["resolved_at"] is not None, row["resolution"]) == (True, "gone")


async def test_an_object_in_quarantine_that_is_listed_again_stays_there(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(listing(asked=0, odd=[odd_one()]))
    due = Due("refund", "re_odd", "in quarantine")
    assert not await unknown(pool, 100, due)
    await store.write(listing(asked=200))
    await store.write(listing(asked=300, odd=[odd_one()]))
    assert await queued(pool) == {"re_odd": "in quarantine"}
    assert not await unknown(pool, 200 + HOUR, due)
    assert (await the_odd_one(pool))["resolved_at"] is None


async def gone_ids(life: Life) -> set[str]:
    found = await life.pool.fetch("SELECT id FROM refund_sync.refund WHERE gone_at IS NOT NULL")
    return {row[0] for row in found}


async def test_a_stripe_that_denies_a_refund_for_a_while_loses_it_for_nobody(pool: Pool) -> None:
    """A lagging copy answers a hint's read; finance sees the refund all the time."""
    async with a_life(pool, refunds=50) as life:
        await life.pass_time(60)
        (denied,) = life.change("metadata")
        life.stripe.faults.denied = [denied]
        for _ in range(3):
            await life.pass_time(60)
            assert await pool.fetch("SELECT FROM finance.refunds WHERE refund_id = $1", denied)
        life.stripe.faults.denied = []
        for _ in range(3):
            await life.pass_time(HOUR)
        assert await gone_ids(life) == set()
        stored = await pool.fetchval(
            "SELECT metadata FROM refund_sync.refund WHERE id = $1", denied
        )
        assert "changed at" in stored
        assert not await pool.fetch("SELECT FROM refund_sync.recheck WHERE why = 'unknown'")


async def test_a_denial_that_lasts_for_hours_is_contradicted_by_the_listing_of_its_second(
    pool: Pool,
) -> None:
    async with a_life(pool, refunds=50) as life:
        await life.pass_time(60)
        (denied,) = life.change("metadata")
        life.stripe.faults.denied = [denied]
        for _ in range(8):
            await life.pass_time(HOUR)
        assert await gone_ids(life) == set()
        assert not await audit(pool)


async def test_a_deleted_refund_and_a_deleted_odd_object_are_gone_within_hours_of_being_missed(
    pool: Pool,
) -> None:
    async with a_life(pool, refunds=0, nets=Nets(events=False)) as life:
        gone, odd = life.change("new", count=2)
        await life.pass_time(60)
        life.change("spoil", ids=[odd])
        await life.pass_time(DAY)
        assert await pool.fetch("SELECT FROM refund_sync.quarantine WHERE resolved_at IS NULL")
        life.change("delete", ids=[gone, odd], events=False)
        for _ in range(2):
            await life.pass_time(DAY)
        for _ in range(8):
            await life.pass_time(HOUR)
        assert gone in await gone_ids(life)
        assert not await pool.fetch("SELECT FROM refund_sync.quarantine WHERE resolved_at IS NULL")
        assert not await audit(pool)
