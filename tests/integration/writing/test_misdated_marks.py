"""Marks, claims, gaps and due times of the future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from service.adapters.postgres.coverage.fold import fold_claims
from service.adapters.postgres.rechecks.due import PostgresDue, redate
from service.adapters.postgres.rechecks.gaps import EventGaps
from service.adapters.postgres.session.clock import DatabaseClock
from service.adapters.postgres.session.database import Database
from service.domain.coverage.span import DAY_S
from service.domain.reads import Due
from tests.builders import (
    CREATED,
    NEAR,
    a_batch,
    a_reading,
    a_refund,
    an_observation,
    an_undecodable,
    at,
    batch_of,
)
from tests.integration.warehouse import ACCOUNT, audit, rows, the_refund
from tests.integration.writing.test_misdated import A_DAY, AHEAD, listing, misdated, patient  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool
    from service.adapters.postgres.warehouse.store import PostgresStore


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
