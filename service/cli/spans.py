"""From what a person types to a span of seconds."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from service.domain.coverage.span import DAY_S, instant
from service.domain.errors import UsageError

if TYPE_CHECKING:
    from service.domain.coverage.span import Span

_MONTH = re.compile(r"(\d{4})-(\d{2})")
_FORMS = "Give a date (2026-01-31), or an instant (2026-01-31T12:00 or 2026-01-31T12:00:00+02:00)."


def second_of(text: str, option: str) -> int:
    """A date means its first instant; what names no offset is UTC. Raises UsageError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{option} is not a date or an instant: {text!r}", hint=_FORMS) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())


def month_of(text: str) -> tuple[int, int]:
    """First second of a month, and first of the next. Raises UsageError."""
    found = _MONTH.fullmatch(text.strip())
    try:
        first = date(int(found[1]), int(found[2]), 1) if found else None
    except ValueError:
        first = None
    if first is None:
        raise UsageError(f"--month is not a month: {text!r}", hint="Write it as 2026-01.")
    start = int(datetime(first.year, first.month, 1, tzinfo=UTC).timestamp())
    return start, start + monthrange(first.year, first.month)[1] * DAY_S


def span_of(
    start: str | None, end: str | None, month: str | None, *, since: int, now: int
) -> tuple[int, int]:
    """``[start, end)`` from the options of a command. Raises UsageError where it is empty, to come, or before all time."""
    if month is not None and (start is not None or end is not None):
        raise UsageError("--month does not go with --from or --to", hint="Give one or the other.")
    if month is not None:
        first, last = month_of(month)
    else:
        first = since if start is None else second_of(start, "--from")
        last = now if end is None else second_of(end, "--to")
    if min(first, last) < 0:
        raise UsageError("the span reaches before 1970", hint="Stripe has nothing before 2011.")
    if first >= now:
        raise UsageError("the span lies in the future: there is nothing to read yet")
    if first >= last:
        raise UsageError("the span is empty: it ends where or before it starts")
    return first, last


def pair(span: Span) -> list[str]:
    """A span as JSON has it: its two instants, in ISO 8601."""
    return [instant(span.start).isoformat(), instant(span.end).isoformat()]
