"""Postgres for the tests: servers of their own, and databases copied from a migrated template."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from service.adapters.postgres.schema.migrate import downgrade, upgrade
from service.adapters.postgres.server import binaries, postmaster
from service.adapters.postgres.server.embedded import open_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from service.adapters.postgres.server.embedded import Server

OLDEST = 15


def majors() -> list[int]:
    """The newest and, where the system has one, the oldest that is supported."""
    found = {b.major for b in [*binaries._of_wheels(), *binaries._of_system()]}
    return sorted({max(found), OLDEST} & found)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that the server's user can pass through, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="rs-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def back_to(dsn: str, revision: str) -> None:
    """Takes revisions back, one at a time, as ``migrate --back`` does."""
    while (await downgrade(dsn)).to_revision != revision:
        pass


@contextmanager
def running_server(major: int) -> Iterator[Server]:
    with scratch_folder() as folder, open_server(folder, major=major) as server:
        yield server


def on(dsn: str, work: Callable[[asyncpg.Connection[Any]], Awaitable[Any]]) -> Any:
    """Does one thing on a connection of its own, in a loop of its own."""

    async def do() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return await work(connection)
        finally:
            await connection.close()

    with asyncio.Runner() as runner:
        return runner.run(do())


def dsn_of(server: Server, name: str) -> str:
    return server.dsn.replace("/refund_sync?", f"/{name}?")


@dataclass
class Databases:
    """Databases on one server; what is made is dropped with the server."""

    server: Server
    template: str = ""

    async def empty(self) -> str:
        return await self._made("template0")

    async def migrated(self) -> str:
        if not self.template:
            name = f"template_{uuid4().hex}"
            await self._execute(f"CREATE DATABASE {name} TEMPLATE template0")
            await upgrade(dsn_of(self.server, name))
            self.template = name
        return await self._made(self.template)

    async def copy_of(self, dsn: str) -> str:
        """Of a database that nobody is connected to."""
        return await self._made(dsn.partition("@/")[2].partition("?")[0])

    async def _made(self, template: str) -> str:
        name = f"test_{uuid4().hex}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return dsn_of(self.server, name)

    async def drop(self, dsn: str) -> None:
        name = dsn.partition("@/")[2].partition("?")[0]
        await self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def _execute(self, sql: str) -> None:
        connection = await asyncpg.connect(self.server.dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


@dataclass
class OwnServer:
    """A server as an operator runs it: not embedded, stopped and started by the test."""

    folder: Path
    installed: binaries.Binaries

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def create(self) -> None:
        account = postmaster.server_account()
        account.own(self.folder)
        subprocess.run(
            [self.installed.folder / "initdb", "-D", self.folder / "data", "-U", "postgres", "--auth=trust"],
            **account.as_options(), cwd="/", check=True, capture_output=True,
        )  # fmt: skip

    def start(self) -> None:
        self._control(
            "start",
            "-w",
            "-l",
            str(self.folder / "log"),
            "-o",
            f"-k {self.folder} -c listen_addresses=",
        )

    def stop_immediately(self) -> None:
        self._control("stop", "-m", "immediate")

    def stop(self) -> None:
        self._control("stop", "-m", "fast")

    def _control(self, *arguments: str) -> None:
        subprocess.run(
            [self.installed.folder / "pg_ctl", "-D", self.folder / "data", *arguments],
            **postmaster.server_account().as_options(), cwd="/", check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
