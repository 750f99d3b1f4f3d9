"""Odd but legal objects are stored as they are; what cannot be decoded waits, and nobody calls its month complete."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from service.simulator.http.server import Simulator
from service.simulator.world.account import World
from tests.acceptance.stage import SINCE, UNTIL, Stage, Stripe, simulated_stripe
from tests.acceptance.truth import broken_invariants, differences

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import asyncpg

SPAN = ("backfill", "--from", SINCE, "--to", UNTIL)
LARGEST = 2**63 - 1
UNSOUND = "a\x00b\ud800c\udfffd"
SOUND = "a\ufffdb\ufffdc\ufffdd"


def second(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp())


def a_raw_refund(object_id: str, **members: Any) -> dict[str, Any]:
    """What Stripe must send of a refund, and no more."""
    required = {"object": "refund", "amount": 1000, "currency": "eur"}
    return {"id": object_id, "created": second("2025-03-10T12:00:00")} | required | members


NULLS = dict.fromkeys((
    "balance_transaction", "charge", "customer", "customer_account", "payment_intent",
    "payment_method", "metadata", "reason", "receipt_number", "source_transfer_reversal",
    "transfer_reversal", "status", "description", "destination_details",
    "failure_balance_transaction", "failure_reason", "instructions_email", "next_action",
    "pending_reason", "presentment_details",
))  # fmt: skip
RANDOM = random.Random(255)
LONGEST = "".join(RANDOM.choices("abcdefghijklmnopqrstuvwxyz0123456789-_./?#%&=ä", k=255))

ODD_BUT_LEGAL = [
    a_raw_refund("re_required_only"),
    a_raw_refund("re_nulls", **NULLS),
    a_raw_refund(
        "re_words", status="partially_reversed", reason="goodwill", failure_reason="moonlight",
        pending_reason="held", next_action={"type": "call_the_bank"},
    ),
    a_raw_refund("re_empty", metadata={}, next_action={"type": None, "display_details": {}}),
    a_raw_refund("re_pigeon", destination_details={
        "type": "carrier_pigeon",
        "carrier_pigeon": {"reference": "P1", "reference_status": "hatched", "loft": [1, {"b": 2}]},
    }),
    a_raw_refund("pyr_untyped", destination_details={"type": "promptpay"}),
    a_raw_refund("re_null_hash", destination_details={"type": "card", "card": None}),
    a_raw_refund("re_fields", brand_new={"deep": [1, None, {"er": True}]}, another=1.5),
    a_raw_refund("re_largest", amount=LARGEST, presentment_details={
        "presentment_amount": LARGEST, "presentment_currency": "xts",
    }),
    a_raw_refund("re_zero", amount=0, currency="xqq"),
    a_raw_refund("x" * 255),
    a_raw_refund(LONGEST),
    a_raw_refund("Ωmega/../refund?ö=%2F", charge="любой", payment_intent="любое"),
    a_raw_refund("re_unsound", description=UNSOUND, metadata={"order": UNSOUND, UNSOUND: "1"}),
]  # fmt: skip


def sound(value: Any) -> Any:
    """Stripe's truth as Postgres can hold it, and expanded members as their ids."""
    if isinstance(value, str):
        return "".join("\ufffd" if c == "\x00" or "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, list):
        return [sound(part) for part in value]
    if isinstance(value, dict):
        folded = {
            k: v["id"] if k == "charge" and isinstance(v, dict) else v for k, v in value.items()
        }
        return {sound(name): sound(part) for name, part in folded.items()}
    return value


async def assert_equal(connection: asyncpg.Connection, truth: Iterable[Any]) -> None:
    assert not await differences(connection, map(sound, truth))
    assert not await broken_invariants(connection)


@pytest.mark.parametrize("way", ["expand", "retrieve"])
async def test_odd_but_legal_objects_are_stored_as_stripe_sends_them(
    way: str, database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=20) as stripe:
        for odd in ODD_BUT_LEGAL:
            stripe.call("POST", "objects", **odd)
        stage = Stage(stripe, open_folder, database, {"hydrate": way})
        reported = stage.run(*SPAN).reported
        assert (reported["inserted"], reported["quarantined"]) == (20 + len(ODD_BUT_LEGAL), 0)
        truth = stripe.truth()
        assert len(truth) == reported["inserted"]
        async with stage.connection() as connection:
            await assert_equal(connection, truth)
            await _assert_odd(connection)
        for object_id in (LONGEST, "Ωmega/../refund?ö=%2F"):
            (known,) = stage.run("fetch", object_id).reported["refunds"]
            assert known["refund"]["id"] == object_id


async def _assert_odd(connection: asyncpg.Connection) -> None:
    """What the truth of the other tests does not look at."""
    raw = json.loads(
        await connection.fetchval("SELECT raw FROM refund_sync.refund WHERE id = 're_fields'")
    )
    assert raw["brand_new"] == {"deep": [1, None, {"er": True}]}
    metadata = json.loads(
        await connection.fetchval("SELECT metadata FROM refund_sync.refund WHERE id = 're_unsound'")
    )
    assert metadata == {"order": SOUND, SOUND: "1"}
    amounts = await connection.fetch(
        "SELECT refund_id, amount::text FROM finance.refunds WHERE refund_id IN ('re_largest', 're_zero')"
    )
    assert dict(map(tuple, amounts)) == {"re_largest": "92233720368547758.07", "re_zero": None}


async def quarantined(connection: asyncpg.Connection) -> list[str | None]:
    found = await connection.fetch(
        "SELECT object_id FROM refund_sync.quarantine WHERE resolved_at IS NULL ORDER BY 1"
    )
    return [row[0] for row in found]


async def incomplete_months(connection: asyncpg.Connection) -> list[int]:
    """Months of the year that are over and not complete."""
    found = await connection.fetch(
        "SELECT month FROM finance.completeness_by_month WHERE NOT complete AND month < $1 ORDER BY 1",
        date.fromisoformat(UNTIL),
    )
    return [row[0].month for row in found]


async def forget_all(connection: asyncpg.Connection) -> None:
    """Revokes all that was claimed, so that the next run reads it again."""
    await connection.execute(
        "INSERT INTO refund_sync.coverage_claim (account_id, stream, kind, span, rows, digest, observed_at)"
        " SELECT account_id, stream, 'revoked', range_merge(covered), 0, 0, now() FROM refund_sync.coverage"
    )
    await connection.execute("UPDATE refund_sync.coverage SET covered = '{}'")


async def two_hours_pass(connection: asyncpg.Connection) -> None:
    """For what was missing from one listing."""
    await connection.execute(
        "UPDATE refund_sync.quarantine SET unknown_at = unknown_at - interval '2 hours'"
    )


def a_world_with_undecodable_ones() -> tuple[World, dict[str, int]]:
    """Three of a quiet year: one with an odd amount, one without a second, one without an id."""
    world = World.seeded(40, start=second(SINCE), end=second(UNTIL))
    world.add(a_raw_refund("re_amount", created=second("2025-03-10"), amount="12.50"))
    world.add(a_raw_refund("re_second", created=second("2025-05-20T06:00:00")))
    world.add(a_raw_refund("re_nameless", created=second("2025-08-15")))
    places = {
        name: next(p for p, reported in enumerate(world.truth()) if reported["id"] == name)
        for name in ("re_amount", "re_second", "re_nameless")
    }
    world.alter(places["re_second"], created="yesterday")
    world.alter(places["re_nameless"], id=None)
    return world, places


async def test_what_cannot_be_decoded_waits_until_it_is_mended_and_its_month_with_it(
    database: str, open_folder: Path
) -> None:
    world, places = a_world_with_undecodable_ones()
    async with Simulator(world) as simulator:
        stage = Stage(Stripe(simulator.url), open_folder, database)

        async def run(*arguments: str, expect: int = 0) -> Any:
            return (await asyncio.to_thread(stage.run, *arguments, expect=expect)).reported

        async with stage.connection() as connection:
            reported = await run("sync", expect=8)
            assert (reported["inserted"], reported["quarantined"]) == (40, 3)
            assert await quarantined(connection) == ["re_amount", "re_second", None]
            assert await incomplete_months(connection) == [3, 5, 8]
            assert (await run("status", "--check", expect=8))["accounts"][0]["gaps"] == []
            await run("fetch", "re_amount", expect=8)

            world.alter(places["re_amount"], amount=1250)
            await run("fetch", "re_amount")
            assert await quarantined(connection) == ["re_second", None]
            assert await incomplete_months(connection) == [5, 8]
            await run("status", "--check", expect=8)

            world.alter(places["re_second"], created=second("2025-05-20T06:00:00"))
            world.alter(places["re_nameless"], id="re_nameless")
            await forget_all(connection)
            assert (await run("sync"))["inserted"] == 2
            assert await quarantined(connection) == [None], "one listing without it is no proof"
            await two_hours_pass(connection)
            await forget_all(connection)
            await run("sync")
            assert await quarantined(connection) == []
            assert await incomplete_months(connection) == []
            await run("status", "--check")
            await assert_equal(connection, world.truth())


async def test_an_id_longer_than_stripe_promises_stops_nothing(
    database: str, open_folder: Path
) -> None:
    """Ids have 255 characters at most; one that no index could hold is set aside."""
    endless = "".join(RANDOM.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=5000))
    with simulated_stripe(refunds=20) as stripe:
        stripe.call("POST", "objects", **a_raw_refund(endless))
        stripe.call("POST", "objects", **a_raw_refund("re_1", charge=endless))
        stage = Stage(stripe, open_folder, database)
        reported = stage.run(*SPAN, expect=8).reported
        assert (reported["inserted"], reported["quarantined"]) == (20, 2)
        async with stage.connection() as connection:
            assert await quarantined(connection) == ["re_1", None]


async def test_an_undecodable_charge_leaves_its_refund_stored_and_to_be_read_again(
    database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=20) as stripe:
        charge = {"id": "ch_odd", "object": "charge", "amount": "many"}
        stripe.call("POST", "objects", **a_raw_refund("re_1", charge=charge))
        stage = Stage(stripe, open_folder, database)
        reported = stage.run(*SPAN).reported
        assert (reported["inserted"], reported["quarantined"]) == (21, 0)
        async with stage.connection() as connection:
            await assert_equal(connection, stripe.truth())
            assert await quarantined(connection) == []
            assert await incomplete_months(connection) == []
            why = "SELECT why FROM refund_sync.recheck WHERE kind = 'refund' AND object_id = 're_1'"
            assert await connection.fetchval(why) == "unhydrated"
            known = "SELECT count(*) FROM refund_sync.charge WHERE id = 'ch_odd'"
            assert await connection.fetchval(known) == 0
