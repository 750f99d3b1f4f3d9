"""The endpoints, each as bytes of its answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from service.simulator import changes
from service.simulator.keys import key_of
from service.simulator.lists import (
    MODELLED,
    Flaws,
    RequestError,
    expand_of,
    no_such,
    page_of,
    query_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from service.simulator.lists import Query
    from service.simulator.objects import Json
    from service.simulator.server import Simulator
    from service.simulator.world import World

PAGING = frozenset({"created", "limit", "starting_after", "ending_before"})
OLDEST_EVENT_S = 30 * 86_400


def add_routes(app: web.Application, sim: Simulator) -> None:
    for method, path, work in (
        ("GET", "/v1/refunds", list_refunds),
        ("GET", "/v1/refunds/{id}", retrieve_refund),
        ("POST", "/v1/refunds/{id}/cancel", cancel_refund),
        ("GET", "/v1/account", retrieve_account),
        ("GET", "/v1/charges/{id}", retrieve_charge),
        ("GET", "/v1/balance_transactions", list_balance_transactions),
        ("GET", "/v1/balance_transactions/{id}", retrieve_balance_transaction),
        ("GET", "/v1/events", list_events),
        ("GET", "/v1/events/{id}", retrieve_event),
    ):
        app.router.add_route(method, path, sim.handler(f"{method} {path}", work))
    app.router.add_route("*", "/v1/{tail:.*}", sim.handler("unknown", unknown))


def params_of(request: web.Request) -> dict[str, list[str]]:
    return {name: request.query.getall(name) for name in dict.fromkeys(request.query)}


def listing(url: str, texts: Sequence[str], *, has_more: bool) -> bytes:
    more = "true" if has_more else "false"
    return f'{{"object": "list", "url": "{url}", "has_more": {more}, "data": [{", ".join(texts)}]}}'.encode()


def _in_mode(request: web.Request, world: World) -> bool:
    """Whether the key is of the world's mode: live and test are stores apart."""
    return ("_live_" in key_of(request)[:8]) == world.livemode


async def list_refunds(sim: Simulator, request: web.Request, world: World) -> bytes:
    query = query_of(params_of(request), PAGING | {"charge", "payment_intent"})
    sim.require(
        request, "charge", *(["balance_transaction"] if set(query.expand) - {"charge"} else [])
    )
    faults = sim.faults
    if faults.expand_timeout and query.expand and query.limit > faults.expand_timeout:
        raise RequestError("The request timed out.", status=503, kind="api_error")
    if not _in_mode(request, world):
        return listing("/v1/refunds", [], has_more=False)
    flaws = Flaws(
        faults.late_visibility_s,
        sim.chance.random() < faults.empty_after_cursor,
        sim.chance.random() < faults.skip_second_after_cursor,
    )
    if "charge" in request.query or "payment_intent" in request.query:
        places, has_more = _of_payment(world, request, query)
    else:
        places, has_more = page_of(world, query, now=sim.now(), flaws=flaws)
    sim.stats.served_objects += len(places)
    return listing(
        "/v1/refunds", [text_of(world, p, query.expand) for p in places], has_more=has_more
    )


def text_of(world: World, place: int, expand: tuple[str, ...]) -> str:
    if expand == MODELLED:
        return world.text(place)
    return json.dumps(world.expanded(world.plain(place), expand))


def _of_payment(world: World, request: web.Request, query: Query) -> tuple[list[int], bool]:
    """Refunds of one charge or payment intent, with Stripe's cursors."""
    field = "charge" if "charge" in request.query else "payment_intent"
    wanted = request.query[field]
    number = world.number_of(wanted)
    near = [] if number is None else [n for n in (number, number + 1) if n < world.base]
    places = [world.place_of(world.values(n, world.base_created(n))["id"]) for n in near]
    places += [world.place_of(told["id"]) for told in world.extra]
    found = sorted(
        {p for p in places if p is not None and world.plain(p).get(field) == wanted}, reverse=True
    )
    if not found:
        raise no_such(field, wanted, param=field)
    if query.before:
        newer = [p for p in found if p > (world.place_of(query.before) or 0)]
        return newer[-query.limit :], len(newer) > query.limit
    if query.after:
        place = world.place_of(query.after)
        found = [p for p in found if place is not None and p < place]
    return found[: query.limit], len(found) > query.limit


def _refund_place(request: web.Request, world: World) -> int:
    object_id = request.match_info["id"]
    place = world.place_of(object_id) if _in_mode(request, world) else None
    if place is None:
        raise no_such("refund", object_id)
    return place


async def retrieve_refund(sim: Simulator, request: web.Request, world: World) -> bytes:
    expand = expand_of(params_of(request), "")
    sim.require(request, "charge", *(["balance_transaction"] if set(expand) - {"charge"} else []))
    place = _refund_place(request, world)
    sim.stats.reads_by_id[request.match_info["id"]] += 1
    sim.stats.served_objects += 1
    return text_of(world, place, expand).encode()


async def cancel_refund(sim: Simulator, request: web.Request, world: World) -> bytes:
    key = request.headers.get("Idempotency-Key", "")
    if key in sim.answers:
        path, _, body = sim.answers[key]
        if path != request.path:
            raise RequestError(
                "Keys for idempotent requests can only be used with the same parameters they were first used with.",
                kind="idempotency_error",
            )
        return body
    place = _refund_place(request, world)
    if world.plain(place)["status"] != "requires_action":
        raise RequestError("You can only cancel a refund with a status of requires_action.")
    body = json.dumps(changes.cancel(world, place, sim.now())).encode()
    if key:
        sim.answers[key] = (request.path, 200, body)
    return body


async def retrieve_account(sim: Simulator, request: web.Request, world: World) -> bytes:
    sim.require(request, "account")
    return json.dumps({"id": world.account, "object": "account", "country": "US"}).encode()


async def retrieve_charge(sim: Simulator, request: web.Request, world: World) -> bytes:
    sim.require(request, "charge")
    found = world.charge(request.match_info["id"])
    if found is None:
        raise no_such("charge", request.match_info["id"])
    return json.dumps(found).encode()


async def retrieve_balance_transaction(sim: Simulator, request: web.Request, world: World) -> bytes:
    sim.require(request, "balance_transaction")
    found = world.line(request.match_info["id"])
    if found is None:
        raise no_such("balance transaction", request.match_info["id"])
    return json.dumps(found).encode()


async def list_balance_transactions(sim: Simulator, request: web.Request, world: World) -> bytes:
    query = query_of(params_of(request), PAGING | {"currency", "type", "source", "payout"})
    sim.require(request, "balance_transaction")
    wanted = {n: request.query[n] for n in ("currency", "type", "source") if n in request.query}
    lines = [line for line in _lines(world) if all(line.get(n) == v for n, v in wanted.items())]
    return _paged("/v1/balance_transactions", lines, query)


def _lines(world: World) -> list[Json]:
    found = []
    for plain in world.truth():
        for name in ("balance_transaction", "failure_balance_transaction"):
            line = world.line(plain[name]) if plain.get(name) else None
            if line:
                found.append(line)
    return found


def _paged(url: str, objects: list[Json], query: Query) -> bytes:
    """Any other list: newest first, with created filters and both cursors."""
    low, high = query.low or 0, query.high if query.high is not None else 1 << 62
    found = sorted(
        (o for o in objects if low <= o["created"] < high),
        key=lambda o: (o["created"], o["id"]),
        reverse=True,
    )
    ids = [o["id"] for o in found]
    cursor = query.after or query.before
    if cursor and cursor not in ids:
        raise no_such(
            "object", cursor, param="starting_after" if query.after else "ending_before", status=400
        )
    if query.before:
        newer = found[: ids.index(query.before)]
        page, more = newer[-query.limit :], len(newer) > query.limit
    else:
        rest = found[ids.index(query.after) + 1 :] if query.after else found
        page, more = rest[: query.limit], len(rest) > query.limit
    return listing(url, [json.dumps(o) for o in page], has_more=more)


async def list_events(sim: Simulator, request: web.Request, world: World) -> bytes:
    params = params_of(request)
    query = query_of(params, PAGING | {"type", "types", "delivery_success"})
    sim.require(request, "event")
    types = [t for name, values in params.items() if name.startswith("type") for t in values]
    kept = [
        e for e in world.events
        if e["created"] >= sim.now() - OLDEST_EVENT_S and (not types or any(_matches(e["type"], t) for t in types))
    ]  # fmt: skip
    return _paged("/v1/events", kept, query)


def _matches(kind: str, wanted: str) -> bool:
    return kind == wanted or (wanted.endswith("*") and kind.startswith(wanted[:-1]))


async def retrieve_event(sim: Simulator, request: web.Request, world: World) -> bytes:
    sim.require(request, "event")
    wanted = request.match_info["id"]
    for event in world.events:
        if event["id"] == wanted and event["created"] >= sim.now() - OLDEST_EVENT_S:
            return json.dumps(event).encode()
    raise no_such("event", wanted)


async def unknown(_sim: Simulator, request: web.Request, _world: World) -> bytes:
    raise RequestError(f"Unrecognized request URL ({request.method}: {request.path}).", status=404)
