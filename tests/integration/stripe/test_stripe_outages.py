"""Answers that are not Stripe's, or only look like it: retried as an outage is, never believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.stripe.http.errors import StripeGivenUpError
from service.domain.errors import AccessError, NotFoundError, RefusedError, StripeAwayError
from tests.integration.loopback import KEY, a_client, a_parrot, a_stripe, a_world, an_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.adapters.stripe.client import StripeClient

PROXY = [{"proxy_page": 1, "proxy_status": status} for status in (400, 401, 403, 404, 407)]
SERVER_SAYS = b'{"error": {"type": "invalid_request_error", "message": "Invalid API Key: %s"}}'


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        *((fault, "foreign") for fault in PROXY),
        ({"redirect": 1}, "foreign"),
        ({"proxy_page": 1, "proxy_status": 502}, "502"),
        ({"error_in_200": 1}, "broken"),
    ],
)
async def test_what_something_between_us_and_stripe_answers_is_retried(
    fault: dict[str, Any], why: str
) -> None:
    world = a_world()
    reads: tuple[Callable[[StripeClient], Awaitable[Any]], ...] = (
        lambda client: client.refunds(limit=1),
        lambda client: client.events(limit=1),
        lambda client: client.refund(world.plain(3)["id"]),
        lambda client: client.charge(world.plain(3)["charge"]),
        lambda client: client.account(),
    )
    async with a_stripe(world) as (simulator, client):
        for number, read in enumerate(reads, start=1):
            simulator.faults.set(fault | {"next": 2})
            answer = await read(client)
            assert answer.attempts == 3
            assert client.counters.retries == {why: 2 * number}
        assert client.counters.away is None


@pytest.mark.parametrize("fault", [*PROXY, {"redirect": 1}])
async def test_a_proxy_that_stays_in_the_way_is_named_and_not_taken_for_stripe(
    fault: dict[str, Any],
) -> None:
    async with a_stripe() as (simulator, client):
        simulator.faults.set(fault)
        with pytest.raises(StripeGivenUpError, match="HTTP") as caught:
            await client.refund("re_whatever", tries=3)
        assert client.counters.requests_total == 3
        assert "proxies" in caught.value.hint
        assert client.counters.away


@pytest.mark.parametrize(
    "body", [SERVER_SAYS % KEY.encode(), b"[]", b'{"object": "list"}', b"<html></html>"]
)
async def test_a_200_that_holds_no_list_is_retried_and_its_words_are_shown_without_the_key(
    body: bytes,
) -> None:
    async with a_parrot(lambda _, __: an_answer(body)) as base, a_client(base) as client:
        with pytest.raises(StripeAwayError) as caught:
            await client.refunds(tries=3)
        said = str(caught.value)
        assert KEY not in said
        assert ("Invalid API Key: [key]" in said) == (b"Invalid" in body)
        assert client.counters.failures == {"broken": 3}


async def test_the_body_of_an_error_is_never_taken_for_a_refund() -> None:
    answer = an_answer(SERVER_SAYS % b"sk_test_x")
    async with a_parrot(lambda _, __: answer) as base, a_client(base) as client:
        with pytest.raises(StripeAwayError, match="Invalid API Key"):
            await client.refund("re_1", tries=2)


async def test_a_refusal_in_stripes_form_is_believed_at_once() -> None:
    faults: list[tuple[dict[str, object], type[Exception], str]] = [
        ({"refused_key": 1}, AccessError, "Invalid API Key"),
        ({"keys_refused": [KEY]}, AccessError, "Invalid API Key"),
        ({"list_400": 1}, RefusedError, "cannot be given"),
        ({"list_404": 1}, NotFoundError, "No such list"),
    ]
    async with a_stripe() as (simulator, client):
        for number, (fault, error, words) in enumerate(faults, start=1):
            simulator.faults = type(simulator.faults)()
            simulator.faults.set(fault)
            with pytest.raises(error, match=words):
                await client.refunds()
            assert client.counters.requests_total == number
            assert client.counters.away is None


async def test_refusals_of_lists_leave_single_objects_alone() -> None:
    world = a_world()
    async with a_stripe(world) as (simulator, client):
        simulator.faults.set({"list_400": 1, "list_404": 1})
        assert (await client.refund(world.plain(3)["id"])).attempts == 1


async def test_a_client_goes_on_with_the_key_that_it_was_given_last() -> None:
    async with a_stripe() as (simulator, client):
        simulator.faults.set({"keys_refused": [KEY]})
        with pytest.raises(AccessError):
            await client.refunds()
        client.use_key("sk_test_rotated00000000000")
        assert (await client.refunds()).attempts == 1


async def test_stripe_is_away_from_the_first_failed_attempt_to_the_next_answer() -> None:
    async with a_stripe() as (simulator, client):
        assert client.counters.away is None
        simulator.faults.set({"error_503": 1})
        with pytest.raises(StripeAwayError):
            await client.refunds(tries=2)
        first = client.counters.away
        assert first
        assert "HTTP 503: An unexpected error" in first.words
        simulator.faults.set({"error_503": 0, "proxy_page": 1})
        with pytest.raises(StripeAwayError):
            await client.refunds(tries=2)
        assert client.counters.away
        assert client.counters.away.since == first.since
        assert "HTTP 403" in client.counters.away.words
        simulator.faults.set({"proxy_page": 0})
        await client.refunds()
        assert client.counters.away is None
