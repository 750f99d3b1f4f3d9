"""How far a command has come: a bar while a person watches, figures where a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.coverage.span import clipped, total_seconds
from service.domain.errors import RefundSyncError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from service.cli.app import Session
    from service.domain.coverage.span import Span
    from service.ports.runs import Progress

LAST_LOOK_S = 2.0
"""How long a stopped command may ask the database how far it came."""
NOTHING_YET = "nothing was read yet"
GOES_ON = "what was proven is committed; the same command goes on with the rest"


@dataclass
class Standing:
    """What a command that covers a span says where a signal ends it."""

    reported: str = NOTHING_YET

    def __str__(self) -> str:
        return self.reported

    @asynccontextmanager
    async def of(
        self, progress: Progress, span: Span, covered: Callable[[], Awaitable[list[Span]]]
    ) -> AsyncIterator[None]:
        """While the body runs; ended by a signal, it asks what is *covered* by then."""
        self.reported = GOES_ON
        try:
            yield
        except asyncio.CancelledError:
            with suppress(RefundSyncError, TimeoutError):
                async with asyncio.timeout(LAST_LOOK_S):
                    proven = clipped(await covered(), span)
                self.reported = what_remains(progress, span, total_seconds(proven))
            raise


def what_remains(progress: Progress, span: Span, proven_s: int) -> str:
    """In figures; never all of it where a second is missing."""
    stored = progress.written.inserted + progress.written.changed
    share = f"{proven_s * 100 // span.seconds} %" if proven_s < span.seconds else "all"
    return f"{stored:,} refunds stored; {share} of the span is proven; the same command goes on with the rest"


@asynccontextmanager
async def shown(context: Session, progress: Progress, title: str) -> AsyncIterator[None]:
    """A bar on stderr while the body runs, where a person can see it: of the seconds to be read."""
    if not context.shows_progress:
        yield
        return
    with _bar(title) as advance:
        teller = asyncio.create_task(_follow(progress, advance))
        try:
            yield
        finally:
            teller.cancel()
            await asyncio.gather(teller, return_exceptions=True)
            advance(progress.covered_s, progress.planned_s or None, progress.objects)
        if not progress.planned_s:
            advance(1, 1, progress.objects)


async def _follow(progress: Progress, advance: Callable[[int, int | None, int], None]) -> None:
    while True:
        advance(progress.covered_s, progress.planned_s or None, progress.objects)
        await asyncio.sleep(0.1)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int | None, int], None]]:
    """Call it with how much is done, of how much, and how many objects came."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=None), TaskProgressColumn(),
        TextColumn("{task.fields[objects]:,} refunds"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress, _logs_above_it():
        task = progress.add_task(title, total=None, objects=0)
        yield lambda done, total, objects: progress.update(
            task, completed=done, total=total, objects=objects
        )


@contextmanager
def _logs_above_it() -> Iterator[None]:
    """While a bar is shown, log lines go the way that puts them above it, not into it."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            handler.setStream(stream or sys.stderr)
