"""Keeps the record of a run: begun, how far it came, and how it ended, whatever ended it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from service.domain.errors import RefundSyncError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from service.ports.runs import Progress, RunLog

log = structlog.get_logger(__name__)

TELL_EVERY_S = 2.0
LAST_WORDS_S = 10.0


@dataclass(slots=True)
class Run:
    """A run under way. Whoever finds that not all was read says so in *shortfall*."""

    id: UUID
    job: str
    shortfall: str | None = None


@asynccontextmanager
async def recorded(runs: RunLog, run: Run, progress: Progress) -> AsyncIterator[Run]:
    """Writes progress while the body goes on, then the outcome: ok, incomplete, failed or stopped."""
    teller = asyncio.create_task(_report(runs, run.id, progress))
    outcome, error = "failed", "ended by a bug"
    try:
        yield run
        outcome, error = ("incomplete", run.shortfall) if run.shortfall else ("ok", "")
    except asyncio.CancelledError:
        outcome, error = "stopped", "stopped by a signal"
        raise
    except RefundSyncError as known:
        error = str(known)
        raise
    finally:
        teller.cancel()
        await asyncio.gather(teller, return_exceptions=True)
        await _last_words(runs, run, progress, outcome, error)


async def _last_words(
    runs: RunLog, run: Run, progress: Progress, outcome: str, error: str | None
) -> None:
    """A database that is away cannot record it; the next run closes the row.

    A run that found nothing is logged for debugging only: an idle daemon has two a minute.
    """
    with suppress(TimeoutError, RefundSyncError):
        async with asyncio.timeout(LAST_WORDS_S):
            await runs.progress(run.id, progress)
            await runs.end(run.id, outcome, error or None)
    quiet = outcome == "ok" and not (progress.written.has_updates or progress.unread)
    log.log(
        logging.DEBUG if quiet else logging.INFO, "run.ended",
        run_id=str(run.id), job=run.job, outcome=outcome, requests=progress.requests,
    )  # fmt: skip


async def _report(runs: RunLog, run_id: UUID, progress: Progress) -> None:
    """Through times when the database is away too: a run without progress for long is taken to be killed."""
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        try:
            await runs.progress(run_id, progress)
        except RefundSyncError as error:
            log.debug("run.not_told", run_id=str(run_id), error=str(error))
