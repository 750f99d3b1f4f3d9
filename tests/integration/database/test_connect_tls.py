"""TLS to the database: never weaker than the address asks for, and each file called by its name."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from service.adapters.postgres.address.psql import psql_environment
from service.adapters.postgres.session.connect import connect
from service.domain.errors import DatabaseAwayError, DatabaseError, SettingError
from tests.certificates import Authority
from tests.integration.reachable import WithTls, server_with_tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def tls() -> Iterator[WithTls]:
    with server_with_tls() as server:
        yield server


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that issued nothing of the server's."""
    return Authority(tmp_path_factory.mktemp("stranger")).create()


@pytest.fixture(autouse=True)
def untrusting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system's store is empty, and so is the home."""
    (tmp_path / "none.pem").write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))


async def session(dsn: str) -> tuple[bool, str | None, str | None]:
    """Whether TLS is spoken, in which version, and who we are by our certificate."""
    connection = await connect(dsn)
    try:
        row = await connection.fetchrow(
            "SELECT ssl, version, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        assert row is not None
        return row[0], row[1], row[2]
    finally:
        await connection.close()


async def refusal(dsn: str) -> str:
    with pytest.raises((DatabaseError, SettingError)) as raised:
        await connect(dsn)
    return f"{raised.value}\n{raised.value.hint}"


async def test_by_default_tls_is_spoken_where_it_can_be(tls: WithTls) -> None:
    assert (await session(tls.base))[0]
    assert (await session(f"{tls.base}?sslmode=require"))[0]
    assert (await session(f"{tls.base}?ssl=true"))[0]
    assert not (await session(f"{tls.base}?sslmode=disable"))[0]


async def test_the_authority_that_is_named_is_the_one_that_is_believed(
    tls: WithTls, stranger: Authority
) -> None:
    for mode in ("require", "verify-ca", "verify-full"):
        query = f"?sslmode={mode}&sslrootcert="
        assert (await session(f"{tls.base}{query}{tls.authority.certificate}"))[0]
        reported = await refusal(f"{tls.base}{query}{stranger.certificate}")
        assert "certificate of the database server is not trusted" in reported


async def test_the_name_of_the_host_is_verified_also_where_its_address_is_given(
    tls: WithTls,
) -> None:
    full = f"sslmode=verify-full&sslrootcert={tls.authority.certificate}"
    other = tls.base.replace("@localhost", "@db.invalid")
    assert (await session(f"{tls.base}?hostaddr=127.0.0.1&{full}"))[0]
    assert "not trusted" in await refusal(f"{other}?hostaddr=127.0.0.1&{full}")
    assert (
        await session(f"{other}?hostaddr=127.0.0.1&{full.replace('verify-full', 'verify-ca')}")
    )[0]


@pytest.mark.parametrize(
    "query",
    [
        "sslrootcert=system",
        "sslmode=verify-full&sslrootcert=system",
        "channel_binding=require",
        "sslmode=require&channel_binding=require",
        "sslmode=prefer&channel_binding=require",
    ],
)
async def test_the_system_s_store_is_what_verifies(
    tls: WithTls, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = await refusal(f"{tls.base}?{query}")
    assert "certificate of the database server is not trusted" in reported
    assert ("channel_binding=prefer and do without" in reported) == ("channel_binding" in query)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority.certificate))
    assert (await session(f"{tls.base}?{query}"))[0]


async def test_an_authority_of_ones_own_meets_channel_binding_as_well(tls: WithTls) -> None:
    query = f"channel_binding=require&sslrootcert={tls.authority.certificate}"
    assert (await session(f"{tls.base}?{query}"))[0]


async def test_to_verify_without_an_authority_is_refused_with_what_to_write(tls: WithTls) -> None:
    reported = await refusal(f"{tls.base}?sslmode=verify-full")
    assert "needs an authority to verify by" in reported
    assert "sslrootcert=system" in reported


async def test_the_authority_in_the_usual_place_is_believed(tls: WithTls, tmp_path: Path) -> None:
    (tmp_path / ".postgresql").mkdir()
    usual = tmp_path / ".postgresql" / "root.crt"
    usual.write_bytes(tls.authority.certificate.read_bytes())
    assert (await session(f"{tls.base}?sslmode=verify-full"))[0]


async def test_a_revoked_certificate_is_refused(tls: WithTls, tmp_path: Path) -> None:
    full = f"sslmode=verify-full&sslrootcert={tls.authority.certificate}"
    nobody = tls.authority.revoked()
    assert (await session(f"{tls.base}?{full}&sslcrl={nobody}"))[0]
    revoking = tmp_path / "crl"
    revoking.mkdir()
    (revoking / "crl.pem").write_bytes(tls.authority.revoked(tls.server).read_bytes())
    subprocess.run(["openssl", "rehash", revoking], check=True)
    assert "revoked" in await refusal(f"{tls.base}?{full}&sslcrl={revoking}/crl.pem")
    assert "revoked" in await refusal(f"{tls.base}?{full}&sslcrldir={revoking}")


async def test_our_own_certificate_is_shown(tls: WithTls) -> None:
    base = tls.base.replace("//finn:", "//certified:")
    plain = tls.authority.issue("certified")
    shown = f"sslmode=require&sslcert={plain.certificate}&sslkey={plain.key}"
    plain.key.chmod(0o600)
    assert (await session(f"{base}?{shown}"))[2] == "/CN=certified"
    assert (await session(f"{base}?{shown.replace('require', 'prefer')}"))[2] == "/CN=certified"
    assert "certificate" in await refusal(f"{base}?{shown}&sslcertmode=disable")
    locked = tls.authority.issue("certified", password="hunter22")
    shown = f"sslmode=require&sslcert={locked.certificate}&sslkey={locked.key}"
    assert (await session(f"{base}?{shown}&sslpassword=hunter22"))[2] == "/CN=certified"
    reported = await refusal(f"{base}?{shown}&sslpassword=hunter33")
    assert "a certificate that fits its key" in reported
    assert "hunter" not in reported


async def test_versions_of_tls_are_kept_to(tls: WithTls) -> None:
    for query in (
        "ssl_max_protocol_version=TLSv1.2",
        "sslmode=require&ssl_max_protocol_version=TLSv1.2",
    ):
        assert (await session(f"{tls.base}?{query}"))[1] == "TLSv1.2"
    assert (await session(f"{tls.base}?sslmode=require&ssl_min_protocol_version=TLSv1.3"))[
        1
    ] == "TLSv1.3"


async def test_keys_are_logged_where_that_is_asked_for(tls: WithTls, tmp_path: Path) -> None:
    await session(f"{tls.base}?sslmode=require&sslkeylogfile={tmp_path}/keys")
    assert "CLIENT_TRAFFIC_SECRET" in (tmp_path / "keys").read_text()


async def test_tls_begins_at_once_where_that_is_asked_for_and_names_no_host_where_it_must_not(
    tls: WithTls,
) -> None:
    """Postgres knows it from 17 on; the one here may be older, so a TLS server stands in for it."""
    named: list[str | None] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.server.certificate, tls.server.key)
    context.sni_callback = lambda _, name, __: named.append(name)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    base = f"postgresql://finn@localhost:{server.sockets[0].getsockname()[1]}/money"
    async with server:
        for query in ("", "&sslsni=0", "&hostaddr=127.0.0.1"):
            with pytest.raises(DatabaseAwayError):
                await connect(f"{base}?sslmode=require&sslnegotiation=direct{query}")
    assert named == ["localhost", None, "localhost"]


async def test_what_the_driver_cannot_is_called_that(tls: WithTls) -> None:
    reported = await refusal(tls.base.replace("//finn:", "//kerberos:"))
    assert "asks for what the driver cannot" in reported
    assert "scram-sha-256" in reported


BAD = {
    "sslrootcert": ("sslmode=verify-full", "a certificate in PEM form"),
    "sslcrl": ("sslmode=require", "a certificate in PEM form"),
    "sslcert": ("sslmode=require", "a certificate that fits its key"),
}


@pytest.mark.parametrize(
    ("name", "with_it", "expected"), [(n, *reported) for n, reported in BAD.items()]
)
async def test_a_bad_file_is_called_by_its_parameter(
    tls: WithTls, tmp_path: Path, name: str, with_it: str, expected: str
) -> None:
    (tmp_path / "text").write_text("hello")
    base = f"{tls.base}?{with_it}&{name}="
    assert f"{name}: {tmp_path}/text is not {expected}" in await refusal(f"{base}{tmp_path}/text")
    assert f"there is no file /no/such for {name}" in await refusal(f"{base}/no/such")
    reported = await refusal(f"{base}{tmp_path}")
    assert reported.startswith(f"DATABASE_URL: {name}: {tmp_path} cannot be read: Is a directory")
    with pytest.raises(SettingError):
        await connect(f"{base}{tmp_path}/text")


PSQL = (
    "", "sslmode=require", "channel_binding=require", "channel_binding=prefer", "connect_timeout=5",
    "keepalives=1", "gssencmode=disable", "target_session_attrs=read-write", "ssl=true",
    "options=-c%20work_mem%3D8MB", "schema=public", "pgbouncer=true&connection_limit=1",
    "application_name=x", "sslrootcert=system", "sslmode=verify-full&sslrootcert={ca}",
    "hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={ca}",
)  # fmt: skip


@pytest.mark.parametrize("query", PSQL)
def test_psql_takes_the_same_strings(
    tls: WithTls, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority.certificate))
    dsn = f"{tls.base}?{query.format(ca=tls.authority.certificate)}"
    misleading = {"PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody"}
    done = subprocess.run(
        ["psql", "-Atc", "SELECT current_user"], env=psql_environment(dsn, os.environ | misleading),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("finn\n", "")
