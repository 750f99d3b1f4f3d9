"""The cover job: every page is committed with its proof, whatever ends the run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

import pytest

from service.domain.batch import Batch, Reading, Written
from service.domain.coverage.span import Span, gaps, merged
from service.domain.coverage.stream import REFUNDS, settled
from service.domain.coverage.walk import Ask, Key, Page
from service.domain.errors import DatabaseAwayError, NotFoundError, StripeAwayError
from service.jobs.cover import Cover, Covering
from service.jobs.plan import all_of, newest_part, second_look
from service.ports.runs import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.ports.lists import RefundSource
    from service.ports.warehouse import RefundStore

NOW = 1_000_000
LAG = 600
READ_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Listing:
    """A list of refunds in memory, with reads that may fail or hang."""

    keys: list[Key]
    fail_after: int | None = None
    hang_after: int | None = None
    floor: int = 0
    free_in: float = 0.0
    asked: list[Ask] = field(default_factory=list)

    async def read(self, ask: Ask) -> Reading:
        self.asked.append(ask)
        await asyncio.sleep(0)
        if self.fail_after is not None and len(self.asked) > self.fail_after:
            raise StripeAwayError("Stripe is away")
        if self.hang_after is not None and len(self.asked) > self.hang_after:
            await asyncio.Event().wait()
        keys = sorted(self.keys, key=lambda key: (-key.created, key.id))
        if ask.after:
            keys = keys[[key.id for key in keys].index(ask.after) + 1 :]
        keys = [key for key in keys if (ask.lower or 0) <= key.created < (ask.upper or NOW * 2)]
        page = Page(keys[:100], len(keys) > 100, NOW - LAG, self.floor)
        return Reading(page, READ_AT, [], [])

    def free_in_s(self) -> float:
        return self.free_in

    async def fetch(self, object_id: str, *, tries: int | None = None) -> Sequence[Reading]:
        raise NotFoundError(object_id)


@dataclass
class ReceivedDigests:
    """A store that keeps what is committed."""

    ids: set[str] = field(default_factory=set)
    spans: dict[str, list[Span]] = field(default_factory=dict)
    settled: int | None = None
    checked: list[Span] = field(default_factory=list)
    broken: bool = False
    slowness: int = 1
    writing: list[set[str]] = field(default_factory=list)
    met: int = 0
    """Batches that held a refund of another one which was being written."""

    async def covered(self, stream: str) -> list[Span]:
        return merged(self.spans.get(stream, []))

    async def settle(self, bound: int) -> None:
        self.settled = bound

    async def write(self, batch: Batch) -> Written:
        own = {key.id for reading in batch.readings for key in reading.page.keys}
        self.met += any(own & other for other in self.writing)
        self.writing.append(own)
        for _ in range(self.slowness):
            await asyncio.sleep(0)
        self.writing.remove(own)
        if self.broken:
            raise DatabaseAwayError("the database is away")
        self.ids |= own
        for proof in batch.proofs:
            self.spans.setdefault(proof.stream, []).append(proof.claim.span)
        self.checked += [check.span for check in batch.checks]
        return Written(inserted=sum(len(r.page.keys) for r in batch.readings))


def keys_every(seconds: int, count: int, *, ties: int = 1) -> list[Key]:
    return [
        Key(1000 + n * seconds, f"re_{n:05}_{tie:03}") for n in range(count) for tie in range(ties)
    ]


def cover_with(source: RefundSource, store: RefundStore, progress: Progress | None = None) -> Cover:
    return Cover(source, store, progress or Progress(), concurrency=8, drain_s=5)


WANTED = Span(0, NOW - LAG)


async def test_a_span_is_read_whole_and_covered_by_many_workers() -> None:
    source, store = Listing(keys_every(100, 5_000)), ReceivedDigests()
    await cover_with(source, store).run(Covering([WANTED]))
    assert store.ids == {key.id for key in source.keys}
    assert await store.covered("refunds") == [WANTED]
    assert len(source.asked) < 60


async def test_nothing_is_cut_for_readers_that_the_limits_would_only_keep_waiting() -> None:
    source, store = Listing(keys_every(100, 5_000), free_in=inf), ReceivedDigests()
    await cover_with(source, store).run(Covering([WANTED]))
    assert await store.covered("refunds") == [WANTED]
    uppers = [ask.upper or NOW for ask in source.asked]
    assert uppers == sorted(uppers, reverse=True)
    assert {ask.lower for ask in source.asked} == {WANTED.start}


async def test_what_is_planned_are_the_gaps_and_all_of_it_is_proven_in_the_end() -> None:
    source, store, progress = Listing(keys_every(100, 5_000)), ReceivedDigests(), Progress()
    half = Span(0, WANTED.end // 2)
    for spans in ([half], gaps(WANTED, [half])):
        await cover_with(source, store, progress).run(Covering(spans))
        assert progress.planned_s == progress.covered_s > 0
    assert progress.planned_s == WANTED.seconds


async def test_what_is_too_young_to_be_proven_is_not_planned_for_in_the_end() -> None:
    source, store, progress = Listing(keys_every(100, 5_000)), ReceivedDigests(), Progress()
    engine = cover_with(source, store, progress)
    await engine.run(Covering([Span(0, NOW - LAG + 50), Span(NOW, NOW + 50)]))
    assert progress.planned_s == progress.covered_s == WANTED.seconds
    assert engine.shortfall_s() == 0


async def test_no_two_batches_are_written_at_once_that_hold_the_same_refund() -> None:
    """One would wait for the other, and then have to begin again."""
    source, store = Listing(keys_every(100, 2_500, ties=2)), ReceivedDigests(slowness=50)
    await cover_with(source, store).run(Covering([WANTED]))
    assert store.ids == {key.id for key in source.keys}
    assert store.met == 0


async def test_a_second_that_fills_pages_is_drained_before_it_is_claimed() -> None:
    source, store = Listing(keys_every(7, 3, ties=950)), ReceivedDigests()
    await cover_with(source, store).run(Covering([WANTED]))
    assert store.ids == {key.id for key in source.keys}
    assert await store.covered("refunds") == [WANTED]


async def test_what_was_read_is_committed_when_stripe_goes_away() -> None:
    source, store = Listing(keys_every(100, 5_000), fail_after=20), ReceivedDigests()
    with pytest.raises(StripeAwayError):
        await cover_with(source, store).run(Covering([WANTED]))
    assert len(store.ids) > 1_000
    missing = gaps(WANTED, await store.covered("refunds"))
    assert missing
    source.fail_after = None
    await cover_with(source, store).run(Covering(missing))
    assert await store.covered("refunds") == [WANTED]
    assert store.ids == {key.id for key in source.keys}


async def test_what_was_read_is_committed_when_the_run_is_cancelled() -> None:
    source, store = Listing(keys_every(100, 5_000), hang_after=20), ReceivedDigests()
    task = asyncio.create_task(cover_with(source, store).run(Covering([WANTED])))
    while len(source.asked) <= 20:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    covered = await store.covered("refunds")
    inside = {key.id for key in source.keys if any(span.holds(key.created) for span in covered)}
    assert inside
    assert inside <= store.ids


async def test_a_store_that_fails_ends_the_run_with_its_error() -> None:
    source, store = Listing(keys_every(100, 5_000)), ReceivedDigests(broken=True)
    with pytest.raises(DatabaseAwayError):
        await cover_with(source, store).run(Covering([WANTED]))


async def test_a_pass_with_nothing_new_asks_once() -> None:
    source, store = Listing(keys_every(100, 500)), ReceivedDigests()
    await cover_with(source, store).run(await all_of(store, WANTED))
    source.asked.clear()
    progress = Progress()
    await cover_with(source, store, progress).run(await all_of(store, WANTED))
    assert len(source.asked) == progress.requests == 1
    assert source.asked[0].upper is None


async def test_what_is_newer_than_the_settle_bound_is_stored_and_not_claimed() -> None:
    fresh = Key(NOW - 5, "re_fresh")
    source, store = Listing([fresh]), ReceivedDigests()
    await cover_with(source, store).run(await newest_part(store, WANTED))
    assert store.ids == {"re_fresh"}
    assert (await store.covered("refunds"))[-1].end == NOW - LAG


async def test_covered_days_are_listed_again_once_each_is_a_day_old() -> None:
    source, store = Listing(keys_every(100, 50)), ReceivedDigests()
    last = (WANTED.end - 86_400) // 86_400 * 86_400
    store.spans["refunds"] = [WANTED]
    store.spans[settled(REFUNDS)] = [Span(0, last - 86_400)]
    again = await second_look(store, WANTED)
    assert again.spans == [Span(last - 86_400, last)]
    await cover_with(source, store).run(again)
    assert (await second_look(store, WANTED)).spans == []
    assert store.checked == [Span(last - 86_400, last)]


async def test_each_day_is_checked_once_when_the_last_of_it_was_read() -> None:
    source, store = Listing(keys_every(100, 5_000)), ReceivedDigests()
    cover = cover_with(source, store)
    await cover.run(Covering([WANTED]))
    days = [Span(day, day + 86_400) for day in range(0, WANTED.end - 86_400, 86_400)]
    assert sorted(store.checked) == days
    assert cover.proven == [WANTED]
    assert cover.shortfall_s() == 0


async def test_nothing_below_the_floor_of_a_list_is_proven() -> None:
    source, store = Listing(keys_every(100, 500), floor=20_000), ReceivedDigests()
    await cover_with(source, store).run(Covering([WANTED], stream="events"))
    assert await store.covered("events") == [Span(20_000, WANTED.end)]
    assert store.checked == []


async def test_a_gate_holds_back_each_read() -> None:
    opened = asyncio.Event()
    source, store = Listing(keys_every(100, 10)), ReceivedDigests()
    cover = Cover(source, store, Progress(), concurrency=2, drain_s=1, gate=lambda: _pass(opened))
    task = asyncio.create_task(cover.run(Covering([WANTED])))
    await asyncio.sleep(0.01)
    assert not source.asked
    opened.set()
    await task
    assert source.asked


async def _pass(opened: asyncio.Event) -> None:
    await opened.wait()
