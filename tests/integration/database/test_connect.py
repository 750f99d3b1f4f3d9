"""Connections: every form of address, through a pooler too, and errors that give nothing away."""

from __future__ import annotations

import socket
import traceback
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from service.adapters.postgres.session import connect as connecting
from service.adapters.postgres.session.connect import connect
from service.adapters.process.logs import Redactor
from service.domain.errors import (
    DatabaseAwayError,
    DatabaseError,
    RefundSyncError,
    SettingError,
)
from tests.databases import majors
from tests.integration.reachable import PASSWORD, Reachable, reachable_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", params=majors())
def reachable(request: pytest.FixtureRequest) -> Iterator[Reachable]:
    with reachable_server(request.param) as server:
        yield server


FORMS = {
    "as it is documented": "postgresql://finn:{password}@127.0.0.1:{port}/money",
    "the short scheme": "postgres://finn:{password}@127.0.0.1:{port}/money",
    "several hosts": "postgresql://finn:{password}@127.0.0.1:{closed},127.0.0.1:{port}/money",
    "all in the query": "postgresql://?host=127.0.0.1&port={port}&user=finn&password={password}&dbname=money",
    "a socket in the query": "postgresql://finn@/money?host={folder}&port={port}",
    "a socket for a host": "postgresql://finn@{encoded}:{port}/money",
    "the primary only": "postgresql://finn:{password}@127.0.0.1:{port}/money?target_session_attrs=read-write",
    "without TLS": "postgresql://finn:{password}@127.0.0.1:{port}/money?sslmode=disable",
    "settings of its own": "postgresql://finn:{password}@127.0.0.1:{port}/money?options=-c%20timezone=Asia/Tokyo",
    "libpq's keywords": "host=127.0.0.1 port={port} dbname=money user=finn password='{plain}'",
    "SQLAlchemy's scheme": "postgresql+asyncpg://finn:{password}@127.0.0.1:{port}/money?ssl=prefer",
    "an address beside the name": "postgresql://finn:{password}@db.invalid:{port}/money?hostaddr=127.0.0.1",
    "a pooler announced": "postgresql://finn:{password}@127.0.0.1:{port}/money?pgbouncer=true&schema=public",
    "any of several": "postgresql://finn:{password}@127.0.0.1:{closed},127.0.0.1:{port}/money?load_balance_hosts=random",
    "a standby if there is one": "postgresql://finn:{password}@127.0.0.1:{port}/money?target_session_attrs=prefer-standby",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_every_form_of_address_leads_there_and_the_session_is_ours(
    reachable: Reachable, form: str
) -> None:
    dsn = reachable.dsn(form, plain=PASSWORD)
    connection = await connect(dsn, application_name="refund-sync test")
    try:
        found = await connection.fetchrow(
            "SELECT current_user AS role, current_database() AS database,"
            " current_setting('timezone') AS timezone, current_setting('lock_timeout') AS patience,"
            " current_setting('transaction_isolation') AS isolation,"
            " current_setting('application_name') AS name"
        )
    finally:
        await connection.close()
    patience = "0" if "pgbouncer=true" in form else "30s"
    assert tuple(found or ()) == (
        "finn", "money", "UTC", patience, "read committed", "refund-sync test",
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


REFUSED = {
    "a wrong password": ("postgresql://finn:Tr0ub4dor@127.0.0.1:{port}/money", "refuses user or password"),
    "no password": ("postgresql://finn@127.0.0.1:{port}/money", "refuses user or password"),
    "an unknown database": ("postgresql://finn:{password}@127.0.0.1:{port}/nothing", "does not exist"),
    "TLS where there is none": (
        "postgresql://finn:Tr0ub4dor@127.0.0.1:{port}/money?sslmode=require", "speaks no TLS",
    ),
    "an option of nobody": (
        "postgresql://finn:{password}@127.0.0.1:{port}/money?options=-c%20no_such=1", "refuses the connection",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("form", "says"), REFUSED.values(), ids=REFUSED)
async def test_what_the_server_refuses_is_said_without_a_piece_of_the_password(
    reachable: Reachable, form: str, says: str
) -> None:
    with pytest.raises(DatabaseError, match=says) as raised:
        await connect(reachable.dsn(form))
    assert raised.value.hint
    assert_tells_nothing(raised.value)


async def test_a_refused_password_is_called_by_where_it_was_read(
    reachable: Reachable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"*:{reachable.port}:*:finn:Tr0ub4dor\n")
    base = reachable.dsn("postgresql://{{}}@127.0.0.1:{port}/money?passfile=") + str(passwords)

    async def hint(user: str) -> str:
        with pytest.raises(DatabaseError, match="refuses user or password") as raised:
            await connect(base.format(user))
        assert_tells_nothing(raised.value)
        return raised.value.hint

    assert "The password was read from DATABASE_URL." in await hint("finn:Tr0ub4dor")
    assert f"{passwords} is open to others (chmod 600)" in await hint("finn")
    passwords.chmod(0o600)
    assert f"DATABASE_URL holds no password, and {passwords} was looked in" in await hint("finn")
    monkeypatch.setenv("PGPASSWORD", "Tr0ub4dor")
    assert "The password was read from PGPASSWORD." in await hint("finn")


async def test_a_service_names_what_the_address_leaves_out(
    reachable: Reachable, tmp_path: Path
) -> None:
    services = tmp_path / "services"
    services.write_text(
        f"[other]\nhost=nowhere.invalid\n\n# ours\n[refunds]\nhost=127.0.0.1\nport={reachable.port}\n"
        f"user=finn\npassword={PASSWORD}\ndbname=money\n"
    )
    connection = await connect(f"postgresql:///?service=refunds&servicefile={services}")
    assert await connection.fetchval("SELECT current_user") == "finn"
    await connection.close()
    with pytest.raises(SettingError, match="there is no service missing"):
        await connect(f"service=missing servicefile={services}")


async def test_options_reach_the_server_and_ours_hold(reachable: Reachable) -> None:
    options = quote("-c work_mem=8MB -c lock_timeout=1h -c search_path=finance")
    dsn = reachable.dsn(FORMS["as it is documented"] + "?options={options}", options=options)
    connection = await connect(dsn)
    found = [
        await connection.fetchval(f"SHOW {name}")
        for name in ("work_mem", "search_path", "lock_timeout")
    ]
    await connection.close()
    assert found == ["8MB", "finance", "30s"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (1, None, None)),
        ("?keepalives=0", (0, None, None)),
        ("?keepalives_idle=31&keepalives_count=7&keepalives_interval=11", (1, 31, None)),
        ("?tcp_user_timeout=45000", (1, None, 45_000)),
    ],
)
async def test_a_silent_loss_is_noticed_as_the_address_asks(
    reachable: Reachable, query: str, expected: tuple[int, int | None, int | None]
) -> None:
    connection = await connect(reachable.dsn(FORMS["as it is documented"] + query))
    with connection._transport.get_extra_info("socket").dup() as ours:  # type: ignore[attr-defined]
        alive = ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        unanswered = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    await connection.close()
    wanted_alive, wanted_idle, wanted_unanswered = expected
    assert alive == wanted_alive
    assert wanted_idle in {None, idle}
    assert wanted_unanswered in {None, unanswered}


async def test_a_server_that_does_not_answer_is_left_for_the_next(reachable: Reachable) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        form = "postgresql://finn:{password}@127.0.0.1:{silent},127.0.0.1:{port}/money?connect_timeout=1"
        dsn = reachable.dsn(form, silent=silent.getsockname()[1])
        connection = await connect(dsn)
    assert await connection.fetchval("SELECT current_user") == "finn"
    await connection.close()


IGNORED = (
    "application_name=app", "fallback_application_name=app", "client_encoding=LATIN1",
    "sslcompression=1", "gssdelegation=1", "gssencmode=prefer", "krbsrvname=postgres",
    "gsslib=gssapi", "max_protocol_version=latest", "min_protocol_version=3.0", "sslsni=0",
    "sslcertmode=disable", "requiressl=0", "replication=false", "channel_binding=prefer",
    "connection_limit=1", "pool_timeout=3", "sslnegotiation=postgres", "keepalives=1",
)  # fmt: skip


@pytest.mark.parametrize("query", IGNORED)
async def test_what_is_ignored_keeps_nobody_out(reachable: Reachable, query: str) -> None:
    connection = await connect(reachable.dsn(FORMS["as it is documented"] + "?" + query))
    assert await connection.fetchval("SHOW client_encoding") == "UTF8"
    assert await connection.fetchval("SHOW application_name") == "refund-sync"
    await connection.close()


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://finn:Tr0ub4dor@127.0.0.1:{closed}/money",
        "postgresql://finn:Tr0ub4dor@nowhere.invalid/money",
        "postgresql://finn:Tr0ub4dor@/money?host={folder}/nothing",
        "postgresql://finn:{password}@127.0.0.1:{port}/money?target_session_attrs=standby",
        "postgresql://finn:{password}@127.0.0.1:{port}/money?target_session_attrs=read-only",
    ],
)
async def test_what_may_work_later_is_away(reachable: Reachable, form: str) -> None:
    with pytest.raises(DatabaseAwayError) as raised:
        await connect(reachable.dsn(form))
    assert raised.value.exit_code == 5
    assert_tells_nothing(raised.value)


def assert_tells_nothing(error: RefundSyncError) -> None:
    reported = "".join(traceback.format_exception(error)) + error.hint
    shown = "\n".join(line for line in reported.splitlines() if "postgresql://" not in line)
    for piece in ("Tr0ub", "4dor", PASSWORD, quote(PASSWORD, safe="")):
        assert piece not in Redactor()(shown)


async def test_a_server_that_is_too_old_is_refused(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Postgres 14 is at hand everywhere: the newest one is called too old instead."""
    monkeypatch.setattr(connecting, "OLDEST_MAJOR", 99)
    with pytest.raises(DatabaseError, match="99 or later is needed"):
        await connect(database)
