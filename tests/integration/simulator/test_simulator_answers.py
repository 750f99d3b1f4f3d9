"""Refusals, failures and headers of the simulator, as Stripe's official library takes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import pytest
import stripe

from service.simulator.http.limits import Limits
from tests.integration.simulated import (
    KEY,
    a_stripe,
    a_world,
    asked,
    find,
    ids,
    listed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.simulator.http.server import Simulator


async def failure(sim: Simulator, **options: Any) -> stripe.StripeError:
    """The error that a list meets."""
    with pytest.raises(stripe.StripeError) as caught:
        await asked(sim, lambda client: client.v1.refunds.list(), **options)
    return caught.value


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        ({"unauthorized": True}, stripe.AuthenticationError, 401),
        ({"permissions_removed": ["rak_charge_read"]}, stripe.PermissionError, 403),
        ({"rate_429": 1}, stripe.RateLimitError, 429),
        ({"lock_timeout": 1}, stripe.RateLimitError, 429),
        ({"error_500": 1}, stripe.APIError, 500),
        ({"error_503": 1}, stripe.APIError, 503),
        ({"not_json": 1}, stripe.APIError, 200),
        ({"truncate": 1}, stripe.APIError, 200),
        ({"redirect": 1}, stripe.APIConnectionError, None),
        ({"reset": 1}, stripe.APIConnectionError, None),
        ({"reset_in_body": 1}, stripe.APIConnectionError, None),
    ],
)
async def test_each_fault_is_the_error_that_the_library_has_for_it(
    fault: dict[str, Any], error: type[stripe.StripeError], status: int | None
) -> None:
    async with a_stripe() as sim:
        sim.faults.set(fault)
        met = await failure(sim)
        assert type(met) is error
        assert met.http_status == status


async def test_a_fault_strikes_as_often_as_it_was_asked_to() -> None:
    async with a_stripe() as sim:
        sim.faults.set({"error_500": 1, "next": 2})
        assert (await failure(sim)).http_status == 500
        assert (await failure(sim)).http_status == 500
        assert len(await listed(sim, limit=100)) == 300


def retrieved(what: str, object_id: str) -> Callable[[stripe.StripeClient], Any]:
    return lambda client: getattr(client.v1, what).retrieve(object_id)


async def test_what_is_not_there_is_a_404_that_names_it() -> None:
    async with a_stripe() as sim:
        for what, name in (
            ("refunds", "refund"), ("charges", "charge"), ("events", "event"),
            ("balance_transactions", "balance transaction"),
        ):  # fmt: skip
            with pytest.raises(stripe.InvalidRequestError, match=f"No such {name}: 'xx_9'") as met:
                await asked(sim, retrieved(what, "xx_9"))
            assert (met.value.http_status, met.value.code) == (404, "resource_missing")
        with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL"):
            await asked(sim, lambda client: client.v1.customers.list())


async def test_a_refusal_says_which_key_and_which_permission_and_only_hints_at_the_key() -> None:
    async with a_stripe() as sim:
        sim.keys = frozenset(["rk_test_another"])
        assert KEY not in str(await failure(sim))
        sim.keys = frozenset([KEY])
        sim.faults.set({"permissions_removed": ["rak_balance_transaction_source_read"]})
        with pytest.raises(
            stripe.PermissionError, match="rak_balance_transaction_source_read"
        ) as met:
            await listed(sim, expand=["data.balance_transaction"])
        assert sim.world.account in str(met.value)
        assert KEY not in str(met.value)
        assert await listed(sim, limit=100, expand=["data.charge"])


async def test_a_connected_account_is_another_store() -> None:
    other = a_world(50, seed=99, account="acct_1Other")
    async with a_stripe(others={"acct_1Other": other}) as sim:

        def of(client: stripe.StripeClient) -> list[str]:
            return [refund.id for refund in client.v1.refunds.list().auto_paging_iter()]

        found = await asked(sim, of, stripe_account="acct_1Other")
        assert found == ids(list(other.truth()))[::-1]
        assert not set(found) & set(ids(list(sim.world.truth())))
        assert isinstance(await failure(sim, stripe_account="acct_1Nobody"), stripe.PermissionError)


async def test_every_answer_has_an_id_the_version_and_what_was_sent_along() -> None:
    async with a_stripe() as sim:

        def headers(client: stripe.StripeClient) -> list[dict[str, str]]:
            good = client.v1.refunds.list().last_response
            with pytest.raises(stripe.InvalidRequestError) as met:
                client.v1.refunds.retrieve("re_nobody")
            assert good
            assert good.request_id
            return [dict(good.headers), dict(met.value.headers or {})]

        good, bad = await asked(sim, headers, stripe_version="2025-04-30.basil")
        assert good["Request-Id"] != bad["Request-Id"]
        assert good["Request-Id"].startswith("req_")
        assert good["Stripe-Version"] == bad["Stripe-Version"] == "2025-04-30.basil"
        assert bad["Stripe-Should-Retry"] == "false"
        assert "Date" in good
        sim.faults.set({"rate_429": 1, "reason_429": "global-concurrency"})
        met = await failure(sim)
        assert (met.headers or {})["Stripe-Rate-Limited-Reason"] == "global-concurrency"
        sim.faults.set({"rate_429": 0, "lock_timeout": 1})
        met = await failure(sim)
        assert cast(Any, met.json_body)["error"]["code"] == "lock_timeout"
        assert "Stripe-Rate-Limited-Reason" not in (met.headers or {})
        assert (met.headers or {})["Stripe-Should-Retry"] == "true"


async def test_a_cancel_is_done_once_and_its_answer_repeated() -> None:
    world = a_world(2_000)
    first, second = [p["id"] for p in world.truth() if p["status"] == "requires_action"][:2]
    async with a_stripe(world) as sim:

        def cancel(
            client: stripe.StripeClient, refund: str, key: str, **params: Any
        ) -> tuple[dict[str, Any], bool]:
            done = client.v1.refunds.cancel(refund, cast(Any, params), {"idempotency_key": key})
            response = done.last_response
            assert response
            return done.to_dict(), "Idempotent-Replayed" in response.headers

        def play(client: stripe.StripeClient) -> None:
            reported, replayed = cancel(client, first, "one")
            assert (reported["status"], replayed) == ("canceled", False)
            assert cancel(client, first, "one") == (reported, True)
            with pytest.raises(stripe.InvalidRequestError, match="status of requires_action"):
                cancel(client, first, "two")
            for refund, params in ((second, {}), (first, {"expand": ["charge"]})):
                with pytest.raises(stripe.IdempotencyError, match="same parameters"):
                    cancel(client, refund, "one", **params)
            reported, replayed = cancel(client, second, "two", expand=["charge"])
            assert (reported["charge"]["object"], replayed) == ("charge", False)

        await asked(sim, play)
        assert find(world, first)["failure_reason"] == "merchant_request"
        assert len(world.events) == 4
        sim.faults.set({"permissions_removed": ["rak_charge_write"]})
        with pytest.raises(stripe.PermissionError, match="rak_charge_write"):
            await asked(sim, lambda client: client.v1.refunds.cancel(second))


@pytest.mark.parametrize(
    ("mode", "rates"), [("test", {"a": 25}), ("live", {"a": 25, "b": 25, "c": 25})]
)
def test_an_even_stream_at_the_limit_never_meets_a_429(mode: str, rates: dict[str, int]) -> None:
    limits = Limits(mode)
    for nth in range(25 * 600):
        for endpoint in rates:
            assert limits.refusal(endpoint, nth / 25, 1) is None


@pytest.mark.parametrize(
    ("mode", "endpoints", "sent", "allowed", "reason"),
    [
        ("test", "a", 30, 25, "global-rate"),
        ("test", "abc", 100, 25, "global-rate"),
        ("live", "a", 90, 25, "endpoint-rate"),
        ("live", "abcdef", 120, 100, "global-rate"),
    ],
)
def test_a_stream_above_the_limit_is_refused_down_to_the_limit(
    mode: str, endpoints: str, sent: int, allowed: int, reason: str
) -> None:
    limits = Limits(mode)
    answers = [
        limits.refusal(endpoints[nth % len(endpoints)], nth / sent, 1) for nth in range(60 * sent)
    ]
    assert allowed * 60 <= answers.count(None) <= allowed * 60 + 10
    assert reason in answers


def reasons_of(client: stripe.StripeClient, requests: int) -> list[str]:
    """Why so many requests, one after the other, were refused."""
    reasons = []
    for _ in range(requests):
        try:
            client.v1.refunds.list({"limit": 1})
        except stripe.RateLimitError as met:
            reasons.append((met.headers or {})["Stripe-Rate-Limited-Reason"])
    return reasons


async def test_a_burst_meets_429s_with_their_reason_and_is_counted() -> None:
    async with a_stripe(limits=Limits("live")) as sim:
        reasons = await asked(sim, lambda client: reasons_of(client, 30))
        assert 0 < reasons.count("endpoint-rate") <= 20
        assert sim.stats.rate_limited == Counter(reasons)
        assert sim.stats.requests == {"GET /v1/refunds": 30}
        assert sim.stats.statuses == {200: 30 - len(reasons), 429: len(reasons)}


async def test_more_at_once_than_the_width_is_refused() -> None:
    async with a_stripe(limits=Limits(width=1), latency_s=0.2) as sim:
        met = await asyncio.gather(
            *(asked(sim, lambda client: reasons_of(client, 1)) for _ in range(3))
        )
        assert sorted(met) == [[], ["endpoint-concurrency"], ["endpoint-concurrency"]]
        assert sim.stats.max_in_flight > 1
        assert sim.stats.in_flight == 0
