"""Ticks by APScheduler: one at a time, a missed one made up for once, and none cut off by shutting down."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MISSED
from apscheduler.schedulers.asyncio import AsyncIOScheduler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)


class Ticker:
    """Calls *tick* at once and then every *interval_s* seconds, never twice at the same time."""

    def __init__(self, tick: Callable[[], Awaitable[None]], interval_s: float) -> None:
        self._tick = tick
        self._running: asyncio.Task[None] | None = None
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._scheduler.add_listener(_report, EVENT_JOB_ERROR | EVENT_JOB_MISSED)
        self._scheduler.add_job(
            self._run, "interval", seconds=interval_s, next_run_time=datetime.now(UTC),
            coalesce=True, max_instances=1, misfire_grace_time=None,
        )  # fmt: skip

    async def _run(self) -> None:
        """In a task of our own: the scheduler cancels its jobs when it shuts down.

        That we cancel it ourselves at the end of the drain is no failure.
        """
        self._running = asyncio.ensure_future(self._tick())
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.result()

    @property
    def is_running(self) -> bool:
        return self._running is not None and not self._running.done()

    def start(self) -> None:
        self._scheduler.start()

    async def stop(self, drain_s: float) -> None:
        """No more ticks; the one under way may end by itself for *drain_s* seconds, then is cancelled."""
        self._scheduler.pause()
        if self._running and not self._running.done():
            await asyncio.wait([self._running], timeout=drain_s)
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self._scheduler.shutdown(wait=False)


def _report(event: Any) -> None:
    log.error(
        "tick.missed_or_failed", job=event.job_id, error=repr(getattr(event, "exception", None))
    )
