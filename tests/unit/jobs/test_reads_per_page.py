"""What a first fill costs at the limit of Stripe: few reads beyond its pages, for any size, latency and shape.

In virtual time, with the real limits; the list is in memory, so that only the walk decides.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from datetime import UTC, datetime
from math import ceil
from random import Random

import pytest

from service.adapters.stripe.http.limits import Limits
from service.domain.batch import Batch, Reading, Written
from service.domain.coverage.span import Span
from service.domain.coverage.walk import Ask, Key, Page
from service.jobs.cover import Cover, Covering
from service.jobs.verify import cut
from service.ports.runs import Progress
from tests.virtual_time import run_at_once

YEAR_S = 365 * 86_400
READ_AT = datetime(2026, 1, 1, tzinfo=UTC)
RATE = 25.0
LIST = "GET /v1/refunds"
WAYS = ("backfill", "verify")


def history(refunds: int, shape: str, chance: Random) -> list[int]:
    """Created seconds of a year: even, or with a third of them in one day and a tenth in five seconds."""
    if shape == "even":
        return sorted(chance.randrange(YEAR_S) for _ in range(refunds))
    day, five = chance.randrange(YEAR_S - 86_400), chance.randrange(YEAR_S - 5)
    seconds = [day + chance.randrange(86_400) for _ in range(refunds // 3)]
    seconds += [five + chance.randrange(5) for _ in range(refunds // 10)]
    return sorted(seconds + [chance.randrange(YEAR_S) for _ in range(refunds - len(seconds))])


class Listing:
    """A list that takes *latency_s* for each page, behind the limits of an account."""

    def __init__(self, seconds: list[int], latency_s: float, chance: Random) -> None:
        self.seconds, self._latency_s, self._chance = seconds, latency_s, chance
        clock = asyncio.get_running_loop().time
        self._limits = Limits(endpoint_rate=RATE, global_rate=RATE, clock=clock)
        self.reads = 0

    def free_in_s(self) -> float:
        return self._limits.free_in_s(LIST)

    async def read(self, ask: Ask) -> Reading:
        async with self._limits.permit(LIST):
            self.reads += 1
            await asyncio.sleep(self._latency_s * self._chance.uniform(0.9, 1.15))
        low = bisect_left(self.seconds, ask.lower or 0)
        high = bisect_left(self.seconds, ask.upper or YEAR_S)
        high = int(ask.after) if ask.after else high
        first = max(low, high - 100)
        keys = [Key(self.seconds[n], str(n)) for n in reversed(range(first, high))]
        return Reading(Page(keys, first > low, YEAR_S), READ_AT)


class Stored:
    def __init__(self) -> None:
        self.ids: set[str] = set()

    async def covered(self, stream: str) -> list[Span]:
        return []

    async def settle(self, bound: int) -> None:
        pass

    async def write(self, batch: Batch) -> Written:
        await asyncio.sleep(0.05)
        self.ids.update(key.id for reading in batch.readings for key in reading.page.keys)
        return Written()


async def reads_of(refunds: int, shape: str, latency_s: float, way: str, seed: int) -> int:
    chance = Random(f"{refunds} {shape} {seed}")
    source, store = Listing(history(refunds, shape, chance), latency_s, chance), Stored()
    year = Span(0, YEAR_S)
    cover = Cover(source, store, Progress(), concurrency=24, drain_s=5)
    await cover.run(Covering([year] if way == "backfill" else cut(year, chance)))
    assert len(store.ids) == refunds
    assert cover.proven == [year]
    return source.reads


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("latency_ms", [50, 100, 500])
@pytest.mark.parametrize("shape", ["even", "skewed"])
@pytest.mark.parametrize("refunds", [200, 2_000, 20_000])
def test_a_fill_takes_few_reads_beyond_its_pages(
    refunds: int, shape: str, latency_ms: int, way: str
) -> None:
    reads = [
        run_at_once(reads_of(refunds, shape, latency_ms / 1000, way, seed)) for seed in range(4)
    ]
    pages = ceil(refunds / 100)
    # Where reads are slow, dense seconds are found late, and guessed at in vain.
    more = 1.2 if (shape, latency_ms) == ("skewed", 500) else 1.05
    assert sum(reads) / len(reads) <= more * pages + 15


def test_the_width_of_a_job_costs_no_reads() -> None:
    """Who may read next is the limits' to say: readers that would only wait cut nothing."""
    assert run_at_once(reads_of(20_000, "even", 0.1, "backfill", 7)) <= 208
