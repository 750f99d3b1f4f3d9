"""Senders that nobody knows, at the daemon's port: it keeps its memory, and answers all others."""

from __future__ import annotations

import re
import resource
import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.daemons import OFTEN, recent_stripe, running, until
from tests.acceptance.stage import Stage
from tests.webhooks import an_event, signed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.acceptance.daemons import Daemon

SECRET = "whsec_acceptanceSecret"
SETTINGS = OFTEN | {"webhook_secrets": SECRET}
MIB = 1 << 20
HALF_A_HEADER = b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Half: "


def a_delivery(body: bytes, signature: str, *, size: int | None = None) -> bytes:
    header = f"Stripe-Signature: {signature}\r\n" if signature else ""
    return (
        f"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\n{header}"
        f"Content-Length: {len(body) if size is None else size}\r\n\r\n"
    ).encode() + body


def resident(daemon: Daemon) -> int:
    """Bytes of memory that the process has now."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) << 10


def peak(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10


def connect(daemon: Daemon) -> socket.socket:
    host, _, port = str(daemon.address).partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def asked(daemon: Daemon, data: bytes) -> int:
    """The status of the answer."""
    with connect(daemon) as sender:
        sender.sendall(data)
        return int(sender.makefile("rb").readline().split()[1])


@contextmanager
def senders(daemon: Daemon, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(daemon)) for _ in range(count)]


def push(sockets: Sequence[socket.socket], data: bytes) -> None:
    """Sends all of it on each at once, as far as each is let."""
    left = {sender: memoryview(data) for sender in sockets}
    for sender in sockets:
        sender.setblocking(False)
    for _ in range(2_000):
        for sender, rest in list(left.items()):
            try:
                left[sender] = rest[sender.send(rest[:MIB]) :]
            except BlockingIOError:
                continue
            except ConnectionError:
                left[sender] = memoryview(b"")
            if not left[sender]:
                del left[sender]
        if not left:
            return


@contextmanager
def descriptors(limit: int) -> Iterator[None]:
    """What this process may open, and the processes that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def daemon(database: str, open_folder: Path) -> Iterator[Daemon]:
    with recent_stripe(refunds=200) as stripe, ExitStack() as stack:
        with descriptors(1024):
            stage = Stage(stripe, open_folder, database, SETTINGS)
            daemon = stack.enter_context(running(stage))
        until(daemon.is_ready)
        until(lambda: daemon.metric("runs_total", job="fill of history", outcome="ok"))
        yield daemon
        daemon.is_stopped()


def test_what_unverified_senders_send_and_leave_there_costs_little_memory(daemon: Daemon) -> None:
    before = resident(daemon)
    body = an_event()
    for signature in ("", "t=1,v1=00"):
        for size in (MIB, 500 << 10):
            with senders(daemon, 300) as sockets:
                push(sockets, a_delivery(b"x" * (size - 100), signature, size=size))
                assert daemon.is_ready()
                assert asked(daemon, a_delivery(body, signed(body, SECRET))) == 200
    grown = peak(daemon) - before
    print(f"{before / MIB:.0f} MiB before, {grown / MIB:.0f} MiB more at most")
    assert grown < 120 * MIB
    assert daemon.metric("http_refused_total", reason="too large") == 600
    assert daemon.metric("http_refused_total", reason="memory") > 0
    assert daemon.said.count("http.refused") <= 10


def test_half_headers_keep_neither_health_checks_nor_webhooks_out(daemon: Daemon) -> None:
    with descriptors(4_096), ExitStack() as stack:
        for n in range(1_100):
            stack.enter_context(sender := connect(daemon))
            sender.sendall(HALF_A_HEADER)
            if n % 100 == 99:
                body = an_event(f"re_{n}")
                assert daemon.is_ready()
                assert asked(daemon, a_delivery(body, signed(body, SECRET))) == 200
    assert daemon.metric("http_refused_total", reason="connections") >= 1_100 - 768
    assert daemon.metric("webhooks_total", outcome="kept") == 11
    assert daemon.said.count("http.refused") == 1
