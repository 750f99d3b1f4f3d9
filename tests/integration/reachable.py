"""Servers on loopback that ask for a password, one with TLS by an authority of the test's own; and a pooler."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from service.adapters.postgres.server import postmaster
from service.adapters.postgres.server.binaries import _of_system, _of_wheels
from tests.certificates import Authority
from tests.databases import OwnServer, scratch_folder
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import Pair

PASSWORD = "p@ss:/w#rd?50%"
HBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
HBA_OF_THE_SYSTEM = """
hostssl all certified 127.0.0.1/32 cert
host all kerberos 127.0.0.1/32 gss include_realm=0
"""
"""What the embedded one cannot: it is built without TLS and Kerberos."""


@dataclass
class Reachable:
    """A server on loopback, and the folder of its socket."""

    folder: Path
    port: int

    def dsn(self, form: str, **values: object) -> str:
        return form.format(
            port=self.port, folder=self.folder, password=quote(PASSWORD, safe=""),
            encoded=quote(str(self.folder), safe=""), closed=free_port(), **values,
        )  # fmt: skip


@dataclass
class WithTls(Reachable):
    """One whose certificate *authority* issued, for localhost and 127.0.0.1."""

    authority: Authority
    server: Pair

    @property
    def base(self) -> str:
        return self.dsn("postgresql://finn:{password}@localhost:{port}/money")


@contextmanager
def reachable_server(major: int) -> Iterator[Reachable]:
    with scratch_folder() as folder, _started(folder, major, "") as port:
        yield Reachable(folder, port)


@contextmanager
def server_with_tls() -> Iterator[WithTls]:
    """The system's Postgres: the embedded one is built without TLS."""
    installed = next(iter(_of_system()), None)
    if installed is None or shutil.which("openssl") is None:
        pytest.skip("no Postgres with TLS is here")
    with scratch_folder() as folder:
        authority = Authority(folder / "authority").create()
        pair = authority.issue("server", "DNS:localhost", "IP:127.0.0.1")
        for name, file in (("server.crt", pair.certificate), ("server.key", pair.key)):
            shutil.copy(file, folder / name)
            (folder / name).chmod(0o600)
            postmaster.server_account().own(folder / name)
        shutil.copy(authority.certificate, folder / "ca.crt")
        lines = (
            f"ssl=on\nssl_cert_file='{folder}/server.crt'\nssl_key_file='{folder}/server.key'\n"
            f"ssl_ca_file='{folder}/ca.crt'\n"
        )
        with _started(folder, installed.major, lines) as port:
            yield WithTls(folder, port, authority, pair)


@contextmanager
def _started(folder: Path, major: int, lines: str) -> Iterator[int]:
    installed = next(b for b in (*_of_wheels(), *_of_system()) if b.major == major)
    server = OwnServer(folder, installed)
    server.create()
    hba = HBA_OF_THE_SYSTEM + HBA if lines else HBA
    (folder / "data" / "pg_hba.conf").write_text(hba)
    with (folder / "data" / "postgresql.conf").open("a") as conf:
        conf.write(f"fsync=off\n{lines}")
    port = free_port()
    options = f"-k {folder} -p {port} -c listen_addresses=127.0.0.1"
    server._control("start", "-w", "-l", str(folder / "log"), "-o", options)
    try:
        for sql in (
            f"CREATE ROLE finn LOGIN PASSWORD '{PASSWORD}'", "CREATE ROLE certified LOGIN",
            "CREATE ROLE kerberos LOGIN", "CREATE DATABASE money OWNER finn",
        ):  # fmt: skip
            subprocess.run(
                [installed.folder / "psql", "-h", folder, "-p", str(port), "-U", "postgres", "-c", sql],
                check=True, capture_output=True,
            )  # fmt: skip
        yield port
    finally:
        server.stop()


@contextmanager
def pgbouncer(folder: Path, dsn: str, *lines: str, mode: str = "transaction") -> Iterator[str]:
    """A pooler with two server connections. Gives the address of *dsn* through it."""
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
            f"pool_mode = {mode}", "default_pool_size = 2", *lines,
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
