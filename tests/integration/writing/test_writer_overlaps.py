"""Reads that overlap, come late or are plain: what each may change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.refund import Hint
from tests.builders import (
    a_charge,
    a_line,
    a_link,
    a_refund,
    an_observation,
    at,
    batch_of,
)
from tests.integration.warehouse import (
    changes_of,
    report,
    rows,
    the_refund,
    written,
)

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool
    from service.adapters.postgres.warehouse.store import PostgresStore
    from service.domain.refund import Observation


async def test_an_older_read_never_overwrites_a_newer_one(store: PostgresStore, pool: Pool) -> None:
    newer = an_observation(
        a_refund(status="failed"), seen=1_000, charge=a_charge(amount_refunded_minor=0),
        ledger=[a_line(status="available")],
    )  # fmt: skip
    await store.write(batch_of(newer))
    older = an_observation(
        a_refund(status="succeeded"), seen=500, charge=a_charge(amount_refunded_minor=1000),
        ledger=[a_line(status="pending")],
    )  # fmt: skip
    assert await store.write(batch_of(older)) == written(stale=1)
    assert (await the_refund(pool))["status"] == "failed"
    assert (await rows(pool, "charge"))[0]["amount_refunded_minor"] == 0
    assert (await rows(pool, "balance_transaction"))[0]["status"] == "available"
    assert await changes_of(pool) == [None]
    assert not await rows(pool, "recheck")


async def test_reads_that_overlapped_and_differ_are_to_be_read_again(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(a_refund(status="failed"), seen=60)))
    await store.write(batch_of(an_observation(a_refund(status="succeeded"), seen=0)))
    (recheck,) = await rows(pool, "recheck")
    assert (recheck["object_id"], recheck["why"]) == ("re_1", "overlapping reads differ")
    await store.write(batch_of(an_observation(a_refund(status="failed"), seen=90)))
    assert not await rows(pool, "recheck")


def hydrated(seen: float = 0, status: str = "succeeded") -> Observation:
    return an_observation(
        a_refund(status=status), seen=seen, charge=a_charge(),
        link=a_link(charge_id="ch_1", balance_transaction_id="txn_1"),
        ledger=[a_line()],
    )  # fmt: skip


def plain(seen: float, status: str = "succeeded") -> Observation:
    return an_observation(
        a_refund(status=status), seen=seen, hydrated=False,
        link=a_link(charge_id="ch_1", balance_transaction_id="txn_1"),
    )  # fmt: skip


async def test_a_plain_read_empties_nothing_that_hydrating_filled(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(hydrated()))
    before = [await rows(pool, table) for table in ("charge", "balance_transaction")]
    assert await store.write(batch_of(plain(seen=10))) == written(unchanged=1)
    assert not await rows(pool, "recheck")
    assert await store.write(batch_of(plain(seen=20, status="failed"))) == written(changed=1)
    assert before == [await rows(pool, table) for table in ("charge", "balance_transaction")]
    link = (await rows(pool, "charge_link"))[0]
    assert (link["charge_id"], link["balance_transaction_id"]) == ("ch_1", "txn_1")


async def test_a_line_read_without_its_refund_keeps_the_refund_it_is_known_to_belong_to(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(hydrated()))
    unowned = an_observation(seen=9, ledger=[a_line(refund_id=None, status="pending")])
    await store.write(batch_of(unowned))
    (line,) = await rows(pool, "balance_transaction")
    assert (line["refund_id"], line["status"]) == ("re_1", "pending")


async def test_what_was_stored_unhydrated_is_queued_until_it_is_read_whole(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(plain(seen=0)))
    assert [r["why"] for r in await rows(pool, "recheck")] == ["unhydrated"]
    await store.write(batch_of(plain(seen=5)))
    assert len(await rows(pool, "recheck")) == 1
    await store.write(batch_of(hydrated(seen=10)))
    assert not await rows(pool, "recheck")
    assert (await rows(pool, "charge"))[0]["id"] == "ch_1"


async def test_a_hint_that_came_after_a_read_began_outlives_it(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(plain(seen=0)))
    await pool.execute("UPDATE refund_sync.recheck SET hinted_at = $1", at(15))
    await store.write(batch_of(hydrated(seen=10)))
    assert len(await rows(pool, "recheck")) == 1
    await store.write(batch_of(hydrated(seen=20)))
    assert not await rows(pool, "recheck")


async def test_a_hint_that_a_list_answered_asks_for_nothing_when_it_is_reported_again(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=0)))
    hint = Hint("refund", "re_1", at(2))
    assert await report(store, hint) == 1
    assert await store.write(batch_of(an_observation(seen=3))) == written(unchanged=1)
    assert await rows(pool, "recheck") == []
    assert await report(store, hint) == 0
    assert (await the_refund(pool))["observed_at"] == at(3)
