"""How many connections the port holds, which go first, and how it stops."""

from __future__ import annotations

import asyncio
import logging.handlers
import resource
import socket

import pytest
from structlog.testing import capture_logs

from service.adapters.web.guard import MOST_CONNECTIONS, REASONS, most_connections
from tests.integration.worker.test_port import HALF_A_HEADER, a_port, a_request, on_each_loop


@on_each_loop
async def test_at_the_limit_of_connections_half_headers_make_room_for_whole_requests() -> None:
    async with a_port(connections=20) as port:
        for _ in range(5):
            for _ in range(30):
                await port.connect(HALF_A_HEADER)
            assert await port.health() == 200
            assert await port.ask(a_request()) == 200
            assert port.metric("connections") <= 20
        assert port.metric("refused_total", "connections") >= 5 * 30 - 20


@on_each_loop
async def test_at_the_limit_those_with_half_a_header_go_before_those_with_half_a_body() -> None:
    async with a_port(connections=3) as port:
        bodies = [await port.connect(a_request(9, sent=1)) for _ in range(2)]
        while port.metric("held_bytes") < 2 * len(a_request(9, sent=1)):
            await asyncio.sleep(0.005)
        half = await port.connect(HALF_A_HEADER)
        await port.until("connections", 3)
        assert await port.health() == 200
        assert (await half.answer())[0] == 0
        for sender in bodies:
            await sender.send(b"x" * 8)
            assert (await sender.answer())[0] == 200


@on_each_loop
async def test_a_request_in_hand_is_never_closed_for_another_which_waits_its_turn() -> None:
    async with a_port(answers=False, connections=3) as port:
        senders = [await port.connect(a_request()) for _ in range(3)]
        while len(port.bodies) < 3:
            await asyncio.sleep(0.005)
        late = asyncio.create_task(port.health())
        await asyncio.sleep(0.1)
        assert not late.done()
        port.may_answer.set()
        assert [(await sender.answer())[0] for sender in senders] == [200] * 3
        assert await late == 200
        assert port.metric("refused_total", "connections") == 0


@on_each_loop
async def test_a_connection_serves_one_request() -> None:
    async with a_port() as port:
        sender = await port.connect(a_request() + a_request())
        status, text = await sender.answer()
        assert status == 200
        assert b"Connection: close" in text
        assert text.count(b"HTTP/1.1") == 1
        assert len(port.bodies) == 1


@on_each_loop
async def test_what_is_not_http_is_counted_and_leaves_no_traceback() -> None:
    with capture_logs() as logs:
        async with a_port() as port:
            for data in (
                b"\x16\x03\x01\x02\x00",
                b"what\r\n\r\n",
                a_request().replace(b": 2", b": x"),
            ):
                assert await port.ask(data) == 400
            assert port.metric("refused_total", "malformed") == 3
    assert [entry["event"] for entry in logs] == ["http.refused"]


@on_each_loop
async def test_a_condition_is_logged_when_it_begins_not_for_each_connection() -> None:
    with capture_logs() as logs:
        async with a_port(connections=5, body=10) as port:
            for _ in range(50):
                await port.connect(HALF_A_HEADER)
            for _ in range(3):
                assert await port.ask(a_request(11)) == 413
    assert [(entry["event"], entry["reason"], entry["total"]) for entry in logs] == [
        ("http.refused", "connections", 1),
        ("http.refused", "too large", 1),
    ]


@on_each_loop
async def test_all_that_can_be_refused_is_counted_from_0() -> None:
    async with a_port() as port:
        for reason in REASONS:
            assert port.metric("refused_total", reason) == 0


@on_each_loop
async def test_a_stop_waits_for_requests_in_hand_and_for_no_idle_sender() -> None:
    async with a_port(answers=False) as port:
        half = await port.connect(HALF_A_HEADER)
        refused = await port.connect(a_request(9, sent=1, signed=False))
        assert (await refused.reader.readline()).split()[1] == b"400"
        handled = await port.connect(a_request())
        while not port.bodies:
            await asyncio.sleep(0.005)
    assert (await half.answer())[0] == 0
    assert (await handled.answer())[0] == 200


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")  # accepted as the stop came
@on_each_loop
async def test_a_stop_closes_no_connection_that_is_answering() -> None:
    """Connections are being accepted when the stop comes, sooner or later by so many steps."""
    bugs = logging.handlers.BufferingHandler(capacity=1_000)
    log = logging.getLogger("aiohttp.server")
    log.addHandler(bugs)
    try:
        for steps in range(60):
            async with a_port() as port:
                for _ in range(20):
                    sender = socket.create_connection(port.address)
                    sender.sendall(a_request())
                    sender.close()
                for _ in range(steps):
                    await asyncio.sleep(0)
    finally:
        log.removeHandler(bugs)
    assert [record.exc_text or record.getMessage() for record in bugs.buffer] == []


def test_connections_are_capped_below_the_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for limit, most in ((256, 192), (1024, 768), (soft, min(MOST_CONNECTIONS, soft * 3 // 4))):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            assert most_connections() == most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
