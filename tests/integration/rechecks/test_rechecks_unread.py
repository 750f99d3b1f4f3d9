"""Known refunds that a read did not return, or returned in part."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.store import PostgresStore
from service.domain.coverage.span import DAY_S
from service.domain.reads import Due
from tests.builders import (
    CREATED,
    a_refund,
    an_observation,
    at,
    batch_of,
)
from tests.integration.rechecks.test_rechecks import (
    a_hint,
    due_of,
    queued,
    store,  # noqa: F401 - a fixture
    the_recheck,
)
from tests.integration.warehouse import ACCOUNT, audit, report, rows, the_refund
from tests.simulated import BEGIN, DAY, Nets, a_life

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.adapters.postgres.session.connect import Pool
    from tests.simulated import Life


HOUR = 3_600


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
    await report(store, a_hint(10, "re_0"), a_hint(11, "re_1"))
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
    assert await report(store, a_hint(11, "re_0")) == 0, "the same event, listed again"
    assert await report(store, a_hint(500, "re_0")) == 1
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


async def test_without_events_what_was_hidden_or_deleted_is_distinguished_and_what_reappears_is_seen(
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


async def test_what_a_webhook_reported_is_read_once_and_polls_that_find_nothing_else_grow_rare(
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
