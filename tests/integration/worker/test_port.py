"""What the port takes from senders that nobody knows: bounded in time, size, memory and number.

Raw sockets over loopback, on asyncio's own loop and on uvloop.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from prometheus_client import CollectorRegistry

from service.adapters.web.guard import Limits
from service.adapters.web.server import WEBHOOKS, Checks, Health, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

HALF_A_HEADER = b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Half: "
LONG_S = 1_000.0
"""A limit that no test comes to."""


def on_each_loop(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(story)
    def test(*, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(story())

    del test.__dict__["__wrapped__"]  # pytest asks for the parameters of the one that it names
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    on_each: Callable[..., None] = pytest.mark.parametrize("new_loop", loops.values(), ids=loops)(
        test
    )
    return on_each


def a_request(size: int = 2, *, sent: int | None = None, signed: bool = True) -> bytes:
    """A delivery of *size* bytes, of whose body only *sent* are there."""
    signature = "Stripe-Signature: t=1,v1=0\r\n" if signed else ""
    head = f"POST {WEBHOOKS} HTTP/1.1\r\nHost: x\r\n{signature}Content-Length: {size}\r\n\r\n"
    return head.encode() + b"x" * (size if sent is None else sent)


def chunk(size: int) -> bytes:
    return f"{size:x}\r\n".encode() + b"x" * size + b"\r\n"


CHUNKED = a_request(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")


@dataclass
class Sender:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """The status, and all of the answer; 0 where the connection ends without one."""
        text = await self.reader.read()
        return (int(text.split()[1]) if text else 0), text


@dataclass
class Port:
    """A port that serves, and its receiver, which answers 200 to any delivery once it may."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[bytes] = field(default_factory=list)
    senders: list[Sender] = field(default_factory=list)
    address: tuple[str, int] = ("", 0)

    async def receive(self, body: bytes, signature: str) -> int:
        if not signature:
            return 400
        self.bodies.append(body)
        await self.may_answer.wait()
        return 200

    async def connect(self, data: bytes = b"") -> Sender:
        sender = Sender(*await asyncio.open_connection(*self.address))
        self.senders.append(sender)
        await sender.send(data)
        return sender

    async def ask(self, data: bytes) -> int:
        return (await (await self.connect(data)).answer())[0]

    async def health(self) -> int:
        return await self.ask(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")

    def metric(self, name: str, reason: str = "") -> float:
        labels = {"reason": reason} if reason else {}
        value = self.registry.get_sample_value(f"refund_sync_http_{name}", labels)
        assert value is not None
        return value

    async def until(self, name: str, value: float) -> None:
        while self.metric(name) != value:
            await asyncio.sleep(0.005)


async def _fine() -> Checks:
    return {"all": None}


@asynccontextmanager
async def a_port(*, answers: bool = True, **limits: Any) -> AsyncIterator[Port]:
    port = Port()
    if answers:
        port.may_answer.set()
    given = Limits(**{"request_s": LONG_S, **limits})
    health = Health(_fine, _fine)
    async with serving("127.0.0.1:0", health, port.registry, port, limits=given) as address:
        host, _, number = address.partition(":")
        port.address = (host, int(number))
        try:
            yield port
        finally:
            port.may_answer.set()
    for sender in port.senders:
        sender.writer.close()
        with suppress(ConnectionError):
            await sender.writer.wait_closed()


@on_each_loop
async def test_a_request_that_is_not_there_in_time_is_ended_wherever_it_stops() -> None:
    chunked = CHUNKED + chunk(9)
    begun = (b"", b"P", HALF_A_HEADER, a_request(9, sent=0), a_request(9, sent=8), chunked)
    async with a_port(request_s=0.2) as port:
        senders = [await port.connect(data) for data in begun]
        assert [(await sender.answer())[0] for sender in senders] == [408] * len(begun)
        assert port.metric("refused_total", "slow") == len(begun)
        await port.until("connections", 0)
        assert port.metric("held_bytes") == 0
        assert await port.ask(a_request()) == 200


@on_each_loop
async def test_sending_a_little_now_and_then_extends_nothing() -> None:
    async with a_port(request_s=0.3) as port:
        sender = await port.connect(a_request(10_000, sent=1))
        answer = asyncio.create_task(sender.answer())
        with suppress(ConnectionError):
            while not answer.done():
                await sender.send(b"x")
                await asyncio.sleep(0.02)
        with suppress(ConnectionError):  # what was sent after the answer may cost it
            assert (await answer)[0] == 408
        assert port.metric("refused_total", "slow") == 1
        assert port.bodies == []


@on_each_loop
async def test_an_answer_that_takes_its_time_is_not_cut_off() -> None:
    async with a_port(answers=False, request_s=0.1) as port:
        sender = await port.connect(a_request())
        await asyncio.sleep(0.3)
        port.may_answer.set()
        assert (await sender.answer())[0] == 200


@on_each_loop
async def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes() -> None:
    async with a_port(body=1_000) as port:
        for signed in (True, False):
            assert await port.ask(a_request(1_001, sent=0, signed=signed)) == 413
        assert await port.ask(a_request(1_000)) == 200
        assert port.metric("refused_total", "too large") == 2
        assert port.bodies == [b"x" * 1_000]


@on_each_loop
async def test_a_body_of_unsaid_size_is_refused_as_soon_as_it_is_too_large() -> None:
    async with a_port(body=1_000) as port:
        sender = await port.connect(CHUNKED + chunk(600))
        await sender.send(chunk(401))
        assert (await sender.answer())[0] == 413
        assert port.metric("refused_total", "too large") == 1
        assert await port.ask(CHUNKED + chunk(600) + chunk(400) + b"0\r\n\r\n") == 200


@on_each_loop
async def test_a_header_without_end_is_refused() -> None:
    async with a_port() as port:
        sender = await port.connect(HALF_A_HEADER)
        with suppress(ConnectionError):
            await sender.send(b"x" * 40_000)
        assert (await sender.answer())[0] == 431


@on_each_loop
async def test_who_sends_all_before_it_reads_can_read_why_it_was_refused() -> None:
    async with a_port() as port:
        for signed, status in ((False, 413), (True, 413)):
            sender = await port.connect()
            await sender.send(a_request(5 << 20, signed=signed))
            assert (await sender.answer())[0] == status
        sender = await port.connect()
        await sender.send(a_request(500_000, signed=False))
        assert (await sender.answer())[0] == 400
        assert port.metric("held_bytes") == 0


@on_each_loop
async def test_what_is_held_is_bounded_in_sum_and_the_largest_holder_is_to_come_again() -> None:
    async with a_port(held=100_000) as port:
        large = await port.connect(a_request(200_000, sent=60_000))
        while port.metric("held_bytes") < 60_000:
            await asyncio.sleep(0.005)
        medium = await port.connect(a_request(50_000, sent=30_000))
        while port.metric("held_bytes") < 90_000:
            await asyncio.sleep(0.005)
        assert await port.ask(a_request(15_000)) == 200
        assert (await large.answer())[0] == 503
        assert 30_000 <= port.metric("held_bytes") <= 32_000
        await medium.send(b"x" * 20_000)
        assert (await medium.answer())[0] == 200
        assert port.metric("held_bytes") == 0
        assert port.metric("refused_total", "memory") == 1


@on_each_loop
async def test_headers_count_toward_the_sum_too() -> None:
    async with a_port(held=60_000) as port:
        senders = [await port.connect(HALF_A_HEADER + b"x" * 20_000) for _ in range(3)]
        done, _ = await asyncio.wait(
            [asyncio.create_task(sender.answer()) for sender in senders],
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert {task.result()[0] for task in done} == {503}
        assert port.metric("held_bytes") <= 60_000
        assert await port.health() == 200


@on_each_loop
async def test_unsigned_bodies_and_what_follows_an_answer_are_dropped_not_held() -> None:
    async with a_port(held=100_000) as port:
        senders = [await port.connect(a_request(500_000, sent=0, signed=False)) for _ in range(20)]
        for sender in senders:
            await sender.send(b"x" * 400_000)
        for sender in senders:
            assert (await sender.reader.readline()).split()[1] == b"400"
            await sender.send(b"x" * 90_000)
        await asyncio.sleep(0.05)
        assert port.metric("held_bytes") == 0
        assert port.metric("refused_total", "memory") == 0


@on_each_loop
async def test_a_sender_that_stays_after_its_answer_is_closed() -> None:
    async with a_port(request_s=0.3) as port:
        sender = await port.connect(a_request(9, sent=1, signed=False))
        assert (await sender.answer())[0] == 400
        await port.until("connections", 0)
