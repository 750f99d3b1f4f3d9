"""The client against a simulated Stripe, and against servers that say the strangest things."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from service.adapters.stripe.http.endpoints import STRIPE_VERSION
from service.adapters.stripe.http.errors import (
    StripeGivenUpError,
)
from service.domain.errors import (
    NotFoundError,
    StripeAwayError,
)
from tests.integration.loopback import (
    END,
    START,
    a_client,
    a_parrot,
    a_stripe,
    a_world,
    an_answer,
)

if TYPE_CHECKING:
    from service.adapters.stripe.client import StripeClient
    from service.simulator.world.account import World

EMPTY = b'{"object":"list","data":[],"has_more":false}'


def ids_newest_first(world: World) -> list[str]:
    return [world.plain(place)["id"] for place in reversed(range(len(world.slots)))]


async def ids_of(client: StripeClient, **options: Any) -> list[str]:
    return [found["id"] async for found in client.iter_refunds(**options)]


async def test_a_list_is_iterated_in_both_directions_and_equals_the_truth() -> None:
    world = a_world(350, hot_second=120)
    truth = ids_newest_first(world)
    async with a_stripe(world) as (_, client):
        assert await ids_of(client) == truth
        assert await ids_of(client, limit=7, starting_after=truth[300]) == truth[301:]
        assert await ids_of(client, ending_before=truth[-1]) == truth[-2::-1]
        assert await ids_of(client, ending_before=truth[40], limit=7) == truth[39::-1]
        with pytest.raises(ValueError, match="one cursor"):
            await ids_of(client, ending_before=truth[40], starting_after=truth[1])


async def test_every_form_of_the_created_filter_reaches_stripe() -> None:
    world = a_world(200)
    async with a_stripe(world) as (_, client):
        second = world.created[100]
        for bounds, wanted in (
            (second, [s for s in world.created if s == second]),
            ({"gte": second}, [s for s in world.created if s >= second]),
            ({"gt": second, "lte": END}, [s for s in world.created if s > second]),
            ({"gte": START, "lt": second}, [s for s in world.created if s < second]),
        ):
            found = [r["created"] async for r in client.iter_refunds(created=bounds)]
            assert sorted(found) == wanted


async def test_refunds_of_a_charge_and_of_a_payment_intent_are_listed() -> None:
    world = a_world()
    refund = world.plain(5)
    async with a_stripe(world) as (_, client):
        assert refund["id"] in await ids_of(client, charge=refund["charge"])
        assert refund["id"] in await ids_of(client, payment_intent=refund["payment_intent"])
        with pytest.raises(NotFoundError, match="No such"):
            await client.refunds(charge="ch_nobody")


async def test_single_objects_are_read_by_id_expanded_where_asked() -> None:
    world = a_world()
    reported = world.plain(5)
    async with a_stripe(world) as (_, client):
        plain = msgspec.json.decode((await client.refund(reported["id"])).body)
        assert plain == reported
        expanded = msgspec.json.decode(
            (await client.refund(reported["id"], expand=["charge"])).body
        )
        assert expanded["charge"]["id"] == reported["charge"]
        charge = msgspec.json.decode((await client.charge(reported["charge"])).body)
        assert charge == expanded["charge"]
        line = (await client.balance_transaction(reported["balance_transaction"])).body
        lines = await client.balance_transactions(source=reported["id"], limit=5)
        assert msgspec.json.decode(line) in [msgspec.json.decode(raw) for raw in lines.value.data]
        assert (await client.account()).value.id == world.account


async def test_requests_carry_the_pinned_version_our_name_and_ask_for_gzip() -> None:
    heads: list[bytes] = []

    def answer(_: str, head: bytes) -> bytes:
        heads.append(head)
        return an_answer(gzip.compress(EMPTY), Content_Encoding="gzip")

    async with a_parrot(answer) as base, a_client(base) as client:
        await client.refunds(created={"gte": 1, "lt": 2}, expand=["data.charge"], limit=100)
        await client.refund("a/../b?c#d ä")
    first, second = (head.decode() for head in heads)
    assert first.startswith(
        "GET /v1/refunds?created%5Bgte%5D=1&created%5Blt%5D=2&limit=100&expand%5B%5D=data.charge "
    )
    assert f"Stripe-Version: {STRIPE_VERSION}" in first
    assert "User-Agent: refund-sync/" in first
    assert "Accept-Encoding: gzip" in first
    assert "Stripe-Account" not in first
    assert second.startswith("GET /v1/refunds/a%2F..%2Fb%3Fc%23d%20%C3%A4 ")


async def test_ids_that_are_no_ids_and_endpoints_not_on_the_list_are_never_sent() -> None:
    async with a_stripe() as (simulator, client):
        for odd in ("", ".", ".."):
            with pytest.raises(NotFoundError):
                await client.refund(odd)
        with pytest.raises(ValueError, match="ever asked"):
            await client.send("POST /v1/refunds", bytes)
        assert not simulator.stats.requests


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"error_500": 1}, "500"),
        ({"error_503": 1}, "503"),
        ({"reset": 1}, "connection"),
        ({"reset_in_body": 1}, "broken"),
        ({"truncate": 1}, "broken"),
        ({"not_json": 1}, "broken"),
        ({"stall": 1, "stall_s": 3}, "timeout"),
        ({"rate_429": 1}, "429"),
        ({"rate_429": 1, "reason_429": "global-concurrency"}, "429"),
        ({"lock_timeout": 1}, "429"),
    ],
)
async def test_what_passes_is_retried_and_counted(fault: dict[str, Any], why: str) -> None:
    async with a_stripe(total_s=0.3) as (simulator, client):
        simulator.faults.set(fault | {"next": 2})
        answer = await client.refunds(limit=100)
        assert len(answer.value.data) == 100
        # aiohttp itself sends a GET again, once, when a kept connection turns out to be closed.
        hidden = 1 if "reset" in fault and answer.attempts == 2 else 0
        assert answer.attempts == 3 - hidden
        assert client.counters.retries == {why: 2 - hidden}
        assert client.counters.requests_total == 3 - hidden


async def test_an_answer_without_a_date_is_a_broken_one() -> None:
    dates = iter(["", "tomorrow", "Sun, 99 Jan 2026 00:00:00 GMT"])

    def answer(_: str, __: bytes) -> bytes:
        reported = next(dates, None)
        return an_answer(EMPTY) if reported is None else an_answer(EMPTY, Date=reported)

    async with a_parrot(answer) as base, a_client(base) as client:
        assert (await client.refunds()).attempts == 4
        assert client.counters.failures == {"broken": 3}


async def test_past_the_deadline_it_ends_with_stripes_last_words() -> None:
    async with a_stripe(deadline_s=0.2) as (simulator, client):
        simulator.faults.set({"error_500": 1})
        with pytest.raises(StripeAwayError, match="HTTP 500: An unexpected error") as caught:
            await client.refunds()
        assert caught.value.exit_code == 6


async def test_the_deadline_bounds_a_stalled_request_too() -> None:
    async with a_stripe(deadline_s=0.1) as (simulator, client):
        simulator.faults.set({"stall": 1, "stall_s": 30})
        async with asyncio.timeout(5):
            with pytest.raises(StripeAwayError, match="no answer in"):
                await client.refunds()


async def test_a_bound_on_tries_says_whether_a_smaller_request_may_help() -> None:
    async with a_stripe(total_s=0.2) as (simulator, client):
        faults: list[tuple[dict[str, object], int, bool]] = [
            ({"error_503": 1}, 4, True),
            ({"stall": 1, "stall_s": 3}, 2, True),
            ({"rate_429": 1, "reason_429": "endpoint-concurrency"}, 4, True),
            ({"rate_429": 1, "reason_429": "endpoint-rate"}, 4, False),
            ({"truncate": 1}, 4, False),
        ]
        for fault, spent, overburdened in faults:
            simulator.faults = type(simulator.faults)()
            simulator.faults.set(fault)
            before = client.counters.requests_total
            with pytest.raises(StripeGivenUpError) as caught:
                await client.refunds(tries=4)
            assert client.counters.requests_total - before == spent
            assert caught.value.overburdened == overburdened
