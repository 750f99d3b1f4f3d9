"""The record of runs, and the time that they go by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from service.domain.batch import Written

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(slots=True)
class Progress:
    """How far a run has come; *settle_bound* is the earliest that any of its reads met.

    *planned_s* are the seconds that it set out to read so far, less those that turned out to be too
    young to be proven; *covered_s* are those that it proved. *unread* counts the objects that Stripe did
    not give when they were asked for by id.
    """

    requests: int = 0
    objects: int = 0
    settle_bound: int | None = None
    planned_s: int = 0
    covered_s: int = 0
    unread: int = 0
    written: Written = field(default_factory=Written)


class Clock(Protocol):
    def now(self) -> datetime:
        """The instant, in UTC."""
        ...


class RunLog(Protocol):
    """The record of runs, which outlives the process."""

    async def progress(self, run_id: UUID, at: Progress) -> None: ...

    async def end(self, run_id: UUID, outcome: str, error: str | None = None) -> None: ...
