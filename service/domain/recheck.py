"""When a known refund is due to be read again. Pure.

=================  ==========================================  ====================================
state              again                                       why
=================  ==========================================  ====================================
open               daily to day 90, weekly after               pending, requires_action, no status or
                                                               one unknown to us: nothing bounds it
reference pending  daily to day 21, weekly to day 90           the number by which a bank finds it,
                                                               or the card's way, comes days later
return leg         daily to day 14, weekly to day 90           failed or canceled: the ledger line
                                                               that gives the money back is not known
succeeded          daily to day 14, weekly to 45, monthly to   a failure can come 30 days after the
                   90                                          refund was posted, and more is not
                                                               promised
failed, canceled   never                                       its return leg is known
older              in turn                                     revisits: nothing is believed for ever
=================  ==========================================  ====================================

Succeeded refunds are many and near each other: they are due by whole days (UTC) of their creation. The
others are few and due by themselves. Ages and due times are by the clock that is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.coverage.span import DAY_S, Span, merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from service.domain.refund import ChargeLink, Destination, Refund

YOUNG_S = 90 * DAY_S
PAGE = 100

CONFIRM_S = 3_600
"""Stripe must answer twice, so long apart, that it does not know an object before it counts as gone."""
GIVE_UP_AFTER = 10
"""An id that Stripe did not know so often, over some six weeks, is not asked for any more."""
QUARANTINE_AGAIN_S = DAY_S
"""What could not be decoded is read again so long after."""
LONGEST_S = 32 * DAY_S
"""Nothing is due later than in so long."""

OPEN, REFERENCE, RETURN_LEG = "open", "reference pending", "return leg unknown"
UNKNOWN = "unknown"
"""Stripe answered once that it does not know this id: its second is listed before it is asked for again."""
SUCCEEDED = "succeeded"
STATES = (OPEN, REFERENCE, RETURN_LEG)
"""Reasons for which a refund is due by itself."""
ALWAYS_ALONE = frozenset({"not listed", "hidden", "gone"})
"""Reasons that a listing cannot settle."""

_STEPS: dict[str, tuple[tuple[float, int], ...]] = {
    OPEN: ((90, 1), (float("inf"), 7)),
    REFERENCE: ((21, 1), (90, 7)),
    RETURN_LEG: ((14, 1), (90, 7)),
    SUCCEEDED: ((14, 1), (45, 7), (90, 30)),
}
"""State to steps: up to an age in days, again after a number of days."""


def interval_s(state: str, age_s: float) -> int | None:
    """Seconds between two reads of a refund of that state and age; None for never again."""
    days = next((days for until, days in _STEPS[state] if age_s < until * DAY_S), None)
    return None if days is None else days * DAY_S


def state_of(refund: Refund, link: ChargeLink, destination: Destination | None) -> str | None:
    """Why this refund is due by itself; None where it succeeded, or is over and explained."""
    if refund.status in {"failed", "canceled"}:
        booked = link.balance_transaction_id is not None
        return RETURN_LEG if booked and link.failure_balance_transaction_id is None else None
    if refund.status != "succeeded":
        return OPEN
    if destination and "pending" in {destination.reference_status, destination.card_type}:
        return REFERENCE
    return None


def next_due_s(state: str | None, created: int, now_s: float) -> float | None:
    """The epoch second at which a refund that is read now is due again; None for never."""
    after = interval_s(state, now_s - created) if state else None
    return None if after is None else now_s + after


@dataclass(frozen=True, slots=True)
class Day:
    """A day of created time: how many refunds are stored of it, and when all were last listed.

    *outstanding* says that events expired unread that may have reported changes since then; *pending_rechecks* counts
    those of its refunds that are due by themselves.
    """

    start: int
    refunds: int
    checked_s: float | None
    outstanding: bool = False
    pending_rechecks: int = 0

    @property
    def span(self) -> Span:
        return Span(self.start, self.start + DAY_S)


def due_days(days: Iterable[Day], now_s: float, *, overdue: int = 1) -> list[Day]:
    """Days whose succeeded refunds are due: their listing lies *overdue* intervals back.

    A day is as old as its youngest refund can be, and counts as listed when it ended. Listing it is
    also the cheaper way to read refunds of it that are due by themselves, where they are many.
    """
    return [day for day in days if day.refunds and _is_due(day, now_s, overdue)]


def _is_due(day: Day, now_s: float, overdue: int) -> bool:
    ended = day.start + DAY_S
    after = interval_s(SUCCEEDED, now_s - ended)
    last = max(day.checked_s or ended, ended)
    if day.outstanding or (day.pending_rechecks and day.pending_rechecks >= pages_of(day.refunds)):
        return True
    return after is not None and now_s - last >= after * overdue


def spans_over(due: Sequence[Day], days: Iterable[Day], most: int) -> list[Span]:
    """The newest of the *due* days that *most* reads can list, at least one, in as few reads as possible.

    *days* are all that hold refunds, oldest first. Two due days are listed as one span, with the days
    between them, where that takes no more reads than the two alone.
    """
    wanted = {day.start for day in due}
    spans: list[Span] = []
    cost = refunds = between = 0
    for day in reversed(list(days)):
        if day.start not in wanted:
            between += day.refunds
            continue
        joined = pages_of(refunds + between + day.refunds)
        joins = bool(spans) and joined <= pages_of(refunds) + pages_of(day.refunds)
        after = joined - pages_of(refunds) if joins else pages_of(day.refunds)
        if spans and cost + after > most:
            break
        end = spans.pop().end if joins else day.span.end
        refunds = refunds + between + day.refunds if joins else day.refunds
        spans.append(Span(day.start, end))
        cost, between = cost + after, 0
    return sorted(spans)


def is_late(why: str, created: int | None, due_s: float, now_s: float) -> bool:
    """Whether an object that was due then is overdue by as long as it may be left alone."""
    after = interval_s(why, now_s - created) if why in STATES and created is not None else DAY_S
    return now_s - due_s >= (after or DAY_S)


def days_in_turn(days: Sequence[Day], pages: int) -> list[Span]:
    """As many of these days, in their order, as can be listed in *pages* pages; joined where they meet.

    The first in any case: a day that no budget bears would else keep all others waiting for ever.
    """
    taken: list[Span] = []
    refunds = 0
    for day in days:
        refunds += day.refunds
        spans = merged([*taken, day.span])
        if taken and max(pages_of(refunds), len(spans)) > pages:
            break
        taken = spans
    return taken


def pages_of(refunds: int) -> int:
    """Reads that listing these many refunds takes, at least one."""
    return -(-refunds // PAGE) or 1


REVISIT_AGAIN_S = 30 * DAY_S
"""An old day that was listed so lately is left alone, however much may be read."""

BACKOFF_S = (3_600, 6 * 3_600, DAY_S, 3 * DAY_S, 7 * DAY_S)


def backoff_s(attempts: int) -> int:
    """How long to leave alone what could not be read for the *attempts*-th time, from 1."""
    return BACKOFF_S[min(max(attempts, 1), len(BACKOFF_S)) - 1]
