"""The way to Stripe: by a proxy that sees no key, past one, and named where it fails."""

from __future__ import annotations

import asyncio
import base64
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.acceptance.shell import Shell
from tests.acceptance.stage import KEY, SINCE, UNTIL, Stage, simulated_stripe
from tests.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PASSWORD = "pass%2Fword"
TOKEN = base64.b64encode(b"clerk:pass/word")
HTTPS = "HTTPS_PROXY"


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray) -> None:
    with suppress(OSError, ssl.SSLError):
        while piece := await reader.read(65_536):
            seen += piece
            writer.write(piece)
            await writer.drain()
    writer.close()


async def joined(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, seen: bytearray
) -> None:
    """Both ways between a client and a port of this machine."""
    theirs, ours = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(pipe(reader, ours, seen), pipe(theirs, writer, bytearray()))


@dataclass
class Proxy:
    """Gives tunnels, to clients that have the password if one is wanted; keeps all that was sent to it."""

    wants_password: bool = False
    asked: list[bytes] = field(default_factory=list)
    seen: bytearray = field(default_factory=bytearray)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.seen += head
        self.asked.append(head.split(b"\r\n")[0])
        if self.wants_password and TOKEN not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        port = int(head.split()[1].rpartition(b":")[2])
        await joined(reader, writer, port, self.seen)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Proxy]:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            self.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self


@asynccontextmanager
async def with_tls(url: str, authority: Authority) -> AsyncIterator[str]:
    """The same server by https, under the name localhost."""
    pair = authority.issue("localhost", "DNS:localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    port = urlsplit(url).port or 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await joined(reader, writer, port, bytearray())

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("spelling", [HTTPS, HTTPS.lower()])
async def test_a_proxy_is_asked_for_a_tunnel_and_sees_no_key(
    database: str, open_folder: Path, spelling: str
) -> None:
    authority = Authority(open_folder / "ca").create()
    trusted = {"SSL_CERT_FILE": str(authority.certificate)}
    with simulated_stripe(refunds=300) as stripe:
        async with with_tls(stripe.url, authority) as base, Proxy(True).listening() as proxy:
            shell = Shell(Stage(stripe, open_folder, database, {"stripe_api_base": base}))
            by_proxy = trusted | {spelling: f"http://clerk:{PASSWORD}@{proxy.url}"}
            span = ("backfill", "--from", SINCE, "--to", UNTIL, "--json")
            done = await asyncio.to_thread(shell, *span, **by_proxy)
            assert (done.code, done.reported["inserted"]) == (0, 300)
            assert {line.split()[0] for line in proxy.asked} == {b"CONNECT"}
            assert len(proxy.seen) > 1_000
            assert KEY.encode() not in proxy.seen
            shown = await asyncio.to_thread(shell, "config", "show", **by_proxy)
            assert f"http://[masked]@{proxy.url}" in shown.out
            asked = len(proxy.asked)
            past = await asyncio.to_thread(shell, "doctor", **by_proxy, NO_PROXY="localhost")
            assert (past.code, len(proxy.asked)) == (0, asked)


async def test_doctor_distinguishes_name_connection_proxy_and_trust(
    database: str, open_folder: Path
) -> None:
    authority = Authority(open_folder / "ca").create()
    trusted = {"SSL_CERT_FILE": str(authority.certificate)}
    with simulated_stripe(refunds=10) as stripe:
        async with with_tls(stripe.url, authority) as base, Proxy(True).listening() as proxy:
            settings: dict[str, Any] = {"stripe_api_base": base, "deadline_s": 1}
            shell = Shell(Stage(stripe, open_folder, database, settings))
            wrong = f"http://clerk:not{PASSWORD}@{proxy.url}"
            cases = {
                "no trusted connection to Stripe": {},
                "refuses the way to localhost": trusted | {HTTPS: wrong},
                "the proxy 127.0.0.1:1 does not answer": trusted | {HTTPS: "127.0.0.1:1"},
                "Stripe was not reached": {"REFUND_SYNC_STRIPE_API_BASE": "https://localhost:1"},
            }
            hints = ("SSL_CERT_FILE", "HTTPS_PROXY", "HTTPS_PROXY", "localhost:1 may leave")
            for (says, values), hint in zip(cases.items(), hints, strict=True):
                reported = await asyncio.to_thread(shell, "doctor", **values)
                assert reported.code == 6
                assert says in reported.out
                assert hint in reported.out
                assert "pass" not in reported.out.replace("password", "").replace("past", "")
