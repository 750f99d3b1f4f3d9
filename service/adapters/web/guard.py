"""What a port may take: bounds on the memory and number of what unverified senders hold, counted."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

log = structlog.get_logger(__name__)

MOST_CONNECTIONS = 1_000
QUIET_S = 60.0
"""A reason is logged once, and again only after so long without it: anybody can cause refusals."""

SLOW = "slow"
TOO_LARGE = "too large"
MEMORY = "memory"
CONNECTIONS = "connections"
MALFORMED = "malformed"
REASONS = (SLOW, TOO_LARGE, MEMORY, CONNECTIONS, MALFORMED)


def most_connections() -> int:
    """A quarter of the descriptors stays free for the database, Stripe and files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, soft * 3 // 4)


@dataclass(frozen=True, slots=True)
class Limits:
    """*request_s* is for header and body together, and again for the sender to take the answer.

    *held* bounds, over all connections, the bytes of requests that are neither complete nor refused.
    """

    request_s: float = 10.0
    body: int = 512 << 10
    held: int = 16 << 20
    connections: int = field(default_factory=most_connections)


class State(IntEnum):
    """Where a connection stands. At the limit of connections the lowest state is closed first."""

    HEADER = 0
    ANSWERED = 1
    BODY = 2
    HANDLED = 3
    """The request is complete, or its body unwanted: what else is sent is dropped. Never closed early."""

    @property
    def receives(self) -> bool:
        return self in {State.HEADER, State.BODY}


class Held(Protocol):
    """A connection, as the guard sees it. *since* is when its state began."""

    held: int
    state: State
    since: float

    def refuse(self, reason: str) -> None:
        """Answers with the status for *reason*, and lets go of what it holds."""
        ...

    def abort(self) -> None:
        """Closes it at once, without an answer."""
        ...


class Guard:
    """Keeps the connections of one port within *limits*; counts all that it refuses, logs when that begins."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0
        self.refused: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self._connections: dict[Held, None] = {}
        self._seen_at: dict[str, float] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Held) -> None:
        self._connections[connection] = None

    def remove(self, connection: Held) -> None:
        self.release(connection)
        self._connections.pop(connection, None)
        self._changed.set()

    def hold(self, connection: Held, size: int) -> None:
        """Counts *size* more bytes. Beyond the limit the largest holder is refused: small ones get in."""
        connection.held += size
        self.held += size
        while self.held > self.limits.held:
            receiving = [c for c in self._connections if c.state.receives]
            max(receiving, key=attrgetter("held")).refuse(MEMORY)

    def release(self, connection: Held) -> None:
        self.held -= connection.held
        connection.held = 0

    def change(self, connection: Held, state: State) -> None:
        connection.state = state
        connection.since = asyncio.get_running_loop().time()
        self._changed.set()

    async def room(self) -> None:
        """Returns when one more connection may come; closes another for it where it can."""
        while len(self) >= self.limits.connections:
            idle = [c for c in self._connections if c.state is not State.HANDLED]
            if idle:
                self._close(min(idle, key=attrgetter("state", "since")))
            else:
                self._changed.clear()
                await self._changed.wait()

    def _close(self, connection: Held) -> None:
        if connection.state.receives:
            self.count(CONNECTIONS)
        connection.abort()

    def close_idle(self) -> None:
        """Closes those that have sent no header yet, and those that are answered."""
        for connection in list(self._connections):
            if connection.state in {State.HEADER, State.ANSWERED}:
                connection.abort()

    def count(self, reason: str) -> None:
        self.refused[reason] += 1
        self.warn("http.refused", reason, total=self.refused[reason])

    def warn(self, event: str, reason: str, **keys: object) -> None:
        """Logs *event* where nothing of the same *reason* was seen for a while."""
        now = asyncio.get_running_loop().time()
        quiet_s = now - self._seen_at.get(reason, float("-inf"))
        self._seen_at[reason] = now
        if quiet_s >= QUIET_S:
            log.warning(event, reason=reason, connections=len(self), held=self.held, **keys)

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        refused = CounterMetricFamily(
            "refund_sync_http_refused", "Requests and connections refused.", labels=["reason"]
        )
        for reason, count in self.refused.items():
            refused.add_metric([reason], count)
        yield refused
        yield GaugeMetricFamily(
            "refund_sync_http_connections", "Connections to the port.", value=len(self)
        )
        yield GaugeMetricFamily(
            "refund_sync_http_held_bytes", "Bytes of requests not complete yet.", value=self.held
        )
