"""What came of asking Stripe: answers, attempts, and what is counted of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import floor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from service.adapters.stripe.http.retry import Failure

T = TypeVar("T")

REASON = "Stripe-Rate-Limited-Reason"
REASONS = (
    "global-rate", "global-concurrency", "endpoint-rate", "endpoint-concurrency",
    "resource-specific", "none",
)  # fmt: skip
"""What it may say; none where it is missing."""
OTHER_REASON = "other"
EARLIEST_S, LATEST_S = 946_684_800.0, 4_102_444_800.0
"""The years 2000 to 2099: a Date outside of them is no clock's, and calendars may not reach it."""


@dataclass(frozen=True, slots=True)
class Away:
    """Stripe has given no answer of its own since this instant (monotonic); *words* are of the last try."""

    since: float
    words: str


@dataclass(slots=True)
class Counters:
    """What was asked of Stripe since the start, every attempt counted."""

    requests: Counter[str] = field(default_factory=Counter)
    reads: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By class and endpoint."""
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    limited: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    """Values masked in what was written, by the member of the refund that held them."""
    waited_s: float = 0.0
    away: Away | None = None
    """None from Stripe's next answer on, a refusal among them."""

    def failed(self, at: float, words: str) -> None:
        """An attempt that began then has to be repeated."""
        self.away = Away(self.away.since if self.away else at, words)

    @property
    def requests_total(self) -> int:
        return self.requests.total()


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A good answer. *observed_at* is when its attempt began, after the wait for a permit."""

    value: T
    body: bytes
    headers: Mapping[str, str]
    observed_at: datetime
    date: float
    took_s: float
    attempts: int

    def settle_bound(self, lag_s: int) -> int:
        """The second up to which a list that gave this answer can be believed.

        Stripe's clock when it was asked, less the lag, and never later than ours less the lag.
        """
        return floor(min(self.date - self.took_s, self.observed_at.timestamp()) - lag_s)


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended: in a status with a body, or in a failure with a few words."""

    observed_at: datetime
    began: float
    took_s: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: Failure | None = None
    words: str = ""

    @property
    def is_good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def overburdened(self) -> bool:
        """Whether a smaller request, or fewer at once, might have succeeded."""
        reason = self.headers.get(REASON, "")
        return (
            self.failure == "timeout"
            or (self.status or 0) >= 500
            or (self.status == 429 and reason.endswith("-concurrency"))
        )


def date_of(headers: Mapping[str, str]) -> float | None:
    """Stripe's clock; None where there is no readable Date."""
    return _instant(headers.get("Date", ""))


def reason_of(headers: Mapping[str, str]) -> str:
    """What a 429 blames, one of a few words."""
    reason = headers.get(REASON, "none")
    return reason if reason in REASONS else OTHER_REASON


@lru_cache(maxsize=16)
def _instant(text: str) -> float | None:
    """Of what an HTTP date says; many answers bear the same."""
    try:
        date = parsedate_to_datetime(text)
        second = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, ArithmeticError, LookupError, TypeError):
        return None
    return second if EARLIEST_S <= second < LATEST_S else None
