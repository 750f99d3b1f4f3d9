"""How fast and how many at once: an even rate per endpoint and over all, both learning from 429s.

The states are pure, with *now* as a parameter; ``Gate`` alone sleeps.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LOWERED_TO = 0.7
LEAST_SHARE = 0.1
"""The rate never falls below this share of what was configured."""
RECOVERY_S = 60.0
"""So long takes a recovery from nothing to the configured rate; from 0.7 of it, a third of that."""
CALM_S = 1.0
"""429s that come this close together blame one and the same burst: they lower once."""
WIDEN_S = 10.0
"""So long after it was narrowed, concurrency grows by one again."""
MAX_LATE_S = 0.1
"""A grant made at most so late counts from its slot; what was missed for longer is lost, not caught up."""


class State(Protocol):
    """What a gate asks of the limit behind it."""

    spacing_s: float
    """So much later than the one before passes the next who waits."""

    def ready_at(self, now: float) -> float:
        """The instant from which one may pass; ``inf`` while that waits for somebody to leave."""
        ...

    def take(self, now: float, arrived: float) -> None: ...

    def give_back(self) -> None:
        """Undoes the last ``take``, which was not used."""
        ...


class Pace:
    """GCRA with a burst of one: slots at least ``1 / rate`` apart, whenever they are used.

    The first free slot is all its state besides the rate. A waiter is given a slot that does
    not move by waking late.
    """

    def __init__(self, rate: float) -> None:
        self.configure(rate)
        self._lowered_at = -inf
        self.spacing_s = 1 / rate
        self._next_at = -inf
        self._paused_until = -inf

    def configure(self, rate: float) -> None:
        self.configured = rate
        self._rate = rate

    def rate(self, now: float) -> float:
        """What was configured, less what 429s took and time has not given back yet."""
        if self._rate < self.configured:
            regained = self.configured * (now - self._lowered_at) / RECOVERY_S
            return min(self.configured, self._rate + regained)
        return self._rate

    def ready_at(self, now: float) -> float:  # noqa: ARG002 - other limits need it
        return max(self._next_at, self._paused_until)

    def take(self, now: float, arrived: float) -> None:
        slot = max(self._next_at, self._paused_until, arrived, now - MAX_LATE_S)
        self.spacing_s = 1 / self.rate(now)
        self._next_at = slot + self.spacing_s

    def give_back(self) -> None:
        self._next_at -= self.spacing_s

    def pause(self, until: float) -> None:
        self._paused_until = max(self._paused_until, until)

    def lower(self, now: float) -> None:
        if now - self._lowered_at >= CALM_S:
            least = self.configured * LEAST_SHARE
            self._rate = max(least, self.rate(now) * LOWERED_TO)
            self._lowered_at = now


class Width:
    """How many requests at once: one fewer by each concurrency 429, never below one, slowly wider again."""

    spacing_s = inf

    def __init__(self, configured: int) -> None:
        self._configured = configured
        self._allowed = configured
        self._narrowed_at = -inf
        self._inside = 0

    def allowed(self, now: float) -> int:
        if self._allowed == self._configured:
            return self._configured
        return min(self._configured, self._allowed + int((now - self._narrowed_at) / WIDEN_S))

    def ready_at(self, now: float) -> float:
        if self._inside < self.allowed(now):
            return now
        if self._inside >= self._configured:
            return inf
        return self._narrowed_at + (self._inside + 1 - self._allowed) * WIDEN_S

    def take(self, now: float, arrived: float) -> None:  # noqa: ARG002 - as a rate needs them
        self._inside += 1

    def give_back(self) -> None:
        self._inside -= 1

    def narrow(self, now: float) -> None:
        if now - self._narrowed_at >= CALM_S:
            self._allowed = max(1, self.allowed(now) - 1)
            self._narrowed_at = now


class Gate:
    """Lets waiters through one limit, in the order in which they came."""

    def __init__(self, state: State, clock: Callable[[], float] = monotonic) -> None:
        self._state = state
        self._clock = clock
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    async def enter(self) -> None:
        """Returns once the limit admits the caller. Cancelled, it leaves its place to the next."""
        now = self._clock()
        if not self._waiting and self._state.ready_at(now) <= now:
            self._state.take(now, now)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, now))
        self.wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._state.give_back()
            self.wake()
            raise

    def free_in_s(self) -> float:
        """At least so long would one wait who came now; ``inf``: until another leaves."""
        ahead = max(0.0, self._state.ready_at(self._clock()) - self._clock())
        return ahead + (self._state.spacing_s * len(self._waiting) if self._waiting else 0.0)

    def leave(self) -> None:
        """What was taken is free again."""
        self._state.give_back()
        self.wake()

    def wake(self) -> None:
        """Admits the waiters that the state admits now, and sets the timer for the next. Called on any change."""
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        while self._waiting:
            turn, arrived = self._waiting[0]
            now = self._clock()
            if not turn.done():
                if (ready_at := self._state.ready_at(now)) > now:
                    self._set_alarm(ready_at - now)
                    return
                self._state.take(now, arrived)
                turn.set_result(None)
            self._waiting.popleft()

    def _set_alarm(self, delay_s: float) -> None:
        if delay_s < inf:
            self._alarm = asyncio.get_running_loop().call_later(delay_s, self.wake)


class Limits:
    """The limits of one account: a pace per endpoint, one over all, and how many requests at once."""

    def __init__(
        self,
        *,
        endpoint_rate: float = 25.0,
        global_rate: float = 25.0,
        concurrency: int = 16,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._clock = clock
        self._endpoint_rate = endpoint_rate
        self._global_pace = Pace(global_rate)
        self._global_gate = Gate(self._global_pace, clock)
        self._width = Width(concurrency)
        self._lanes = Gate(self._width, clock)
        self._endpoints: dict[str, tuple[Pace, Gate]] = {}

    @asynccontextmanager
    async def permit(self, endpoint: str) -> AsyncIterator[None]:
        """For one attempt: held while it lasts."""
        pace, gate = self._endpoint(endpoint)
        await self._lanes.enter()
        try:
            await gate.enter()
            try:
                await self._global_gate.enter()
            except asyncio.CancelledError:
                pace.give_back()
                gate.wake()
                raise
            yield
        finally:
            self._lanes.leave()

    def free_in_s(self, endpoint: str) -> float:
        """At least so long would a request wait that came now; zero only if it would not.

        ``inf`` where that is until another one ends.
        """
        gates = (self._lanes, self._endpoint(endpoint)[1], self._global_gate)
        return max(gate.free_in_s() for gate in gates)

    def slow_down(self, endpoint: str, reason: str, pause_s: float) -> None:
        """A rate 429: lowers the pace that *reason* names, and holds back all who wait for it."""
        pace, gate = self._endpoint(endpoint)
        if reason.startswith("global"):
            pace, gate = self._global_pace, self._global_gate
        now = self._clock()
        pace.lower(now)
        pace.pause(now + pause_s)
        gate.wake()

    def slow_to(self, share: float) -> None:
        """Lowers all paces to this share of what was configured, for good."""
        self._endpoint_rate *= share
        for pace in (self._global_pace, *(pace for pace, _ in self._endpoints.values())):
            pace.configure(pace.configured * share)

    def narrow(self) -> None:
        """A concurrency 429: one request fewer at a time."""
        self._width.narrow(self._clock())

    def _endpoint(self, endpoint: str) -> tuple[Pace, Gate]:
        if endpoint not in self._endpoints:
            pace = Pace(self._endpoint_rate)
            self._endpoints[endpoint] = (pace, Gate(pace, self._clock))
        return self._endpoints[endpoint]
