"""The unread slices of a job: which is read next, and which is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain.coverage.walk import PAGE_SIZE, Walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.coverage.span import Span
    from service.domain.coverage.walk import Ask, Claim, Page


class Frontier:
    """The unread slices of a job, newest first, shared out among readers."""

    LEAST = 1.0
    """With fewer pages left beyond the one in flight, a slice is read in one more: none is won by a cut."""
    LEAST_UNREAD = 2.0
    """The same while no page of it was read: what is left is a guess then."""

    def __init__(self, wanted: Sequence[Span], *, open_top: bool = False) -> None:
        newest_first = sorted(wanted, reverse=True)
        self._waiting = [Walk(span.start, span.end) for span in newest_first]
        if open_top and newest_first:
            self._waiting[0] = Walk(newest_first[0].start, None)
        self._active: list[Walk] = []

    @property
    def done(self) -> bool:
        return not self._waiting and not self._active

    def take(self) -> Walk | None:
        """The newest slice that nobody reads."""
        return self._begun(self._waiting.pop(0) if self._waiting else None)

    def cut(self) -> Walk | None:
        """The older part of the largest slice; None while none is worth it."""
        largest = max(self._active, key=self._worth, default=None)
        return self._begun(largest.split() if largest and self._worth(largest) > 0 else None)

    def feed(self, walk: Walk, ask: Ask, page: Page) -> Claim | None:
        """As ``Walk.feed``. A page that ends its span also says something about the parts that were cut off during the read."""
        claim = walk.feed(ask, page)
        if not page.has_more and ask.lower is not None and ask.upper is not None:
            pace = (ask.upper - ask.lower) * PAGE_SIZE / max(1, len(page.keys))
            for other in self._active:
                other.hear(ask.lower, ask.upper, pace)
        return claim

    def leave(self, walk: Walk) -> None:
        self._active.remove(walk)

    def _begun(self, walk: Walk | None) -> Walk | None:
        if walk:
            self._active.append(walk)
        return walk

    def _worth(self, walk: Walk) -> float:
        left = walk.pages_left()
        return left if left >= (self.LEAST if walk.is_read else self.LEAST_UNREAD) else 0.0
