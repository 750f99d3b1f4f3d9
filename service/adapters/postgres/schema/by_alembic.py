"""Runs the migrations, by alembic: whether to run them is decided elsewhere."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from service.adapters.postgres.queries import query
from service.adapters.postgres.schema.revisions import migrations_folder
from service.adapters.postgres.session.connect import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy import Connection as SyncConnection


def configuration(output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def migrate(
    dsn: str, back_to: str | None, *, lock_timeout_s: float, begun: Callable[[int], object]
) -> None:
    """All that is missing, or *back_to* a revision, in one transaction; *begun* gets the backend's pid.

    Raises what the driver raised, as all other database calls do.
    """
    try:
        async with _engine_connection(dsn) as connection:
            await connection.exec_driver_sql(query("lift_limits"))
            begun((await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one())
            await connection.run_sync(_migrate, back_to, f"{lock_timeout_s * 1000:.0f}ms")
    except DBAPIError as error:
        raise _of_driver(error) from None


def _of_driver(error: BaseException) -> BaseException:
    """SQLAlchemy's error holds its own, which was caused by the driver's."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    while cause is not None:
        if isinstance(cause, asyncpg.PostgresError | asyncpg.InterfaceError):
            return cause
        cause = cause.__cause__
    return error


@asynccontextmanager
async def _engine_connection(dsn: str) -> AsyncIterator[Any]:
    async def creator() -> Any:
        return await connect(dsn, command_limit_s=None)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


def _migrate(connection: SyncConnection, back_to: str | None, lock_timeout: str) -> None:
    config = configuration()
    config.attributes["connection"] = connection
    config.attributes["lock_timeout"] = lock_timeout
    if back_to:
        command.downgrade(config, back_to)
    else:
        command.upgrade(config, "head")


def offline_sql() -> str:
    output = io.StringIO()
    command.upgrade(configuration(output), "head", sql=True)
    return output.getvalue()
