"""When and where something happens to a simulated account, and whether an event reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.simulator.world.account import World
    from service.simulator.world.objects import Json

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


@dataclass(frozen=True, slots=True)
class Occasion:
    """When something happens in an account, and which events report it.

    *events* is True, False for changes without an event, or "old" for an account of an API version
    before 2024-10-28, which reports a charge's refunds by events of the charge alone.
    """

    world: World
    now: int
    events: bool | str = True

    def __post_init__(self) -> None:
        if self.events not in TOLD:
            raise ValueError(f'events is true, false or "old", not {self.events!r}')

    def report(self, reported: Json, *types: str, before: Json | None = None) -> None:
        for kind in types:
            if self._is_reported(kind, reported):
                self.world.events.add(self._event(kind, reported, before))

    def _is_reported(self, kind: str, reported: Json) -> bool:
        if not self.events:
            return False
        of_charge = reported.get("object") == "charge" or bool(reported.get("charge"))
        if kind.startswith("charge."):
            return of_charge
        return not (of_charge and self.events == "old")

    def _event(self, kind: str, reported: Json, before: Json | None) -> Json:
        world = self.world
        data: dict[str, Any] = {"object": self._rendered(reported)}
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

    def _rendered(self, reported: Json) -> Json:
        """As the event's own version shows it."""
        newer = NEWER[self.events] if reported.get("object") == "refund" else ()
        return {name: value for name, value in reported.items() if name not in newer}
