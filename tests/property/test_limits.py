"""The limiter in logical time: a loop whose clock jumps to what is due next, late where asked to."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.stripe.http.limits import (
    MAX_LATE_S,
    Gate,
    Limits,
    Pace,
)
from tests.virtual_time import run_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

RATE = 25.0
SLACK = 1e-6


def in_logical_time(
    story: Callable[[Callable[[], float]], Coroutine[Any, Any, None]], *, late_s: float = 0.0
) -> None:
    async def reported() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(story(loop.time), 10_000)

    run_at_once(reported(), late_s=late_s)


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
