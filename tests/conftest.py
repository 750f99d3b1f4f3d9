"""What all tests may ask for."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from service.adapters.postgres.server import binaries, postmaster
from tests.databases import Databases, OwnServer, majors, running_server, scratch_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

# A shell ignores Ctrl-C in what it runs in the background, and what is started there inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """On the newest Postgres there is."""
    with running_server(max(majors())) as server:
        yield Databases(server)


@pytest.fixture(scope="session", params=majors())
def databases_of_each_major(request: pytest.FixtureRequest) -> Iterator[Databases]:
    with running_server(request.param) as server:
        yield Databases(server)


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[str]:
    """The DSN of a migrated, empty database of the test's own."""
    dsn = await databases.migrated()
    yield dsn
    await databases.drop(dsn)


@pytest.fixture
async def empty_database(databases_of_each_major: Databases) -> AsyncIterator[str]:
    """A database without a schema, on the oldest and on the newest Postgres."""
    dsn = await databases_of_each_major.empty()
    yield dsn
    await databases_of_each_major.drop(dsn)


@pytest.fixture
async def new_database(databases: Databases) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Makes as many migrated databases as the test needs."""
    made: list[str] = []

    async def make() -> str:
        made.append(await databases.migrated())
        return made[-1]

    yield make
    for dsn in made:
        await databases.drop(dsn)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can pass through: pytest's own are closed to them."""
    with scratch_folder() as folder:
        yield folder


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """A server that the test may stop and start."""
    with scratch_folder() as folder:
        server = OwnServer(folder, binaries.find_binaries())
        server.create()
        server.start()
        yield server
        server.stop()


@pytest.fixture
def small_disk(open_folder: Path) -> Iterator[Path]:
    """A file system of a few megabytes; skipped where none can be mounted."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", open_folder],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    postmaster.server_account().own(open_folder)
    yield open_folder
    subprocess.run(["umount", "-l", open_folder], check=True)
