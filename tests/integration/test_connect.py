"""Connections: every form of address, through a pooler too, and errors that give nothing away."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import asyncpg
import pytest

from service.adapters.logs import Redactor
from service.adapters.postgres import connect as connecting
from service.adapters.postgres import postmaster
from service.adapters.postgres.binaries import _of_system, find_binaries
from service.adapters.postgres.connect import connect, create_pool, is_pooled
from service.domain.errors import DatabaseAwayError, DatabaseError, RefundSyncError
from tests.acceptance.stage import Stage, simulated_stripe
from tests.databases import OwnServer, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.adapters.postgres.binaries import Binaries

PASSWORD = "p@ss:/w#rd?50%"
HBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


@dataclass
class Reachable:
    """A server on loopback that asks for a password, and whose certificate nobody knows."""

    folder: Path
    port: int
    tls: bool

    def dsn(self, form: str) -> str:
        return form.format(
            port=self.port, folder=self.folder, password=quote(PASSWORD, safe=""),
            encoded=quote(str(self.folder), safe=""), closed=free_port(),
        )  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def installed() -> Binaries:
    """The system's Postgres, which can speak TLS, else the one there is."""
    return next(iter(_of_system()), None) or find_binaries()


def speaks_tls(server: OwnServer) -> bool:
    told = subprocess.run(
        [server.installed.folder / "postgres", "-C", "ssl_library", "-D", server.folder / "data"],
        **postmaster.server_account().as_options(), cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    return bool(told.stdout.strip() and shutil.which("openssl"))


def make_certificate(data: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=nobody", "-keyout", data / "server.key", "-out", data / "server.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    for name in ("server.key", "server.crt"):
        (data / name).chmod(0o600)
        postmaster.server_account().own(data / name)


@pytest.fixture(scope="module")
def reachable() -> Iterator[Reachable]:
    with scratch_folder() as folder:
        server = OwnServer(folder, installed())
        server.create()
        (folder / "data" / "pg_hba.conf").write_text(HBA)
        tls = speaks_tls(server)
        if tls:
            make_certificate(folder / "data")
        with (folder / "data" / "postgresql.conf").open("a") as conf:
            conf.write(f"fsync=off\nssl={'on' if tls else 'off'}\n")
        port = free_port()
        options = f"-k {folder} -p {port} -c listen_addresses=127.0.0.1"
        server._control("start", "-w", "-l", str(folder / "log"), "-o", options)
        for sql in (
            f"CREATE ROLE finn LOGIN PASSWORD '{PASSWORD}'",
            "CREATE DATABASE money OWNER finn",
        ):
            subprocess.run(
                [server.installed.folder / "psql", "-h", folder, "-p", str(port), "-U", "postgres", "-c", sql],
                check=True, capture_output=True,
            )  # fmt: skip
        yield Reachable(folder, port, tls)
        server.stop()


FORMS = {
    "as it is documented": "postgresql://finn:{password}@127.0.0.1:{port}/money",
    "the short scheme": "postgres://finn:{password}@127.0.0.1:{port}/money",
    "several hosts": "postgresql://finn:{password}@127.0.0.1:{closed},127.0.0.1:{port}/money",
    "all in the query": "postgresql://?host=127.0.0.1&port={port}&user=finn&password={password}&dbname=money",
    "a socket in the query": "postgresql://finn@/money?host={folder}&port={port}",
    "a socket for a host": "postgresql://finn@{encoded}:{port}/money",
    "the primary only": "postgresql://finn:{password}@127.0.0.1:{port}/money?target_session_attrs=read-write",
    "without TLS": "postgresql://finn:{password}@127.0.0.1:{port}/money?sslmode=disable",
    "settings of its own": "postgresql://finn:{password}@127.0.0.1:{port}/money?work_mem=8MB&timezone=Asia/Tokyo",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_every_form_of_address_leads_there_and_the_session_is_ours(
    reachable: Reachable, form: str
) -> None:
    connection = await connect(reachable.dsn(form), application_name="refund-sync test")
    try:
        found = await connection.fetchrow(
            "SELECT current_user AS role, current_database() AS database,"
            " current_setting('timezone') AS timezone, current_setting('lock_timeout') AS patience,"
            " current_setting('transaction_isolation') AS isolation,"
            " current_setting('application_name') AS name"
        )
    finally:
        await connection.close()
    assert tuple(found or ()) == (
        "finn", "money", "UTC", "30s", "read committed", "refund-sync test",
    )  # fmt: skip


async def test_what_the_address_leaves_out_comes_from_the_environment(
    reachable: Reachable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"127.0.0.1:{reachable.port}:money:finn:{PASSWORD}\n")
    passwords.chmod(0o600)
    given = {"PGHOST": "127.0.0.1", "PGPORT": str(reachable.port), "PGUSER": "finn"}
    for name, value in {**given, "PGDATABASE": "money", "PGPASSFILE": str(passwords)}.items():
        monkeypatch.setenv(name, value)
    connection = await connect("postgresql://")
    assert await connection.fetchval("SELECT current_user") == "finn"
    await connection.close()


async def test_with_tls_asked_for_it_is_spoken(reachable: Reachable) -> None:
    if not reachable.tls:
        pytest.skip("no Postgres with TLS is here")
    connection = await connect(reachable.dsn(FORMS["as it is documented"] + "?sslmode=require"))
    assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    await connection.close()


REFUSED = {
    "a wrong password": ("postgresql://finn:Tr0ub4dor@127.0.0.1:{port}/money", "refuses to let us in"),
    "an unknown database": ("postgresql://finn:{password}@127.0.0.1:{port}/nothing", "does not exist"),
    "a raw @": ("postgresql://finn:12@Tr0ub4dor@127.0.0.1:{port}/money", "not a Postgres address"),
    "a raw /": ("postgresql://finn:12/Tr0ub4dor@127.0.0.1:{port}/money", "not a Postgres address"),
    "a raw / after letters": ("postgresql://finn:Tr0ub4dor/x@127.0.0.1:{port}/money", "not a Postgres address"),
    "a raw #": ("postgresql://finn:Tr0ub4dor#x@127.0.0.1:{port}/money", "not a Postgres address"),
    "a raw ?": ("postgresql://finn:Tr0ub4dor?x@127.0.0.1:{port}/money", "not a Postgres address"),
    "a raw [": ("postgresql://finn:Tr0ub[4dor@127.0.0.1:{port}/money", "not a Postgres address"),
    "another scheme": ("mysql://finn:Tr0ub4dor@127.0.0.1:{port}/money", "not a Postgres address"),
    "no scheme": ("finn:Tr0ub4dor@127.0.0.1:{port}/money", "not a Postgres address"),
    "words": ("host=127.0.0.1 password=Tr0ub4dor", "not a Postgres address"),
    "a port that is none": ("postgresql://finn:Tr0ub4dor@127.0.0.1:port/money", "not a Postgres address"),
    "a port too high": ("postgresql://finn:Tr0ub4dor@127.0.0.1:99999/money", "not a Postgres address"),
    "an unknown sslmode": ("postgresql://finn:Tr0ub4dor@127.0.0.1:{port}/money?sslmode=yes", "sslmode"),
    "a certificate that is not there": (
        "postgresql://finn:Tr0ub4dor@127.0.0.1:{port}/money?sslmode=verify-full&sslrootcert=/no/ca.pem",
        "no file /no/ca.pem",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("form", "says"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_work_is_refused_without_a_piece_of_the_password(
    reachable: Reachable, form: str, says: str
) -> None:
    with pytest.raises(DatabaseError, match=says) as raised:
        await connect(reachable.dsn(form))
    assert raised.value.hint
    assert_tells_nothing(raised.value)


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    reachable: Reachable, tmp_path: Path
) -> None:
    if not reachable.tls:
        pytest.skip("no Postgres with TLS is here")
    make_certificate(tmp_path)
    form = FORMS["as it is documented"] + f"?sslmode=verify-ca&sslrootcert={tmp_path}/server.crt"
    with pytest.raises(DatabaseError, match="certificate") as raised:
        await connect(reachable.dsn(form))
    assert_tells_nothing(raised.value)


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://finn:Tr0ub4dor@127.0.0.1:{closed}/money",
        "postgresql://finn:Tr0ub4dor@nowhere.invalid/money",
        "postgresql://finn:Tr0ub4dor@/money?host={folder}/nothing",
    ],
)
async def test_what_may_work_later_is_away(reachable: Reachable, form: str) -> None:
    with pytest.raises(DatabaseAwayError) as raised:
        await connect(reachable.dsn(form))
    assert raised.value.exit_code == 5
    assert_tells_nothing(raised.value)


def assert_tells_nothing(error: RefundSyncError) -> None:
    told = "".join(traceback.format_exception(error)) + error.hint
    shown = "\n".join(line for line in told.splitlines() if "postgresql://" not in line)
    for piece in ("Tr0ub", "4dor", PASSWORD, quote(PASSWORD, safe="")):
        assert piece not in Redactor()(shown)


async def test_a_server_that_is_too_old_is_refused(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Postgres 14 is at hand everywhere: the newest one is called too old instead."""
    monkeypatch.setattr(connecting, "OLDEST_MAJOR", 99)
    with pytest.raises(DatabaseError, match="99 or later is needed"):
        await connect(database)


async def test_no_pooler_is_seen_where_there_is_none(database: str) -> None:
    connection = await connect(database)
    assert not await is_pooled(connection)
    await connection.close()


@contextmanager
def pgbouncer(folder: Path, dsn: str, *lines: str) -> Iterator[str]:
    """A pooler in transaction mode with one server connection. Gives the address of *dsn* through it."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not here")
    name, _, host = dsn.partition("@/")[2].partition("?host=")
    account, port = postmaster.server_account(), free_port()
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        "\n".join([
            "[databases]", f"{name} = host={host.partition('&')[0]} port=5432 dbname={name}",
            "[pgbouncer]", "listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir =",
            "auth_type = trust", f"auth_file = {folder}/users",
            "pool_mode = transaction", "default_pool_size = 2", *lines,
        ])
    )  # fmt: skip
    account.own(folder)
    process = subprocess.Popen(
        [program, folder / "pgbouncer.ini"], **account.as_options(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr
        for line in process.stderr:
            if "process up" in line:
                break
        yield f"postgresql://postgres@127.0.0.1:{port}/{name}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


SILENT = "ignore_startup_parameters = lock_timeout, idle_in_transaction_session_timeout, default_transaction_isolation, plan_cache_mode"


@pytest.mark.parametrize("lines", [(), (SILENT,)], ids=["refusing settings", "dropping settings"])
async def test_a_pooler_in_transaction_mode_is_noticed_and_coped_with(
    database: str, open_folder: Path, lines: tuple[str, ...]
) -> None:
    with pgbouncer(open_folder, database, *lines) as dsn:
        connection = await connect(dsn)
        assert await is_pooled(connection)
        await connection.close()
        pool = await create_pool(dsn, size=6)

        async def add(number: int) -> int:
            async with pool.acquire() as one, one.transaction():
                return int(await one.fetchval("SELECT $1::int + 1", number))

        async def add_alone(number: int) -> int:
            async with pool.acquire() as one:
                return int(await one.fetchval("SELECT $1::int + 1", number))

        for work in (add, add_alone):
            assert await asyncio.gather(*map(work, range(50))) == list(range(1, 51))
        await pool.close()


async def test_a_backfill_through_a_pooler_ends_equal(database: str, open_folder: Path) -> None:
    (open_folder / "bouncer").mkdir()
    with (
        pgbouncer(open_folder / "bouncer", database) as dsn,
        simulated_stripe(refunds=800) as stripe,
    ):
        Stage(stripe, open_folder, dsn).run(
            "backfill", "--from", "2025-01-01", "--to", "2026-01-01"
        )
        await Stage(stripe, open_folder, database).assert_equal_to_stripe()
    assert await _backends_left(database) <= 1


async def _backends_left(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'refund-sync%'"
            )
        )
    finally:
        await connection.close()


async def test_a_copy_ends_when_its_connection_is_lost_while_it_waits_for_room(
    database: str,
) -> None:
    pool = await create_pool(database, size=1)
    async with pool.acquire() as one:
        backend = one.get_server_pid()

    def rows() -> Iterator[tuple[str]]:
        """The backend is stopped once COPY has begun, and is ended when it wakes."""
        os.kill(backend, signal.SIGSTOP)
        os.kill(backend, signal.SIGTERM)
        asyncio.get_running_loop().call_later(0.3, os.kill, backend, signal.SIGCONT)
        for _ in range(4_000):
            yield ("x" * 1_000,)

    async with pool.acquire() as one, asyncio.timeout(20):
        await one.execute("CREATE TEMP TABLE copied (line text)")
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await one.copy_records_to_table("copied", columns=["line"], records=rows())
    await pool.close()
