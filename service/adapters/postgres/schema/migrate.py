"""Brings the schema up to date, or one revision back, and reports where it stands.

Every command asks where it stands, and hardly any migrates: alembic and SQLAlchemy, which take longer to
load than all else together, are imported where a migration runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import structlog

from service.adapters.postgres.queries import query
from service.adapters.postgres.schema.ground import check_ground, refusal_of
from service.adapters.postgres.schema.moving import move_versions
from service.adapters.postgres.schema.obstacles import Patience, Waiting
from service.adapters.postgres.schema.revisions import known_revisions, reversible_revisions
from service.adapters.postgres.session.connect import connect
from service.adapters.postgres.session.faults import translated
from service.domain.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.adapters.postgres.session.connect import Connection

log = structlog.get_logger(__name__)

PATIENCE = Patience()
ABSENT, BEHIND, CURRENT, AHEAD, FOREIGN = "absent", "behind", "current", "ahead", "foreign"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Where a database stands: *name* is absent, behind, current, ahead or foreign."""

    name: str
    revision: str | None
    newest: str
    foreign: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.name == BEHIND:
            return f"behind: at revision {self.revision}, this program needs {self.newest}"
        if self.name == AHEAD:
            return f"ahead: at revision {self.revision}, this program knows {self.newest} as the newest"
        if self.name == FOREIGN:
            return f"not ours: {', '.join(self.foreign[:3])} stands there already"
        return self.name


@dataclass(frozen=True, slots=True)
class Upgraded:
    from_revision: str | None
    to_revision: str


async def schema_state(connection: Connection) -> SchemaState:
    newest = known_revisions()[0]
    if not await connection.fetchval(query("schema_version_table")):
        return await _state_without_version(connection, newest)
    revision = await connection.fetchval(query("schema_revision"))
    if revision == newest:
        return SchemaState(CURRENT, revision, newest)
    return SchemaState(BEHIND if revision in known_revisions() else AHEAD, revision, newest)


async def _state_without_version(connection: Connection, newest: str) -> SchemaState:
    foreign = [row[0] for row in await connection.fetch(query("foreign_objects"))]
    return SchemaState(FOREIGN if foreign else ABSENT, None, newest, tuple(foreign))


async def upgrade(
    dsn: str, *, patience: Patience = PATIENCE, report: Callable[[str], None] | None = None
) -> Upgraded:
    """To the newest revision, one process at a time; *report*, else the log, is given what it waits for.

    Raises SchemaError where the schema is ahead of this program, or holds what we did not make, and
    DatabaseError, saying what to grant, where the database refuses.
    """
    guard = await connect(dsn, command_limit_s=None)
    try:
        with translated():
            async with guard.transaction():
                done = await _upgraded(dsn, guard, Waiting(guard, patience, report or _log))
            await move_versions(guard, report or _log)
            return done
    finally:
        await guard.close()


async def downgrade(
    dsn: str, *, patience: Patience = PATIENCE, report: Callable[[str], None] | None = None
) -> Upgraded:
    """One revision back from where it stands, for an older program. Raises as ``upgrade``."""
    guard = await connect(dsn, command_limit_s=None)
    try:
        with translated():
            async with guard.transaction():
                return await _downgraded(dsn, guard, Waiting(guard, patience, report or _log))
    finally:
        await guard.close()


async def _downgraded(dsn: str, guard: Connection, waiting: Waiting) -> Upgraded:
    await guard.execute(query("lift_limits"))
    await waiting.for_turn()
    state = await schema_state(guard)
    revision = state.revision
    if revision is None or revision not in reversible_revisions():
        some = ", ".join(sorted(reversible_revisions()))
        raise SchemaError(
            f"the database schema is {state}",
            hint=f"Only these revisions can be rolled back: {some}.",
        )
    before = max(one for one in known_revisions() if one < revision)
    await _migrated(dsn, waiting, before)
    return Upgraded(revision, before)


def _log(news: str) -> None:
    log.info("migration.told", news=news)


async def _upgraded(dsn: str, guard: Connection, waiting: Waiting) -> Upgraded:
    await guard.execute(query("lift_limits"))
    await waiting.for_turn()
    state = await schema_state(guard)
    _refuse(state)
    if state.name != CURRENT:
        await check_ground(guard, first=state.name == ABSENT)
        await _migrated(dsn, waiting)
    return Upgraded(state.revision, state.newest)


async def _migrated(dsn: str, waiting: Waiting, back_to: str | None = None) -> None:
    from service.adapters.postgres.schema import by_alembic  # noqa: PLC0415 - see above

    async def migrate(lock_timeout_s: float, begun: Callable[[int], object]) -> None:
        await by_alembic.migrate(dsn, back_to, lock_timeout_s=lock_timeout_s, begun=begun)

    try:
        await waiting.for_locks(migrate)
    except asyncpg.PostgresError as error:
        if known := refusal_of(error):
            raise known from error
        raise


def _refuse(state: SchemaState) -> None:
    if state.name == AHEAD:
        raise SchemaError(
            f"the database schema is {state}",
            hint="Install the refund-sync that made it, or a newer one.",
        )
    if state.name == FOREIGN:
        raise SchemaError(
            f"the schemas refund_sync and finance are {state}",
            hint="Use another database, or rename what is there: nothing was touched.",
        )


def offline_sql() -> str:
    """The SQL of all migrations, for an empty database; needs no connection."""
    from service.adapters.postgres.schema import by_alembic  # noqa: PLC0415 - see above

    return by_alembic.offline_sql()
