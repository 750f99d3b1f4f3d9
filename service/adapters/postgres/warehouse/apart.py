"""Writes in parts what the database refuses for its data, so that one object never costs its neighbours."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from service.adapters.postgres.session.halves import REFUSALS, write_parts
from service.adapters.postgres.warehouse.sorting import latest_by_id
from service.domain.batch import Batch, Reading, Written
from service.domain.coverage.walk import Page
from service.domain.refund import Undecodable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from service.domain.refund import Hint, Observation

log = structlog.get_logger(__name__)

NO_PAGE = Page([], has_more=False, settle_bound=0)


@dataclass(slots=True)
class Apart:
    """One batch, written in parts by *write*, each in a transaction of its own.

    Rows come first, and the claims last, with what went into quarantine: a claim counts no row that is
    not stored. Each part is idempotent, so that a kill in between loses nothing.
    """

    batch: Batch
    write: Callable[[Batch], Awaitable[Written]]
    now: datetime
    """On the database's clock."""
    written: Written = field(default_factory=Written)

    async def run(self) -> Written:
        """Raises what the database raises at the claims alone: those are our own."""
        seen = latest_by_id([o for r in self.batch.readings for o in r.observations], self.now)
        odd = [
            _reading(o.observed_at, undecodable=[_undecodable(o, why)])
            for o, why in await self._refused(seen)
        ]
        rest = [*(replace(r, observations=()) for r in self.batch.readings), *odd]
        try:
            await self._put(replace(self.batch, readings=rest))
        except REFUSALS:
            await self._put_hints([hint for r in rest for hint in r.hints])
            await self._put_undecodable([(u, r.observed_at) for r in rest for u in r.undecodable])
            bare = [replace(r, hints=(), undecodable=()) for r in rest]
            await self._put(replace(self.batch, readings=bare))
        return self.written

    async def _refused(self, seen: Sequence[Observation]) -> list[tuple[Observation, str]]:
        """Writes the refunds; those at whose charge or ledger lines it fails without these, unhydrated."""
        refused = await write_parts(seen, self._put_refunds)
        found = []
        for observation, reason in refused:
            observation.charge, observation.ledger, observation.hydrated = None, (), False
            again = await write_parts([observation], self._put_refunds)
            log.warning("object.refused", id=observation.refund.id, reason=reason, stored=not again)
            found += again
        return found

    async def _put(self, part: Batch) -> None:
        self.written.add(await self.write(part))

    async def _put_reading(self, reading: Reading) -> None:
        await self._put(Batch([reading], [], self.batch.source))

    async def _put_refunds(self, seen: Sequence[Observation]) -> None:
        await self._put_reading(_reading(seen[0].observed_at, observations=seen))

    async def _put_hints(self, hints: Sequence[Hint]) -> None:
        async def put(part: Sequence[Hint]) -> None:
            await self._put_reading(_reading(part[0].at, hints=part))

        for hint, reason in await write_parts(hints, put):
            log.warning("hint.refused", kind=hint.kind, reason=reason)

    async def _put_undecodable(self, found: Sequence[tuple[Undecodable, datetime]]) -> None:
        async def put(part: Sequence[tuple[Undecodable, datetime]]) -> None:
            for bad, observed_at in part:
                await self._put_reading(_reading(observed_at, undecodable=[bad]))

        for (bad, observed_at), reason in await write_parts(found, put):
            plain = replace(bad, payload=ascii(bad.payload), error=f"{bad.error!a}; {reason}")
            await put([(plain, observed_at)])


def _reading(
    observed_at: datetime,
    *,
    observations: Sequence[Observation] = (),
    undecodable: Sequence[Undecodable] = (),
    hints: Sequence[Hint] = (),
) -> Reading:
    return Reading(NO_PAGE, observed_at, observations, undecodable, 0, hints)


def _undecodable(seen: Observation, reason: str) -> Undecodable:
    refund = seen.refund
    try:
        payload = seen.raw()
    except ValueError:
        payload = json.dumps({"id": refund.id, "created": refund.created})
    return Undecodable(refund.id, refund.created, refund.created, payload, reason)
