"""What was asked of the simulator, and how it was answered."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Stats:
    """Deliveries are the posts of webhooks, by the status that they met."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    rate_limited: Counter[str] = field(default_factory=Counter)
    reads_by_id: Counter[str] = field(default_factory=Counter)
    served_objects: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    first_request_at: float | None = None
    last_request_at: float | None = None
    deliveries: int = 0
    delivery_statuses: Counter[str] = field(default_factory=Counter)

    def begin(self, endpoint: str) -> None:
        now = time.monotonic()
        self.first_request_at = now if self.first_request_at is None else self.first_request_at
        self.last_request_at = now
        self.requests[endpoint] += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def delivered(self, status: int | None) -> None:
        self.deliveries += 1
        self.delivery_statuses["unreachable" if status is None else str(status)] += 1
