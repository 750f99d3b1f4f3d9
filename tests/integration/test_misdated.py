"""Rows that a clock dated which was ahead: nobody knows when they were read, so they win against nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from service.adapters.postgres.compare import PostgresComparison
from service.adapters.postgres.fold import fold_claims
from service.adapters.postgres.memory import PostgresMemory
from service.adapters.postgres.order import known_at
from service.adapters.postgres.rechecks import EventGaps, PostgresDue, redate
from service.adapters.postgres.store import Database, DatabaseClock, PostgresStore, SystemClock
from service.domain.reads import Due
from service.domain.recheck import DAY_S
from service.domain.refund import Hint
from service.domain.span import Span
from service.ports import Batch, Check
from tests.builders import (
    CREATED,
    NEAR,
    a_batch,
    a_charge,
    a_proof,
    a_reading,
    a_refund,
    an_observation,
    an_undecodable,
    at,
    batch_of,
)
from tests.integration.warehouse import ACCOUNT, audit, rows, tell, the_refund

if TYPE_CHECKING:
    from service.adapters.postgres.connect import Pool
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
    memory = PostgresMemory(patient, ACCOUNT, SystemClock())
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
    assert await tell(store, Hint("refund", "re_1", at(50))) == 1
    await store.write(batch_of(an_observation(seen=60, listed=False), source="hint"))
    assert await rows(pool, "recheck") == []


async def test_a_hint_of_the_future_is_settled_by_a_read_of_now_and_replaced_by_a_hint_of_now(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0)))
    await tell(store, Hint("refund", "re_1", at(10)))
    await pool.execute(f"UPDATE refund_sync.recheck SET hinted_at = {AHEAD}")
    assert await tell(store, Hint("refund", "re_1", at(20))) == 1
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
    assert await comparison.told_of(["re_1"], at(55)) == []
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


@pytest.mark.parametrize("mark", ["gone_at", "hidden_at", "unknown_at"])
async def test_marks_of_the_future_are_cleared_by_a_listing_of_now(
    mark: str, store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    await pool.execute(f"UPDATE refund_sync.refund SET {mark} = {AHEAD}")
    await store.write(listing(an_observation(seen=10), asked=10))
    assert (await the_refund(pool))[mark] is None


async def test_an_answer_dated_in_the_future_counts_for_no_hour_that_passed(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    await store.write(listing(asked=10))
    await pool.execute(f"UPDATE refund_sync.refund SET unknown_at = {AHEAD}")
    due = PostgresDue(Database(pool, deadline_s=20), ACCOUNT, hinted=False)
    one = Due("refund", "re_1", "unknown", CREATED)
    assert not await due.not_found(one, at(20), at(20))
    assert (await the_refund(pool))["unknown_at"] == at(20)


async def test_a_claim_of_now_stands_though_a_revocation_lies_in_the_future(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0), claimed=True))
    await pool.execute(
        "INSERT INTO refund_sync.coverage_claim (account_id, stream, kind, span, rows, digest, observed_at)"
        f" SELECT account_id, stream, 'revoked', span, 0, 0, {AHEAD} FROM refund_sync.coverage_claim"
    )
    await pool.execute("UPDATE refund_sync.coverage SET covered = '{}'")
    await store.write(listing(an_observation(seen=10), asked=10))
    assert await store.covered("refunds") == [NEAR]
    assert not await audit(pool)


async def test_quarantine_of_the_future_is_released_by_a_read_of_now(
    store: PostgresStore, pool: Pool
) -> None:
    reading = a_reading(seen=0, undecodable=[an_undecodable("re_1")])
    await store.write(a_batch(reading))
    await pool.execute(f"UPDATE refund_sync.quarantine SET seen_at = {AHEAD}")
    await store.write(batch_of(an_observation(seen=10)))
    assert (await rows(pool, "quarantine"))[0]["resolution"] == "decoded"


async def test_a_day_that_was_listed_in_the_future_is_listed_again_and_dated(
    store: PostgresStore, pool: Pool, patient: Database
) -> None:
    await store.write(listing(an_observation(seen=0), asked=0))
    await pool.execute(
        f"UPDATE refund_sync.span_check SET observed_at = {AHEAD}, checked_at = {AHEAD}"
    )
    due, now = PostgresDue(patient, ACCOUNT, hinted=False), datetime.now(UTC)
    (day,) = await due.days(
        A_DAY.start, A_DAY.end, datetime.fromtimestamp(A_DAY.end + 5 * DAY_S, UTC)
    )
    assert day.checked_s is None
    await pool.execute(
        "UPDATE refund_sync.coverage SET covered = int8multirange(int8range(0, 1::bigint << 40))"
    )
    since = now - timedelta(days=30)
    (turn,) = await due.days_in_turn(A_DAY.start, A_DAY.end, since, now, 10)
    assert turn.checked_s is None
    assert await pool.fetchval("SELECT state_checked_at FROM finance.refunds") == at(0)
    await store.write(listing(an_observation(seen=10), asked=10))
    assert (await rows(pool, "span_check"))[0]["observed_at"] == at(10)


async def test_a_gap_of_events_found_in_the_future_closes_only_after_a_read_from_now_on(
    store: PostgresStore, pool: Pool, patient: Database
) -> None:
    await store.write(listing(an_observation(seen=0), asked=0))
    gaps = EventGaps(patient, ACCOUNT)
    await gaps.add(NEAR, CREATED - 10, at(0))
    await pool.execute(f"UPDATE refund_sync.event_gap SET found_at = {AHEAD}")
    assert await gaps.close(at(9)) == []
    found_at: datetime = await pool.fetchval("SELECT found_at FROM refund_sync.event_gap")
    assert found_at <= datetime.now(UTC)
    read_at = (found_at - at(0)).total_seconds() + 1
    await store.write(listing(an_observation(seen=read_at), asked=read_at))
    assert await gaps.close(at(9)) == [NEAR]


async def test_nothing_stays_due_at_a_time_that_only_a_wrong_clock_can_have_made(
    pool: Pool, patient: Database
) -> None:
    now = at(0)
    await pool.execute(
        "INSERT INTO refund_sync.recheck (account_id, kind, object_id, due_at, why)"
        " VALUES ($1, 'refund', 're_1', $2, 'open'), ($1, 'refund', 're_2', $3, 'gone')",
        ACCOUNT, now + timedelta(days=400), now + timedelta(days=30),
    )  # fmt: skip
    await redate(patient, ACCOUNT, now)
    found: dict[str, Any] = {r["object_id"]: r["due_at"] for r in await rows(pool, "recheck")}
    assert found == {"re_1": now, "re_2": now + timedelta(days=30)}


async def test_claims_of_the_future_that_rows_contradict_by_now_are_read_again(
    misdated: PostgresStore, pool: Pool, patient: Database
) -> None:
    """A refund that arrived since the clock was corrected counts for a claim from before."""
    late = an_observation(a_refund("re_2", created=CREATED + 5), seen=10)
    await misdated.write(batch_of(late))
    await fold_claims(patient, ACCOUNT, datetime.now(UTC))
    other = an_observation(a_refund("re_1", status="pending"), seen=20)
    again = an_observation(a_refund("re_2", created=CREATED + 5), seen=20)
    await misdated.write(listing(other, again, asked=20))
    await fold_claims(patient, ACCOUNT, datetime.now(UTC))
    assert not await pool.fetch("SELECT FROM refund_sync.refund WHERE observed_at > now()")


async def test_a_clock_that_goes_back_between_two_looks_is_logged(pool: Pool) -> None:
    clock = DatabaseClock()
    async with pool.acquire() as connection:
        await clock.keep_fresh(connection)
        with capture_logs() as quiet:
            clock._read_at -= 60
            await clock.keep_fresh(connection)
        clock._offset += timedelta(seconds=90)
        clock._read_at -= 60
        with capture_logs() as logs:
            await clock.keep_fresh(connection)
    assert quiet == []
    (line,) = logs
    assert line["event"] == "database.clock_went_back"
    assert line["seconds"] == pytest.approx(90, abs=2)
