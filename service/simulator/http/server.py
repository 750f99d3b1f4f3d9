"""The HTTP side: authorization, limits, faults, headers, and the endpoints."""

from __future__ import annotations

import asyncio
import re
import time
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Self

from aiohttp import web

from service.simulator.http import control, endpoints
from service.simulator.http.faults import RATE_REASONS, page, refusal, strike
from service.simulator.http.keys import key_of
from service.simulator.http.lists import RequestError
from service.simulator.http.state import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.simulator.world.account import World

KEY = re.compile(r"(rk|sk)_(live|test)_\w+")
GRACE_S = 0.2
"""What a request in flight may still take when the simulator ends."""
LOCK_TIMEOUT = (
    "This object cannot be accessed right now because another API request or Stripe process is"
    " currently accessing it."
)


class Simulator(State):
    """A Stripe on loopback: ``async with Simulator(world) as sim`` serves at ``sim.url``."""

    _number = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.on_response_prepare.append(self._prepare)
        for method, path, work in endpoints.ROUTES:
            app.router.add_route(method, path, self._handler(f"{method} {path}", work))
        app.router.add_route("*", "/v1/{tail:.*}", self._handler("unknown", endpoints.unknown))
        control.add_routes(app, self)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=512)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.world.events.recent = self.webhooks.send
        for account, world in self.others.items():
            world.events.recent = partial(self.webhooks.send, account=account)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.webhooks.close()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        self._number += 1
        headers, asked = response.headers, request.headers
        headers["Request-Id"] = f"req_Sim{self._number:010d}"
        headers["Stripe-Version"] = asked.get("Stripe-Version", "2026-10-28.endive")
        for name in ("Stripe-Account", "Idempotency-Key"):
            if name in asked:
                headers[name] = asked[name]
        headers["Date"] = formatdate(self.second() + self.faults.wrong_date_s, usegmt=True)
        if self.faults.no_date:
            del headers["Date"]

    def _handler(
        self, endpoint: str, work: Callable[[State, web.Request, World], Awaitable[bytes]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Everything that happens around an endpoint's own work."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self.stats.begin(endpoint)
            try:
                response = await self._answer(endpoint, request, work)
            finally:
                self.stats.in_flight -= 1
            self.stats.statuses[response.status] += 1
            return response

        return handle

    async def _answer(
        self, endpoint: str, request: web.Request,
        work: Callable[[State, web.Request, World], Awaitable[bytes]],
    ) -> web.StreamResponse:  # fmt: skip
        reason = self.limits.refusal(endpoint, time.monotonic(), self.stats.in_flight)
        if reason:
            return self.limited(reason)
        fault = strike(self.faults, self.chance, endpoint)
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        struck = await self._struck(fault, request)
        if struck is not None:
            return struck
        try:
            world = self._authorized(request, refused=fault == "refused_key")
            if fault and (error := refusal(fault)):
                raise error
            self._refuse_named(request)
            body = await work(self, request, world)
        except RequestError as error:
            return self._refused(error)
        return await self._sent(fault, request, body)

    def _authorized(self, request: web.Request, *, refused: bool) -> World:
        key = key_of(request)
        refused = refused or self.faults.unauthorized or key in self.faults.keys_refused
        if refused or KEY.fullmatch(key) is None or (self.keys and key not in self.keys):
            shown = key if self.faults.key_in_error else f"{key[:8]}{'*' * 12}{key[-4:]}"
            raise RequestError(f"Invalid API Key provided: {shown}", status=401)
        other = request.headers.get("Stripe-Account")
        try:
            return self.world_of(other)
        except ValueError:
            raise RequestError(
                f"The provided key '{key[:8]}***{key[-4:]}' does not have access to account '{other}' (or that"
                " account does not exist). Application access may have been revoked.",
                status=403, code="account_invalid",
            ) from None  # fmt: skip

    def _refuse_named(self, request: web.Request) -> None:
        for object_id, status in self.faults.statuses.items():
            if object_id in request.path_qs:
                kind = "api_error" if status >= 500 else "invalid_request_error"
                raise RequestError("Not this one.", status=status, kind=kind)

    def limited(self, reason: str) -> web.Response:
        self.stats.rate_limited[reason] += 1
        error = {
            "code": "rate_limit",
            "message": "Request rate limit exceeded.",
            "type": "invalid_request_error",
        }
        return web.json_response(
            {"error": error}, status=429, headers={"Stripe-Rate-Limited-Reason": reason}
        )

    async def _struck(self, fault: str | None, request: web.Request) -> web.StreamResponse | None:
        """The answer that a fault gives instead of the endpoint's own."""
        if fault == "reset":
            self._abort(request)
        if fault == "stall":
            await asyncio.sleep(self.faults.stall_s)
        if fault == "rate_429":
            reason = self.faults.reason_429
            return self.limited(self.chance.choice(RATE_REASONS) if reason == "any" else reason)
        if fault == "lock_timeout":
            return web.json_response(
                {"error": {"code": "lock_timeout", "message": LOCK_TIMEOUT, "type": "invalid_request_error"}},
                status=429, headers={"Stripe-Should-Retry": "true"},
            )  # fmt: skip
        if fault in ("error_500", "error_503"):
            error = {"message": "An unexpected error occurred.", "type": "api_error"}
            return web.json_response({"error": error}, status=int(fault[-3:]))
        return page(fault, self.faults) if fault else None

    async def _sent(
        self, fault: str | None, request: web.Request, body: bytes
    ) -> web.StreamResponse:
        if fault == "truncate":
            return web.Response(body=body[: len(body) // 2], content_type="application/json")
        if fault == "reset_in_body":
            response = web.StreamResponse()
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            self._abort(request)
        whole = web.Response(body=body, content_type="application/json")
        if isinstance(body, endpoints.Replayed):
            whole.headers["Idempotent-Replayed"] = "true"
        if self.gzip and "gzip" in request.headers.get("Accept-Encoding", ""):
            whole.enable_compression(web.ContentCoding.gzip)
        return whole

    @staticmethod
    def _abort(request: web.Request) -> None:
        if isinstance(request.transport, asyncio.Transport):
            request.transport.abort()
        raise ConnectionResetError

    def _refused(self, error: RequestError) -> web.Response:
        headers = (
            {"Stripe-Should-Retry": "false"} if error.status < 500 and error.status != 409 else {}
        )
        return web.json_response({"error": error.error}, status=error.status, headers=headers)
