"""``migrate`` and ``psql``: the database itself."""

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from typing import Annotated

from cyclopts import Parameter

from service.cli.app import Context, app, run_async
from service.domain.errors import DatabaseError, SettingError

Sql = Annotated[
    bool, Parameter(name="--sql", negative="", help="Print the SQL instead, for a DBA to run.")
]
Back = Annotated[
    bool,
    Parameter(name="--back", negative="", help="Roll back one revision, for an older version."),
]
Arguments = Annotated[str, Parameter(allow_leading_hyphen=True, help="Handed to psql, after --.")]


@app.command
def migrate(*, sql: Sql = False, back: Back = False, context: Context) -> None:
    """Bring the schema of the database up to date."""
    if sql and back:
        raise SettingError("--sql prints the way forward only", hint="Run `migrate --back` itself.")
    if sql:
        from service.app import databases as places

        sys.stdout.write(places.migrations_as_sql())
        return
    run_async(_migrate(context, back), stopped="the schema is as it was, or as it is to be")


async def _migrate(context: Context, back: bool) -> None:
    from service.app import databases as places

    done = await places.migrate(context.settings, context.report, back=back)
    context.emit(
        {"from": done.from_revision, "to": done.to_revision},
        lambda: (
            f"schema {done.to_revision}"
            + (" already" if done.from_revision == done.to_revision else "")
        ),
    )


@app.command
def psql(*arguments: Arguments, context: Context) -> None:
    """Open psql on the configured database, the embedded one included.

    Such as: `refund-sync psql -- -c "table finance.completeness_by_month"`
    """
    code = run_async(_psql(context, list(arguments)), stopped="psql was ended")
    raise SystemExit(code)


async def _psql(context: Context, arguments: list[str]) -> int:
    from service.adapters.postgres.address.psql import psql_environment
    from service.app import databases as places

    async with places.database_place(context.settings) as place:
        binary = (place.server and place.server.binaries.psql) or shutil.which("psql")
        if binary is None:
            raise DatabaseError(
                "psql was not found",
                hint="Install it (Debian and Ubuntu: postgresql-client).",
            )
        environ = psql_environment(place.dsn, os.environ)
        if place.server:  # pg_dump and its like, of the server's own version, for \\! in psql
            environ["PATH"] = f"{place.server.binaries.folder}{os.pathsep}{environ.get('PATH', '')}"
        process = await asyncio.create_subprocess_exec(str(binary), *arguments, env=environ)
        _leave_interrupts_to_it()
        return await _ended(process)


def _leave_interrupts_to_it() -> None:
    """Ctrl-C reaches psql too, where it cancels a query: it must not end us, and the server."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)


async def _ended(process: asyncio.subprocess.Process) -> int:
    """Its exit code; as a shell counts it, where a signal such as SIGPIPE ended it."""
    try:
        code = await process.wait()
        return code if code >= 0 else 128 - code
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
