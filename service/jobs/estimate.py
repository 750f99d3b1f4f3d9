"""What covering a span would cost, from one page of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.coverage.span import Span, gaps, total_seconds
from service.domain.coverage.walk import PAGE_SIZE, Ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.ports.lists import RefundSource

REREAD_SHARE = 1.02
"""Seconds at the ends of pages are read twice: one or two reads in a hundred."""


@dataclass(frozen=True, slots=True)
class Estimate:
    gaps: list[Span]
    refunds: int
    reads: int


async def estimated(source: RefundSource, covered: Sequence[Span], wanted: Span | None) -> Estimate:
    """Takes the rest of the gaps to be as dense as the newest page; reads nothing if there are none."""
    missing = gaps(wanted, covered) if wanted else []
    if not missing:
        return Estimate([], 0, 0)
    newest = missing[-1]
    page = (await source.read(Ask(newest.start, newest.end))).page
    if page.has_more:
        seconds = max(1, newest.end - page.keys[-1].created)
        refunds = math.ceil(len(page.keys) / seconds * total_seconds(missing))
    else:
        refunds = math.ceil(len(page.keys) / newest.seconds * total_seconds(missing))
    reads = max(len(missing), math.ceil(refunds / PAGE_SIZE * REREAD_SHARE))
    return Estimate(missing, refunds, reads)
