"""The endpoints, each as bytes of its answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from service.simulator.http.keys import key_of
from service.simulator.http.lists import (
    Flaws,
    RequestError,
    Shelf,
    expand_of,
    no_such,
    page_of,
    query_of,
    shelf_of,
)
from service.simulator.world import changes
from service.simulator.world.account import PAYMENTS
from service.simulator.world.objects import EXPANDED
from service.simulator.world.occasion import Occasion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aiohttp import web

    from service.simulator.http.lists import Query
    from service.simulator.http.state import State
    from service.simulator.world.account import World
    from service.simulator.world.objects import Json

PAGING = frozenset({"created", "limit", "starting_after", "ending_before"})
OLDEST_EVENT_S = 30 * 86_400
MOST_TYPES = 20


class Replayed(bytes):
    """An answer that was given before, to the same idempotency key."""


def params_of(request: web.Request) -> dict[str, list[str]]:
    return {name: request.query.getall(name) for name in dict.fromkeys(request.query)}


def listing(url: str, texts: Sequence[str], *, has_more: bool) -> bytes:
    more = "true" if has_more else "false"
    return f'{{"object": "list", "url": "{url}", "has_more": {more}, "data": [{", ".join(texts)}]}}'.encode()


def _in_mode(request: web.Request, world: World) -> bool:
    """Whether the key is of the world's mode: live and test are stores apart."""
    return ("_live_" in key_of(request)[:8]) == world.livemode


async def list_refunds(sim: State, request: web.Request, world: World) -> bytes:
    query = query_of(params_of(request), PAGING | {"charge", "payment_intent"})
    sim.require(
        request, "charge", *(["balance_transaction"] if set(query.expand) - {"charge"} else [])
    )
    faults = sim.faults
    if faults.expand_timeout and query.expand and query.limit > faults.expand_timeout:
        raise RequestError("The request timed out.", status=503, kind="api_error")
    if not _in_mode(request, world):
        return listing("/v1/refunds", [], has_more=False)
    if any(name in request.query for name in PAYMENTS):
        places, has_more = _of_payment(sim, request, world, query)
    else:
        shelf = Shelf("refund", world.created, world.place_of, world.listed)
        places, has_more = page_of(shelf, query, now=sim.second(), flaws=_flaws(sim))
    sim.stats.served_objects += len(places)
    return listing(
        "/v1/refunds", [text_of(world, p, query.expand) for p in places], has_more=has_more
    )


def text_of(world: World, place: int, expand: tuple[str, ...]) -> str:
    if expand == EXPANDED:
        return world.text(place)
    return json.dumps(world.expanded(world.plain(place), expand))


def _flaws(sim: State) -> Flaws:
    faults, chance = sim.faults, sim.chance
    return Flaws(
        faults.late_visibility_s,
        chance.random() < faults.empty_after_cursor,
        chance.random() < faults.skip_second_after_cursor,
    )


def _of_payment(
    sim: State, request: web.Request, world: World, query: Query
) -> tuple[list[int], bool]:
    """Refunds of one charge, or payment intent, or both."""
    found: set[int] | None = None
    for name in PAYMENTS:
        if name in request.query:
            places = world.places_of_payment(request.query[name])
            if not places:
                raise no_such(name, request.query[name], param=name)
            found = set(places) if found is None else found & set(places)
    kept = sorted(place for place in found or () if world.listed(place))
    shelf = shelf_of("refund", [(world.created[p], world.plain(p)["id"]) for p in kept])
    nths, has_more = page_of(shelf, query, now=sim.second(), flaws=_flaws(sim))
    return [kept[nth] for nth in nths], has_more


def _refund_place(sim: State, request: web.Request, world: World) -> int:
    object_id = request.match_info["id"]
    place = world.place_of(object_id) if _in_mode(request, world) else None
    denied = object_id in sim.faults.denied
    if place is None or denied or world.created[place] > sim.second():
        raise no_such("refund", object_id)
    return place


async def retrieve_refund(sim: State, request: web.Request, world: World) -> bytes:
    expand = expand_of(params_of(request), "")
    sim.require(request, "charge", *(["balance_transaction"] if set(expand) - {"charge"} else []))
    place = _refund_place(sim, request, world)
    sim.stats.reads_by_id[request.match_info["id"]] += 1
    sim.stats.served_objects += 1
    return text_of(world, place, expand).encode()


async def cancel_refund(sim: State, request: web.Request, world: World) -> bytes:
    """A repeated idempotency key repeats the answer; what was refused is not remembered."""
    sim.require(request, "charge_write")
    key = request.headers.get("Idempotency-Key", "")
    form = await request.text()
    if key in sim.answers:
        asked, body = sim.answers[key]
        if asked != f"{request.path} {form}":
            raise RequestError(
                "Keys for idempotent requests can only be used with the same parameters they were first used with.",
                kind="idempotency_error",
            )
        return Replayed(body)
    expand = expand_of(parse_qs(form), "")
    place = _refund_place(sim, request, world)
    if world.plain(place)["status"] != "requires_action":
        raise RequestError("You can only cancel a refund with a status of requires_action.")
    changes.cancel(Occasion(world, sim.second()), place)
    body = text_of(world, place, expand).encode()
    if key:
        sim.answers[key] = (f"{request.path} {form}", body)
    return body


async def retrieve_account(sim: State, request: web.Request, world: World) -> bytes:
    sim.require(request, "account")
    return json.dumps({"id": world.account, "object": "account", "country": "US"}).encode()


async def retrieve_charge(sim: State, request: web.Request, world: World) -> bytes:
    sim.require(request, "charge")
    found = world.charge(request.match_info["id"])
    if found is None:
        raise no_such("charge", request.match_info["id"])
    return json.dumps(found).encode()


async def retrieve_balance_transaction(sim: State, request: web.Request, world: World) -> bytes:
    sim.require(request, "balance_transaction")
    found = world.line(request.match_info["id"])
    if found is None:
        raise no_such("balance transaction", request.match_info["id"])
    return json.dumps(found).encode()


async def list_balance_transactions(sim: State, request: web.Request, world: World) -> bytes:
    query = query_of(params_of(request), PAGING | {"currency", "type", "source", "payout"})
    sim.require(request, "balance_transaction")
    wanted = {n: request.query[n] for n in ("currency", "type", "source") if n in request.query}
    lines = [
        line for line in _lines(sim, world, wanted.get("source"))
        if all(line.get(name) == value for name, value in wanted.items())
    ]  # fmt: skip
    lines.sort(key=lambda line: (line["created"], line["id"]))
    shelf = shelf_of("balance_transaction", [(line["created"], line["id"]) for line in lines])
    places, has_more = page_of(shelf, query, now=sim.second(), flaws=_flaws(sim))
    texts = [json.dumps(lines[place]) for place in places]
    return listing("/v1/balance_transactions", texts, has_more=has_more)


def _lines(sim: State, world: World, source: str | None) -> Iterator[Json]:
    """Of all refunds, or of one; ledger lines stay when a refund is hidden."""
    place = None if source is None else world.place_of(source)
    if source is None:
        refunds = world.truth(sim.second(), hidden=True)
    else:
        refunds = iter([] if place is None else [world.plain(place)])
    for plain in refunds:
        for name in ("balance_transaction", "failure_balance_transaction"):
            line = world.line(plain[name]) if plain.get(name) else None
            if line:
                yield line


async def list_events(sim: State, request: web.Request, world: World) -> bytes:
    params = params_of(request)
    query = query_of(params, PAGING | {"type", "types", "delivery_success"})
    sim.require(request, "event")
    if not _in_mode(request, world):
        return listing("/v1/events", [], has_more=False)
    events, shows = world.events, _of_types(params)
    shelf = Shelf(
        "event", events.created, events.place_of, lambda place: shows(events.at(place)["type"]),
        sim.second() - OLDEST_EVENT_S,
    )  # fmt: skip
    places, has_more = page_of(shelf, query, now=sim.second(), flaws=_flaws(sim))
    return listing("/v1/events", [json.dumps(events.at(p)) for p in places], has_more=has_more)


def _of_types(params: Mapping[str, Sequence[str]]) -> Callable[[str], bool]:
    """One type, which may end in a star, or up to twenty."""
    types = {t for name, reported in params.items() if name.startswith("types") for t in reported}
    if len(types) > MOST_TYPES:
        raise RequestError(f"You may pass at most {MOST_TYPES} types.", param="types")
    if "type" not in params:
        return (lambda kind: kind in types) if types else (lambda _: True)
    if types:
        raise RequestError("You may only specify one of these parameters: type, types.")
    wanted = params["type"][-1]
    if wanted.endswith("*"):
        return lambda kind: kind.startswith(wanted[:-1])
    return lambda kind: kind == wanted


async def retrieve_event(sim: State, request: web.Request, world: World) -> bytes:
    sim.require(request, "event")
    wanted = request.match_info["id"]
    event = world.events.by_id.get(wanted) if _in_mode(request, world) else None
    if event is None or event["created"] < sim.second() - OLDEST_EVENT_S:
        raise no_such("event", wanted)
    return json.dumps(event).encode()


async def unknown(_sim: State, request: web.Request, _world: World) -> bytes:
    raise RequestError(f"Unrecognized request URL ({request.method}: {request.path}).", status=404)


ROUTES = (
    ("GET", "/v1/refunds", list_refunds),
    ("GET", "/v1/refunds/{id}", retrieve_refund),
    ("POST", "/v1/refunds/{id}/cancel", cancel_refund),
    ("GET", "/v1/account", retrieve_account),
    ("GET", "/v1/charges/{id}", retrieve_charge),
    ("GET", "/v1/balance_transactions", list_balance_transactions),
    ("GET", "/v1/balance_transactions/{id}", retrieve_balance_transaction),
    ("GET", "/v1/events", list_events),
    ("GET", "/v1/events/{id}", retrieve_event),
)
