"""Reads single refunds, or those of a charge or payment, and writes what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.domain.batch import FETCH, Batch
from service.domain.coverage.span import DAY_S
from service.domain.errors import NotFoundError
from service.domain.reads import reads_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from service.domain.batch import Written
    from service.domain.coverage.span import Span
    from service.domain.reads import Due
    from service.ports.lists import RefundSource
    from service.ports.rechecks import DueStore
    from service.ports.runs import Progress
    from service.ports.warehouse import RefundStore


@dataclass(slots=True)
class Fetched:
    refund_ids: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)


async def fetch(
    source: RefundSource, store: RefundStore, ids: Sequence[str], progress: Progress
) -> Fetched:
    """Each id by itself: one that Stripe does not know stops none of the others."""
    fetched = Fetched()
    for object_id in ids:
        try:
            readings = await source.fetch(object_id)
        except NotFoundError:
            fetched.not_found.append(object_id)
            continue
        progress.requests += sum(reading.requests for reading in readings)
        progress.written.add(await store.write(Batch(readings, [], FETCH)))
        fetched.refund_ids += [o.refund.id for r in readings for o in r.observations]
        fetched.refund_ids += [u.object_id for r in readings for u in r.undecodable if u.object_id]
    fetched.refund_ids = list(dict.fromkeys(fetched.refund_ids))
    return fetched


class Noting:
    """A store that notes which refunds the batches hold that pass through it."""

    def __init__(self, store: RefundStore) -> None:
        self._store = store
        self.seen: set[str] = set()

    async def covered(self, stream: str) -> list[Span]:
        return await self._store.covered(stream)

    async def settle(self, bound: int) -> None:
        await self._store.settle(bound)

    async def write(self, batch: Batch) -> Written:
        written = await self._store.write(batch)
        self.seen.update(key.id for reading in batch.readings for key in reading.page.keys)
        return written


async def listed(
    stored: Sequence[Due],
    near: DueStore,
    store: RefundStore,
    list_again: Callable[[RefundStore, Sequence[Span]], Awaitable[object]],
) -> set[str]:
    """Reads by listing those of *stored* for which that takes fewer reads. Returns which were listed."""
    days = sorted({one.created // DAY_S * DAY_S for one in stored if one.created is not None})
    spans = reads_for(stored, await near.density(days), len(stored)).spans
    noting = Noting(store)
    if spans:
        await list_again(noting, spans)
    return noting.seen & {one.id for one in stored}
