"""Which spans a backfill, a sync and a second look have to read, from what is covered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.span import Span, clipped, gaps, span_or_none, total_seconds
from service.jobs.cover import REFUNDS, SETTLED, SETTLED_AFTER_S, Covering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.ports import RefundStore

SECOND_LOOK = "second look"

NEWEST_PART_S = 86_400
"""What the daemon keeps current before anything else; older gaps are the fill of history."""

LOOK_AGAIN_S = 3_600
"""A second look waits until this much is due, so that it costs a read an hour and not one a tick."""


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
    """Everything that is wanted and missing, and whatever is newer than the settle bound."""
    missing = await gaps_in(store, wanted)
    return Covering(_with_top(missing, wanted), open_top=True)


async def newest_part(store: RefundStore, wanted: Span) -> Covering:
    part = Span(max(wanted.start, wanted.end - NEWEST_PART_S), wanted.end)
    missing = await gaps_in(store, part)
    return Covering(_with_top(missing, wanted)[-1:], open_top=True)


async def fill_of_history(store: RefundStore, wanted: Span) -> Covering:
    history = span_or_none(wanted.start, wanted.end - NEWEST_PART_S)
    return Covering(await gaps_in(store, history) if history else [])


async def second_look(store: RefundStore, wanted: Span) -> Covering:
    """Covered seconds that have not been listed again since they were a day old."""
    due = span_or_none(wanted.start, wanted.end - SETTLED_AFTER_S)
    if due is None:
        return Covering([])
    covered = await store.covered(REFUNDS)
    unseen = await gaps_in(store, due, stream=SETTLED)
    spans = [part for gap in unseen for part in clipped(covered, gap)]
    return Covering(spans if total_seconds(spans) >= LOOK_AGAIN_S else [], source=SECOND_LOOK)


def _with_top(missing: Sequence[Span], wanted: Span) -> list[Span]:
    """A span that reaches the top even where all is covered: the newest is always worth a look."""
    spans = list(missing)
    if not spans or spans[-1].end < wanted.end:
        spans.append(Span(wanted.end - 1, wanted.end))
    return spans


async def shortfall_s(store: RefundStore, covering: Covering, settle_bound: int | None) -> int:
    """Seconds that a run was to read, could prove, and did not."""
    stream = SETTLED if covering.source == SECOND_LOOK else REFUNDS
    covered = await store.covered(stream)
    bound = settle_bound if settle_bound is not None else 0
    if stream == SETTLED:
        bound -= SETTLED_AFTER_S
    reached = (span_or_none(s.start, min(s.end, bound)) for s in covering.spans)
    return sum(total_seconds(gaps(span, covered)) for span in reached if span)
