"""How fast the client asks, and what it shows of its key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from service.adapters.stripe.http.limits import Limits
from service.domain.errors import (
    SettingError,
)
from service.simulator.http.limits import Limits as SimulatedLimits
from tests.integration.loopback import (
    KEY,
    a_client,
    a_stripe,
    a_world,
)

if TYPE_CHECKING:
    from service.adapters.stripe.client import StripeClient


async def test_an_even_stream_at_the_configured_rate_meets_no_429() -> None:
    limits = Limits(endpoint_rate=25, global_rate=25, concurrency=8)
    async with a_stripe(limits=SimulatedLimits("test")) as (simulator, _):
        async with a_client(simulator.url, limits=limits) as client:
            await asyncio.gather(*(client.refunds(limit=1) for _ in range(30)))
            assert not client.counters.limited
            assert client.counters.waited_s > 1
        stats = simulator.stats
        assert stats.first_request_at is not None
        assert stats.last_request_at is not None
        assert stats.last_request_at - stats.first_request_at == pytest.approx(29 / 25, abs=0.15)


async def test_a_client_that_is_too_fast_slows_down_until_stripe_is_content() -> None:
    limits = Limits(endpoint_rate=60, global_rate=1000, concurrency=8)
    async with (
        a_stripe(limits=SimulatedLimits("live")) as (simulator, _),
        a_client(simulator.url, limits=limits) as client,
    ):
        await asyncio.gather(*(client.refunds(limit=1) for _ in range(60)))
        assert client.counters.limited["endpoint-rate"] > 0
        assert client.counters.statuses[200] == 60


async def test_fewer_run_at_once_when_stripe_says_so() -> None:
    limits = Limits(endpoint_rate=1000, global_rate=1000, concurrency=6)
    async with a_stripe(a_world(20)) as (simulator, _):
        simulator.limits.width = 5
        simulator.latency_s = 0.01
        async with a_client(simulator.url, limits=limits) as client:
            await asyncio.gather(*(client.refunds(limit=1) for _ in range(60)))
            assert limits._width.allowed(asyncio.get_running_loop().time()) < 6
            assert client.counters.limited["endpoint-concurrency"] > 0
            assert client.counters.statuses[200] == 60


async def test_an_observation_begins_after_the_wait_for_its_permit() -> None:
    limits = Limits(endpoint_rate=10, global_rate=1000, concurrency=8)
    async with a_stripe(limits=None) as (simulator, _):
        async with a_client(simulator.url, limits=limits) as client:
            answers = await asyncio.gather(*(client.refunds(limit=1) for _ in range(4)))
        begins = sorted(answer.observed_at for answer in answers)
        assert (begins[-1] - begins[0]).total_seconds() == pytest.approx(0.3, abs=0.08)


async def test_cancelling_a_request_passes_and_frees_its_place() -> None:
    limits = Limits(endpoint_rate=1000, global_rate=1000, concurrency=1)
    async with a_stripe() as (simulator, _):
        simulator.faults.set({"stall": 1, "stall_s": 30, "next": 1})
        async with a_client(simulator.url, limits=limits) as client:
            stuck = asyncio.create_task(client.refunds())
            await asyncio.sleep(0.1)
            stuck.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stuck
            async with asyncio.timeout(2):
                await client.refunds()


@pytest.mark.parametrize("key", ["", "sk_test_a b", "sk_test_a\n", "sk_test_ä"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(SettingError) as caught:
        a_client_with(key)
    assert not key or key not in str(caught.value)


def a_client_with(key: str) -> StripeClient:
    from service.adapters.stripe.client import StripeClient
    from tests.integration.loopback import now

    return StripeClient(key, now=now, limits=Limits())


def test_the_client_shows_no_key_when_it_is_printed() -> None:
    assert KEY not in repr(a_client("http://127.0.0.1:9"))
