"""The last net: a batch that the database refuses for its data is written object by object, the offender set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.builders import a_line, a_link, a_refund, an_observation, batch_of
from tests.integration.warehouse import audit, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from service.adapters.postgres.session.connect import Pool
    from service.adapters.postgres.warehouse.store import PostgresStore
    from service.domain.refund import Observation

OTHERS = [f"re_{n}" for n in range(7)]


def bad(raw: Callable[[], str], object_id: str = "re_bad") -> Observation:
    seen = an_observation(a_refund(object_id))
    seen.raw = raw
    return seen


def unrenderable() -> str:
    raise ValueError("it cannot be rendered")


async def test_the_offender_alone_is_set_aside_with_the_reason(
    store: PostgresStore, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    fine = [an_observation(a_refund(i)) for i in OTHERS]
    offenders = [bad(lambda: '{"note": "\\u0000"}', "re_nul"), bad(unrenderable, "re_text")]
    reported = await store.write(batch_of(*fine[:3], *offenders, *fine[3:], claimed=True))
    assert (reported.inserted, reported.quarantined) == (len(OTHERS), 2)
    assert {row["id"] for row in await rows(pool, "refund")} == set(OTHERS)
    reasons = {row["object_id"]: row["error"] for row in await rows(pool, "quarantine")}
    assert "the database refuses it" in reasons["re_nul"]
    assert "ValueError" in reasons["re_text"]
    (claim,) = await rows(pool, "coverage_claim")
    assert claim["rows"] == len(OTHERS)
    assert not await audit(pool)


async def test_a_line_that_no_column_holds_leaves_its_refund_stored_and_to_be_read_again(
    store: PostgresStore, pool: Pool
) -> None:
    huge = a_line(amount_minor=2**70)
    link = a_link(balance_transaction_id=huge.id)
    fine = [an_observation(a_refund(i)) for i in OTHERS]
    whole = an_observation(a_refund("re_line"), link=link, ledger=[huge])
    reported = await store.write(batch_of(*fine, whole, claimed=True))
    assert (reported.inserted, reported.quarantined) == (len(OTHERS) + 1, 0)
    assert not await rows(pool, "balance_transaction")
    due = {row["object_id"]: row["why"] for row in await rows(pool, "recheck")}
    assert due["re_line"] == "unhydrated"
    assert not await audit(pool)


async def test_a_second_pass_over_the_same_batch_writes_nothing_twice(
    store: PostgresStore, pool: Pool
) -> None:
    batch = batch_of(an_observation(), bad(lambda: '{"note": "\\u0000"}'), claimed=True)
    await store.write(batch)
    reported = await store.write(batch)
    assert (reported.inserted, reported.unchanged) == (0, 1)
    assert len(await rows(pool, "quarantine")) == 1
    assert not await audit(pool)
