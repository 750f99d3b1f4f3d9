"""Lists as Stripe pages them: filters, both cursors, newest first in either direction."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from service.simulator.world.objects import EXPANDED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EXPANDABLE = frozenset(
    [
        "balance_transaction",
        "charge",
        "customer",
        "failure_balance_transaction",
        "payment_intent",
        "payment_method",
        "source_transfer_reversal",
        "transfer_reversal",
    ]
)
BOUNDS = {"created", *(f"created[{bound}]" for bound in ("gt", "gte", "lt", "lte"))}
DEEPEST = 4


class RequestError(Exception):
    """A request that Stripe refuses, with the envelope's members."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status = status
        reported = {"code": code, "message": message, "param": param, "type": kind}
        self.error = {name: value for name, value in reported.items() if value is not None}


def no_such(what: str, object_id: str, *, param: str = "id", status: int = 404) -> RequestError:
    return RequestError(
        f"No such {what}: '{object_id}'", status=status, param=param, code="resource_missing"
    )


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a list, checked."""

    low: int | None
    high: int | None
    limit: int
    after: str | None
    before: str | None
    expand: tuple[str, ...]

    @property
    def filtered(self) -> bool:
        return self.low is not None or self.high is not None


def query_of(
    params: Mapping[str, Sequence[str]], known: frozenset[str], *, level: str = "data."
) -> Query:
    """Raises RequestError in Stripe's words. ``low <= created < high``."""
    for name in params:
        if name.partition("[")[0] not in known | {"expand"}:
            raise RequestError(
                f"Received unknown parameter: {name}", param=name, code="parameter_unknown"
            )
    one = {name: values[-1] for name, values in params.items()}
    if one.get("starting_after") and one.get("ending_before"):
        raise RequestError(
            "Received both starting_after and ending_before parameters. Please pass in only one."
        )
    low, high = _created(one)
    return Query(
        low,
        high,
        _limit(one),
        one.get("starting_after"),
        one.get("ending_before"),
        expand_of(params, level),
    )


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RequestError(
            f"Invalid integer: {text}", param=name, code="parameter_invalid_integer"
        ) from None


def _limit(one: Mapping[str, str]) -> int:
    limit = _whole(one.get("limit", "10"), "limit")
    if not 1 <= limit <= 100:
        raise RequestError(
            "This value must be between 1 and 100.", param="limit", code="parameter_invalid_integer"
        )
    return limit


def _created(one: Mapping[str, str]) -> tuple[int | None, int | None]:
    bounds = {name: _whole(one[name], "created") for name in one if name.startswith("created")}
    for name in bounds.keys() - BOUNDS:
        raise RequestError(
            f"Received unknown parameter: {name}", param=name, code="parameter_unknown"
        )
    lows = [bounds.get("created"), bounds.get("created[gte]"), _plus_one(bounds.get("created[gt]"))]
    highs = [
        _plus_one(bounds.get("created")),
        bounds.get("created[lt]"),
        _plus_one(bounds.get("created[lte]")),
    ]
    return (
        max((low for low in lows if low is not None), default=None),
        min((high for high in highs if high is not None), default=None),
    )


def _plus_one(value: int | None) -> int | None:
    return None if value is None else value + 1


def expand_of(params: Mapping[str, Sequence[str]], level: str) -> tuple[str, ...]:
    """The members to expand, of those that are modelled; *level* is ``data.`` in a list."""
    wanted = [path for name, paths in params.items() if name.startswith("expand") for path in paths]
    for path in wanted:
        if path.count(".") >= DEEPEST:
            raise RequestError(
                f"You cannot expand more than 4 levels of a property. Property: {path}",
                code="property_expansion_max_depth",
            )
        if not path.startswith(level) or path.removeprefix(level).split(".")[0] not in EXPANDABLE:
            raise RequestError(f"This property cannot be expanded ({path}).", param="expand")
    heads = {path.removeprefix(level).split(".")[0] for path in wanted}
    return tuple(name for name in EXPANDED if name in heads)


@dataclass(frozen=True, slots=True)
class Flaws:
    """How this one list lies, where a fault says so."""

    late_s: int = 0
    empty_after_cursor: bool = False
    skip_second_after_cursor: bool = False


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a list is taken from: things by place, oldest first, and which of them it shows.

    Before *oldest* there is nothing, as if it had never been.
    """

    what: str
    created: Sequence[int]
    place_of: Callable[[str], int | None]
    shows: Callable[[int], bool]
    oldest: int = 0

    def cursor(self, object_id: str, param: str) -> int:
        place = self.place_of(object_id)
        if place is None or self.created[place] < self.oldest:
            raise no_such(self.what, object_id, param=param, status=400)
        return place

    def first(self, places: range, limit: int) -> tuple[list[int], bool]:
        """So many of them that are shown, and whether there are more."""
        found = list(islice(filter(self.shows, places), limit + 1))
        return found[:limit], len(found) > limit


def shelf_of(what: str, objects: Sequence[tuple[int, str]]) -> Shelf:
    """Of a few things: the created second and id of each, oldest first."""
    ids = {object_id: place for place, (_, object_id) in enumerate(objects)}
    return Shelf(what, [created for created, _ in objects], ids.get, lambda _: True)


def page_of(shelf: Shelf, query: Query, *, now: int, flaws: Flaws) -> tuple[list[int], bool]:
    """Places of one page, newest first, and whether there are more that way."""
    low = bisect_left(shelf.created, max(query.low or 0, shelf.oldest))
    high = bisect_right(shelf.created, now - flaws.late_s)
    if query.high is not None:
        high = min(high, bisect_left(shelf.created, query.high))
    if query.before:
        low = max(low, shelf.cursor(query.before, "ending_before") + 1)
        places, has_more = shelf.first(range(low, high), query.limit)
        return places[::-1], has_more
    if query.after:
        place = shelf.cursor(query.after, "starting_after")
        if query.filtered and flaws.empty_after_cursor:
            return [], False
        if query.filtered and flaws.skip_second_after_cursor:
            place = bisect_left(shelf.created, shelf.created[place])
        high = min(high, place)
    return shelf.first(range(high - 1, low - 1, -1), query.limit)
