"""What the jobs need of the world, as small protocols."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from service.domain.refund import Observation, Undecodable
    from service.domain.span import Span
    from service.domain.walk import Ask, Claim, Page


@dataclass(frozen=True, slots=True)
class Reading:
    """One page of refunds, hydrated where that was possible.

    *observed_at* is the instant, by the database's clock, at which the list was asked for;
    *requests* counts the reads it took, retries too.
    """

    page: Page
    observed_at: datetime
    observations: Sequence[Observation]
    undecodable: Sequence[Undecodable]
    requests: int = 1


class RefundSource(Protocol):
    """Stripe's refunds of one account. Reads are retried and limited inside."""

    async def read(self, ask: Ask) -> Reading:
        """One page of the list. Raises StripeAwayError past the deadline, AccessError, ProtocolError."""
        ...

    async def fetch(self, object_id: str) -> Sequence[Reading]:
        """The refund of that id, or those of that charge or payment intent, read now.

        Raises NotFoundError.
        """
        ...


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim on one stream, and when the read behind it began."""

    stream: str
    claim: Claim
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes: rows, and the claims that they prove."""

    readings: Sequence[Reading]
    proofs: Sequence[Proof]
    source: str


@dataclass(slots=True)
class Written:
    """What became of the rows of a batch; *late* were new in a second that was covered before."""

    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    stale: int = 0
    late: int = 0
    quarantined: int = 0

    def add(self, other: Written) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Progress:
    """How far a run has come; *settle_bound* is the earliest that any of its reads met."""

    requests: int = 0
    objects: int = 0
    settle_bound: int | None = None
    covered_s: int = 0
    written: Written = field(default_factory=Written)


class RefundStore(Protocol):
    """The warehouse of one account."""

    async def covered(self, stream: str) -> list[Span]: ...

    async def settle(self, bound: int) -> None:
        """Records how far history can be proven by now."""
        ...

    async def write(self, batch: Batch) -> Written:
        """All of it in one transaction, or none. Raises DatabaseAwayError where it may work later."""
        ...


class Clock(Protocol):
    def now(self) -> datetime:
        """The instant, in UTC."""
        ...


class RunLog(Protocol):
    """The record of runs, which outlives the process."""

    async def begin(self, job: str, account_id: str, wanted: Span | None) -> UUID: ...

    async def progress(self, run_id: UUID, at: Progress) -> None: ...

    async def end(self, run_id: UUID, outcome: str, error: str | None = None) -> None: ...
