"""Which change happens to which refund: one that was named, or one that chance picks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.simulator.world import changes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from service.simulator.world.objects import Json
    from service.simulator.world.occasion import Occasion

TRIES = 20_000
MOST = 100_000
REVERSIBLE = ("pending", "requires_action", "succeeded")
ARRIVALS = ("new", "late")


@dataclass(frozen=True, slots=True)
class Change:
    """*usual* says which refunds chance picks, *legal* which may be named."""

    work: Callable[[Occasion, int], Json]
    usual: Callable[[Json], bool]
    legal: Callable[[Json], bool] | None = None

    def fits(self, plain: Json) -> bool:
        return (self.legal or self.usual)(plain)


def happen(
    kind: str, at: Occasion, chance: Random, *, count: int = 1, ids: Sequence[str] = ()
) -> list[str]:
    """To the refunds named, or to *count* others; their ids. Raises ValueError where nothing fits."""
    if not 0 <= count <= MOST:
        raise ValueError(f"count is from 0 to {MOST}")
    if kind in ARRIVALS:
        if ids:
            raise ValueError(f"{kind} takes no ids")
        return [changes.new(at)["id"] for _ in range(count)]
    if kind not in CHANGES:
        raise ValueError(f"no such change: {kind}; there are {', '.join((*ARRIVALS, *CHANGES))}")
    change = CHANGES[kind]
    if ids:
        return [change.work(at, _named(at, kind, wanted))["id"] for wanted in ids]
    return [change.work(at, _picked(at, kind, chance))["id"] for _ in range(count)]


def _named(at: Occasion, kind: str, wanted: str) -> int:
    place = at.world.place_of(wanted)
    if place is None:
        raise ValueError(f"no such refund: {wanted}")
    if not CHANGES[kind].fits(at.world.plain(place)):
        raise ValueError(f"{kind} does not fit {wanted}")
    return place


def _picked(at: Occasion, kind: str, chance: Random) -> int:
    world, usual = at.world, CHANGES[kind].usual
    if kind in RARE:
        found = RARE[kind](at)
        if found:
            return chance.choice(found)
        raise ValueError(f"no refund to {kind}")
    for _ in range(TRIES if world.slots else 0):
        place = chance.randrange(len(world.slots))
        if world.listed(place) and world.created[place] <= at.now and usual(world.plain(place)):
            return place
    raise ValueError("no refund fits this change")


def _hidden(at: Occasion) -> list[int]:
    slots = at.world.hidden - at.world.deleted
    return sorted(at.world.place_of_slot(slot) for slot in slots)


def _spoiled(at: Occasion) -> list[int]:
    kept = (*at.world.changed.values(), *at.world.extras.objects)
    places = [at.world.place_of(plain["id"]) for plain in kept if _is_spoiled(plain)]
    return sorted(place for place in places if place is not None)


def _any(_: Json) -> bool:
    return True


def _is_spoiled(plain: Json) -> bool:
    return isinstance(plain.get("amount"), str) and plain["amount"].isdecimal()


def _is_sound(plain: Json) -> bool:
    return isinstance(plain.get("amount"), int)


def _in(*states: str) -> Callable[[Json], bool]:
    return lambda plain: _is_sound(plain) and plain.get("status") in states


def _is_booked(plain: Json) -> bool:
    return bool(
        _in("succeeded")(plain) and plain.get("charge") and plain.get("balance_transaction")
    )


def _is_large(plain: Json) -> bool:
    return _is_booked(plain) and plain["amount"] > 1000


def _details(plain: Json) -> Json:
    reported = plain.get("destination_details") or {}
    found: Json = reported.get(reported.get("type")) or {}
    return found


def _awaits_arn(plain: Json) -> bool:
    return _in("succeeded")(plain) and _details(plain).get("reference_status") == "pending"


def _may_have_arn(plain: Json) -> bool:
    return _in("succeeded", "failed")(plain) and bool(_details(plain))


def _is_of_bank(plain: Json) -> bool:
    kind = (plain.get("destination_details") or {}).get("type", "card")
    return _in("succeeded", "pending")(plain) and kind != "card"


CHANGES = {
    "second_refund": Change(changes.second_refund, _is_large, _is_booked),
    "settle": Change(changes.settle, _in("pending")),
    "fail": Change(changes.fail, _is_booked, _in(*REVERSIBLE)),
    "cancel": Change(changes.cancel, _in("requires_action"), _in(*REVERSIBLE)),
    "requires_action": Change(changes.requires_action, _is_of_bank, _in("succeeded", "pending")),
    "pending": Change(changes.pending, _in("requires_action")),
    "arn": Change(changes.arn, _awaits_arn, _may_have_arn),
    "metadata": Change(changes.metadata, _is_sound),
    "hide": Change(changes.hide, _any),
    "unhide": Change(changes.unhide, _any),
    "delete": Change(changes.delete, _any),
    "spoil": Change(changes.spoil, _is_sound),
    "mend": Change(changes.mend, _is_spoiled),
}
RARE = {"unhide": _hidden, "mend": _spoiled}
"""Changes for refunds that chance would hardly meet."""
