"""The daemon's HTTP side: /livez, /readyz, /metrics, and webhooks where they are expected."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.adapters.web.guard import Guard, Limits
from service.adapters.web.port import body_of, listening
from service.domain.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from prometheus_client import CollectorRegistry

WEBHOOKS = "/webhooks/stripe"

Checks = dict[str, str | None]
"""What was looked at, and what is wrong with it; None is fine."""


@dataclass(frozen=True, slots=True)
class Health:
    """The two questions that an orchestrator asks."""

    live: Callable[[], Awaitable[Checks]]
    ready: Callable[[], Awaitable[Checks]]
    facts: Callable[[], Mapping[str, object]] = dict
    """What readiness shows besides its checks."""


class Receiver(Protocol):
    """Who takes what Stripe pushes."""

    async def receive(self, body: bytes, signature: str) -> int:
        """The status to answer with; 2xx only once its hint is committed."""
        ...


@asynccontextmanager
async def serving(
    address: str,
    health: Health,
    registry: CollectorRegistry,
    webhook: Receiver | None = None,
    *,
    limits: Limits | None = None,
) -> AsyncIterator[str]:
    """Serves at ``host:port`` while the body runs; gives the address, with the port that was free if 0.

    Without *webhook* there is no route for any. What is refused is counted in *registry*.
    """

    async def answer(checks: Checks, **facts: object) -> web.Response:
        bad = {name: wrong for name, wrong in checks.items() if wrong}
        reported = {
            "ok": not bad,
            "checks": {name: wrong or "ok" for name, wrong in checks.items()},
        }
        return web.json_response(reported | facts, status=503 if bad else 200)

    async def live(_: web.Request) -> web.Response:
        return await answer(await health.live())

    async def ready(_: web.Request) -> web.Response:
        return await answer(await health.ready(), **health.facts())

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(registry), headers=headers)

    routes = [
        web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", metrics),
    ]  # fmt: skip
    if webhook is not None:
        routes.append(web.post(WEBHOOKS, _taker(webhook)))
    guard = Guard(limits or Limits())
    registry.register(guard)
    try:
        async with _bound(guard, routes, address) as bound:
            yield bound
    finally:
        registry.unregister(guard)


def _taker(receiver: Receiver) -> Callable[[web.Request], Awaitable[web.Response]]:
    """What answers a delivery. An unsigned one is refused unread; no answer says why."""

    async def take(request: web.Request) -> web.Response:
        signature = request.headers.get("Stripe-Signature", "")
        body = await body_of(request) if signature else b""
        return web.Response(status=await receiver.receive(body, signature))

    return take


@asynccontextmanager
async def _bound(guard: Guard, routes: list[web.RouteDef], address: str) -> AsyncIterator[str]:
    host, _, port = address.rpartition(":")
    async with AsyncExitStack() as stack:
        try:
            bound = await stack.enter_async_context(
                listening(guard, routes, host.strip("[]"), int(port))
            )
        except (OSError, OverflowError) as error:
            raise SettingError(
                f"REFUND_SYNC_HTTP: cannot listen on {address}: {error}",
                hint="Name another address, or end what listens there.",
            ) from error
        yield _address(*bound)


def _address(host: str, port: int) -> str:
    """As URLs have it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
