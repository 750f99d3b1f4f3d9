"""The life of ``run``: ticks over the newest part, the fill of history beside it, health, drain."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from service import wiring
from service.adapters.metrics import Measured, Metrics
from service.adapters.scheduler import Ticker
from service.adapters.sd_notify import Notifier
from service.adapters.web import Checks, Health, serving
from service.domain.errors import FatalError, RefundSyncError, RetryableError
from service.domain.span import total_seconds
from service.jobs import plan
from service.jobs.cover import REFUNDS, SETTLED
from service.ports import Progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.domain.span import Span
    from service.wiring import Account, Gate, Planned

log = structlog.get_logger(__name__)

OVERDUE_TICKS = 3
"""So many intervals without a pass over the newest part, and we are not ready."""

NEWEST, FILL, AGAIN = "newest part", "fill of history", "second look"


class Daemon:
    """Runs until *stop* is set or something fatal happens, which it raises."""

    def __init__(self, account: Account, stop: asyncio.Event) -> None:
        self._account = account
        self._settings = account.settings
        self._stop = stop
        self._fatal: RefundSyncError | None = None
        self._fill: asyncio.Task[None] | None = None
        self._calm = asyncio.Event()
        self._calm.set()
        self._passed_at: float | None = None
        self._began = time.monotonic()
        self._ticks = 0
        self.metrics = Metrics(stripe=account.client.counters)
        self.address = ""

    async def run(self) -> None:
        notifier = Notifier(os.environ)
        ticker = Ticker(self._tick, self._settings.sync_interval_s)
        health = Health(self._live, self._ready)
        async with serving(self._settings.http, health, self.metrics.registry()) as self.address:
            log.info("daemon.started", http=self.address, account_id=self._account.id)
            ticker.start()
            notifier.tell("READY=1")
            watchdog = asyncio.create_task(self._watch(notifier, ticker))
            try:
                await self._stop.wait()
            finally:
                notifier.tell("STOPPING=1")
                watchdog.cancel()
                await asyncio.gather(watchdog, return_exceptions=True)
                await self._drain(ticker)
        log.info("daemon.stopped")
        if self._fatal:
            raise self._fatal

    async def _drain(self, ticker: Ticker) -> None:
        """The fill is cancelled, and commits what it has read; a pass under way may end by itself."""
        if self._fill:
            self._fill.cancel()
        await ticker.stop(self._settings.drain_s)
        if self._fill:
            await asyncio.gather(self._fill, return_exceptions=True)

    async def _tick(self) -> None:
        self._calm.clear()
        try:
            await self._guarded(NEWEST, self._newest)
            await self._guarded(AGAIN, self._second_look)
        finally:
            self._calm.set()
        self._ticks += 1
        await self._guarded("measure", self._measure)
        if not self._stop.is_set() and (self._fill is None or self._fill.done()):
            self._fill = asyncio.create_task(self._guarded(FILL, self._history))

    async def _guarded(self, job: str, work: Callable[[], Awaitable[None]]) -> None:
        """What may work later is logged and left to the next tick; what will not ends the daemon."""
        try:
            await work()
        except RetryableError as error:
            self.metrics.runs[job, "failed"] += 1
            log.warning("job.failed", job=job, error=str(error))
        except FatalError as error:
            self.metrics.runs[job, "failed"] += 1
            self._end(error)
        except Exception as error:
            log.exception("job.ended_by_a_bug", job=job)
            self._end(error)

    def _end(self, error: Exception) -> None:
        known = (
            error if isinstance(error, RefundSyncError) else RefundSyncError(f"a bug: {error!r}")
        )
        self._fatal = self._fatal or known
        self._stop.set()

    async def _newest(self) -> None:
        wanted = await self._account.wanted()
        await self._cover(NEWEST, wanted, lambda store: plan.newest_part(store, wanted))
        self._passed_at = time.monotonic()

    async def _history(self) -> None:
        wanted = await self._account.wanted()
        if (await plan.fill_of_history(self._account.store(), wanted)).spans:
            await self._cover(
                FILL,
                wanted,
                lambda store: plan.fill_of_history(store, wanted),
                gate=self._calm.wait,
            )

    async def _second_look(self) -> None:
        progress = Progress()
        await wiring.look_again(self._account, await self._account.wanted(), progress)
        self.metrics.count_rows(progress.written)

    async def _cover(
        self, job: str, wanted: Span, planned: Planned, *, gate: Gate | None = None
    ) -> None:
        progress = Progress()
        try:
            short_s = await wiring.cover(self._account, job, wanted, planned, progress, gate=gate)
        finally:
            self.metrics.count_rows(progress.written)
        self.metrics.runs[job, "incomplete" if short_s else "ok"] += 1
        if not short_s:
            self.metrics.last_success[job] = time.time()

    async def _measure(self) -> None:
        """Coverage as the metrics show it."""
        wanted, store = await self._account.wanted(), self._account.store()
        quarantined = await wiring.quarantined(self._account)
        self.metrics.measured = []
        for stream in (REFUNDS, SETTLED):
            covered = await store.covered(stream)
            missing = await plan.gaps_in(store, wanted, stream=stream)
            until = float(covered[-1].end) if covered else 0.0
            gap_s = float(total_seconds(missing))
            self.metrics.measured.append(
                Measured(self._account.id, stream, until, gap_s, quarantined)
            )

    @property
    def _since_pass_s(self) -> float:
        return time.monotonic() - (self._passed_at or self._began)

    async def _live(self) -> Checks:
        """Alive is who answers; that the newest part falls behind is a matter of readiness."""
        return {"loop": None}

    async def _ready(self) -> Checks:
        """The first fill of history may take hours and does not matter here."""
        late_s = OVERDUE_TICKS * self._settings.sync_interval_s
        never = "no pass over the newest part yet" if self._passed_at is None else None
        late = f"no pass for {self._since_pass_s:.0f} s" if self._since_pass_s > late_s else None
        return {**await wiring.database_checks(self._account), "newest part": never or late}

    def _moved(self) -> tuple[int, int, int]:
        """Grows with every read, every row and every tick: what stands still for long is stuck."""
        return self._account.client.counters.requests_total, self.metrics.rows.total(), self._ticks

    async def _watch(self, notifier: Notifier, ticker: Ticker) -> None:
        """Feeds systemd's watchdog while something moves, or while there is nothing to do."""
        if notifier.watchdog_s is None:
            return
        seen = None
        with suppress(asyncio.CancelledError):
            while True:
                moved = self._moved()
                working = ticker.is_running or (self._fill is not None and not self._fill.done())
                if moved != seen or not working:
                    notifier.tell("WATCHDOG=1")
                seen = moved
                await asyncio.sleep(notifier.watchdog_s / 3)
