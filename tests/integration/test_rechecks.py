"""What is to be read again: queued with the rows, settled by the right reads only, and never in the way."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.postgres.rechecks import PostgresDue
from service.adapters.postgres.store import Database, PostgresStore
from service.domain.reads import Due
from service.domain.recheck import DAY_S
from service.domain.refund import Hint
from service.domain.span import Span
from service.ports import Batch, Check
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
from tests.integration.warehouse import ACCOUNT, audit, rows, tell, the_refund, written
from tests.simulated import BEGIN, DAY, Nets, a_life

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.adapters.postgres.connect import Pool
    from service.domain.refund import Observation
    from tests.simulated import Life

A_DAY = Span(CREATED // DAY_S * DAY_S, CREATED // DAY_S * DAY_S + DAY_S)
HOUR = 3_600


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
    assert await tell(store, a_hint(10)) == 1
    reading = batch_of(
        an_observation(a_refund(status="failed"), seen=12, listed=False), source="hint"
    )
    assert await tell(store, a_hint(13)) == 1
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


async def test_a_hint_older_than_the_last_read_of_its_refund_tells_nothing(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=100, link=a_link(charge_id="ch_1"))))
    assert await tell(store, a_hint(99)) == 0
    assert await tell(store, a_hint(99, "ch_1", "charge")) == 0
    await store.write(
        relisting(an_observation(seen=300, link=a_link(charge_id="ch_1")), asked=300, checked=A_DAY)
    )
    assert await tell(store, a_hint(299)) == 0
    assert await queued(pool) == {}
    assert await tell(store, a_hint(300), a_hint(300, "re_unknown")) == 2
    assert await queued(pool) == {"re_1": "hint", "re_unknown": "hint"}


async def test_a_hint_of_a_charge_is_settled_by_its_new_refund(
    store: PostgresStore, pool: Pool
) -> None:
    assert await tell(store, a_hint(10, "ch_1", "charge"), a_hint(10, "ch_2", "charge")) == 2
    await store.write(batch_of(an_observation(seen=12, link=a_link(charge_id="ch_1"))))
    assert await queued(pool) == {"ch_2": "hint"}


async def test_an_unchanged_refund_of_a_list_is_not_written_and_its_day_tells_when_it_was_checked(
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


async def test_a_span_that_was_taken_back_is_listed_anew_with_an_eye_on_what_is_stored(
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


async def test_what_stays_unhydrated_is_tried_ever_less_often_until_it_is_whole(
    store: PostgresStore, pool: Pool
) -> None:
    bare = an_observation(seen=0, hydrated=False)
    await store.write(batch_of(bare, claimed=True))
    due, now = due_of(pool), at(1)
    for hours in (1, 6, 24):
        (one,) = await due.due(now, 10)
        assert one == Due("refund", "re_1", "unhydrated", CREATED, one.attempts)
        again = an_observation(seen=200, hydrated=False, listed=False)
        await store.write(batch_of(again, source="recheck"))
        await due.read([one], at(300), now)
        assert await due.due(now + timedelta(hours=hours, seconds=-1), 10) == []
        now += timedelta(hours=hours)
    await store.write(batch_of(an_observation(seen=900, listed=False), source="recheck"))
    assert await queued(pool) == {}


async def test_an_unknown_object_is_asked_for_ever_less_often_and_keeps_nothing_else_from_its_turn(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(a_refund("re_1", status="pending"), seen=0)))
    await tell(store, a_hint(10, "re_0"), a_hint(11, "re_1"))
    due, now = due_of(pool, hinted=True), at(20)
    unknown, known = await due.due(now, 10)
    assert (unknown.id, known.id) == ("re_0", "re_1")
    waits = []
    for _ in range(6):
        assert not await due.not_found(unknown, now, now)
        row = (await rows(pool, "recheck"))[0]
        waits.append((row["due_at"] - now) / timedelta(hours=1))
        now = row["due_at"]
        (unknown,) = [one for one in await due.due(now, 10) if one.id == "re_0"]
    assert waits == [1, 6, 24, 72, 168, 168]
    assert (await queued(pool))["re_0"] == "not found"
    assert await tell(store, a_hint(11, "re_0")) == 0, "the same event, listed again"
    assert await tell(store, a_hint(500, "re_0")) == 1
    await store.write(batch_of(an_observation(a_refund("re_0"), seen=600)))
    assert await queued(pool) == {"re_1": "hint"}


async def test_a_read_that_began_before_the_last_one_does_not_call_a_refund_gone(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=500), claimed=True))
    await due_of(pool).not_found(Due("refund", "re_1", "hint", CREATED), at(400), at(1))
    assert (await the_refund(pool))["gone_at"] is None


async def test_an_open_refund_is_due_by_the_clock_that_is_handed_in(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(a_refund(status="pending"), seen=5_000)))
    row = await the_recheck(pool)
    young = at(0).timestamp() - CREATED < 90 * DAY_S
    assert (row["why"], row["due_at"]) == ("open", at(0) + timedelta(days=1 if young else 7))
    await store.write(batch_of(an_observation(a_refund(status="succeeded"), seen=9_000)))
    assert await queued(pool) == {"re_1": "open"}, "not due yet: read when its time comes"
    later = PostgresStore(Database(pool, deadline_s=20), ACCOUNT, None, Later())
    await later.write(batch_of(an_observation(a_refund(status="succeeded"), seen=9_900)))
    assert await queued(pool) == {}


class Later:
    def now(self) -> datetime:
        return at(8 * DAY_S)


def young(life: Life, count: int) -> list[str]:
    """Some refunds of the last days, none of them of today."""
    found = [p["id"] for p in life.listed() if BEGIN - 10 * DAY < p["created"] < BEGIN - DAY]
    assert len(found) >= count
    return found[:count]


async def marks(life: Life, ids: Sequence[str]) -> dict[str, tuple[bool, bool, str | None]]:
    """Of each refund whether it is marked as hidden, as gone, and why it is to be read again."""
    found = await life.pool.fetch(
        "SELECT r.id, r.hidden_at IS NOT NULL, r.gone_at IS NOT NULL, c.why"
        " FROM refund_sync.refund r LEFT JOIN refund_sync.recheck c"
        " ON c.account_id = r.account_id AND c.object_id = r.id"
        " WHERE r.account_id = $1 AND r.id = ANY($2)",
        life.account.id, list(ids),
    )  # fmt: skip
    return {row[0]: (row[1], row[2], row[3]) for row in found}


async def test_without_events_what_was_hidden_or_deleted_is_told_apart_and_what_reappears_is_seen(
    pool: Pool,
) -> None:
    async with a_life(pool, refunds=400, nets=Nets(events=False)) as life:
        await life.pass_time(60)
        hidden, gone, odd = (young(life, 5)[n : n + 1] for n in (0, 2, 4))
        life.change("hide", ids=hidden)
        life.change("delete", ids=gone)
        life.change("spoil", ids=odd)
        for _ in range(3):
            await life.pass_time(DAY / 2)
        assert await marks(life, [*hidden, *gone]) == {
            hidden[0]: (True, False, "hidden"), gone[0]: (True, True, "gone"),
        }  # fmt: skip
        assert (await marks(life, odd))[odd[0]] == (False, False, "in quarantine")
        assert not await audit(pool)

        life.change("unhide", ids=hidden)
        life.change("mend", ids=odd)
        for _ in range(3):
            await life.pass_time(DAY / 2)
        states = await marks(life, [*hidden, *odd])
        assert [state[:2] for state in states.values()] == [(False, False)] * 2
        assert not {"hidden", "in quarantine"} & {state[2] for state in states.values()}
        assert not await pool.fetch("SELECT FROM refund_sync.quarantine WHERE resolved_at IS NULL")
        assert not await audit(pool)


async def test_days_are_noted_as_checked_only_where_they_were_listed_to_their_proof_and_no_row_is_written(
    pool: Pool,
) -> None:
    async with a_life(pool, refunds=400, nets=Nets(events=False)) as life:
        await life.pass_time(60)
        written_by = "SELECT id, xmin::text, ctid::text FROM refund_sync.refund ORDER BY 1"
        before = await pool.fetch(written_by)
        checks = "SELECT lower(span), observed_at FROM refund_sync.span_check"
        first = {row[0]: row[1] for row in await pool.fetch(checks)}
        assert max(first) < BEGIN, "today is not over"
        await life.pass_time(DAY + HOUR)
        second = {row[0]: row[1] for row in await pool.fetch(checks)}
        again = {day for day in second if first.get(day) != second[day]}
        assert {BEGIN - 3 * DAY, BEGIN - 2 * DAY, BEGIN - DAY} <= again
        assert max(second) < BEGIN + DAY
        assert await pool.fetch(written_by) == before
        odd = await pool.fetch(
            "SELECT s.span FROM refund_sync.span_check s JOIN refund_sync.coverage c"
            " ON c.account_id = s.account_id AND c.stream = 'refunds'"
            " WHERE NOT c.covered @> s.span OR upper(s.span) - lower(s.span) <> 86400"
        )
        assert not odd


async def test_what_a_webhook_told_is_read_once_and_polls_that_find_nothing_else_grow_rare(
    pool: Pool,
) -> None:
    """Where the read began so long after the event that no copy lags."""
    nets = Nets(webhooks=True)
    async with a_life(pool, refunds=200, nets=nets, sync_interval_s=60) as life:
        await life.pass_time(60)
        await life.pass_time(300)
        changed = young(life, 6)
        for refund_id in changed:
            life.change("metadata", ids=[refund_id])
            await life.pass_time(3)
            await life.pass_time(120)
        assert life.stripe.stats.reads_by_id == dict.fromkeys(changed, 1)
        assert await life.rounds.poll_interval_s() > 4 * 60
        nets.lost = 1.0
        life.change("metadata", ids=changed[:1])
        await life.pass_time(2_000)
        assert life.stripe.stats.reads_by_id[changed[0]] == 2
        assert await life.rounds.poll_interval_s() == 60
