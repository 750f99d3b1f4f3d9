"""In how few reads can be read what is due: by id, or by listing an hour, a day, or several days. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.domain.coverage.span import DAY_S, HOUR_S, Span, merged
from service.domain.recheck import ALWAYS_ALONE, PAGE, UNKNOWN, pages_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FAR = 2 * PAGE
"""With this many refunds between two days, listing both as one span saves no read."""


@dataclass(frozen=True, slots=True)
class Due:
    """One object to read again: *created* is None where no refund of that id is stored."""

    kind: str
    id: str
    why: str
    created: int | None = None
    attempts: int = 0
    hidden: bool = False
    """No list returns it."""


@dataclass(frozen=True, slots=True)
class Density:
    """How many refunds are stored around what is due.

    *by_hour* counts whole days by the first seconds of their hours; *between* counts, by the first second of
    a day like that, those after it and before the next one, up to ``FAR``.
    """

    by_hour: Mapping[int, int]
    between: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Reads:
    """What to read: spans to list, and objects to read by id."""

    spans: list[Span] = field(default_factory=list)
    alone: list[Due] = field(default_factory=list)
    covered: list[Due] = field(default_factory=list)
    """Objects that the spans hold."""
    cost: int = 0

    def add(self, other: Reads) -> None:
        self.spans += other.spans
        self.alone += other.alone
        self.covered += other.covered
        self.cost += other.cost


def reads_for(due: Sequence[Due], density: Density, most: int) -> Reads:
    """The fewest reads: what is due is listed where that costs less than reading it by id.

    About *most* reads are planned at the most, for what comes first in *due*; what is left out stays due.
    """
    reads, seconds = Reads(), list[Due]()
    placed: dict[int, dict[int, list[Due]]] = {}
    for one in due:
        if one.created is None or one.kind != "refund" or one.hidden or one.why in ALWAYS_ALONE:
            reads.alone.append(one)
        elif one.why == UNKNOWN:
            seconds.append(one)
        else:
            hours = placed.setdefault(one.created // DAY_S * DAY_S, {})
            hours.setdefault(one.created // HOUR_S * HOUR_S, []).append(one)
    reads.cost = len(reads.alone)
    reads.add(_seconds(seconds))
    days: dict[int, Reads] = {}
    cost = reads.cost
    for day, hours in placed.items():
        if cost >= most:
            break
        days[day] = _of_day(day, hours, density.by_hour)
        cost += days[day].cost
    for group in _groups(days, density, placed):
        reads.add(group)
    reads.spans = merged(reads.spans)
    reads.alone = reads.alone[:most]
    return reads


def _seconds(due: Sequence[Due]) -> Reads:
    spans = [Span(one.created, one.created + 1) for one in due if one.created is not None]
    return Reads(spans, [], list(due), len(due))


def _of_day(day: int, due: dict[int, list[Due]], by_hour: Mapping[int, int]) -> Reads:
    """The cheapest for one day: all of it, those of its hours that hold several, the others by id."""
    hourly = {hour: min(pages_of(by_hour.get(hour, 0)), len(some)) for hour, some in due.items()}
    whole = pages_of(_of_whole_day(day, by_hour))
    together = [one for some in due.values() for one in some]
    if whole < len(together) and whole <= sum(hourly.values()):
        return Reads([Span(day, day + DAY_S)], [], together, whole)
    reads = Reads()
    for hour, some in due.items():
        if hourly[hour] < len(some):
            reads.add(Reads([Span(hour, hour + HOUR_S)], [], some, hourly[hour]))
        else:
            reads.add(Reads([], some, [], len(some)))
    return reads


def _of_whole_day(day: int, by_hour: Mapping[int, int]) -> int:
    return sum(by_hour.get(hour, 0) for hour in range(day, day + DAY_S, HOUR_S))


def _groups(days: Mapping[int, Reads], density: Density, asked: Iterable[int]) -> Iterable[Reads]:
    """Neighbouring days are listed as one span where that takes fewer reads than each for itself."""
    before = _stored_before(density, sorted(asked))
    first, group = 0, Reads()
    for day in sorted(days):
        end = before[day] + _of_whole_day(day, density.by_hour)
        joined = pages_of(end - before[first]) if group.cost else 0
        if group.cost and joined < group.cost + days[day].cost:
            due = [*group.alone, *group.covered, *days[day].alone, *days[day].covered]
            group = Reads([Span(first, day + DAY_S)], [], due, joined)
        else:
            yield group
            first, group = day, days[day]
    yield group


def _stored_before(density: Density, days: Sequence[int]) -> Counter[int]:
    """Refunds stored before each of these days, counted from the first of them."""
    before: Counter[int] = Counter()
    count = 0
    for day in days:
        before[day] = count
        count += _of_whole_day(day, density.by_hour) + density.between.get(day, FAR)
    return before
