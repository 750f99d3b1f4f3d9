"""Covers spans of refunds: reads what is not covered yet, and commits rows with what they prove.

Backfill, sync, resume and the second look are this one job over different spans.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.span import span_or_none
from service.domain.walk import Claim, Frontier, Walk, claim_of
from service.ports import Batch, Progress, Proof

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from service.domain.span import Span
    from service.ports import Reading, RefundSource, RefundStore

REFUNDS = "refunds"
SETTLED = "refunds:settled"
"""Seconds listed at least a day after they passed: whatever became visible late is in those, too."""

SETTLED_AFTER_S = 86_400
BATCH_ROWS = 1_000
QUEUE_PAGES = 24
WRITERS = 2


@dataclass(frozen=True, slots=True)
class Covering:
    """What to cover: *spans* of *stream*; *open_top* also reads, and stores, all that is newer."""

    spans: Sequence[Span]
    open_top: bool = False
    source: str = "list"


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
    However it ends, pages that were read are still committed, within *drain_s* seconds.
    """

    def __init__(
        self,
        source: RefundSource,
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
        self._queue: asyncio.Queue[_Work] = asyncio.Queue(QUEUE_PAGES)
        self._moved = asyncio.Event()

    async def run(self, covering: Covering) -> None:
        frontier = Frontier(covering.spans, open_top=covering.open_top)
        writers = [asyncio.create_task(self._write_all(covering.source)) for _ in range(WRITERS)]
        try:
            await self._read_until_done(frontier, writers)
            await self._drained(writers)
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
            await asyncio.wait_for(self._drained(writers), self._drain_s)

    async def _read_until_done(
        self, frontier: Frontier, writers: Sequence[asyncio.Task[None]]
    ) -> None:
        """Ends with the frontier, or with the first reader or writer that fails."""
        readers = [
            asyncio.create_task(self._read_slices(frontier)) for _ in range(self._concurrency)
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
        joined = asyncio.create_task(self._queue.join())
        try:
            await asyncio.wait([joined, *writers], return_when=asyncio.FIRST_COMPLETED)
            for writer in writers:
                if writer.done():
                    writer.result()
        finally:
            joined.cancel()

    async def _read_slices(self, frontier: Frontier) -> None:
        while not frontier.done:
            walk = frontier.take()
            if walk is None:
                self._moved.clear()
                await self._moved.wait()
                continue
            try:
                await self._read_slice(walk)
            finally:
                frontier.leave(walk)
                self._moved.set()
        self._moved.set()

    async def _read_slice(self, walk: Walk) -> None:
        while not walk.done:
            await self._gate()
            ask = walk.ask()
            reading = await self._source.read(ask)
            self._count(reading)
            was_draining = walk.draining
            claim = walk.feed(ask, reading.page)
            work = _Work(
                reading, _proofs(claim, reading), asyncio.get_running_loop().create_future()
            )
            await self._queue.put(work)
            if walk.draining or was_draining:
                await work.committed
            self._moved.set()

    def _count(self, reading: Reading) -> None:
        progress, bound = self._progress, reading.page.settle_bound
        progress.requests += reading.requests
        progress.objects += len(reading.page.keys)
        progress.settle_bound = min(bound, progress.settle_bound or bound)

    async def _write_all(self, source: str) -> None:
        while True:
            batch = [await self._queue.get()]
            rows = len(batch[0].reading.observations)
            while rows < BATCH_ROWS and not self._queue.empty():
                batch.append(self._queue.get_nowait())
                rows += len(batch[-1].reading.observations)
            await self._write(batch, source)
            for _ in batch:
                self._queue.task_done()

    async def _write(self, batch: Sequence[_Work], source: str) -> None:
        proofs = [proof for work in batch for proof in work.proofs]
        written = await self._store.write(Batch([w.reading for w in batch], proofs, source))
        self._progress.written.add(written)
        self._progress.covered_s += sum(p.claim.span.seconds for p in proofs if p.stream == REFUNDS)
        for work in batch:
            if not work.committed.done():
                work.committed.set_result(None)


def _proofs(claim: Claim | None, reading: Reading) -> list[Proof]:
    """What a claim proves for each stream: that of settled seconds takes only those a day old."""
    if claim is None:
        return []
    proofs = [Proof(REFUNDS, claim, reading.observed_at)]
    span = claim.span
    old = span_or_none(span.start, min(span.end, reading.page.settle_bound - SETTLED_AFTER_S))
    if old == span:
        proofs.append(Proof(SETTLED, claim, reading.observed_at))
    elif old:
        proofs.append(Proof(SETTLED, claim_of(old, reading.page.keys), reading.observed_at))
    return proofs
