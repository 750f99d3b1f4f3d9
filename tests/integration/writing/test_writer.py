"""What a batch does to the rows of the warehouse, and to their versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from service.adapters.postgres.queries import query
from tests.builders import (
    NEAR,
    a_batch,
    a_destination,
    a_link,
    a_reading,
    a_refund,
    an_observation,
    at,
    batch_of,
)
from tests.integration.warehouse import (
    ACCOUNT,
    audit,
    changes_of,
    rows,
    the_refund,
    written,
)

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool
    from service.adapters.postgres.warehouse.store import PostgresStore
    from service.domain.refund import Observation


async def test_what_becomes_of_each_row_is_counted(store: PostgresStore) -> None:
    first = [an_observation(a_refund(f"re_{n}"), seen=10) for n in range(5)]
    assert await store.write(batch_of(*first)) == written(inserted=5)
    again = [
        an_observation(a_refund("re_0"), seen=20),
        an_observation(a_refund("re_1"), seen=20),
        an_observation(a_refund("re_2", status="failed"), seen=20),
        an_observation(a_refund("re_3", status="failed"), seen=5),
        an_observation(a_refund("re_5"), seen=20),
    ]
    assert await store.write(batch_of(*again)) == written(
        inserted=1, unchanged=2, changed=1, stale=1
    )


async def test_the_same_batch_twice_is_written_once(store: PostgresStore, pool: Pool) -> None:
    batch = batch_of(
        an_observation(a_refund("re_1")), an_observation(a_refund("re_2")), claimed=True
    )
    await store.write(batch)
    before = [await rows(pool, t) for t in ("refund", "refund_version", "coverage_claim")]
    assert await store.write(batch) == written(unchanged=2)
    assert before == [await rows(pool, t) for t in ("refund", "refund_version", "coverage_claim")]


async def test_a_refund_that_two_pages_of_a_batch_hold_is_written_as_the_later_found_it(
    store: PostgresStore, pool: Pool
) -> None:
    later = a_reading(an_observation(a_refund(status="failed"), seen=9))
    earlier = a_reading(an_observation(a_refund(status="pending"), seen=3))
    assert await store.write(a_batch(later, earlier)) == written(inserted=1)
    refund = await the_refund(pool)
    assert (refund["status"], refund["version"]) == ("failed", 1)
    assert refund["first_listed_at"] == at(3)


async def test_what_was_created_together_lies_together(store: PostgresStore, pool: Pool) -> None:
    """Ids are random: rows in their order would spread one page of a list over a whole batch of rows."""
    created = {f"re_{n * 7 % 10}": n for n in range(10)}
    seen = [an_observation(a_refund(i, created=NEAR.start + n)) for i, n in created.items()]
    await store.write(batch_of(*reversed(seen)))
    stored = await pool.fetch("SELECT id FROM refund_sync.refund ORDER BY ctid")
    assert [row[0] for row in stored] == list(created)


async def test_a_refund_whose_row_alone_was_deleted_comes_back_and_keeps_its_history(
    store: PostgresStore, pool: Pool
) -> None:
    def seen(second: float, status: str) -> Observation:
        return an_observation(
            a_refund(status=status), link=a_link(charge_id="ch_1"), seen=second,
            destination=a_destination(reference="7"),
        )  # fmt: skip

    for second, status in ((0, "pending"), (500, "succeeded")):
        await store.write(batch_of(seen(second, status)))
    await pool.execute("DELETE FROM refund_sync.refund")
    assert await store.write(batch_of(seen(900, "failed"))) == written(inserted=1)
    refund = await the_refund(pool)
    assert (refund["status"], refund["version"]) == ("failed", 3)
    assert [len(await rows(pool, t)) for t in ("charge_link", "destination_details")] == [1, 1]
    assert [row["version"] for row in await rows(pool, "refund_version")] == [1, 2, 3]


async def test_each_version_says_what_was_before_and_what_came_after(
    store: PostgresStore, pool: Pool
) -> None:
    card = a_destination(card_type="refund", reference_status="pending")
    known = a_destination(card_type="refund", reference_status="available", reference="7453")
    for seen, refund, destination, source in (
        (0, a_refund(status="pending", metadata='{"order": 1}'), None, "list"),
        (1, a_refund(status="succeeded", metadata='{"order": 1}'), card, "list"),
        (2, a_refund(status="succeeded", metadata='{"order":   1}'), known, "fetch"),
        (3, a_refund(status="failed", failure_reason="declined"), None, "second look"),
    ):
        seen_so = an_observation(refund, seen=seen, destination=destination)
        await store.write(batch_of(seen_so, source=source))
    assert await changes_of(pool) == [
        None,
        {
            "status": ["pending", "succeeded"],
            "destination_type": [None, "card"],
            "card_type": [None, "refund"],
            "reference_status": [None, "pending"],
            "destination_details": [
                None, {"card_type": "refund", "reference_status": "pending"},
            ],
        },
        {
            "reference": [None, "7453"],
            "reference_status": ["pending", "available"],
            "destination_details": [
                {"card_type": "refund", "reference_status": "pending"},
                {"card_type": "refund", "reference_status": "available", "reference": "7453"},
            ],
        },
        {
            "status": ["succeeded", "failed"],
            "failure_reason": [None, "declined"],
            "metadata": [{"order": 1}, None],
            "destination_type": ["card", None],
            "card_type": ["refund", None],
            "reference": ["7453", None],
            "reference_status": ["available", None],
            "destination_details": [
                {"card_type": "refund", "reference_status": "available", "reference": "7453"}, None,
            ],
        },
    ]  # fmt: skip
    assert [v["source"] for v in await rows(pool, "refund_version")] == [
        "list", "list", "fetch", "second look",
    ]  # fmt: skip
    assert not await rows(pool, "destination_details", "1")
    assert not await audit(pool)


async def test_json_spelt_otherwise_is_no_change(store: PostgresStore, pool: Pool) -> None:
    await store.write(batch_of(an_observation(a_refund(metadata='{"a": 1, "b": 2}'))))
    spelt = an_observation(a_refund(metadata='{"b":2,"a":1}'), seen=1)
    assert await store.write(batch_of(spelt)) == written(unchanged=1)
    assert await changes_of(pool) == [None]
    assert (await the_refund(pool))["content_hash"] == spelt.content_hash


async def test_a_change_of_our_own_form_is_distinguished_from_one_at_stripe(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation()))
    same = an_observation(seen=1, form=b"new!")
    assert await store.write(batch_of(same)) == written(unchanged=1)
    differing = an_observation(a_refund(description="now kept"), seen=2, form=b"newer"[:4])
    assert await store.write(batch_of(differing)) == written(changed=1)
    assert [v["source"] for v in await rows(pool, "refund_version")] == ["list", "upgrade"]


async def test_a_new_form_renders_the_text_again_and_makes_no_version(
    store: PostgresStore, pool: Pool
) -> None:
    def seen(second: float, form: bytes, raw: str, received: bytes) -> Observation:
        observation = an_observation(seen=second, form=form)
        observation.raw, observation.received = (lambda: raw), received
        return observation

    await store.write(batch_of(seen(0, b"old!", '{"note": "[masked]"}', b"old")))
    later = seen(1, b"new!", '{"note": "4242"}', b"new")
    assert await store.write(batch_of(later)) == written(unchanged=1)
    refund = await the_refund(pool)
    assert json.loads(refund["raw"]) == {"note": "4242"}
    assert (refund["content_hash"], refund["received_hash"]) == (later.content_hash, b"new")
    assert len(await rows(pool, "refund_version")) == refund["version"] == 1
    same_form = seen(2, b"new!", '{"note": "not rendered"}', b"again")
    assert await store.write(batch_of(same_form)) == written(unchanged=1)
    assert json.loads((await the_refund(pool))["raw"]) == {"note": "4242"}


async def test_an_older_read_in_a_new_form_renders_nothing_again(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation(seen=500, form=b"old!")))
    before = await the_refund(pool)
    await store.write(batch_of(an_observation(seen=100, form=b"new!")))
    after = await the_refund(pool)
    assert [after[name] for name in ("raw", "content_hash")] == [
        before[n] for n in ("raw", "content_hash")
    ]


async def test_how_many_refunds_are_of_another_form_is_counted(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(
        batch_of(an_observation(form=b"old!"), an_observation(a_refund("re_2"), form=b"new!"))
    )
    counts = [
        await pool.fetchval(query("refunds_of_other_forms"), ACCOUNT, f)
        for f in (b"new!", b"old!", b"none")
    ]
    assert counts == [1, 1, 2]
