"""The daemon's HTTP side: /livez, /readyz, /metrics, and webhooks where they are expected."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.domain.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from prometheus_client import CollectorRegistry

WEBHOOKS = "/webhooks/stripe"
BODY_LIMIT = 1 << 20
BODY_LIMIT_S = 10.0
SHUTDOWN_LIMIT_S = 20.0
BACKLOG = 1024
"""So many connections may wait to be accepted: Stripe delivers a burst all at once."""

Checks = dict[str, str | None]
"""What was looked at, and what is wrong with it; None is fine."""


@dataclass(frozen=True, slots=True)
class Health:
    """The two questions that an orchestrator asks."""

    live: Callable[[], Awaitable[Checks]]
    ready: Callable[[], Awaitable[Checks]]


class Receiver(Protocol):
    """Who takes what Stripe pushes."""

    async def receive(self, body: bytes, signature: str) -> int:
        """The status to answer with; 2xx only once what was told is kept."""
        ...


@asynccontextmanager
async def serving(
    address: str, health: Health, registry: CollectorRegistry, webhook: Receiver | None = None
) -> AsyncIterator[str]:
    """Serves at ``host:port`` while the body runs; gives the address, with the port that was free if 0.

    Without *webhook* there is no route for any.
    """

    async def answer(checks: Checks) -> web.Response:
        bad = {name: wrong for name, wrong in checks.items() if wrong}
        told = {"ok": not bad, "checks": {name: wrong or "ok" for name, wrong in checks.items()}}
        return web.json_response(told, status=503 if bad else 200)

    async def live(_: web.Request) -> web.Response:
        return await answer(await health.live())

    async def ready(_: web.Request) -> web.Response:
        return await answer(await health.ready())

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(registry), headers=headers)

    app = web.Application(client_max_size=BODY_LIMIT)
    app.add_routes([
        web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", metrics),
    ])  # fmt: skip
    if webhook is not None:
        app.router.add_post(WEBHOOKS, _taker(webhook))
    # A body is signed as it travels: nothing may unpack it.
    runner = web.AppRunner(
        app, access_log=None, auto_decompress=False, shutdown_timeout=SHUTDOWN_LIMIT_S
    )
    await runner.setup()
    try:
        host, _, port = address.rpartition(":")
        yield await _bound(runner, host.strip("[]"), int(port))
    finally:
        await runner.cleanup()


def _taker(receiver: Receiver) -> Callable[[web.Request], Awaitable[web.Response]]:
    """What answers a delivery. An unsigned one is refused unread; no answer says why."""

    async def take(request: web.Request) -> web.Response:
        signature = request.headers.get("Stripe-Signature", "")
        body = await _body_of(request) if signature else b""
        return web.Response(status=await receiver.receive(body, signature))

    return take


async def _body_of(request: web.Request) -> bytes:
    """All of it. Raises what answers 413, 408, or 400 to whoever ends in the middle."""
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (web.RequestPayloadError, ConnectionError):
        raise web.HTTPBadRequest from None


async def _bound(runner: web.AppRunner, host: str, port: int) -> str:
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    except (OSError, OverflowError) as error:
        raise SettingError(
            f"REFUND_SYNC_HTTP: cannot listen on {_address(host, port)}: {error}",
            hint="Name another address, or end what listens there.",
        ) from error
    return _address(*runner.addresses[0][:2])


def _address(host: str, port: int) -> str:
    """As URLs have it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
