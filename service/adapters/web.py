"""The daemon's HTTP side: /livez, /readyz and /metrics."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.domain.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from prometheus_client import CollectorRegistry

Checks = dict[str, str | None]
"""What was looked at, and what is wrong with it; None is fine."""


@dataclass(frozen=True, slots=True)
class Health:
    """The two questions that an orchestrator asks."""

    live: Callable[[], Awaitable[Checks]]
    ready: Callable[[], Awaitable[Checks]]


@asynccontextmanager
async def serving(address: str, health: Health, registry: CollectorRegistry) -> AsyncIterator[str]:
    """Serves at ``host:port`` while the body runs; gives the address, with the port that was free if 0."""

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

    app = web.Application()
    app.add_routes([
        web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", metrics),
    ])  # fmt: skip
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        host, _, port = address.rpartition(":")
        yield await _bound(runner, host.strip("[]"), int(port))
    finally:
        await runner.cleanup()


async def _bound(runner: web.AppRunner, host: str, port: int) -> str:
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        raise SettingError(
            f"REFUND_SYNC_HTTP: cannot listen on {host}:{port}: {error}",
            hint="Name another address, or end what listens there.",
        ) from error
    bound = runner.addresses[0]
    return f"{bound[0]}:{bound[1]}"
