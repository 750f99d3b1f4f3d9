"""What is to be read again: queued with the rows, settled by the right reads only, and never in the way."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.postgres.rechecks.due import PostgresDue
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.store import PostgresStore
from service.domain.batch import Batch, Check
from service.domain.coverage.span import DAY_S, Span
from service.domain.refund import Hint
from tests.builders import (
    CREATED,
    NEAR,
    a_batch,
    a_link,
    a_proof,
    a_reading,
    a_refund,
    an_observation,
    an_undecodable,
    at,
    batch_of,
)
from tests.integration.warehouse import ACCOUNT, audit, report, rows, the_refund, written

if TYPE_CHECKING:
    from datetime import datetime

    from service.adapters.postgres.session.connect import Pool
    from service.domain.refund import Observation

A_DAY = Span(CREATED // DAY_S * DAY_S, CREATED // DAY_S * DAY_S + DAY_S)


class Noon:
    """A clock that stands still."""

    def now(self) -> datetime:
        return at(0)


@pytest.fixture
def store(pool: Pool) -> PostgresStore:
    return PostgresStore(Database(pool, deadline_s=20), ACCOUNT, None, Noon())


def due_of(pool: Pool, *, hinted: bool = False) -> PostgresDue:
    return PostgresDue(Database(pool, deadline_s=20), ACCOUNT, hinted=hinted)


def a_hint(seconds: float, object_id: str = "re_1", kind: str = "refund") -> Hint:
    return Hint(kind, object_id, at(seconds))


def relisting(
    *seen: Observation, asked: float, checked: Span | None = None, source: str = "recheck"
) -> Batch:
    """A listing of all of ``NEAR`` that began then, *checked* if it completed a day."""
    reading = a_reading(*seen, seen=asked)
    checks = [Check("refunds", checked, at(asked))] if checked else []
    return Batch([reading], [a_proof(reading)], source, checks)


async def queued(pool: Pool) -> dict[str, str]:
    return {row["object_id"]: row["why"] for row in await rows(pool, "recheck")}


async def the_recheck(pool: Pool) -> dict[str, Any]:
    (row,) = await rows(pool, "recheck")
    return row


async def state_checked_at(pool: Pool) -> Any:
    return await pool.fetchval("SELECT state_checked_at FROM finance.refunds")


async def test_a_hint_that_comes_during_the_read_of_its_refund_survives_it(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0)))
    assert await report(store, a_hint(10)) == 1
    reading = batch_of(
        an_observation(a_refund(status="failed"), seen=12, listed=False), source="hint"
    )
    assert await report(store, a_hint(13)) == 1
    await store.write(reading)
    assert (await the_recheck(pool))["hinted_at"] == at(13)
    assert [one.id for one in await due_of(pool, hinted=True).due(at(99), 10)] == ["re_1"]
    again = an_observation(a_refund(status="failed"), seen=200, listed=False)
    await store.write(batch_of(again, source="hint"))
    assert await queued(pool) == {}


async def test_a_page_asked_for_before_a_change_and_committed_after_it_does_not_undo_it(
    store: PostgresStore, pool: Pool
) -> None:
    before, failed = a_refund(status="succeeded"), a_refund(status="failed")
    await store.write(batch_of(an_observation(before, seen=0), claimed=True))
    await store.write(batch_of(an_observation(failed, seen=500, listed=False), source="hint"))
    page = relisting(an_observation(before, seen=200), asked=200)
    assert await store.write(page) == written(stale=1)
    refund = await the_refund(pool)
    assert (refund["status"], refund["version"]) == ("failed", 2)
    assert await queued(pool) == {}
    assert not await audit(pool)


@pytest.mark.parametrize("begun", [450, 550])
async def test_where_reads_that_differ_may_have_overlapped_the_later_counts_and_is_read_again(
    begun: int, store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(a_refund(status="failed"), seen=500), claimed=True))
    page = relisting(an_observation(a_refund(status="pending"), seen=begun), asked=begun)
    await store.write(page)
    assert (await the_refund(pool))["status"] == ("failed" if begun < 500 else "pending")
    assert await queued(pool) == {"re_1": "overlapping reads differ"}
    assert (await the_recheck(pool))["due_at"] == at(0)


async def test_a_hint_older_than_the_last_read_of_its_refund_says_nothing(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=100, link=a_link(charge_id="ch_1"))))
    assert await report(store, a_hint(99)) == 0
    assert await report(store, a_hint(99, "ch_1", "charge")) == 0
    await store.write(
        relisting(an_observation(seen=300, link=a_link(charge_id="ch_1")), asked=300, checked=A_DAY)
    )
    assert await report(store, a_hint(299)) == 0
    assert await queued(pool) == {}
    assert await report(store, a_hint(300), a_hint(300, "re_unknown")) == 2
    assert await queued(pool) == {"re_1": "hint", "re_unknown": "hint"}


async def test_a_hint_of_a_charge_is_settled_by_its_new_refund(
    store: PostgresStore, pool: Pool
) -> None:
    assert await report(store, a_hint(10, "ch_1", "charge"), a_hint(10, "ch_2", "charge")) == 2
    await store.write(batch_of(an_observation(seen=12, link=a_link(charge_id="ch_1"))))
    assert await queued(pool) == {"ch_2": "hint"}


async def test_an_unchanged_refund_of_a_list_is_not_written_and_its_day_says_when_it_was_checked(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    written_by = "SELECT xmin::text || ctid::text FROM refund_sync.refund"
    before = await pool.fetchval(written_by)
    assert await state_checked_at(pool) == at(0)
    page = relisting(an_observation(seen=700), asked=700, checked=A_DAY)
    assert await store.write(page) == written(unchanged=1)
    assert await pool.fetchval(written_by) == before
    assert await state_checked_at(pool) == at(700)
    alone = an_observation(seen=900, listed=False)
    await store.write(batch_of(alone, source="fetch"))
    assert await state_checked_at(pool) == at(900)
    await store.write(relisting(an_observation(seen=800), asked=800, checked=A_DAY))
    assert await state_checked_at(pool) == at(900)


async def test_a_day_that_was_listed_twice_keeps_the_later_listing(
    store: PostgresStore, pool: Pool
) -> None:
    for asked in (700, 300):
        await store.write(relisting(asked=asked, checked=A_DAY))
    (check,) = await rows(pool, "span_check")
    assert (check["observed_at"], check["span"].lower) == (at(700), A_DAY.start)


async def test_a_stored_refund_that_a_listing_does_not_return_is_asked_for_by_id(
    store: PostgresStore, pool: Pool
) -> None:
    kept, missed = an_observation(a_refund("re_1")), an_observation(a_refund("re_2"))
    await store.write(batch_of(kept, missed, claimed=True))
    await store.write(relisting(an_observation(a_refund("re_1"), seen=300), asked=300))
    assert await queued(pool) == {"re_2": "not listed"}
    hidden = {row["id"]: row["hidden_at"] for row in await rows(pool, "refund")}
    assert hidden == {"re_1": None, "re_2": at(300)}
    assert not await audit(pool)
    both = [an_observation(a_refund(i), seen=600) for i in ("re_1", "re_2")]
    await store.write(relisting(*both, asked=600))
    assert await queued(pool) == {}
    assert [row["hidden_at"] for row in await rows(pool, "refund")] == [None, None]
    assert not await audit(pool)


async def test_a_span_that_was_revoked_is_listed_again_with_an_eye_on_what_is_stored(
    store: PostgresStore, pool: Pool
) -> None:
    """A first listing too may miss what is stored; the claim that it makes bears an audit ever after."""
    both = [an_observation(a_refund(i)) for i in ("re_1", "re_2")]
    await store.write(batch_of(*both, claimed=True))
    await pool.execute("DELETE FROM refund_sync.coverage_claim")
    await pool.execute("UPDATE refund_sync.coverage SET covered = '{}'")
    again = an_observation(a_refund("re_1"), seen=300)
    await store.write(batch_of(again, claimed=True, source="list"))
    assert await queued(pool) == {"re_2": "not listed"}
    assert not await audit(pool)
    events = a_reading(seen=400)
    streams = ("events", "events:settled")
    await store.write(a_batch(events, proofs=[a_proof(events, stream=s) for s in streams]))
    looked = a_reading(an_observation(a_refund("re_1"), seen=500))
    await store.write(a_batch(looked, proofs=[a_proof(looked, stream="refunds:settled")]))
    claims = {row["stream"]: row["rows"] for row in await rows(pool, "coverage_claim")}
    assert claims == {"refunds": 2, "refunds:settled": 2, "events": 0, "events:settled": 0}
    await store.write(relisting(an_observation(a_refund("re_2"), seen=600), again, asked=600))
    assert not await audit(pool)


async def test_a_refund_found_while_the_listing_went_on_is_not_missed_by_it(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=301, listed=False), source="fetch"))
    await store.write(relisting(asked=300))
    assert await queued(pool) == {}


async def test_an_object_that_could_not_be_decoded_this_time_is_not_taken_for_missing(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(a_refund("re_odd")), claimed=True))
    reading = a_reading(seen=300, undecodable=[an_undecodable("re_odd")])
    beyond = Span(NEAR.start, NEAR.end + 9)
    await store.write(a_batch(reading, proofs=[a_proof(reading, beyond)], source="recheck"))
    assert await queued(pool) == {"re_odd": "in quarantine"}
    assert (await the_recheck(pool))["due_at"] == at(0) + timedelta(days=1)
    assert (await the_refund(pool))["hidden_at"] is None
    assert not await audit(pool)
