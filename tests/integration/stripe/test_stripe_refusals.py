"""What Stripe refuses, how the client says so, and cancelling once."""

from __future__ import annotations

import asyncio
import gzip
import json
from itertools import count

import msgspec
import pytest

from service.adapters.stripe.http.errors import (
    StripeAccessError,
    StripeRefusedError,
)
from service.domain.errors import (
    AccessError,
    NotFoundError,
    ProtocolError,
    RefusedError,
)
from tests.integration.loopback import (
    a_client,
    a_parrot,
    a_stripe,
    a_world,
    an_answer,
)
from tests.integration.stripe.test_stripe_client import ids_of


async def test_a_refused_key_ends_it_at_once_and_says_what_to_do() -> None:
    async with a_stripe() as (simulator, client):
        simulator.faults.set({"unauthorized": True})
        with pytest.raises(AccessError, match="Invalid API Key") as caught:
            await client.refunds()
        assert "STRIPE_API_KEY" in caught.value.hint
        assert client.counters.requests_total == 1


async def test_a_missing_permission_is_named_as_the_dashboard_names_it() -> None:
    async with a_stripe() as (simulator, client):
        simulator.faults.set({"permissions_removed": ["rak_charge_read"]})
        with pytest.raises(StripeAccessError, match="does not have the required") as caught:
            await client.refunds()
        error = caught.value
        assert error.permission == "rak_charge_read"
        assert error.account_id == simulator.world.account
        assert "Charges and Refunds: Read" in error.hint
        assert client.counters.requests_total == 1


async def test_what_is_not_there_and_what_is_refused_are_distinguished() -> None:
    async with a_stripe() as (_, client):
        with pytest.raises(NotFoundError, match="No such refund"):
            await client.refund("re_nobody")
        with pytest.raises(NotFoundError, match="No such refund"):
            await client.refunds(starting_after="re_nobody")
        with pytest.raises(RefusedError, match="between 1 and 100") as caught:
            await client.refunds(limit=1000)
        assert isinstance(caught.value, StripeRefusedError)
        assert caught.value.param == "limit"
        assert caught.value.exit_code == 10


async def test_a_refund_is_cancelled_once_however_often_the_answer_gets_lost() -> None:
    world = a_world()
    waiting = next(
        reported for reported in world.truth() if reported["status"] == "requires_action"
    )
    async with a_stripe(world) as (simulator, client):
        simulator.faults.set({"reset_in_body": 1, "next": 2})
        answer = await client.cancel(waiting["id"], idempotency_key="cancel-1")
        assert msgspec.json.decode(answer.body)["status"] == "canceled"
        assert list(simulator.answers) == ["cancel-1"]
        with pytest.raises(RefusedError, match="requires_action"):
            await client.cancel(waiting["id"], idempotency_key="cancel-2")


def a_list(*objects: tuple[str, int], has_more: bool = True) -> bytes:
    data = [{"id": object_id, "created": created} for object_id, created in objects]
    return json.dumps({"object": "list", "data": data, "has_more": has_more}).encode()


@pytest.mark.parametrize(
    "pages",
    [
        [a_list(("re_1", 5), ("re_2", 4))],
        [a_list(("re_1", 5)), a_list(("re_2", 5))],
        [a_list(("re_1", 5), ("re_2", 4)), a_list(("re_3", 5))],
        [a_list()],
        [a_list(("re_0", 5))],
    ],
)
async def test_a_list_that_does_not_go_on_is_an_error_and_no_loop(pages: list[bytes]) -> None:
    turn = count()
    parrot = a_parrot(lambda _, __: an_answer(pages[next(turn) % len(pages)]))
    async with parrot as base, a_client(base) as client, asyncio.timeout(5):
        with pytest.raises(ProtocolError):
            await ids_of(client, starting_after="re_0")


async def test_an_answer_that_is_too_large_is_an_error() -> None:
    body = gzip.compress(b" " * (65 << 20))
    answer = an_answer(body, Content_Encoding="gzip")
    async with a_parrot(lambda _, __: answer) as base, a_client(base) as client:
        with pytest.raises(ProtocolError, match="larger"):
            await client.refunds()
