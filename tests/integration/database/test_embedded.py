"""The embedded Postgres: started once, shared, stopped by the last one, found again after any death."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.adapters.postgres.server.binaries import find_binaries
from service.adapters.postgres.server.embedded import is_in_use, open_server
from service.adapters.postgres.session.connect import connect
from tests.databases import Databases, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.adapters.postgres.server.embedded import Server

ROOT = Path(__file__).resolve().parents[3]
USER = """
import os, sys
from pathlib import Path
from service.adapters.postgres.server import embedded
with embedded.open_server(Path(sys.argv[1])) as server:
    print(server.owned, server.binaries.folder, flush=True)
    sys.stdin.read()
    if os.environ.get("SCRIPT_END"):
        embedded.leave_at_once()
        os._exit(1)
"""


@dataclass
class User:
    """Another process that uses the server of a folder."""

    process: subprocess.Popen[str]

    @property
    def reported(self) -> list[str]:
        assert self.process.stdout
        line = self.process.stdout.readline().split()
        assert line, self.process.communicate()[1]
        return line

    def leaves(self) -> None:
        self.process.communicate("", timeout=60)
        assert self.process.returncode == 0

    def is_killed(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def user_of(folder: Path, **environ: str) -> Iterator[User]:
    process = subprocess.Popen(
        [sys.executable, "-c", USER, folder], cwd=ROOT, env={**os.environ, **environ}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield User(process)
    finally:
        if process.poll() is None:
            process.communicate("", timeout=60)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data folder with a cluster in it, which the tests leave as it was."""
    with scratch_folder() as folder:
        open_server(folder).close()
        yield folder


@pytest.fixture
def folder(made: Path) -> Iterator[Path]:
    yield made
    assert server_pid(made) is None, "a server was left behind"


def copied(made: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    subprocess.run(["cp", "-a", f"{made}/.", folder], check=True)
    return folder


def pid_file(folder: Path) -> Path:
    return folder / f"pg{find_binaries().major}" / "postmaster.pid"


def server_pid(folder: Path) -> int | None:
    try:
        pid = int(pid_file(folder).read_text().split()[0])
    except FileNotFoundError:
        return None
    return pid if Path(f"/proc/{pid}").exists() else None


async def answer(server: Server, sql: str = "SHOW data_directory") -> object:
    connection = await connect(server.dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def test_the_last_one_out_stops_the_server_and_nobody_before(folder: Path) -> None:
    with user_of(folder) as starter:
        assert starter.reported[0] == "True"
        pid = server_pid(folder)
        with open_server(folder) as second:
            assert not second.owned
            starter.leaves()
            assert server_pid(folder) == pid
            assert is_in_use(folder)
        assert server_pid(folder) is None
        assert not is_in_use(folder)


async def test_a_server_whose_starter_was_killed_is_used_and_stopped_by_the_next(
    folder: Path,
) -> None:
    with user_of(folder) as starter:
        assert starter.reported[0] == "True"
        pid = server_pid(folder)
        starter.is_killed()
    with open_server(folder) as server:
        assert not server.owned
        assert server_pid(folder) == pid
        assert await answer(server)
    assert server_pid(folder) is None


def test_a_server_that_nobody_uses_any_more_is_stopped_by_who_asks(folder: Path) -> None:
    with user_of(folder) as starter:
        assert starter.reported
        starter.is_killed()
    assert not is_in_use(folder)
    assert server_pid(folder) is None


async def test_a_dead_server_that_its_parent_never_buried_is_replaced(folder: Path) -> None:
    with user_of(folder) as parent:
        assert parent.reported
        pid = server_pid(folder)
        assert pid
        os.kill(pid, signal.SIGKILL)
        with open_server(folder) as server:
            assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
            assert server.owned
            assert await answer(server)
            parent.leaves()


async def test_a_number_that_now_belongs_to_another_server_is_left_alone(
    folder: Path, databases: Databases
) -> None:
    """As after a reboot: the number in postmaster.pid is that of somebody else's Postgres."""
    other = int((databases.server.data / "postmaster.pid").read_text().split()[0])
    stale = f"{other}\n{pid_file(folder).parent}\n1700000000\n5432\n{pid_file(folder).parent}\n\n1 2\nready\n"
    pid_file(folder).write_text(stale)
    assert not is_in_use(folder)
    began = time.monotonic()
    with open_server(folder) as server:
        assert server.owned
        assert await answer(server) == str(server.data)
    assert time.monotonic() - began < 20
    assert await answer(databases.server) == str(databases.server.data)


async def test_a_copied_folder_is_not_taken_for_the_original_that_runs(
    folder: Path, open_folder: Path
) -> None:
    copy = copied(folder, open_folder / "copy")
    with open_server(folder) as original:
        shutil.copy2(pid_file(folder), pid_file(copy))
        with open_server(copy) as server:
            assert await answer(server) == str(copy / original.data.name)
        assert await answer(original) == str(original.data)


@pytest.mark.parametrize("used_by_another", [False, True])
def test_who_ends_at_once_asks_a_server_to_stop_that_nobody_else_uses(
    folder: Path, used_by_another: bool
) -> None:
    with user_of(folder) as other:
        assert other.reported
        with user_of(folder, SCRIPT_END="leave_at_once") as user:
            assert user.reported
            if not used_by_another:
                other.is_killed()
            user.process.communicate("", timeout=60)
        until = time.monotonic() + (1 if used_by_another else 20)
        while server_pid(folder) and time.monotonic() < until:
            time.sleep(0.02)
        assert bool(server_pid(folder)) == used_by_another
