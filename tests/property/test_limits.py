"""The limiter in logical time: a loop whose clock jumps to whatever is due next, late where told to."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.stripe.limits import (
    CALM_S,
    LEAST_SHARE,
    LOWERED_TO,
    MAX_LATE_S,
    RECOVERY_S,
    WIDEN_S,
    Gate,
    Limits,
    Pace,
    Width,
)
from tests.virtual_time import run_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

RATE = 25.0
SLACK = 1e-6


def in_logical_time(
    story: Callable[[Callable[[], float]], Coroutine[Any, Any, None]], *, late_s: float = 0.0
) -> None:
    async def told() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(story(loop.time), 10_000)

    run_at_once(told(), late_s=late_s)


def grants_at(arrivals: list[float], lates: list[float], pace: Pace) -> list[float]:
    """When each of a queue passes, woken late by so much."""
    result: list[float] = []
    now = 0.0
    for arrived, late in zip(sorted(arrivals), lates, strict=True):
        now = max(now, arrived, pace.ready_at(now)) + late
        pace.take(now, arrived)
        result.append(now)
    return result


def most_in_window(instants: list[float], width_s: float) -> int:
    return max(sum(1 for other in instants if 0 <= other - start < width_s) for start in instants)


seconds = st.floats(0, 5, allow_nan=False)
queues = st.lists(st.tuples(seconds, st.floats(0, 0.3)), min_size=1, max_size=60)


@given(queues, st.floats(1, 100), st.floats(0.01, 3))
def test_no_span_of_time_sees_more_than_the_rate_and_what_lateness_carried_over(
    queue: list[tuple[float, float]], rate: float, width_s: float
) -> None:
    arrivals, lates = map(list, zip(*queue, strict=True))
    passed = grants_at(arrivals, lates, Pace(rate))
    assert most_in_window(passed, width_s) <= rate * (width_s + MAX_LATE_S) + 1 + SLACK


@given(st.lists(seconds, min_size=2, max_size=60), st.floats(1, 100))
def test_punctual_grants_are_never_closer_than_the_interval(
    arrivals: list[float], rate: float
) -> None:
    passed = grants_at(arrivals, [0.0] * len(arrivals), Pace(rate))
    assert all(later - earlier >= 1 / rate - SLACK for earlier, later in pairwise(passed))


@pytest.mark.parametrize("late_s", [0.0, 0.003, 0.03, 0.09])
def test_a_queue_moves_at_the_full_rate_however_late_it_is_woken(late_s: float) -> None:
    async def story(clock: Callable[[], float]) -> None:
        limits = Limits(endpoint_rate=RATE, global_rate=RATE, concurrency=8, clock=clock)
        await asyncio.gather(*(pass_once(limits) for _ in range(500)))
        assert 499 / clock() >= 0.99 * RATE

    async def pass_once(limits: Limits) -> None:
        async with limits.permit("GET /v1/refunds"):
            pass

    in_logical_time(story, late_s=late_s)


def test_a_loop_that_hung_does_not_release_all_that_it_missed() -> None:
    pace = Pace(RATE)
    passed = grants_at([0.0] * 100, [0.0, 2.0] + [0.0] * 98, pace)
    at_once = sum(1 for instant in passed if instant == passed[1])
    assert at_once <= 1 + RATE * MAX_LATE_S + SLACK


@given(
    st.lists(st.booleans(), min_size=2, max_size=40),
    st.floats(0, 0.9),
)
def test_who_gives_up_waiting_leaves_the_place_to_the_next_in_order(
    stays: list[bool], cancelled_at: float
) -> None:
    async def story(clock: Callable[[], float]) -> None:
        gate = Gate(Pace(RATE), clock)
        passed: list[tuple[int, float]] = []

        async def wait(number: int) -> None:
            await gate.enter()
            passed.append((number, clock()))

        tasks = [asyncio.create_task(wait(number)) for number in range(len(stays))]
        await asyncio.sleep(cancelled_at)
        through = len(passed)
        for task, stay in zip(tasks, stays, strict=True):
            if not stay:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        numbers = [number for number, _ in passed]
        assert numbers == sorted(numbers)
        assert {n for n, stay in enumerate(stays) if stay} <= set(numbers)
        assert passed[-1][1] <= max(cancelled_at, (len(passed) - 1) / RATE) + 1 / RATE + SLACK
        assert len(passed) >= through

    in_logical_time(story)


async def test_who_comes_later_does_not_pass_one_who_waits_though_a_slot_is_free() -> None:
    now = 0.0
    gate = Gate(Pace(1.0), lambda: now)
    await gate.enter()
    passed: list[str] = []

    async def wait(name: str) -> None:
        await gate.enter()
        passed.append(name)

    first = asyncio.create_task(wait("first"))
    await asyncio.sleep(0)
    now = 1.5
    second = asyncio.create_task(wait("second"))
    await first
    now = 3.0
    gate.wake()
    await second
    assert passed == ["first", "second"]


def test_a_place_that_was_granted_to_a_task_already_cancelled_is_not_lost() -> None:
    async def story(clock: Callable[[], float]) -> None:
        gate = Gate(Pace(RATE), clock)
        await gate.enter()
        doomed = asyncio.create_task(gate.enter())
        heir = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(1 / RATE, doomed.cancel)
        await heir
        with contextlib.suppress(asyncio.CancelledError):
            await doomed
        assert clock() <= 1 / RATE + SLACK if doomed.cancelled() else clock() <= 2 / RATE + SLACK

    in_logical_time(story)


def test_a_permit_given_up_before_it_was_whole_costs_its_endpoint_nothing() -> None:
    async def story(clock: Callable[[], float]) -> None:
        limits = Limits(endpoint_rate=1.0, global_rate=1.0, concurrency=8, clock=clock)

        async def use(endpoint: str) -> None:
            async with limits.permit(endpoint):
                pass

        await use("A")
        doomed = asyncio.create_task(use("B"))
        await asyncio.sleep(0.1)
        doomed.cancel()
        await asyncio.gather(doomed, return_exceptions=True)
        pace, _ = limits._endpoint("B")
        assert pace.ready_at(clock()) <= clock()
        await asyncio.gather(*(use("A") for _ in range(9)))

    in_logical_time(story)


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
def test_one_who_would_wait_is_told_so_and_never_for_too_long(queued: int, after_s: float) -> None:
    async def story(clock: Callable[[], float]) -> None:
        limits = Limits(endpoint_rate=RATE, global_rate=RATE / 2, concurrency=100, clock=clock)

        async def pass_through() -> None:
            async with limits.permit("GET /v1/refunds"):
                pass

        others = [asyncio.create_task(pass_through()) for _ in range(queued)]
        await asyncio.sleep(after_s)
        told = limits.free_in_s("GET /v1/refunds")
        asked_at = clock()
        await pass_through()
        assert told <= clock() - asked_at + SLACK
        assert (told == 0) == (clock() == asked_at)
        await asyncio.gather(*others)

    in_logical_time(story)


def test_while_all_lanes_are_taken_nobody_can_tell_when_one_is_free() -> None:
    async def story(clock: Callable[[], float]) -> None:
        limits = Limits(endpoint_rate=1000, global_rate=1000, concurrency=1, clock=clock)
        async with limits.permit("GET /v1/refunds"):
            assert limits.free_in_s("GET /v1/refunds") == inf
        assert limits.free_in_s("GET /v1/refunds") < 0.01

    in_logical_time(story)
