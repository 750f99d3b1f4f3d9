"""How a span is walked: what to ask next, and what a page proves. Pure, so that any order can be tried.

Stripe lists newest first. A read without a cursor asks for ``[lower, upper)``; unless it is the last
page, the oldest second ``t`` on it may go on, so ``[t + 1, upper)`` is proven and ``t`` is read again,
whole. Only where one second fills a page does a cursor serve: then without a created filter, because
listings have been seen to skip the rest of a cursor's second inside one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from service.domain.coverage.span import Span, span_or_none
from service.domain.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAGE_SIZE = 100
REREADS = 3
"""How often a page that contradicts the one before it is read again."""


class Key(NamedTuple):
    """Where one listed object stands; *kept* is False where it could not be decoded."""

    created: int
    id: str
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a list, newest first, and the settle bound that held when it was asked for.

    Nothing is proven below *floor*: some lists forget what is old.
    """

    keys: Sequence[Key]
    has_more: bool
    settle_bound: int
    floor: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """One read: ``[lower, upper)`` (no upper: to the newest), or all that is older than *after*."""

    lower: int | None
    upper: int | None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """This span has been read whole; *rows* objects of it were kept, *digest* is of their ids.

    *listed* are the ids of all that was listed in it, *odd* those of them that were not kept.
    """

    span: Span
    rows: int
    digest: int
    listed: frozenset[str] = frozenset()
    odd: frozenset[str] = frozenset()


def digest_of(ids: Iterable[str]) -> int:
    """Order-free digest of a set of ids, a signed 64-bit integer; digests of disjoint sets add by XOR.

    The first eight bytes of SHA-256, so that SQL can compute the same.
    """
    result = 0
    for object_id in ids:
        head = sha256(object_id.encode()).digest()[:8]
        result ^= int.from_bytes(head, "big", signed=True)
    return result


def claim_of(span: Span, keys: Iterable[Key]) -> Claim:
    inside = [key for key in keys if span.holds(key.created)]
    ids = {key.id for key in inside if key.kept}
    listed = frozenset(key.id for key in inside)
    return Claim(span, len(ids), digest_of(ids), listed, listed - ids)


@dataclass(slots=True)
class _Drain:
    """A second that fills a page, being read to its end by cursor.

    The settle bound is that of its first page: an object that shows up late may lie before the cursor.
    """

    second: int
    cursor: str
    settle_bound: int
    floor: int
    keys: list[Key] = field(default_factory=list)

    def take(self, keys: Iterable[Key]) -> None:
        self.keys += [key for key in keys if key.created == self.second]

    def claim(self) -> Claim:
        return claim_of(Span(self.second, self.second + 1), self.keys)


class Walk:
    """Reads one slice from its newest second down; its older part can be cut off at any time.

    *pace* is the seconds that fill a page, as a newer slice found them.

    Alternate ``ask`` and ``feed``. ``feed`` returns the claim that the page proves with its own rows,
    or None. While ``draining``, commit the rows of each page before feeding the next: the claim of
    that second stands on all of them.
    """

    def __init__(self, lower: int, upper: int | None, *, pace: float | None = None) -> None:
        self._lower = lower
        self._upper = upper
        self._pace = pace
        self._last: float | None = None
        self._anchor: Key | None = None
        self._drain: _Drain | None = None
        self._rereads = 0
        self.done = upper is not None and lower >= upper

    @property
    def draining(self) -> bool:
        return self._drain is not None

    def ask(self) -> Ask:
        if self._drain:
            return Ask(None, None, after=self._drain.cursor)
        return Ask(self._lower, self._upper)

    def feed(self, ask: Ask, page: Page) -> Claim | None:
        """The claim that *page*, the answer to *ask*, proves. Raises ProtocolError where it cannot stand."""
        _check_order(ask, page)
        if self._drain:
            return self._feed_drain(self._drain, page)
        if self._anchor and all(key.id != self._anchor.id for key in page.keys):
            self._read_again(self._anchor)
            return None
        self._rereads = 0
        if not page.has_more:
            return self._finish(page)
        self._learn(page)
        oldest = page.keys[-1].created
        if self._upper is not None and oldest + 1 >= self._upper:
            self._drain = _Drain(oldest, page.keys[-1].id, page.settle_bound, page.floor)
            self._drain.take(page.keys)
            return None
        return self._advance(page, oldest)

    def pages_left(self) -> float:
        """Estimated reads left beyond the one in flight; zero while nothing is known."""
        rest = self._rest()
        if rest is None or self._pace is None or rest <= self._lower:
            return 0.0
        return (rest - self._lower) / self._pace + bool(self._drain)

    @property
    def is_read(self) -> bool:
        """Whether a page of its own says how dense the rest is; before that, the pages of a newer slice do."""
        return self._last is not None

    def split(self) -> Walk | None:
        """Cuts off the older part of what is left beyond the read in flight, as a walk of its own.

        Half of the pages stay here, at the pace of the last one where it was denser than most: what is
        dense goes on for a while. Beside a second that is being drained nothing stays. A page in flight for
        the wider span stays valid: what it proves is clipped to what is left here.
        """
        rest = self._rest()
        if rest is None or self._upper is None or self._pace is None:
            return None
        pace = min(self._pace, self._last or self._pace)
        cut = rest if self._drain else rest - int(self.pages_left() / 2 * pace)
        if not self._lower < cut < self._upper:
            return None
        older = Walk(self._lower, cut, pace=self._pace)
        self._lower, self._pace = cut, pace
        if self._anchor and self._anchor.created < cut:
            self._anchor = None
        return older

    def hear(self, lower: int, upper: int, pace: float) -> None:
        """All of ``[lower, upper)`` was seen, in pages of that many seconds: no guess stands against it."""
        if self._upper is not None and lower <= self._lower and self._upper <= upper:
            self._pace = self._last = pace

    def _rest(self) -> int | None:
        """The second below which no read is in flight, as far as is known."""
        if self.done or self._upper is None or self._pace is None:
            return None
        return self._drain.second if self._drain else self._upper - int(self._last or self._pace)

    def _learn(self, page: Page) -> None:
        """How many seconds fill a page: the last, and a mean in which each counts twice the one before.

        The mean, as one hot second says little about a year.
        """
        self._last = max(1.0, page.keys[0].created - page.keys[-1].created)
        self._pace = self._last if self._pace is None else (self._pace + self._last) / 2

    def _advance(self, page: Page, oldest: int) -> Claim | None:
        claim = self._claim(oldest + 1, page)
        self._anchor = page.keys[-1]
        self._upper = oldest + 1
        self.done = self._upper <= self._lower
        return claim

    def _finish(self, page: Page) -> Claim | None:
        self.done = True
        return self._claim(self._lower, page)

    def _claim(self, start: int, page: Page) -> Claim | None:
        end = page.settle_bound if self._upper is None else min(self._upper, page.settle_bound)
        span = span_or_none(max(start, self._lower, page.floor), end)
        return claim_of(span, page.keys) if span else None

    def _feed_drain(self, drain: _Drain, page: Page) -> Claim | None:
        if page.keys and page.keys[0].created > drain.second:
            raise ProtocolError(f"a page holds an object newer than its cursor: {page.keys[0].id}")
        drain.take(page.keys)
        older = next((key for key in page.keys if key.created < drain.second), None)
        if older is None and page.has_more:
            drain.cursor = page.keys[-1].id
            return None
        self._drain = None
        self._upper = drain.second
        self.done = self._upper <= self._lower
        self._anchor = older if older and older.created >= self._lower else None
        settled = max(self._lower, drain.floor) <= drain.second < drain.settle_bound
        return drain.claim() if settled else None

    def _read_again(self, anchor: Key) -> None:
        self._rereads += 1
        if self._rereads > REREADS:
            raise ProtocolError(
                f"a list no longer holds {anchor.id}, where its last page ended",
                hint="Nothing false was recorded. Run the same command again.",
            )


def _check_order(ask: Ask, page: Page) -> None:
    keys = page.keys
    if page.has_more and not keys:
        raise ProtocolError("an empty page says that there is more")
    if any(older.created > newer.created for newer, older in pairwise(keys)):
        raise ProtocolError("a page is not in order of created, newest first")
    low, high = ask.lower, ask.upper
    if keys and low is not None and keys[-1].created < low:
        raise ProtocolError(f"a page reaches below its filter: {keys[-1].id}")
    if keys and high is not None and keys[0].created >= high:
        raise ProtocolError(f"a page reaches above its filter: {keys[0].id}")
    if ask.after is not None and any(key.id == ask.after for key in keys):
        raise ProtocolError(f"a page holds its own cursor: {ask.after}")
