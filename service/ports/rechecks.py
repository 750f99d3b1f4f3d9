"""What is to be read again, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.domain.reads import Density, Due
    from service.domain.recheck import Day


class DueStore(Protocol):
    """What is to be read again, and when."""

    async def due(self, now: datetime, limit: int) -> Sequence[Due]:
        """Objects that are due, those with a hint first; none whose day was listed since it was needed."""
        ...

    async def density(self, days: Sequence[int]) -> Density:
        """How many refunds are stored of each hour of these days, and between them; all by first seconds."""
        ...

    async def read(self, due: Sequence[Due], observed_at: datetime, now: datetime) -> None:
        """These were read, by reads that began then: what has no newer hint is rescheduled, or settled."""
        ...

    async def unread(self, due: Due, observed_at: datetime, now: datetime) -> None:
        """Stripe did not return it: it is rescheduled, and its hint is kept."""
        ...

    async def not_found(self, due: Due, observed_at: datetime, now: datetime) -> bool:
        """Stripe does not know it. Returns whether it counts as gone now.

        That takes two such answers an hour apart, and a listing of its second without it.
        """
        ...


class DayStore(Protocol):
    """Days of created time, as they are to be listed again."""

    async def days(self, start: int, end: int, now: datetime) -> Sequence[Day]:
        """The days of that span that hold refunds, oldest first; none at all where none is due."""
        ...

    async def days_in_turn(
        self, start: int, end: int, since: datetime, now: datetime, most: int
    ) -> Sequence[Day]:
        """Covered days of that span that were not listed *since*, those listed longest ago first."""
        ...
