"""Hints that come one by one and are committed together: who brings one learns when it is kept."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import structlog

from service.domain.errors import RefundSyncError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from service.domain.refund import Hint
    from service.ports.hints import Hinted

log = structlog.get_logger(__name__)

MOST_WAITING = 10_000
MOST_AT_ONCE = 500
COMMIT_LIMIT_S = 10.0
"""A caller that waits for longer is asked to retry: Stripe itself gives up after some 20 seconds."""


class _Waiting(NamedTuple):
    account_id: str
    hint: Hint
    kept: asyncio.Future[bool]


class Intake:
    """Takes hints while it is open: those pending go into one transaction, then those that arrived during it.

    *account_id* is our own. *on_hints* is called after a commit that added a hint.
    """

    def __init__(
        self,
        store: Hinted,
        account_id: str,
        *,
        on_hints: Callable[[], object],
        most_waiting: int = MOST_WAITING,
        most_at_once: int = MOST_AT_ONCE,
        commit_limit_s: float = COMMIT_LIMIT_S,
        drain_s: float = COMMIT_LIMIT_S,
    ) -> None:
        self._store = store
        self._account_id = account_id
        self._on_news = on_hints
        self._most_at_once = most_at_once
        self._commit_limit_s = commit_limit_s
        self._drain_s = drain_s
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(most_waiting)
        self._keeper: asyncio.Task[None] | None = None
        self.received = 0
        self.new = 0
        self.elsewhere = 0
        """Those about accounts that this database does not hold."""
        self.last_at: datetime | None = None
        """When the newest that was kept was given."""

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep_all())
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        """Takes nothing more, and keeps what waits, in *drain_s* seconds at most."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._drain_s):
                    await self._queue.join()
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            _disappoint(self._waiting(), RetryableError("the service is stopping"))

    async def take(self, account_id: str | None, hint: Hint) -> bool:
        """Returns once *hint* is committed: whether this database holds its account (None: our own).

        Raises RetryableError, or what the store raised, where it is not.
        """
        if self._keeper is None:
            raise RetryableError("the service is stopping")
        kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Waiting(account_id or self._account_id, hint, kept))
        except asyncio.QueueFull:
            raise RetryableError(f"{self._queue.maxsize} hints wait already") from None
        self.received += 1
        return await kept

    async def _keep_all(self) -> None:
        while True:
            first = await self._queue.get()
            batch = [first, *self._waiting(self._most_at_once - 1)]
            try:
                await self._keep(batch)
            except (RefundSyncError, TimeoutError) as error:
                _disappoint(batch, self._reported(error, len(batch)))
            except Exception:
                log.exception("hints.ended_by_a_bug", count=len(batch))
                _disappoint(batch, RetryableError("the hint could not be kept"))
            except asyncio.CancelledError:
                _disappoint(batch, RetryableError("the service is stopping"))
                raise
            finally:
                for _ in batch:
                    self._queue.task_done()

    def _waiting(self, most: int | None = None) -> list[_Waiting]:
        count = self._queue.qsize() if most is None else min(most, self._queue.qsize())
        return [self._queue.get_nowait() for _ in range(count)]

    async def _keep(self, batch: Sequence[_Waiting]) -> None:
        hints: dict[str, list[Hint]] = {}
        for waiting in batch:
            hints.setdefault(waiting.account_id, []).append(waiting.hint)
        async with asyncio.timeout(self._commit_limit_s):
            new = await self._store.hint(hints)
        for waiting in batch:
            is_held = waiting.account_id in new
            self.elsewhere += not is_held
            if is_held:
                self.last_at = max(self.last_at or waiting.hint.at, waiting.hint.at)
            if not waiting.kept.done():
                waiting.kept.set_result(is_held)
        self.new += sum(new.values())
        if any(new.values()):
            self._on_news()

    def _reported(self, error: RefundSyncError | TimeoutError, count: int) -> RefundSyncError:
        """The error that every waiter gets, logged once."""
        if isinstance(error, TimeoutError):
            error = RetryableError(f"not committed within {self._commit_limit_s:g} s")
        log.warning("hints.not_kept", count=count, error=str(error))
        return error


def _disappoint(batch: Sequence[_Waiting], error: RefundSyncError) -> None:
    """Waiters that were cancelled get nothing."""
    for waiting in batch:
        if not waiting.kept.done():
            waiting.kept.set_exception(error)
