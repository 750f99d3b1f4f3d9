"""A Postgres of our own: started when a command needs it, stopped by the last one that used it.

The server is a child in a session of its own, so that Ctrl-C ends the commands and not the server
under them. Every process that uses it holds a shared lock on ``users.lock``; the process that can make its own
exclusive on leaving is the last one and stops the server. A server whose starter was killed is simply
used on. It listens on a socket inside a folder that nobody else can enter, which is why it trusts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self
from urllib.parse import quote

from service.adapters.postgres.server import postmaster
from service.adapters.postgres.server.binaries import Binaries, find_binaries
from service.adapters.postgres.server.options import PORT, server_options
from service.adapters.postgres.server.postmaster import Account, server_account
from service.domain.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = "refund_sync"
START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
LOCK_LIMIT_S = 120.0
REAP_LIMIT_S = 1.0
LONGEST_SOCKET_FOLDER = 90
_started: list[tuple[Path, subprocess.Popen[bytes]]] = []
"""Servers that this process started: they may outlive it, so nothing waits for them but a stop."""
_shares: list[tuple[Path, IO[bytes]]] = []
"""The folders whose servers this process uses, and its share in each."""


@dataclass(slots=True)
class Server:
    """A running server and our share in it."""

    dsn: str
    binaries: Binaries
    data: Path
    owned: bool
    _users: IO[bytes]

    def close(self) -> None:
        """Leaves; stops the server if nobody else uses it. Closing twice does nothing."""
        if self._users.closed:
            return
        with suppress(BlockingIOError):
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            postmaster.stop(self.data, STOP_LIMIT_S)
        self._users.close()
        _reap()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_server(root: Path, *, major: int | None = None) -> Server:
    """The server of the data folder *root*: started if none runs there, and used together if one does.

    Raises DatabaseError where there are no binaries, or it cannot start, with its own last words.
    """
    root = root.resolve()
    try:
        return _opened(root, major or _cluster_major(root))
    except OSError as error:
        raise DatabaseError(
            f"the data folder {root} cannot be used: {error.strerror or error}",
            hint="REFUND_SYNC_DATA_DIR names another; one made by root is not for others.",
        ) from error


def _opened(root: Path, major: int | None) -> Server:
    binaries = find_binaries(major)
    _make_passable(root)
    with _locked(root / "start.lock"):
        users = (root / "users.lock").open("ab")
        try:
            fcntl.flock(users, fcntl.LOCK_SH)  # at once: only a last one holds it alone, briefly
            _shares.append((root, users))
            return _running_server(root, binaries, users)
        except BaseException:
            users.close()
            raise


def _reap() -> None:
    """Forgets those servers of ours that have ended."""
    for data, process in list(_started):
        with suppress(subprocess.TimeoutExpired):
            if not (data / "postmaster.pid").exists():
                process.wait(REAP_LIMIT_S)
        if process.poll() is not None:
            _started.remove((data, process))


def leave_at_once() -> None:
    """For a process that ends this instant: its servers are asked to stop, without waiting."""
    for root, users in _shares:
        if users.closed:
            continue
        with suppress(OSError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for version in root.glob("pg*/PG_VERSION"):
                postmaster.ask_to_stop(version.parent)
            for data, starting in _started:
                if data.parent == root:
                    starting.send_signal(signal.SIGINT)


def is_in_use(root: Path) -> bool:
    """Whether any process uses the server of that folder; one that nobody uses any more is stopped."""
    root = root.resolve()
    if not (root / "users.lock").exists():
        return False
    with (root / "users.lock").open("ab") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        for version in root.glob("pg*/PG_VERSION"):
            postmaster.stop(version.parent, STOP_LIMIT_S)
    return False


def _running_server(root: Path, binaries: Binaries, users: IO[bytes]) -> Server:
    data = root / f"pg{binaries.major}"
    account = server_account(data)
    if not account.reaches(root):
        raise DatabaseError(
            f"the user that Postgres runs as may not pass through {root}",
            hint="Postgres refuses to run as root. Name a folder that everybody may pass through in"
            " REFUND_SYNC_DATA_DIR, such as /var/lib/refund-sync, or run this as another user.",
        )
    binaries = _reachable(binaries, root, account)
    socket = postmaster.answering(data, binaries)
    owned = socket is None
    if socket is None:
        if not (data / "PG_VERSION").exists():
            _initdb(data, binaries, account)
        socket = _start(data, binaries, account)
    postmaster.ensure_database(socket, binaries, DATABASE)
    host = quote(str(socket), safe="/")
    # All of it named: what is not, asyncpg takes from PGPORT, PGSSLMODE and their like.
    rest = f"port={PORT}&sslmode=disable&target_session_attrs=any"
    dsn = f"postgresql://postgres@/{DATABASE}?host={host}&{rest}"
    return Server(dsn, binaries, data, owned, users)


def _cluster_major(root: Path) -> int | None:
    found = sorted(
        (
            int(v.read_text())
            for v in root.glob("pg*/PG_VERSION")
            if v.read_text().strip().isdigit()
        ),
        reverse=True,
    )
    return found[0] if found else None


def _make_passable(folder: Path) -> None:
    """With every folder above it; those that we make the server's user can pass through."""
    for missing in reversed([part for part in (folder, *folder.parents) if not part.exists()]):
        missing.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            missing.chmod(0o755)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held alone; waits a bounded time for its holder."""
    with path.open("ab") as file:
        deadline = time.monotonic() + LOCK_LIMIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DatabaseError(f"another process keeps {path} locked") from None
                time.sleep(0.05)
        yield


def _reachable(binaries: Binaries, root: Path, account: Account) -> Binaries:
    """A copy in the data root where the server's user cannot reach the wheel, as below a 0700 home."""
    if account.reaches(binaries.folder / "postgres"):
        return binaries
    copy = root / "binaries" / binaries.version
    if not copy.exists():
        install = binaries.folder.parent
        making = Path(tempfile.mkdtemp(prefix="binaries-", dir=root))
        making.chmod(0o755)
        _make_passable(making / "package")
        shutil.copytree(install, making / "package" / install.name, symlinks=True)
        for libs in install.parent.parent.glob(f"{install.parent.name}.libs"):
            shutil.copytree(libs, making / libs.name, symlinks=True)
        _make_passable(copy.parent)
        making.rename(copy)
    return replace(binaries, folder=copy / "package" / binaries.folder.parent.name / "bin")


def _initdb(data: Path, binaries: Binaries, account: Account) -> None:
    """A new cluster, made next to its place and renamed, so that a killed start leaves no half of one."""
    making = data.with_name(f"{data.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    account.own(making)
    ran = subprocess.run(
        [binaries.folder / "initdb", "-D", making, "-U", "postgres", "--auth=trust",
         "--locale=C", "--encoding=UTF8", "--no-instructions"],
        **account.as_options(), cwd="/", env=postmaster.clean_environment(), capture_output=True,
        text=True, check=False, timeout=START_LIMIT_S, start_new_session=True,
    )  # fmt: skip
    if ran.returncode:
        shutil.rmtree(making, ignore_errors=True)
        raise DatabaseError(
            f"the embedded database could not be made in {data}: {_last_lines(ran.stderr)}",
            hint="Free disk space or correct the permissions; REFUND_SYNC_DATA_DIR names another folder.",
        )
    making.rename(data)


def _start(data: Path, binaries: Binaries, account: Account) -> Path:
    postmaster.clear_dead(data, binaries)
    socket = _socket_folder(data, account)
    log = data / "server.log"
    with log.open("ab") as out:
        account.own(log)
        process = subprocess.Popen(
            [binaries.folder / "postgres", "-D", data, "-k", socket,
             *(part for option in server_options() for part in ("-c", option))],
            **account.as_options(), cwd="/", env=postmaster.clean_environment(),
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    _started.append((data, process))
    try:
        _await_ready(process, data, binaries, log)
    except BaseException:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
        raise
    return socket


def _await_ready(
    process: subprocess.Popen[bytes], data: Path, binaries: Binaries, log: Path
) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while postmaster.answering(data, binaries) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise DatabaseError(
                f"the embedded database did not start: {_last_lines(log.read_text(errors='replace'))}",
                hint=f"Its log is {log}.",
            )
        time.sleep(0.02)


def _socket_folder(data: Path, account: Account) -> Path:
    """The data folder; a private temporary one where its path is too long for a socket, or reads as two."""
    if len(os.fsencode(data)) <= LONGEST_SOCKET_FOLDER and "," not in str(data):
        return data
    folder = Path(tempfile.mkdtemp(prefix="refund-sync-"))
    account.own(folder)
    return folder


def _last_lines(text: str) -> str:
    return " / ".join(line for line in text.strip().splitlines()[-3:]) or "it said nothing"
