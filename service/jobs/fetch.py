"""Reads single refunds, or those of a charge or payment, and writes what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.domain.errors import NotFoundError
from service.ports import FETCH, Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.ports import Progress, RefundSource, RefundStore


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
