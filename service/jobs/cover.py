"""Covers spans of a list: reads them, and commits what is found together with what that proves.

Backfill, sync, resume, the second look, rechecks by span, verify and the events are this one job over
different spans and lists.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from service.domain.batch import Batch, Check, Proof
from service.domain.coverage.frontier import Frontier
from service.domain.coverage.span import (
    DAY_S,
    Span,
    clipped,
    gaps,
    merged,
    span_or_none,
    total_seconds,
)
from service.domain.coverage.stream import REFUNDS, settled
from service.domain.coverage.walk import Claim, Walk, claim_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from service.domain.batch import Reading
    from service.ports.lists import ListSource
    from service.ports.runs import Progress
    from service.ports.warehouse import RefundStore

SETTLED_AFTER_S = DAY_S
BATCH_ROWS = 1_000
QUEUE_PAGES = 24
WRITERS = 2


@dataclass(frozen=True, slots=True)
class Covering:
    """What to cover: *spans* of *stream*; *open_top* also reads, and stores, all that is newer."""

    spans: Sequence[Span]
    open_top: bool = False
    source: str = "list"
    stream: str = REFUNDS


@dataclass(slots=True)
class _Work:
    reading: Reading
    proofs: list[Proof]
    committed: asyncio.Future[None]


async def always() -> None:
    """The gate of a job that gives way to none."""


class Cover:
    """One run of the job. Ends when nothing is left to read, or with the first error.

    *gate* is awaited before each read: a long fill gives way there to what is more urgent.
    However it ends, pages that were read are still committed, within *drain_s* seconds. *proven* is
    what its committed pages prove, no matter what was covered before.
    """

    def __init__(
        self,
        source: ListSource,
        store: RefundStore,
        progress: Progress,
        *,
        concurrency: int,
        drain_s: float,
        gate: Callable[[], Awaitable[object]] = always,
    ) -> None:
        self._source = source
        self._store = store
        self._progress = progress
        self._concurrency = concurrency
        self._drain_s = drain_s
        self._gate = gate
        # Pages of one slice overlap by an object: to one writer, so that no two bring the same row.
        self._queues = [asyncio.Queue[_Work](QUEUE_PAGES // WRITERS) for _ in range(WRITERS)]
        self._moved = asyncio.Event()
        self._cutting = asyncio.Lock()
        self._began: datetime | None = None
        self._days: set[int] = set()
        self.proven: list[Span] = []

    async def run(self, covering: Covering) -> None:
        frontier = Frontier(covering.spans, open_top=covering.open_top)
        writers = [asyncio.create_task(self._write_all(covering, queue)) for queue in self._queues]
        self._covering = covering
        self._progress.planned_s += total_seconds(covering.spans)
        try:
            await self._read_until_done(frontier, writers)
            await self._drained(writers)
            if left := self._checks(self.proven, self.proven):
                await self._store.write(Batch([], [], covering.source, left))
            beyond_s = total_seconds(covering.spans) - total_seconds(self._reached())
            self._progress.planned_s -= beyond_s
        except BaseException:
            await self._commit_what_is_read(writers)
            raise
        finally:
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)

    async def _commit_what_is_read(self, writers: Sequence[asyncio.Task[None]]) -> None:
        """Best effort on the way out: the caller raises what ended the run, which comes first."""
        with suppress(Exception):
            async with asyncio.timeout(self._drain_s):
                await self._drained(writers)

    async def _read_until_done(
        self, frontier: Frontier, writers: Sequence[asyncio.Task[None]]
    ) -> None:
        """Ends with the frontier, or with the first reader or writer that fails."""
        readers = [
            asyncio.create_task(self._read_slices(frontier, self._queues[number % WRITERS]))
            for number in range(self._concurrency)
        ]
        waiting = {*readers, *writers}
        try:
            while any(not reader.done() for reader in readers):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _drained(self, writers: Sequence[asyncio.Task[None]]) -> None:
        """Waits until all that was read is committed; raises what stopped a writer."""
        joined = asyncio.create_task(self._joined())
        try:
            await asyncio.wait([joined, *writers], return_when=asyncio.FIRST_COMPLETED)
            for writer in writers:
                if writer.done():
                    writer.result()
        finally:
            joined.cancel()

    async def _joined(self) -> None:
        for queue in self._queues:
            await queue.join()

    async def _read_slices(self, frontier: Frontier, queue: asyncio.Queue[_Work]) -> None:
        while not frontier.done:
            walk = frontier.take() or await self._cut(frontier)
            if walk is None:
                continue
            try:
                await self._read_slice(frontier, walk, queue)
            finally:
                frontier.leave(walk)
                self._moved.set()
        self._moved.set()

    async def _cut(self, frontier: Frontier) -> Walk | None:
        """A part of another reader's slice, once a read of it would not have to wait; None if all has changed.

        Whoever reads already comes first, so as many read at once as the limits let through: a slice is
        cut for no other reason, as its parts end in part-filled pages.
        """
        async with self._cutting:
            await self._gate()
            self._moved.clear()
            wait_s, walk = self._source.free_in_s(), None
            if frontier.done or (wait_s <= 0 and (walk := frontier.cut())):
                return walk
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s if 0 < wait_s < inf else None):
                    await self._moved.wait()
        return None

    async def _read_slice(
        self, frontier: Frontier, walk: Walk, queue: asyncio.Queue[_Work]
    ) -> None:
        while not walk.done:
            await self._gate()
            ask = walk.ask()
            reading = await self._source.read(ask)
            self._count(reading)
            was_draining = walk.draining
            claim = frontier.feed(walk, ask, reading.page)
            proofs = _proofs(claim, reading, self._covering.stream)
            work = _Work(reading, proofs, asyncio.get_running_loop().create_future())
            await queue.put(work)
            if walk.draining or was_draining:
                await work.committed
            self._moved.set()

    def _count(self, reading: Reading) -> None:
        progress, bound = self._progress, reading.page.settle_bound
        progress.requests += reading.requests
        progress.objects += len(reading.page.keys)
        progress.settle_bound = min(bound, progress.settle_bound or bound)
        self._began = min(reading.observed_at, self._began or reading.observed_at)

    async def _write_all(self, covering: Covering, queue: asyncio.Queue[_Work]) -> None:
        while True:
            batch = [await queue.get()]
            rows = len(batch[0].reading.observations)
            while rows < BATCH_ROWS and not queue.empty():
                batch.append(queue.get_nowait())
                rows += len(batch[-1].reading.observations)
            await self._write(batch, covering)
            for _ in batch:
                queue.task_done()

    async def _write(self, batch: Sequence[_Work], covering: Covering) -> None:
        proofs = [proof for work in batch for proof in work.proofs]
        spans = [p.claim.span for p in proofs if p.stream == covering.stream]
        checks = self._checks(spans, merged([*self.proven, *spans]))
        readings = [work.reading for work in batch]
        written = await self._store.write(Batch(readings, proofs, covering.source, checks))
        self._progress.written.add(written)
        self._progress.covered_s += total_seconds(spans)
        self.proven = merged([*self.proven, *spans])
        for work in batch:
            if not work.committed.done():
                work.committed.set_result(None)

    def _checks(self, spans: Sequence[Span], proven: Sequence[Span]) -> list[Check]:
        """The whole days that *spans* complete, given what is proven with them; each once."""
        if self._covering.stream != REFUNDS or self._began is None:
            return []
        days = {
            day
            for span in spans
            for day in range(span.start // DAY_S * DAY_S, span.end, DAY_S)
            if day not in self._days
        }
        whole = [day for day in sorted(days) if _holds(proven, Span(day, day + DAY_S))]
        self._days.update(whole)
        return [Check(REFUNDS, Span(day, day + DAY_S), self._began) for day in whole]

    def shortfall_s(self) -> int:
        """Seconds that were to be read, could be proven, and were not."""
        return sum(total_seconds(gaps(span, self.proven)) for span in self._reached())

    def _reached(self) -> list[Span]:
        """What was to be read, up to the second that could be proven."""
        bound = self._progress.settle_bound or 0
        parts = (span_or_none(s.start, min(s.end, bound)) for s in self._covering.spans)
        return [part for part in parts if part]


def _holds(spans: Sequence[Span], part: Span) -> bool:
    return clipped(spans, part) == [part]


def _proofs(claim: Claim | None, reading: Reading, stream: str) -> list[Proof]:
    """What a claim proves for each stream: that of settled seconds takes only those a day old."""
    if claim is None:
        return []
    proofs = [Proof(stream, claim, reading.observed_at)]
    span = claim.span
    old = span_or_none(span.start, min(span.end, reading.page.settle_bound - SETTLED_AFTER_S))
    if old == span:
        proofs.append(Proof(settled(stream), claim, reading.observed_at))
    elif old:
        late = claim_of(old, reading.page.keys)
        proofs.append(Proof(settled(stream), late, reading.observed_at))
    return proofs
