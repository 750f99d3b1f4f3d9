"""What the jobs need of the world, as small protocols."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from service.domain.pace import ASKED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from service.domain.reads import Density, Due
    from service.domain.recheck import Day
    from service.domain.refund import Hint, Observation, Undecodable
    from service.domain.span import Span
    from service.domain.walk import Ask, Claim, Key, Page

FETCH = "fetch"
"""The source of a batch that somebody asked for by name."""

READS_FOR: ContextVar[str] = ContextVar("reads_for", default=ASKED)
"""The class that this task's reads are counted in (``domain.pace``); tasks that it starts inherit it."""


@contextmanager
def reads_for(kind: str) -> Iterator[None]:
    """Counts the reads of the body, and of the tasks that it starts, in that class."""
    token = READS_FOR.set(kind)
    try:
        yield
    finally:
        READS_FOR.reset(token)


@dataclass(frozen=True, slots=True)
class Reading:
    """One page of a list: refunds, hydrated where that was possible, or the hints that events give.

    *observed_at* is the instant, by the database's clock, at which the list was asked for;
    *requests* counts the reads it took, retries too.
    """

    page: Page
    observed_at: datetime
    observations: Sequence[Observation] = ()
    undecodable: Sequence[Undecodable] = ()
    requests: int = 1
    hints: Sequence[Hint] = ()
    same: int = 0
    """So many more refunds are on the page, just as they were received when they were stored."""


class Memory(Protocol):
    """What the warehouse remembers of how refunds were received."""

    async def same(
        self, received: Sequence[bytes], earliest: int, latest: int, asked_at: datetime
    ) -> Mapping[bytes, Key]:
        """By these digests, refunds that were stored from the same bytes and that a read tells nothing of.

        All were created in ``[earliest, latest]``. One that was first listed after *asked_at*, by another
        command, is none of them: that it was listed before is news.
        """
        ...


class ListSource(Protocol):
    """A list of one account, newest first. Reads are retried and limited inside."""

    async def read(self, ask: Ask) -> Reading:
        """One page of the list. Raises StripeAwayError past the deadline, AccessError, ProtocolError."""
        ...

    def free_in_s(self) -> float:
        """At least so long a read that is asked for now waits for the limits; ``inf``: until another ends."""
        ...


class RefundSource(ListSource, Protocol):
    """Stripe's refunds of one account."""

    async def fetch(self, object_id: str, *, tries: int | None = None) -> Sequence[Reading]:
        """The refund of that id, or those of that charge or payment intent, read now.

        *tries* bounds the attempts of each request. Raises NotFoundError, RefusedError, StripeAwayError.
        """
        ...


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim on one stream, and when the read behind it began."""

    stream: str
    claim: Claim
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Check:
    """This span was listed whole, by reads that all began later than *observed_at*."""

    stream: str
    span: Span
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes: rows and hints, the claims that they prove, the spans they complete."""

    readings: Sequence[Reading]
    proofs: Sequence[Proof]
    source: str
    checks: Sequence[Check] = ()


@dataclass(slots=True)
class Written:
    """What became of the rows of a batch; *late* were new in a second that was covered before.

    *hinted* counts the hints that told something new, *returned* the refunds that were marked gone or hidden.
    """

    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    stale: int = 0
    late: int = 0
    quarantined: int = 0
    hinted: int = 0
    returned: int = 0

    @property
    def is_news(self) -> bool:
        """True if anything was found that was not stored just so before."""
        return any(getattr(self, name) for name in self.__slots__ if name != "unchanged")

    def add(self, other: Written) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


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


class RefundStore(Protocol):
    """The warehouse of one account."""

    async def covered(self, stream: str) -> list[Span]: ...

    async def settle(self, bound: int) -> None:
        """Records how far history can be proven by now."""
        ...

    async def write(self, batch: Batch) -> Written:
        """All of it in one transaction, or none. Raises DatabaseAwayError where it may work later."""
        ...


@dataclass(slots=True)
class Compared:
    """How what is stored differs from what was read.

    *missing* are not stored here, *holes* those of them in covered seconds; *differing* are stored
    otherwise, *altered* those of them that are not even what we once wrote, *outdated* those that an older
    form of ours decoded; *unlisted* are stored here
    and were not returned, each with its created second; *returned* were marked gone or hidden here, and are
    listed. *undecodable* could not be compared. *revoked* is what is not covered any more; *contradicted* are
    those claims of it that the stored rows themselves contradict.
    """

    missing: list[str] = field(default_factory=list)
    holes: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    unlisted: list[tuple[str, int]] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    undecodable: list[str] = field(default_factory=list)
    revoked: list[Span] = field(default_factory=list)
    contradicted: list[Span] = field(default_factory=list)
    equal: int = 0
    seconds: dict[str, int] = field(default_factory=dict)
    """When those of *differing* were created."""
    fields: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    """What differs in some of *differing*, as ``{id: {field: [here, at Stripe]}}``."""


class ComparingStore(Protocol):
    """The warehouse as verify needs it."""

    async def compare(self, batch: Batch) -> Compared:
        """Writes no refund; takes back, in the same transaction, claims that the batch refutes."""
        ...

    async def told_of(self, ids: Sequence[str], since: datetime) -> Sequence[str]:
        """Those of which a hint tells, or that were read anew since."""
        ...

    async def miss(self, ids: Sequence[str], observed_at: datetime, now: datetime) -> None:
        """A listing that began then did not return these: each is due by itself."""
        ...


class DueStore(Protocol):
    """What is to be read again, and when."""

    async def due(self, now: datetime, limit: int) -> Sequence[Due]:
        """Objects that are due, those with a hint first; none whose day was listed since it was needed."""
        ...

    async def density(self, days: Sequence[int]) -> Density:
        """How many refunds are stored of each hour of these days, and between them; all by first seconds."""
        ...

    async def read(self, due: Sequence[Due], observed_at: datetime, now: datetime) -> None:
        """These were read, by reads that began then: what has no newer hint is put off, or done with."""
        ...

    async def unread(self, due: Due, observed_at: datetime, now: datetime) -> None:
        """Stripe did not give it: it is put off, and what was heard of it is remembered."""
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


class GapStore(Protocol):
    """Times whose events expired at Stripe before they were read."""

    async def known(self) -> Sequence[Span]: ...

    async def add(self, span: Span, read_from: int, now: datetime) -> None:
        """From now on, refunds created from *read_from* to the end of *span* are owed a read."""
        ...

    async def owed_from(self) -> int | None:
        """The earliest second from which refunds are still owed a read."""
        ...

    async def close(self, now: datetime) -> Sequence[Span]:
        """Closes, and returns, the gaps that nothing is owed for any more."""
        ...


class Clock(Protocol):
    def now(self) -> datetime:
        """The instant, in UTC."""
        ...


class RunLog(Protocol):
    """The record of runs, which outlives the process."""

    async def progress(self, run_id: UUID, at: Progress) -> None: ...

    async def end(self, run_id: UUID, outcome: str, error: str | None = None) -> None: ...
