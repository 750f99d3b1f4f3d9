"""What was read, what one transaction writes of it, and what became of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.domain.coverage.span import Span
    from service.domain.coverage.walk import Claim, Page
    from service.domain.refund import Hint, Observation, Undecodable


FETCH = "fetch"
"""The source of a batch that somebody asked for by name."""


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

    *hinted* counts the hints that were new, *returned* the refunds that were marked gone or hidden.
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
    def has_updates(self) -> bool:
        """True if anything was found that was not stored just so before."""
        return any(getattr(self, name) for name in self.__slots__ if name != "unchanged")

    def add(self, other: Written) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


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
