"""Whether to ask Stripe again, and when: a pure decision, so that every history can be tried."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Failure = Literal[
    "timeout", "name", "connection", "proxy", "refused by the proxy", "broken", "foreign", "tls"
]
"""No answer in time; no address by that name; no connection, or none to the proxy; one that the proxy does not
give; a good status without a good body; a refusal that is not in Stripe's form, so not Stripe's; a certificate
not to be trusted."""

LASTING = {"tls", "refused by the proxy"}
"""What stays so until somebody changes something."""

LONGEST_WAIT_S = 60.0
LEAST_WAIT_S = 0.5
REFILL_S = 1.0
"""Stripe's rates are per second: a 429 that asks for no longer wait holds others back no longer."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask again after so long, having lowered what the answer blames.

    *pause_s* is how long everybody who is subject to the same rate should hold back.
    """

    after_s: float
    lower: Literal["rate", "concurrency"] | None = None
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Stop:
    """Asking again would not help."""


def decide(
    attempt: int,
    *,
    chance: float,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    failure: Failure | None = None,
) -> Retry | Stop:
    """What to do after the *attempt*-th attempt (from 1), which ended in *status* or in *failure*.

    *chance* in [0, 1) is the jitter. A 429 is always retried, in a loop of its own from one second to
    a minute; else Stripe's own word counts, and where there is none, conflicts and server errors.
    """
    headers = headers or {}
    if failure is not None:
        return Stop() if failure in LASTING else Retry(_backoff(attempt, chance))
    if status == 429:
        after_s = _limited_wait(attempt, chance)
        asked_s = _asked_wait(headers)
        return Retry(max(after_s, asked_s), _blamed(headers), max(min(after_s, REFILL_S), asked_s))
    word = headers.get("Stripe-Should-Retry", "").lower()
    wanted = status is not None and (status == 409 or status >= 500)
    if word == "true" or (wanted and word != "false"):
        return Retry(max(_backoff(attempt, chance), _asked_wait(headers)))
    return Stop()


def _backoff(attempt: int, chance: float) -> float:
    return max(LEAST_WAIT_S, min(0.5 * 2.0 ** min(attempt - 1, 10), 5.0) * (0.5 + chance / 2))


def _limited_wait(attempt: int, chance: float) -> float:
    return min(2.0 ** min(attempt - 1, 10), LONGEST_WAIT_S) * (0.5 + chance / 2)


def _asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds of ``Retry-After``, capped; 0 where there is none, or a date, or no number."""
    try:
        asked_s = float(headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return 0.0 if isnan(asked_s) else max(0.0, min(asked_s, LONGEST_WAIT_S))


def _blamed(headers: Mapping[str, str]) -> Literal["rate", "concurrency"] | None:
    """What a 429 blames; without a reason it is not the limiter's (a lock on the object, say)."""
    reason = headers.get("Stripe-Rate-Limited-Reason", "")
    if reason.endswith("-rate"):
        return "rate"
    return "concurrency" if reason.endswith("-concurrency") else None
