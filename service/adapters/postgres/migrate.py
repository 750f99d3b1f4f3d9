"""Brings the schema up to date, forward only, and tells where it stands.

Every command asks where it stands, and hardly any migrates: alembic and SQLAlchemy, which take longer to
load than all else together, are imported where a migration runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import service
from service.adapters.postgres.connect import connect
from service.adapters.postgres.faults import translated
from service.adapters.postgres.queries import query
from service.domain.errors import SchemaError

if TYPE_CHECKING:
    from service.adapters.postgres.connect import Connection

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


def migrations_folder() -> Path:
    """Beside the checkout's package, else inside the wheel's; never by working directory.

    An editable install may leave an old copy in site-packages: the checkout's own comes first.
    """
    package = Path(service.__file__).resolve().parent
    beside = package.parent / "migrations"
    return beside if (beside / "env.py").exists() else package / "_migrations"


@cache
def known_revisions() -> tuple[str, ...]:
    """All that this program knows, newest first: migrations are numbered, and named by their number."""
    files = (migrations_folder() / "versions").glob("[0-9]*_*.py")
    return tuple(sorted((file.stem.partition("_")[0] for file in files), reverse=True))


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
    there = [row[0] for row in await connection.fetch(query("schemas_there"))]
    if foreign or "finance" in there:
        return SchemaState(FOREIGN, None, newest, tuple(foreign or there))
    return SchemaState(ABSENT, None, newest)


async def upgrade(dsn: str) -> Upgraded:
    """To the newest revision, one process at a time.

    Raises SchemaError where the schema is ahead of this program, or holds what we did not make.
    """
    guard = await connect(dsn, command_limit_s=None)
    try:
        with translated():
            await guard.execute("SET lock_timeout = '300s'")
            await guard.execute(query("lock_migrations"))
            state = await schema_state(guard)
            _refuse(state)
            if state.name != CURRENT:
                from service.adapters.postgres import by_alembic  # noqa: PLC0415 - see above

                await by_alembic.upgrade(dsn)
        return Upgraded(state.revision, state.newest)
    finally:
        await guard.close()


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
    from service.adapters.postgres import by_alembic  # noqa: PLC0415 - see above

    return by_alembic.offline_sql()
