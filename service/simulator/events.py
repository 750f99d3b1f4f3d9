"""What an account tells of its changes: events in order, each as it was when it was told."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.simulator.objects import Json
    from service.simulator.world import World

FIRST_EVENT = 1 << 38
TOLD = (True, False, "old")
VERSIONS: dict[bool | str, str] = {True: "2024-10-28.acacia", "old": "2022-11-15"}
NEWER: dict[bool | str, tuple[str, ...]] = {
    True: ("customer", "customer_account", "payment_method", "pending_reason"),
    "old": (
        "customer", "customer_account", "payment_method", "pending_reason", "destination_details",
        "presentment_details",
    ),
}  # fmt: skip
"""Members of a refund that the versions above did not have yet."""


def _unheard(_: Json) -> None:
    """Nobody listens."""


@dataclass
class Events:
    """In the order of their created seconds, those of one second as they came."""

    created: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    by_id: dict[str, Json] = field(default_factory=dict)
    heard: Callable[[Json], None] = _unheard

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, event: Json) -> None:
        place = bisect_right(self.created, event["created"])
        self.created.insert(place, event["created"])
        self.ids.insert(place, event["id"])
        self.by_id[event["id"]] = event
        self.heard(event)

    def at(self, place: int) -> Json:
        return self.by_id[self.ids[place]]

    def place_of(self, event_id: str) -> int | None:
        event = self.by_id.get(event_id)
        if event is None:
            return None
        low = bisect_left(self.created, event["created"])
        return self.ids.index(event_id, low)


@dataclass(frozen=True, slots=True)
class Occasion:
    """When something happens in an account, and what is told of it.

    *events* is True, False for changes that nobody hears of, or "old" for an account of an API version
    before 2024-10-28, which tells of a charge's refunds by events of the charge alone.
    """

    world: World
    now: int
    events: bool | str = True

    def __post_init__(self) -> None:
        if self.events not in TOLD:
            raise ValueError(f'events is true, false or "old", not {self.events!r}')

    def tell(self, told: Json, *types: str, before: Json | None = None) -> None:
        for kind in types:
            if self._is_told(kind, told):
                self.world.events.add(self._event(kind, told, before))

    def _is_told(self, kind: str, told: Json) -> bool:
        if not self.events:
            return False
        of_charge = told.get("object") == "charge" or bool(told.get("charge"))
        if kind.startswith("charge."):
            return of_charge
        return not (of_charge and self.events == "old")

    def _event(self, kind: str, told: Json, before: Json | None) -> Json:
        world = self.world
        data: dict[str, Any] = {"object": self._rendered(told)}
        if before and kind.endswith(".updated"):
            was, now = self._rendered(before), data["object"]
            data["previous_attributes"] = {
                name: was.get(name) for name in was | now if was.get(name) != now.get(name)
            }
        return {
            "id": f"evt_3Sim{world.seeds.code(FIRST_EVENT + len(world.events))}", "object": "event",
            "api_version": VERSIONS[self.events], "created": self.now, "data": data,
            "livemode": world.livemode, "pending_webhooks": 0,
            "request": {"id": None, "idempotency_key": None}, "type": kind,
        }  # fmt: skip

    def _rendered(self, told: Json) -> Json:
        """As the event's own version shows it."""
        newer = NEWER[self.events] if told.get("object") == "refund" else ()
        return {name: value for name, value in told.items() if name not in newer}
