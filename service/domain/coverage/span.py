"""Spans of Stripe's created time, and the algebra of what has been read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOUR_S = 3_600
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open interval of epoch seconds, ``[start, end)``: neighbours meet and never overlap."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"empty span: {self.start} >= {self.end}")

    def __str__(self) -> str:
        return f"[{instant(self.start).isoformat()}, {instant(self.end).isoformat()})"

    @property
    def seconds(self) -> int:
        return self.end - self.start

    def holds(self, second: int) -> bool:
        return self.start <= second < self.end


def instant(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def span_or_none(start: int, end: int) -> Span | None:
    return Span(start, end) if start < end else None


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same seconds as few, disjoint, ascending spans."""
    result: list[Span] = []
    for span in sorted(spans):
        if result and span.start <= result[-1].end:
            result[-1] = Span(result[-1].start, max(result[-1].end, span.end))
        else:
            result.append(span)
    return result


def clipped(spans: Iterable[Span], to: Span) -> list[Span]:
    """The parts of *spans* inside *to*, merged."""
    parts = (span_or_none(max(s.start, to.start), min(s.end, to.end)) for s in spans)
    return merged(part for part in parts if part)


def gaps(wanted: Span, covered: Iterable[Span]) -> list[Span]:
    """What is wanted and not covered, ascending."""
    return list(_between(wanted, clipped(covered, wanted)))


def _between(wanted: Span, covered: list[Span]) -> Iterator[Span]:
    start = wanted.start
    for span in covered:
        if start < span.start:
            yield Span(start, span.start)
        start = span.end
    if start < wanted.end:
        yield Span(start, wanted.end)


def total_seconds(spans: Iterable[Span]) -> int:
    return sum(span.seconds for span in spans)
