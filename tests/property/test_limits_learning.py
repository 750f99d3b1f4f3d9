"""What the limiter learns from 429s, in logical time."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.stripe.http.limits import (
    CALM_S,
    LEAST_SHARE,
    LOWERED_TO,
    RECOVERY_S,
    WIDEN_S,
    Limits,
    Pace,
    Width,
)
from tests.property.test_limits import RATE, SLACK, in_logical_time

if TYPE_CHECKING:
    from collections.abc import Callable


@given(st.floats(0.01, 0.5), st.floats(0.1, 5))
def test_a_pause_holds_back_those_who_already_wait(paused_at: float, pause_s: float) -> None:
    async def story(clock: Callable[[], float]) -> None:
        limits = Limits(endpoint_rate=RATE, global_rate=100, concurrency=50, clock=clock)
        passed: list[float] = []

        async def use() -> None:
            async with limits.permit("GET /v1/refunds"):
                passed.append(clock())

        tasks = [asyncio.create_task(use()) for _ in range(20)]
        await asyncio.sleep(paused_at)
        limits.slow_down("GET /v1/refunds", "endpoint-rate", pause_s)
        began = clock()
        await asyncio.gather(*tasks)
        assert not [at for at in passed if began + SLACK < at < began + pause_s - SLACK]
        assert len(passed) == 20

    in_logical_time(story)


def test_a_global_429_slows_every_endpoint_and_an_endpoints_own_only_that() -> None:
    async def story(clock: Callable[[], float]) -> None:
        limits = Limits(endpoint_rate=RATE, global_rate=100, concurrency=50, clock=clock)

        async def time_of(endpoint: str) -> float:
            began = clock()
            async with limits.permit(endpoint):
                return clock() - began

        limits.slow_down("A", "endpoint-rate", 2.0)
        assert await time_of("B") < 0.1
        assert await time_of("A") > 1.9
        limits.slow_down("A", "global-rate", 2.0)
        assert await time_of("B") > 1.9

    in_logical_time(story)


@given(st.lists(st.floats(0, 30), max_size=60))
def test_a_lowered_rate_stays_above_its_floor_and_comes_back(gaps_s: list[float]) -> None:
    pace, now = Pace(RATE), 0.0
    for gap_s in gaps_s:
        now += gap_s
        before = pace.rate(now)
        pace.lower(now)
        assert RATE * LEAST_SHARE - SLACK <= pace.rate(now) <= before + SLACK
    assert pace.rate(now + RECOVERY_S) == RATE


def test_a_storm_of_429s_leaves_a_tenth_of_the_rate() -> None:
    pace = Pace(RATE)
    for instant in range(100):
        pace.lower(instant * CALM_S)
    assert pace.rate(99 * CALM_S) >= RATE * LEAST_SHARE


def test_a_burst_of_429s_lowers_the_rate_once() -> None:
    pace = Pace(RATE)
    for instant in (10.0, 10.0, 10.2, 10.0 + CALM_S / 2):
        pace.lower(instant)
    assert pace.rate(10.5) == pytest.approx(RATE * LOWERED_TO, rel=0.02)
    pace.lower(10.0 + CALM_S)
    assert pace.rate(11.0) < RATE * LOWERED_TO


def test_concurrency_shrinks_by_one_never_below_one_and_grows_again() -> None:
    width = Width(3)
    for number in range(5):
        width.narrow(number * 2 * CALM_S)
    narrowed_at = 8 * CALM_S
    assert width.allowed(narrowed_at) == 1
    assert width.allowed(narrowed_at + WIDEN_S) == 2
    assert width.allowed(narrowed_at + 10 * WIDEN_S) == 3


@given(st.integers(1, 6), st.lists(st.floats(0.1, 30), max_size=5))
def test_never_more_run_at_once_than_allowed_and_all_get_through(
    configured: int, narrowed_at: list[float]
) -> None:
    async def story(clock: Callable[[], float]) -> None:
        limits = Limits(endpoint_rate=1000, global_rate=1000, concurrency=configured, clock=clock)
        inside = most = done = 0

        async def use() -> None:
            nonlocal inside, most, done
            async with limits.permit("GET /v1/refunds"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(1)
                inside -= 1
                done += 1

        for instant in narrowed_at:
            asyncio.get_running_loop().call_later(instant, limits.narrow)
        await asyncio.gather(*(use() for _ in range(30)))
        assert most == configured
        assert done == 30

    in_logical_time(story)


def test_a_narrowed_lane_widens_with_time_though_nobody_leaves_it() -> None:
    async def story(clock: Callable[[], float]) -> None:
        limits = Limits(endpoint_rate=1000, global_rate=1000, concurrency=2, clock=clock)
        limits.narrow()

        async def stay() -> None:
            async with limits.permit("GET /v1/refunds"):
                await asyncio.sleep(1000)

        staying = asyncio.create_task(stay())
        await asyncio.sleep(0)
        async with limits.permit("GET /v1/refunds"):
            assert clock() == pytest.approx(WIDEN_S, abs=0.01)
        staying.cancel()
        await asyncio.gather(staying, return_exceptions=True)

    in_logical_time(story)


@given(st.integers(0, 12), st.floats(0, 0.5))
def test_one_who_would_wait_learns_so_and_never_for_too_long(queued: int, after_s: float) -> None:
    async def story(clock: Callable[[], float]) -> None:
        limits = Limits(endpoint_rate=RATE, global_rate=RATE / 2, concurrency=100, clock=clock)

        async def pass_through() -> None:
            async with limits.permit("GET /v1/refunds"):
                pass

        others = [asyncio.create_task(pass_through()) for _ in range(queued)]
        await asyncio.sleep(after_s)
        reported = limits.free_in_s("GET /v1/refunds")
        asked_at = clock()
        await pass_through()
        assert reported <= clock() - asked_at + SLACK
        assert (reported == 0) == (clock() == asked_at)
        await asyncio.gather(*others)

    in_logical_time(story)


def test_while_all_lanes_are_taken_nobody_can_say_when_one_is_free() -> None:
    async def story(clock: Callable[[], float]) -> None:
        limits = Limits(endpoint_rate=1000, global_rate=1000, concurrency=1, clock=clock)
        async with limits.permit("GET /v1/refunds"):
            assert limits.free_in_s("GET /v1/refunds") == inf
        assert limits.free_in_s("GET /v1/refunds") < 0.01

    in_logical_time(story)
