"""Servers on loopback to talk to: the simulator, and one that sends what a test asks for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from service.adapters.stripe.client import StripeClient
from service.adapters.stripe.http.limits import Limits
from service.simulator.http.server import Simulator
from service.simulator.world.account import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.simulator.http.limits import Limits as SimulatedLimits

KEY = "sk_test_51CanaryInTheMineWithTailZq9x"
START = 1_760_000_000
END = START + 30 * 86_400
UNHURRIED = 100_000.0


def now() -> datetime:
    return datetime.now(UTC)


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)


def a_world(refunds: int = 350, **options: Any) -> World:
    return World.seeded(refunds, start=START, end=END, **options)


@asynccontextmanager
async def a_stripe(
    world: World | None = None, *, limits: SimulatedLimits | None = None, **options: Any
) -> AsyncIterator[tuple[Simulator, StripeClient]]:
    """A simulator and a client of it that neither waits for permits nor between attempts."""
    served: dict[str, Any] = {"limits": limits} if limits else {}
    async with (
        Simulator(world or a_world(), **served) as simulator,
        a_client(simulator.url, **options) as client,
    ):
        yield simulator, client


def a_client(base: str, **options: Any) -> StripeClient:
    limits = Limits(endpoint_rate=UNHURRIED, global_rate=UNHURRIED, concurrency=16)
    settings: dict[str, Any] = {"now": now, "limits": limits, "sleep": no_sleep, "deadline_s": 30.0}
    return StripeClient(KEY, base=base, **(settings | options))


def an_answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    reported = {
        "Date": format_datetime(now(), usegmt=True),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in reported.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


@asynccontextmanager
async def a_parrot(answer: Callable[[str, bytes], bytes]) -> AsyncIterator[str]:
    """Answers each request, given its first line and all of its head, with the bytes that *answer* says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer(head.split(b"\r\n")[0].decode(), head))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
