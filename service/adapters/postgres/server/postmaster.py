"""One Postgres server process: whether it lives and answers, how it is stopped, who it runs as."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.errors import DatabaseError

if TYPE_CHECKING:
    from service.adapters.postgres.server.binaries import Binaries

DATA_LINE, SOCKET_LINE, READY_LINE = 2, 5, 8
"""Of postmaster.pid, counted from one."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that the server runs as; None where we are not root and it is ourselves."""

    uid: int | None
    gid: int | None

    def as_options(self) -> dict[str, Any]:
        """For subprocess: Postgres refuses to run as root."""
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """Whether this user may pass through every folder above *path*, and run it."""
        if self.uid is None:
            return True
        ran = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$0"', path], **self.as_options(), cwd="/", check=False
        )
        return ran.returncode == 0


def server_account(data: Path | None = None) -> Account:
    """Ourselves; where we are root the owner of *data*, for a new one ``postgres``, else ``nobody``."""
    if os.geteuid() != 0:
        return Account(None, None)
    if data is not None and data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise DatabaseError(
        "Postgres refuses to run as root, and this system has no user postgres or nobody",
        hint="Run this as another user, or name your own database in DATABASE_URL.",
    )


def clean_environment() -> dict[str, str]:
    """Ours without what Postgres reads from it: PGPORT moves a server, NOTIFY_SOCKET lets it speak for us."""
    ours = ("PG", "NOTIFY_SOCKET", "WATCHDOG_", "STRIPE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _pid(data: Path) -> int | None:
    lines = _lines(data)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None


def lives(pid: int, data: Path) -> bool:
    """Whether *pid* is the server of *data*: a zombie, another program and another server are not."""
    proc = Path(f"/proc/{pid}")
    if not Path("/proc/self").exists():
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, 0)
            return True
        return False
    try:
        state = (proc / "stat").read_text().rpartition(")")[2].split()[0]
        arguments = (proc / "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX" and (os.fsencode(data) in arguments or _works_in(proc, data))


def _works_in(proc: Path, data: Path) -> bool:
    """For a server that somebody started by hand, with other arguments than ours."""
    try:
        name = (proc / "comm").read_text()
        return name.startswith("postgres") and (proc / "cwd").samefile(data)
    except OSError:
        return False


def answering(data: Path, binaries: Binaries) -> Path | None:
    """The socket folder of the server that runs on *data*, says that it is ready, and lets us in.

    It is the server that is asked, not the process table: in another container it has no
    number that we could see, and a copied folder names the server of the original.
    """
    lines = _lines(data)
    if len(lines) < READY_LINE or lines[READY_LINE - 1].strip() != "ready":
        return None
    socket = Path(lines[SOCKET_LINE - 1])
    reported = _ask(socket, binaries, "postgres", "SHOW data_directory")
    return socket if reported == str(data) else None


def _ask(socket: Path, binaries: Binaries, database: str, sql: str) -> str | None:
    """The answer to one statement; None where the server does not let us in."""
    if not binaries.psql:
        raise DatabaseError(f"psql is missing in {binaries.folder}", hint="Install it there.")
    ran = subprocess.run(
        [binaries.psql, "-X", "-h", socket, "-U", "postgres", "-d", database, "-tAc", sql],
        env={**clean_environment(), "PGCONNECT_TIMEOUT": "5"}, capture_output=True, text=True, timeout=30, check=False, start_new_session=True,
    )  # fmt: skip
    return ran.stdout.strip() if ran.returncode == 0 else None


def ensure_database(socket: Path, binaries: Binaries, name: str) -> None:
    if _ask(socket, binaries, name, "SELECT 1") is not None:
        return
    if _ask(socket, binaries, "postgres", f"CREATE DATABASE {name}") is None:
        raise DatabaseError(f"the database {name} cannot be made in {socket}")


def clear_dead(data: Path, binaries: Binaries) -> None:
    """Removes the lock files of a server that is gone; waits for one that is just starting or ending.

    Postgres itself takes a zombie, or any program that got the number since, for a living server.
    """
    deadline = time.monotonic() + 30
    pid = _pid(data)
    while pid is not None and lives(pid, data):
        if answering(data, binaries) or time.monotonic() > deadline:
            raise DatabaseError(f"a server runs in {data} that could not be used before")
        time.sleep(0.05)
        pid = _pid(data)
    lines = _lines(data)
    (data / "postmaster.pid").unlink(missing_ok=True)
    _clear_socket(data)
    # In a copied folder the file names the original, which may well be running.
    if len(lines) >= SOCKET_LINE and lines[DATA_LINE - 1] == str(data):
        folder = Path(lines[SOCKET_LINE - 1])
        _clear_socket(folder)
        _remove_private(folder, data)


def _clear_socket(folder: Path) -> None:
    for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (folder / name).unlink(missing_ok=True)


def stop(data: Path, limit_s: float) -> None:
    """A fast stop, and after *limit_s* an immediate one. Nothing to do where no server runs."""
    lines, pid = _lines(data), _pid(data)
    if pid is None or not lives(pid, data):
        return
    for number in (signal.SIGINT, signal.SIGQUIT):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        if _ended(pid, data, limit_s):
            break
    if len(lines) >= SOCKET_LINE:
        _remove_private(Path(lines[SOCKET_LINE - 1]), data)


def ask_to_stop(data: Path) -> None:
    """A fast stop that nobody waits for."""
    pid = _pid(data)
    if pid is not None and lives(pid, data):
        os.kill(pid, signal.SIGINT)


def _remove_private(folder: Path, data: Path) -> None:
    """A temporary socket folder goes with its server."""
    if folder != data and folder.name.startswith("refund-sync-"):
        shutil.rmtree(folder, ignore_errors=True)


def _ended(pid: int, data: Path, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while lives(pid, data):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return True
