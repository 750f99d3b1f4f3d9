"""Comparing with what is stored: what differs is reported by field, a hole revokes its claim at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from service.adapters.postgres.queries import query
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.compare import PostgresComparison, compare_batch
from service.domain.coverage.span import Span
from service.domain.refund import Hint
from tests.builders import (
    CREATED,
    NEAR,
    a_batch,
    a_destination,
    a_link,
    a_proof,
    a_reading,
    a_refund,
    an_observation,
    at,
    batch_of,
)
from tests.integration.warehouse import ACCOUNT, audit, report, rows, the_refund

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.adapters.postgres.session.connect import Connection, Pool
    from service.adapters.postgres.warehouse.store import PostgresStore
    from service.domain.batch import Batch
    from service.domain.refund import Observation


@pytest.fixture
def comparison(pool: Pool) -> PostgresComparison:
    return PostgresComparison(Database(pool, deadline_s=20), ACCOUNT, None)


def listed(*seen: Observation, asked: float = 500, span: Span = NEAR) -> Batch:
    reading = a_reading(*seen, seen=asked)
    proofs = [a_proof(reading, span), a_proof(reading, span, stream="refunds:settled")]
    return a_batch(reading, proofs=proofs, source="verify")


def a_seen(object_id: str, seen: float = 500, **fields: Any) -> Observation:
    return an_observation(a_refund(object_id, **fields), seen=seen)


async def test_what_is_equal_is_counted_and_nothing_is_written(
    comparison: PostgresComparison, store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(a_seen("re_1", 0), a_seen("re_2", 0), claimed=True))
    before = [
        await rows(pool, t) for t in ("refund", "refund_version", "coverage_claim", "recheck")
    ]
    found = await comparison.compare(listed(a_seen("re_1"), a_seen("re_2")))
    assert (found.equal, found.missing, found.differing, found.unlisted) == (2, [], [], [])
    after = [await rows(pool, t) for t in ("refund", "refund_version", "coverage_claim", "recheck")]
    assert after == before


async def test_each_field_that_differs_is_reported_with_what_is_here_and_what_is_there(
    comparison: PostgresComparison, store: PostgresStore, pool: Pool
) -> None:
    here = an_observation(
        a_refund(status="pending", metadata='{"order": 1}'), link=a_link(charge_id="ch_1"), seen=0
    )
    there = an_observation(
        a_refund(status="failed", metadata='{"order":  1}'), link=a_link(charge_id="ch_2"),
        destination=a_destination(reference="7"), seen=500,
    )  # fmt: skip
    await store.write(batch_of(here, claimed=True))
    found = await comparison.compare(listed(there))
    assert (found.differing, found.altered, found.seconds) == (["re_1"], [], {"re_1": CREATED})
    assert found.fields == {
        "re_1": {
            "status": ["pending", "failed"], "charge_id": ["ch_1", "ch_2"],
            "destination_type": [None, "card"], "reference": [None, "7"],
            "destination_details": [None, {"reference": "7"}],
        }
    }  # fmt: skip
    assert (await the_refund(pool))["status"] == "pending"


async def test_a_read_older_than_ours_says_nothing_against_a_row(
    comparison: PostgresComparison, store: PostgresStore
) -> None:
    await store.write(batch_of(a_seen("re_1", 600, status="failed"), claimed=True))
    found = await comparison.compare(listed(a_seen("re_1", 500, status="pending")))
    assert (found.equal, found.differing) == (1, [])


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE refund_sync.refund SET amount_minor = 1",
        "UPDATE refund_sync.refund SET currency = 'usd'",
        "UPDATE refund_sync.refund SET metadata = '{}'",
        "UPDATE refund_sync.refund SET created_at = created_at + interval '1 second'",
        "UPDATE refund_sync.charge_link SET charge_id = 'ch_x'",
        "DELETE FROM refund_sync.destination_details",
        "DELETE FROM refund_sync.charge_link",
        "UPDATE refund_sync.destination_details SET reference = 'x'",
    ],
)
async def test_a_row_altered_here_is_distinguished_until_a_later_read_puts_it_right(
    tamper: str, comparison: PostgresComparison, store: PostgresStore, pool: Pool
) -> None:
    def seen(second: float) -> Observation:
        return an_observation(
            a_refund(metadata='{"order": 1}'), destination=a_destination(reference="7"),
            link=a_link(charge_id="ch_1"), seen=second,
        )  # fmt: skip

    await store.write(batch_of(seen(0), claimed=True))
    await pool.execute(tamper)
    for again in (500, 600):
        found = await comparison.compare(listed(seen(again), asked=again))
        assert (found.differing, found.altered) == (["re_1"], ["re_1"])
    assert (await store.write(listed(seen(700), asked=700))).changed == 1
    found = await comparison.compare(listed(seen(800), asked=800))
    assert (found.equal, found.differing) == (1, [])
    (last,) = (row for row in await rows(pool, "refund_version") if row["version"] == 2)
    assert last["source"] == "verify"
    assert (await the_refund(pool))["amount_minor"] == 1000


async def test_a_refund_missing_in_a_covered_second_revokes_what_its_page_proves(
    comparison: PostgresComparison, store: PostgresStore, pool: Pool
) -> None:
    other = Span(NEAR.start - 5_000, NEAR.start)
    empty = a_reading(seen=0)
    await store.write(a_batch(empty, proofs=[a_proof(empty, other)]))
    await store.write(batch_of(a_seen("re_1", 0), claimed=True))
    found = await comparison.compare(listed(a_seen("re_1"), a_seen("re_2")))
    assert (found.missing, found.holes, found.revoked) == (["re_2"], ["re_2"], [NEAR])
    assert await store.covered("refunds") == [other]
    kinds = [(row["stream"], row["kind"]) for row in await rows(pool, "coverage_claim", "seq")]
    assert kinds == [("refunds", "covered"), ("refunds", "covered"), ("refunds", "revoked")]
    assert [row["id"] for row in await rows(pool, "refund")] == ["re_1"]
    assert not await audit(pool)
    await store.write(listed(a_seen("re_1"), a_seen("re_2")))
    assert await store.covered("refunds") == [Span(other.start, NEAR.end)]
    assert not await audit(pool)


async def test_a_refund_missing_in_a_second_that_is_not_covered_revokes_nothing(
    comparison: PostgresComparison, store: PostgresStore, pool: Pool
) -> None:
    found = await comparison.compare(listed(a_seen("re_1")))
    assert (found.missing, found.holes, found.revoked) == (["re_1"], [], [])
    assert await rows(pool, "coverage_claim") == []


async def test_where_a_hole_s_second_is_still_being_read_that_second_alone_is_revoked(
    comparison: PostgresComparison, store: PostgresStore
) -> None:
    await store.write(batch_of(claimed=True))
    await comparison.compare(a_batch(a_reading(a_seen("re_1")), source="verify"))
    assert await store.covered("refunds") == [
        Span(NEAR.start, CREATED), Span(CREATED + 1, NEAR.end),
    ]  # fmt: skip


async def test_what_fails_after_a_hole_was_found_takes_nothing_back(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(claimed=True))
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert (await compare_batch(connection, ACCOUNT, None, listed(a_seen("re_1")))).holes
        await transaction.rollback()
    assert await store.covered("refunds") == [NEAR]


class BetweenStatements:
    """A connection on which another writer commits just after one statement."""

    def __init__(self, connection: Connection, after: str, work: Callable[[], Awaitable[object]]):
        self._connection, self._after, self._work = connection, query(after), work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetch(self, sql: str, *values: Any) -> Any:
        found = await self._connection.fetch(sql, *values)
        if sql == self._after:
            await self._work()
        return found


@pytest.mark.parametrize("after", ["covered_seconds", "stored_refunds"])
async def test_what_another_command_stores_and_claims_in_between_is_no_hole(
    after: str, store: PostgresStore, pool: Pool
) -> None:
    async def write() -> None:
        await store.write(batch_of(a_seen("re_1", 400), claimed=True))

    async with pool.acquire() as connection, connection.transaction():
        between = cast("Connection", BetweenStatements(connection, after, write))
        found = await compare_batch(between, ACCOUNT, None, listed(a_seen("re_1")))
    assert (found.holes, found.revoked) == ([], [])
    assert await store.covered("refunds") == [NEAR]


async def test_what_is_stored_and_not_listed_is_reported_and_left_as_it_is(
    comparison: PostgresComparison, store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(a_seen("re_1", 0), a_seen("re_2", 0), claimed=True))
    found = await comparison.compare(listed(a_seen("re_1")))
    assert found.unlisted == [("re_2", CREATED)]
    assert await rows(pool, "recheck") == []
    await comparison.miss(["re_2"], at(500), at(0))
    (waiting,) = await rows(pool, "recheck")
    assert (waiting["object_id"], waiting["why"]) == ("re_2", "not listed")
    again = await comparison.compare(listed(a_seen("re_1", 600), asked=600))
    assert again.unlisted == [("re_2", CREATED)], "known to be hidden, and asked for all the same"
    assert not await audit(pool)


async def test_a_change_is_reported_by_a_hint_or_by_a_read_of_our_own_since(
    comparison: PostgresComparison, store: PostgresStore
) -> None:
    await store.write(batch_of(*(a_seen(f"re_{n}", 0) for n in range(3))))
    await report(store, Hint("refund", "re_0", at(50)))
    await store.write(batch_of(a_seen("re_1", 200, status="failed")))
    ids = ["re_0", "re_1", "re_2"]
    assert sorted(await comparison.hinted_since(ids, at(100))) == ["re_0", "re_1"]
    assert await comparison.hinted_since(ids, at(300)) == ["re_0"]


async def test_what_an_older_form_of_ours_decoded_otherwise_is_distinguished(
    comparison: PostgresComparison, store: PostgresStore
) -> None:
    for object_id in ("re_1", "re_2"):
        masked = a_refund(object_id, metadata='{"order": "[masked]"}')
        await store.write(batch_of(an_observation(masked, form=b"old!")))
    there = [a_seen(i, metadata='{"order": "4242424242424242"}') for i in ("re_1", "re_2")]
    found = await comparison.compare(listed(*there))
    assert (found.differing, found.outdated, found.altered) == (["re_1", "re_2"],) * 2 + ([],)
