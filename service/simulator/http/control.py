"""The strings of the puppets, on loopback only: truth, stats, changes, webhooks, faults, clock."""

from __future__ import annotations

import json
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING, Any

from aiohttp import web

from service.simulator.http.faults import Faults
from service.simulator.http.webhooks import Hook

if TYPE_CHECKING:
    from service.simulator.http.state import State


AT_ONCE = 500


class Control:
    """Handlers over one simulator."""

    def __init__(self, sim: State) -> None:
        self._sim = sim

    async def stats(self, _: web.Request) -> web.Response:
        stats = self._sim.stats
        reported = {f.name: getattr(stats, f.name) for f in fields(stats)}
        return web.json_response(reported | {"deliveries_waiting": self._sim.webhooks.waiting})

    async def reset_stats(self, _: web.Request) -> web.Response:
        self._sim.stats = type(self._sim.stats)(in_flight=self._sim.stats.in_flight)
        return web.json_response({})

    async def truth(self, request: web.Request) -> web.StreamResponse:
        """Every refund that is listed now, in its plain shape, a line each; ``?all=1``: hidden ones too."""
        world = self._sim.world_of(request.query.get("account"))
        reported = world.truth(self._sim.second(), hidden="all" in request.query)
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        while lines := [json.dumps(plain) + "\n" for plain in islice(reported, AT_ONCE)]:
            await response.write("".join(lines).encode())
        await response.write_eof()
        return response

    async def change(self, request: web.Request) -> web.Response:
        reported = await _body(request)
        try:
            ids = self._sim.change(reported.pop("kind"), **reported)
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"ids": ids, "at": self._sim.second()})

    async def set_faults(self, request: web.Request) -> web.Response:
        try:
            self._sim.faults.set(await _body(request))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})

    async def clear_faults(self, _: web.Request) -> web.Response:
        self._sim.faults = Faults()
        return web.json_response({})

    async def add_webhook(self, request: web.Request) -> web.Response:
        try:
            self._sim.webhooks.add(Hook(**await _body(request)))
        except (TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})

    async def clear_webhooks(self, _: web.Request) -> web.Response:
        await self._sim.webhooks.clear()
        return web.json_response({})

    async def add_object(self, request: web.Request) -> web.Response:
        self._sim.world.add(await _body(request))
        return web.json_response({})

    async def clock(self, request: web.Request) -> web.Response:
        self._sim.offset_s = float((await _body(request))["offset_s"])
        return web.json_response({"now": self._sim.second()})


def add_routes(app: web.Application, sim: State) -> None:
    control = Control(sim)
    app.add_routes([
        web.get("/_sim/stats", control.stats), web.post("/_sim/reset_stats", control.reset_stats),
        web.get("/_sim/truth", control.truth), web.post("/_sim/change", control.change),
        web.post("/_sim/faults", control.set_faults),
        web.delete("/_sim/faults", control.clear_faults),
        web.post("/_sim/webhooks", control.add_webhook),
        web.delete("/_sim/webhooks", control.clear_webhooks),
        web.post("/_sim/objects", control.add_object), web.post("/_sim/clock", control.clock),
    ])  # fmt: skip


async def _body(request: web.Request) -> dict[str, Any]:
    return dict(await request.json())
