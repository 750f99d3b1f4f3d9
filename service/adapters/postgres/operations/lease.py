"""The daemon's lease: one daemon at a time for an account; what an older one left undone is ended.

All times are the database's. Whoever holds the lease works under an epoch; transactions fenced with
an older one cannot commit (``store.Fence``), however late their process wakes up.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import asyncpg
import structlog

from service.adapters.postgres.queries import query
from service.adapters.postgres.session.connect import connect
from service.adapters.postgres.session.faults import translated
from service.domain.errors import (
    DatabaseAwayError,
    DatabaseError,
    LeaseHeldError,
    LeaseLostError,
    RefundSyncError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from datetime import datetime

    from service.adapters.postgres.session.connect import Connection

log = structlog.get_logger(__name__)

TERM = 0.8
"""Part of the lease time that each renewal lasts: the rest is for the standby to notice and take over."""
RENEWALS = 3
"""Renewals in a lease time."""
LOOKS = 5
"""How often a standby looks in a lease time."""
TRIES = 20
"""So many times a takeover waits for the lease, a twentieth of the lease time each, before it says so."""
RELEASE_LIMIT_S = 5.0
_NAME_BYTES = 63 - len("refund-sync #") - 19


def application_name(account_id: str, epoch: int) -> str:
    """Name of the sessions of that epoch, by which a takeover finds them: 63 bytes at most."""
    return f"{_sessions_of(account_id)}{epoch}"


def _sessions_of(account_id: str) -> str:
    """What the names of all epochs begin with. Postgres would cut a long name, and the epoch with it."""
    name = account_id
    if len(name) > _NAME_BYTES or not name.isascii():
        name = sha256(name.encode()).hexdigest()[:_NAME_BYTES]
    return f"refund-sync {name}#"


async def held_by(connection: Connection, account_id: str) -> str | None:
    """The daemon that works for the account now; None where none does."""
    with translated():
        holder: str | None = await connection.fetchval(query("lease_holder"), account_id)
        return holder


@dataclass(frozen=True, slots=True)
class _State:
    """The lease as it was found: negative seconds are left where it has expired."""

    epoch: int
    holder: str
    expires_at: datetime
    left_s: float


class Lease:
    """One account's lease, wanted or held by this process, over a connection of its own.

    A holder that stops renewing is succeeded within *lease_s* by one that waits.
    """

    def __init__(self, dsn: str, account_id: str, holder: str, *, lease_s: float) -> None:
        self._dsn = dsn
        self._account_id = account_id
        self._holder = holder
        self._lease_s = lease_s
        self._epoch: int | None = None
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def take(self, *, wait: bool, report: Callable[[str], None]) -> int:
        """The epoch that is ours now: larger than any before. Older epochs' sessions are ended first.

        While another daemon lives, or the database is away, either waits, reporting why when that
        changes, or raises LeaseHeldError or DatabaseAwayError. Raises DatabaseError where sessions
        stand in the way that our role may not end.
        """
        reported = ""
        while True:
            try:
                found = await self._try()
                if isinstance(found, int):
                    return found
                if not wait:
                    raise self._refusal(found)
                why, pause_s = f"standing by: {self._working(found)}", found.left_s
            except DatabaseAwayError as error:
                if not wait:
                    raise
                why, pause_s = f"standing by: {error}", self._lease_s
            if why != reported:
                report(why)
                reported = why
            await asyncio.sleep(min(pause_s, self._lease_s / LOOKS))

    async def keep(self) -> None:
        """Renews until cancelled, and through times when the database is away or refuses to.

        Raises LeaseLostError when another has taken over. Never waits for writers.
        """
        missed = False
        while True:
            pause_s = self._lease_s / RENEWALS
            try:
                await self._renew()
                if missed:
                    log.info("lease.renewed_again", account_id=self._account_id)
                missed = False
            except (DatabaseAwayError, DatabaseError) as error:
                if not missed:
                    log.warning(
                        "lease.renewal_missed", account_id=self._account_id, error=str(error)
                    )
                missed, pause_s = True, self._lease_s / TRIES
            await asyncio.sleep(pause_s)

    async def release(self) -> None:
        """Lets the next one in at once, if the database can be reached, and closes the connection.

        Without a lease it only closes. To be called when the fenced work has ended.
        """
        try:
            async with asyncio.timeout(RELEASE_LIMIT_S):
                if self._epoch is not None:
                    async with self._talking() as connection:
                        await connection.execute(
                            query("release_lease"), self._account_id, self._epoch
                        )
                if self._connection is not None:
                    with translated():
                        await self._connection.close()
        except (RefundSyncError, TimeoutError) as error:
            log.warning("lease.not_released", account_id=self._account_id, error=str(error))
        finally:
            self._epoch = None
            self._drop()

    async def _try(self) -> int | _State:
        """The new epoch; or the lease of another that lives."""
        async with self._talking() as connection:
            stuck: Sequence[asyncpg.Record] = ()
            for _ in range(TRIES):
                state = await self._found(connection)
                if state.left_s > 0:
                    return state
                stuck = await self._end_sessions(connection, state.epoch)
                await _to_its_end(self._take_over(connection))
                if self._epoch is not None:
                    return self._epoch
            raise _obstacle(self._account_id, stuck)

    async def _found(self, connection: Connection) -> _State:
        row = await connection.fetchrow(query("lease_state"), self._account_id)
        if row is None:
            await connection.execute(query("open_lease"), self._account_id)
            row = await connection.fetchrow(query("lease_state"), self._account_id)
        if row is None:
            raise AssertionError("a lease that was opened is there")
        return _State(**row)

    async def _end_sessions(self, connection: Connection, epoch: int) -> Sequence[asyncpg.Record]:
        """Ends those of *epoch* and before; returns those that our role may not end.

        A holder stopped inside COPY or a transaction is never idle and keeps its locks: no timeout
        of the server frees them.
        """
        there = await connection.fetch(query("end_sessions"), _sessions_of(self._account_id), epoch)
        stuck = [session for session in there if not session["ours"]]
        if ended := len(there) - len(stuck):
            log.info("lease.sessions_ended", account_id=self._account_id, sessions=ended)
        return stuck

    async def _take_over(self, connection: Connection) -> None:
        """Takes the lease, unless another was quicker, or a session still holds on to it."""
        patience = f"{max(1, int(self._lease_s / TRIES * 1000))}ms"
        try:
            self._epoch = await connection.fetchval(
                query("take_lease"), self._account_id, self._holder, self._lease_s * TERM, patience
            )
        except asyncpg.LockNotAvailableError:
            self._epoch = None

    async def _renew(self) -> None:
        async with self._talking() as connection:
            if not await connection.fetchval(
                query("renew_lease"), self._account_id, self._epoch, self._lease_s * TERM
            ):
                state = await self._found(connection)
                raise LeaseLostError(
                    self._working(state), hint="Nothing more is committed. Start again to stand by."
                )

    @asynccontextmanager
    async def _talking(self) -> AsyncIterator[Connection]:
        """Our connection, made again where there is none; what failed or was cut short is dropped."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(
                    self._dsn,
                    application_name="refund-sync lease",
                    command_limit_s=self._lease_s / RENEWALS,
                )
            with translated():
                yield self._connection
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    def _working(self, state: _State) -> str:
        return f"{state.holder} works for {self._account_id}"

    def _refusal(self, state: _State) -> LeaseHeldError:
        return LeaseHeldError(
            f"{self._working(state)}; its lease runs until {state.expires_at:%Y-%m-%d %H:%M:%S} UTC",
            hint="Stop that daemon first, or leave out --no-wait to stand by.",
        )


async def _to_its_end(taking: Coroutine[None, None, None]) -> None:
    """Whoever is stopped while the database answers waits for the answer: a lease that is ours is to be released."""
    task = asyncio.create_task(taking)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=RELEASE_LIMIT_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


def _obstacle(account_id: str, stuck: Sequence[asyncpg.Record]) -> RefundSyncError:
    """Why a lease that has expired cannot be taken: somebody holds on to its row."""
    if not stuck:
        return DatabaseAwayError(
            f"the expired lease for {account_id} stays locked by another session",
            hint="Look in pg_locks who holds refund_sync.lease, and end that session.",
        )
    roles = ", ".join(sorted({str(session["role"]) for session in stuck}))
    return DatabaseError(
        f"the last daemon's sessions belong to another role ({roles}), which we may not end",
        hint="Use the same role for each daemon, or grant pg_signal_backend to this one.",
    )
