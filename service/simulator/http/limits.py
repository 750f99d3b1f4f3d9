"""Stripe's limits: token buckets for each endpoint and for all, and their headers."""

from __future__ import annotations

from dataclasses import dataclass, field

ENDPOINT_RATE = 25.0
GLOBAL_RATES = {"test": 25.0, "live": 100.0}
BURST = 10.0
"""Tokens that a bucket holds: an even stream at the rate never meets a 429, a faster one soon does."""


@dataclass(slots=True)
class Bucket:
    rate: float
    tokens: float = BURST
    at: float = 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(BURST, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class Limits:
    """*mode* is test, live or none; *width* bounds the requests in flight, 0 for no bound."""

    mode: str = "none"
    width: int = 0
    buckets: dict[str, Bucket] = field(default_factory=dict)

    def refusal(self, endpoint: str, now: float, in_flight: int) -> str | None:
        """Why the request is refused, in the words of Stripe-Rate-Limited-Reason; None if it is not."""
        if self.width and in_flight > self.width:
            return "endpoint-concurrency"
        if self.mode == "none":
            return None
        if not self._bucket("", GLOBAL_RATES[self.mode]).take(now):
            return "global-rate"
        return None if self._bucket(endpoint, ENDPOINT_RATE).take(now) else "endpoint-rate"

    def _bucket(self, name: str, rate: float) -> Bucket:
        return self.buckets.setdefault(name, Bucket(rate))
