"""Which spans a backfill, a sync, a second look and the events have to read, from what is covered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.coverage.span import DAY_S, Span, clipped, gaps, span_or_none
from service.domain.coverage.stream import EVENTS, REFUNDS, settled
from service.jobs.cover import SETTLED_AFTER_S, Covering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.ports.warehouse import RefundStore

SECOND_LOOK = "second look"

NEWEST_PART_S = 86_400
"""What the daemon keeps current before anything else; older gaps are the fill of history."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run was asked for, cut at the settle bound; *beyond* is what cannot be proven yet."""

    span: Span | None
    beyond: Span | None


def wanted_of(start: int, end: int, settle_bound: int) -> Wanted:
    return Wanted(
        span_or_none(start, min(end, settle_bound)), span_or_none(max(start, settle_bound), end)
    )


async def gaps_in(store: RefundStore, wanted: Span, *, stream: str = REFUNDS) -> list[Span]:
    return gaps(wanted, await store.covered(stream))


async def all_of(store: RefundStore, wanted: Span) -> Covering:
    """Everything that is wanted and missing, and all that is newer than the settle bound."""
    missing = await gaps_in(store, wanted)
    return Covering(_with_top(missing, wanted), open_top=True)


async def all_events(store: RefundStore, wanted: Span) -> Covering:
    """The events not read yet, the newest included."""
    missing = await gaps_in(store, wanted, stream=EVENTS)
    return Covering(_with_top(missing, wanted), open_top=True, source=EVENTS, stream=EVENTS)


async def newest_part(store: RefundStore, wanted: Span) -> Covering:
    part = Span(max(wanted.start, wanted.end - NEWEST_PART_S), wanted.end)
    missing = await gaps_in(store, part)
    return Covering(_with_top(missing, wanted), open_top=True)


async def fill_of_history(store: RefundStore, wanted: Span) -> Covering:
    history = span_or_none(wanted.start, wanted.end - NEWEST_PART_S)
    return Covering(await gaps_in(store, history) if history else [])


async def second_look(store: RefundStore, wanted: Span, *, stream: str = REFUNDS) -> Covering:
    """Covered days that have not been listed again since they were a day old: one read a day."""
    due = span_or_none(wanted.start, (wanted.end - SETTLED_AFTER_S) // DAY_S * DAY_S)
    if due is None:
        return Covering([])
    covered = await store.covered(stream)
    unseen = await gaps_in(store, due, stream=settled(stream))
    spans = [part for gap in unseen for part in clipped(covered, gap)]
    return Covering(spans, source=SECOND_LOOK, stream=stream)


def _with_top(missing: Sequence[Span], wanted: Span) -> list[Span]:
    """A span that reaches the top even where all is covered: the newest is always worth a look."""
    spans = list(missing)
    if not spans or spans[-1].end < wanted.end:
        spans.append(Span(wanted.end - 1, wanted.end))
    return spans
