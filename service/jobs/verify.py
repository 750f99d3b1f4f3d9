"""Reads a span again, covered or not, and reports what differs from Stripe."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from service.domain.batch import Compared, Written
from service.domain.coverage.span import Span, merged
from service.domain.coverage.stream import REFUNDS
from service.domain.errors import DifferenceError, NotFoundError
from service.domain.reads import Due
from service.jobs.cover import Cover, Covering

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime
    from random import Random

    from service.domain.batch import Batch
    from service.domain.reads import Density
    from service.ports.lists import RefundSource
    from service.ports.rechecks import DueStore
    from service.ports.runs import Progress
    from service.ports.warehouse import ComparingStore, RefundStore

MOST = 100_000
"""Differences that are classified; a warehouse with more is not this account's, or was overwritten."""
CUTS = 7
VERIFY = "verify"
DIFFERS, NOT_LISTED = "differs", "not listed"
LISTS = (
    "missing", "holes", "differing", "altered", "outdated", "unlisted", "returned", "undecodable",
)  # fmt: skip
"""What is found, page by page."""


@dataclass(slots=True)
class Verdict:
    """What verify found: *stale* differ and a net has them, *drift* differ and nothing reported it.

    *hidden* are stored, not listed and still known to Stripe; *gone* are not known to it. Those *returned*
    were marked gone or hidden and are listed; the mark is cleared.
    """

    found: Compared = field(default_factory=Compared)
    stale: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unrepaired: list[str] = field(default_factory=list)
    """What a repair could not read."""

    @property
    def holds(self) -> bool:
        """Whether nothing is missing, drifted, gone or returned, and the stored rows confirm the claims."""
        found = self.found
        return not (
            found.missing or self.drift or self.gone or found.returned or found.contradicted
        )


class _Comparing:
    """A store that compares in place of writing: the engine is the one that covers.

    Where one page ends and the next begins a refund may be read twice; it is counted and reported once.
    """

    def __init__(self, store: RefundStore, comparison: ComparingStore, into: Compared) -> None:
        self._store = store
        self._comparison = comparison
        self._into = into
        self._known: defaultdict[str, set[object]] = defaultdict(set)
        self._listed = 0

    async def covered(self, stream: str) -> list[Span]:
        return await self._store.covered(stream)

    async def settle(self, bound: int) -> None:
        await self._store.settle(bound)

    async def write(self, batch: Batch) -> Written:
        reported, into = await self._comparison.compare(batch), self._into
        for name in LISTS:
            known = getattr(into, name)
            known += [one for one in getattr(reported, name) if one not in self._known[name]]
            self._known[name].update(getattr(reported, name))
        if len(into.missing) + len(into.differing) + len(into.unlisted) > MOST:
            raise DifferenceError(
                f"more than {MOST:,} refunds differ from Stripe's",
                hint="Check that this database and this key are of the same account and mode.",
            )
        into.revoked = merged([*into.revoked, *reported.revoked])
        self._listed += sum(p.claim.rows for p in batch.proofs if p.stream == REFUNDS)
        other = {*into.missing, *into.differing, *into.returned}
        into.equal = max(0, self._listed - len(other))
        into.seconds |= reported.seconds
        into.fields = dict([*into.fields.items(), *reported.fields.items()][:20])
        return Written(
            unchanged=reported.equal, changed=len(reported.differing), late=len(reported.holes)
        )


@dataclass(frozen=True, slots=True)
class Verifier:
    """What verifying takes. *read_events* learns of changes up to now; None where they may not be read."""

    source: RefundSource
    store: RefundStore
    comparison: ComparingStore
    asked_at: Callable[[], datetime]
    read_events: Callable[[], Awaitable[object]] | None
    concurrency: int
    drain_s: float

    async def verify(
        self, span: Span, progress: Progress, *, chance: Random
    ) -> tuple[Verdict, int]:
        """The verdict, and the seconds that could not be read. Changes no refund."""
        verdict = Verdict()
        if self.read_events:
            await self.read_events()
        began = self.asked_at()
        store = _Comparing(self.store, self.comparison, verdict.found)
        cover = Cover(
            self.source, store, progress, concurrency=self.concurrency, drain_s=self.drain_s
        )
        await cover.run(Covering(cut(span, chance), source=VERIFY))
        await self._look_for(verdict, progress)
        await self._tell_apart(verdict, began)
        return verdict, cover.shortfall_s()

    async def _look_for(self, verdict: Verdict, progress: Progress) -> None:
        """Each refund that is stored and was not listed, by its id."""
        for refund_id, _ in verdict.found.unlisted:
            try:
                readings = await self.source.fetch(refund_id)
            except NotFoundError:
                progress.requests += 1
                verdict.gone.append(refund_id)
                continue
            progress.requests += sum(reading.requests for reading in readings)
            verdict.hidden.append(refund_id)

    async def _tell_apart(self, verdict: Verdict, began: datetime) -> None:
        """What an event reported, or a later read found, is stale; what was altered here never is.

        So is what an older form of ours decoded: it is decoded again when it is next listed.
        Where events may not be read, nothing but an alteration can be called drift.
        """
        differing = verdict.found.differing
        if self.read_events is None:
            reported = set(differing)
        else:
            if differing:
                await self.read_events()
            reported = set(await self.comparison.hinted_since(differing, began))
        reported |= set(verdict.found.outdated)
        reported -= set(verdict.found.altered)
        verdict.stale = [i for i in differing if i in reported]
        verdict.drift = [i for i in differing if i not in reported]


def cut(span: Span, chance: Random) -> list[Span]:
    """The same seconds in other pieces than any first read took."""
    inside = range(span.start + 1, span.end)
    cuts = sorted(chance.sample(inside, min(CUTS, len(inside))))
    bounds = [span.start, *cuts, span.end]
    return [Span(start, end) for start, end in pairwise(bounds)]


def summarize(verdict: Verdict) -> str:
    parts: dict[str, Sequence[object]] = {
        "missing": verdict.found.missing, "drifted": verdict.drift, "gone": verdict.gone,
        "returned": verdict.found.returned, "claims contradicted": verdict.found.contradicted,
    }  # fmt: skip
    return ", ".join(f"{len(some)} {name}" for name, some in parts.items() if some)


def reported(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain values."""
    found = verdict.found
    return {
        "equal": found.equal,
        "missing": found.missing,
        "holes": found.holes,
        "stale": verdict.stale,
        "drift": verdict.drift,
        "altered_here": found.altered,
        "hidden": verdict.hidden,
        "gone": verdict.gone,
        "returned": found.returned,
        "undecodable": found.undecodable,
        "unrepaired": verdict.unrepaired,
        "revoked": [str(span) for span in found.revoked],
        "contradicted": [str(span) for span in found.contradicted],
        "differences": found.fields,
    }


class Chosen:
    """A store of what is due that hands out these objects once, whenever they are due."""

    def __init__(self, due: DueStore, objects: Sequence[Due]) -> None:
        self._due = due
        self._objects = list(objects)

    async def due(self, now: datetime, limit: int) -> Sequence[Due]:
        del now
        taken, self._objects = self._objects[:limit], self._objects[limit:]
        return taken

    async def density(self, days: Sequence[int]) -> Density:
        return await self._due.density(days)

    async def read(self, due: Sequence[Due], observed_at: datetime, now: datetime) -> None:
        await self._due.read(due, observed_at, now)

    async def unread(self, due: Due, observed_at: datetime, now: datetime) -> None:
        await self._due.unread(due, observed_at, now)

    async def not_found(self, due: Due, observed_at: datetime, now: datetime) -> bool:
        return await self._due.not_found(due, observed_at, now)


def to_read(verdict: Verdict) -> list[Due]:
    """What a repair has to read: what differs, and what was not listed."""
    found = verdict.found
    differing = [Due("refund", i, DIFFERS, found.seconds.get(i)) for i in found.differing]
    return differing + [Due("refund", i, NOT_LISTED, second) for i, second in found.unlisted]
