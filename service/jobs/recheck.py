"""Reads known refunds again: those with a hint, those that are due, whole days, old days in turn."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from service.domain.batch import Batch
from service.domain.coverage.span import DAY_S
from service.domain.coverage.walk import Ask
from service.domain.errors import NotFoundError, RefusedError, StripeAwayError
from service.domain.reads import reads_for
from service.domain.recheck import (
    ALWAYS_ALONE,
    REVISIT_AGAIN_S,
    YOUNG_S,
    days_in_turn,
    due_days,
    spans_over,
)
from service.jobs.cover import Cover, Covering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from service.domain.batch import Reading
    from service.domain.coverage.span import Span
    from service.domain.reads import Due, Reads
    from service.ports.hints import GapStore
    from service.ports.lists import RefundSource
    from service.ports.rechecks import DayStore, DueStore
    from service.ports.runs import Clock, Progress
    from service.ports.warehouse import RefundStore

log = structlog.get_logger(__name__)

TAKEN = 20_000
"""So many due objects are looked at together, to find those that are near each other."""
ROUNDS = 1_000
DAYS_IN_TURN = 400
TRIES = 3
"""Attempts for one object before another is tried, so that an outage is not taken for a fault of the object."""
BEFORE_STRIPE = Ask(DAY_S, DAY_S + 1)
"""A list of nothing, which Stripe gives whenever it gives anything."""


@dataclass(frozen=True, slots=True)
class Rereader:
    """What reading again takes. *asked_at* is the database's clock, as ``Reading.observed_at`` is."""

    source: RefundSource
    store: RefundStore
    clock: Clock
    asked_at: Callable[[], datetime]
    progress: Progress
    concurrency: int
    drain_s: float

    async def drain(self, due: DueStore, most: int, *, source: str) -> int:
        """Reads what is due, in at most about *most* reads. Returns how many objects that were."""
        done = 0
        for _ in range(ROUNDS):
            left = most - self._reads_made()
            taken = await due.due(self.clock.now(), TAKEN) if left > 0 else ()
            if not taken:
                break
            days = sorted(
                {one.created // DAY_S * DAY_S for one in taken if one.created is not None}
            )
            reads = reads_for(taken, await due.density(days), left)
            began = self.asked_at()
            if reads.spans:
                await self._list_due(due, reads, most, source)
                await due.read(reads.covered, began, self.clock.now())
            done += len(reads.covered) + await self._read_alone(due, reads.alone, most, source)
        return done

    async def _list_due(self, due: DueStore, reads: Reads, most: int, source: str) -> None:
        """One list at which Stripe fails keeps no refund from being read: each is read by its id then."""
        try:
            await self.list_again(reads.spans, source)
        except StripeAwayError:
            await self._read_alone(due, reads.covered, most, source)
            raise

    async def list_again(self, spans: Sequence[Span], source: str) -> int:
        """Lists these spans, covered or not. Returns the seconds that were not read."""
        cover = Cover(
            self.source, self.store, self.progress,
            concurrency=self.concurrency, drain_s=self.drain_s,
        )  # fmt: skip
        await cover.run(Covering(spans, source=source))
        return cover.shortfall_s()

    def _reads_made(self) -> int:
        return self.progress.requests

    async def _read_alone(self, due: DueStore, alone: Sequence[Due], most: int, source: str) -> int:
        waiting = iter(alone)
        readers = [
            asyncio.create_task(self._read_each(due, waiting, most, source))
            for _ in range(min(self.concurrency, len(alone)))
        ]
        try:
            return sum([await reader for reader in readers])
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _read_each(
        self, due: DueStore, waiting: Iterator[Due], most: int, source: str
    ) -> int:
        """Returns how many these were: one at which Stripe fails may take the reads of several."""
        done = 0
        while self._reads_made() < most and (one := next(waiting, None)):
            await self._read_one(due, one, source)
            done += 1
        return done

    async def _read_one(self, due: DueStore, one: Due, source: str) -> None:
        """What Stripe does not know, or does not give, stops none of the others."""
        began = self.asked_at()
        try:
            readings = await self._fetched(one)
        except NotFoundError:
            self.progress.requests += 1
            gone = await due.not_found(one, began, self.clock.now())
            log.info("recheck.not_found", kind=one.kind, id=one.id, gone=gone)
            return
        except RefusedError as error:
            self.progress.requests += 1
            await self._put_off(due, one, began, error)
            return
        except _UnansweredError as error:
            await self._put_off(due, one, began, error)
            return
        self.progress.requests += sum(reading.requests for reading in readings)
        written = await self.store.write(Batch(readings, [], source))
        self.progress.written.add(written)
        if (
            one.kind == "charge"
            or one.why in ALWAYS_ALONE
            or written.quarantined
            or not _whole(readings)
        ):
            begins = min((reading.observed_at for reading in readings), default=began)
            await due.read([one], begins, self.clock.now())

    async def _fetched(self, one: Due) -> Sequence[Reading]:
        """Raises _UnansweredError where Stripe answers, but not when it is asked for this one.

        During an outage it waits, by reading something else: no object is rescheduled for it, and
        ends in StripeAwayError.
        """
        try:
            return await self.source.fetch(one.id, tries=TRIES)
        except StripeAwayError:
            self.progress.requests += TRIES
        self.progress.requests += (await self.source.read(BEFORE_STRIPE)).requests
        try:
            return await self.source.fetch(one.id, tries=TRIES)
        except StripeAwayError as error:
            self.progress.requests += TRIES
            raise _UnansweredError(str(error)) from error

    async def _put_off(self, due: DueStore, one: Due, began: datetime, error: Exception) -> None:
        self.progress.unread += 1
        log.warning("recheck.refused", kind=one.kind, id=one.id, error=str(error))
        await due.unread(one, began, self.clock.now())


class _UnansweredError(Exception):
    """Stripe is there, and fails at one object."""


def _whole(readings: Sequence[Reading]) -> bool:
    return all(o.hydrated for r in readings for o in r.observations) and not any(
        r.undecodable for r in readings
    )


async def days_due(store: DayStore, gaps: GapStore, now: datetime, most: int) -> list[Span]:
    """Days whose refunds are all to be listed again, the newest that *most* reads can list."""
    outstanding_since, now_s = await gaps.outstanding_since(), now.timestamp()
    oldest = min(now_s - YOUNG_S, outstanding_since if outstanding_since is not None else now_s)
    start = int(oldest) // DAY_S * DAY_S
    days = await store.days(start, int(now_s) // DAY_S * DAY_S, now)
    return spans_over(due_days(days, now_s), days, most)


async def days_to_revisit(store: DayStore, first: int, now: datetime, pages: int) -> list[Span]:
    """Old days, those that were listed longest ago first, as many as fit in that number of pages."""
    end = int(now.timestamp() - YOUNG_S) // DAY_S * DAY_S
    start = -(-first // DAY_S) * DAY_S
    if start >= end or pages < 1:
        return []
    since = now - timedelta(seconds=REVISIT_AGAIN_S)
    return days_in_turn(await store.days_in_turn(start, end, since, now, DAYS_IN_TURN), pages)
