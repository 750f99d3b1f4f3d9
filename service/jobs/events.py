"""Which events are wanted, and what becomes of those that expired before they were read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.coverage.span import Span, gaps, span_or_none
from service.domain.coverage.stream import EVENTS
from service.domain.recheck import YOUNG_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.ports.hints import GapStore
    from service.ports.warehouse import RefundStore

KEPT_S = 30 * 86_400
"""Stripe keeps events for so long."""
MARGIN_S = 2 * 3_600
"""An hour more than a page keeps to: what is wanted can be proven though clocks differ and pages take time."""
BEFORE_FIRST_S = 3_600
"""Nothing was read before the account was registered: earlier events say nothing. Clocks may differ."""


def floor_of(now_s: int) -> int:
    """The second below which events may be gone."""
    return now_s - KEPT_S + MARGIN_S


def wanted_events(met_s: int, now_s: int, settle_bound: int) -> Span | None:
    """What can be covered of the events since the account was first met."""
    return span_or_none(max(met_s - BEFORE_FIRST_S, floor_of(now_s)), settle_bound)


async def note_expired(
    store: RefundStore, found: GapStore, *, met_s: int, now_s: int, now: datetime
) -> Sequence[Span]:
    """Records times whose events can be read no more. Refunds that were young then have a read outstanding.

    Returns those that are new.
    """
    past = span_or_none(met_s - BEFORE_FIRST_S, floor_of(now_s))
    if past is None:
        return []
    known = [*await store.covered(EVENTS), *await found.known()]
    lost = gaps(past, known)
    for span in lost:
        await found.add(span, span.start - YOUNG_S, now)
    return lost
