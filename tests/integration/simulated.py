"""A simulated Stripe to ask and to change, and Stripe's official library as a witness of it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import stripe
from aiohttp import web

from service.simulator.http.server import Simulator
from service.simulator.world.account import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    import requests

T = TypeVar("T")

KEY = "rk_test_officialLibraryReadsThis"
START = 1_760_000_000
DAY = 86_400
END = START + 30 * DAY


def a_world(refunds: int = 300, **options: Any) -> World:
    return World.seeded(refunds, start=START, end=END, **options)


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self, t: float = END) -> None:
        self.t = t

    def __call__(self) -> float:
        return self.t


@contextmanager
def a_library(url: str, *, key: str = KEY, **options: Any) -> Iterator[stripe.StripeClient]:
    session = _a_session()
    http = stripe.RequestsClient(session=session)
    try:
        yield stripe.StripeClient(
            key, base_addresses={"api": url}, max_network_retries=0, http_client=http, **options
        )
    finally:
        session.close()


def _a_session() -> requests.Session:
    import requests

    session = requests.Session()
    session.trust_env = False
    return session


async def asked(sim: Simulator, work: Callable[[stripe.StripeClient], T], **options: Any) -> T:
    """What *work* gets from the simulator by way of the library."""

    def run() -> T:
        with a_library(sim.url, **options) as client:
            return work(client)

    return await asyncio.to_thread(run)


async def listed(sim: Simulator, what: str = "refunds", **params: Any) -> list[dict[str, Any]]:
    """Every object of a list, as the library's own paging yields them."""

    def pages(client: stripe.StripeClient) -> list[dict[str, Any]]:
        found = getattr(client.v1, what).list(params=params).auto_paging_iter()
        return [dict(reported.to_dict()) for reported in found]

    return await asked(sim, pages)


def ids(objects: Sequence[dict[str, Any]]) -> list[str]:
    return [reported["id"] for reported in objects]


class Receiver:
    """Takes webhooks, and answers with the statuses that it was given, then with 200."""

    def __init__(self, statuses: Sequence[int] = ()) -> None:
        self.taken: list[tuple[bytes, str]] = []
        self.url = ""
        self._statuses = list(statuses)

    async def take(self, request: web.Request) -> web.Response:
        self.taken.append((await request.read(), request.headers["Stripe-Signature"]))
        return web.Response(status=self._statuses.pop(0) if self._statuses else 200)


@asynccontextmanager
async def a_receiver(statuses: Sequence[int] = ()) -> AsyncIterator[Receiver]:
    receiver = Receiver(statuses)
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def a_stripe(world: World | None = None, **options: Any) -> Simulator:
    return Simulator(world or a_world(), now=Clock(), **options)


def reported(world: World) -> list[dict[str, Any]]:
    return [world.events.at(place) for place in range(len(world.events))]


def types(world: World) -> list[str]:
    return [event["type"] for event in reported(world)]


def find(world: World, object_id: str) -> dict[str, Any]:
    place = world.place_of(object_id)
    assert place is not None
    return world.plain(place)


def a_refund(world: World, **members: Any) -> str:
    """The id of one that is so."""
    return next(
        str(plain["id"])
        for plain in world.truth()
        if all(bool(plain.get(k)) if v is ... else plain.get(k) == v for k, v in members.items())
    )


async def read(sim: Simulator, path: str) -> tuple[int, Any, str]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(sim.url + path, headers=headers) as answer,
    ):
        text = await answer.text()
        return (
            answer.status,
            text if path.startswith("/_sim/truth") else json.loads(text),
            answer.headers["Date"],
        )


async def post(sim: Simulator, what: str, **values: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{sim.url}/_sim/{what}", json=values) as answer,
    ):
        return answer.status, await answer.json()


async def truth(sim: Simulator, query: str = "") -> set[str]:
    _, text, _ = await read(sim, f"/_sim/truth{query}")
    return {json.loads(line)["id"] for line in text.splitlines()}
