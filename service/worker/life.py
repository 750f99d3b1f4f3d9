"""The life of ``run``: health from the start, the lease, ticks and hints while it is held, the drain."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from service.adapters.process.scheduler import Ticker
from service.adapters.process.sd_notify import Notifier
from service.adapters.web.metrics import Metrics
from service.adapters.web.server import Checks, Health, serving
from service.app import databases as places
from service.app import leased as daemons
from service.domain.errors import PASSING, AccessError, RefundSyncError
from service.worker.refusal import Refusal
from service.worker.rounds import FILL, HINTS, MEASURE, NEWEST, RECHECKS, SECOND_LOOK, Rounds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from service.app.accounts import Account
    from service.settings import Settings

log = structlog.get_logger(__name__)

OVERDUE_TICKS = 3
"""So many intervals without a pass over the newest part, and we are not ready."""
AWAY_AFTER_S = 60.0
"""So long without an answer of Stripe's own while it is being asked, and we are not ready."""
HINTS_EVERY_S = 60.0
"""Budgets refill: hints that one held back are looked at again."""


class Daemon:
    """Runs until *stop* is set or something fatal happens, which it raises.

    While another daemon works for the account it stands by: it answers, and takes in webhooks. With
    *wait* False it raises LeaseHeldError instead, at its start. While Stripe refuses the key it gives the
    lease back and asks again now and then, each time with the key that *current* has by then.
    """

    def __init__(
        self,
        account: Account,
        stop: asyncio.Event,
        *,
        wait: bool = True,
        current: Callable[[], Settings] | None = None,
    ) -> None:
        self._account = account
        self._settings = account.settings
        self._stop = stop
        self._wait = wait
        self._fatal: RefundSyncError | None = None
        self._fill: asyncio.Task[None] | None = None
        self._rounds: Rounds | None = None
        self._lease = "not asked for yet"
        self._ticker: Ticker | None = None
        self._began = time.monotonic()
        self._ticks = 0
        self._hinted = asyncio.Event()
        self.metrics = Metrics(
            stripe=account.client.counters, poll_interval_s=float(account.settings.sync_interval_s)
        )
        self._refusal = Refusal(self.metrics, current or (lambda: account.settings))
        self.address = ""

    async def run(self) -> None:
        notifier = Notifier(os.environ)
        health = Health(self._live, self._ready, self._facts)
        async with daemons.receiving(self._account, self._hinted.set) as (receiver, intake):
            if receiver:
                self.metrics.webhooks = receiver.outcomes
            self._intake = intake
            registry = self.metrics.registry()
            async with serving(self._settings.http, health, registry, receiver) as self.address:
                log.info("daemon.started", http=self.address, account_id=self._account.id)
                notifier.notify("READY=1")
                watchdog = asyncio.create_task(self._watch(notifier))
                try:
                    await self._until_stopped(notifier)
                finally:
                    watchdog.cancel()
                    await asyncio.gather(watchdog, return_exceptions=True)
        log.info("daemon.stopped")
        if self._fatal:
            raise self._fatal

    async def _until_stopped(self, notifier: Notifier) -> None:
        """Works until SIGTERM, which cuts short all that is not work under the lease."""
        working = asyncio.create_task(self._work())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
        notifier.notify("STOPPING=1")
        stopped.cancel()
        if self._rounds is None:
            working.cancel()
        with suppress(asyncio.CancelledError):
            await working

    async def _work(self) -> None:
        """Stands by for the lease, then works under it; without it while Stripe refuses the key."""
        wait = self._wait
        while not self._stop.is_set():
            held = daemons.leased(self._account, holder(), wait=wait, report=self._stand_by)
            await self._under_lease(held)
            if self._refusal.is_on and not self._stop.is_set():
                self._lease = "given back while Stripe refuses the key"
                self._account = await self._refusal.until_accepted(self._account)
            wait = True

    def _stand_by(self, why: str) -> None:
        log.info("lease.awaited", why=why)
        self._lease = why

    async def _under_lease(
        self, held: AbstractAsyncContextManager[tuple[Account, asyncio.Task[None]]]
    ) -> None:
        async with held as (account, keeper):
            await account.want()
            self._fill = None
            self._rounds = Rounds(account, self.metrics, self._intake, self._hinted)
            self._ticker = ticker = Ticker(self._tick, self._settings.sync_interval_s)
            ticker.start()
            others = [
                asyncio.create_task(self._follow_hints(self._rounds)),
                asyncio.create_task(self._keep(keeper)),
            ]
            try:
                await first_of(self._stop, self._refusal.began)
            finally:
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)
                await self._drain(ticker)
        self._rounds = None

    async def _keep(self, keeper: asyncio.Task[None]) -> None:
        """A lease that is lost ends the daemon: started again, it stands by."""
        try:
            await asyncio.shield(keeper)
        except Exception as error:  # noqa: BLE001 - what ends the keeper ends us
            self._end(error)

    async def _drain(self, ticker: Ticker) -> None:
        """The fill is cancelled, and commits what it has read; a pass under way may end by itself."""
        if self._fill:
            self._fill.cancel()
        await ticker.stop(self._settings.drain_s)
        if self._fill:
            await asyncio.gather(self._fill, return_exceptions=True)

    async def _tick(self) -> None:
        rounds = self._rounds
        if rounds is None:
            return
        await self._guarded(NEWEST, rounds.poll)
        await self._guarded(SECOND_LOOK, rounds.look_again)
        await self._guarded(RECHECKS, rounds.recheck)
        self._ticks += 1
        await self._guarded(MEASURE, rounds.measure)
        ending = self._stop.is_set() or self._refusal.is_on
        if not ending and (self._fill is None or self._fill.done()):
            self._fill = asyncio.create_task(self._fill_history(rounds))

    async def _fill_history(self, rounds: Rounds) -> None:
        await self._guarded(FILL, rounds.fill)
        await self._guarded(MEASURE, rounds.measure)

    async def _follow_hints(self, rounds: Rounds) -> None:
        """Reads what was hinted at as soon as it was: after a poll, a webhook, or a while."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HINTS_EVERY_S):
                    await self._hinted.wait()
            self._hinted.clear()
            await self._guarded(HINTS, rounds.read_hints)
            if not self._hinted.is_set():
                await self._guarded(MEASURE, rounds.measure)

    async def _guarded(self, job: str, work: Callable[[], Awaitable[object]]) -> None:
        """What may pass by itself is logged and left to the next tick; what cannot ends the daemon.

        A key that is refused is neither: no job begins until Stripe accepts it.
        """
        if self._refusal.is_on:
            return
        try:
            await work()
        except AccessError as error:
            self.metrics.runs[job, "failed"] += 1
            self._refusal.begin(error)
        except PASSING as error:
            self.metrics.runs[job, "failed"] += 1
            log.warning("job.failed", job=job, error=str(error), hint=error.hint)
        except RefundSyncError as error:
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

    async def _live(self) -> Checks:
        """Alive is who answers; that the newest part falls behind is a matter of readiness."""
        return {"loop": None}

    async def _ready(self) -> Checks:
        """The first fill of history may take hours and does not matter here."""
        checks = await places.database_checks(self._account.database)
        if self._refusal.is_on:
            return {**checks, "key": self._refusal.said}
        if self._rounds is None:
            return {**checks, "lease": self._lease}
        return {**checks, "newest part": self._behind(self._rounds), "Stripe": self._away()}

    def _behind(self, rounds: Rounds) -> str | None:
        """Why the newest part is not current, by the interval between polls that is in force."""
        since_s = time.monotonic() - (rounds.passed_at or self._began)
        if rounds.failed:
            return f"the last pass failed: {rounds.failed}"
        if rounds.passed_at is None:
            return "no pass over the newest part yet"
        if since_s > OVERDUE_TICKS * self.metrics.poll_interval_s:
            return f"no pass for {since_s:.0f} s"
        return None

    def _away(self) -> str | None:
        """Polls may be half an hour apart, and one may retry for long: this shows before either ends."""
        away = self._account.client.counters.away
        since_s = time.monotonic() - away.since if away else 0.0
        if away is None or since_s < AWAY_AFTER_S:
            return None
        return f"no answer for {since_s:.0f} s, the last try: {away.words}"

    def _facts(self) -> dict[str, object]:
        """The interval in force, where there is one: a standby does not poll."""
        return {"poll_interval_s": self.metrics.poll_interval_s} if self._rounds else {}

    def _moved(self) -> tuple[int, int, int]:
        """Grows with every read, every row and every tick: what stands still for long is stuck."""
        return (
            self._account.client.counters.requests_total,
            self.metrics.rows_so_far().total(),
            self._ticks,
        )

    async def _watch(self, notifier: Notifier) -> None:
        """Feeds systemd's watchdog while something moves, or there is nothing to do but stand by."""
        if notifier.watchdog_s is None:
            return
        seen = None
        while True:
            moved = self._moved()
            ticking = self._ticker is not None and self._ticker.is_running
            working = ticking or (self._fill is not None and not self._fill.done())
            if moved != seen or not working:
                notifier.notify("WATCHDOG=1")
            seen = moved
            await asyncio.sleep(notifier.watchdog_s / 3)


async def first_of(*events: asyncio.Event) -> None:
    """Returns once any of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def holder() -> str:
    """Who we are, for people who look at the lease."""
    return f"{socket.gethostname()} pid {os.getpid()}"
