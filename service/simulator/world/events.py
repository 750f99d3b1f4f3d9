"""An account's events in order, each with the object as it was then."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.simulator.world.objects import Json


def _nobody(_: Json) -> None:
    """Nobody listens."""


@dataclass
class Events:
    """In the order of their created seconds, those of one second as they came."""

    created: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    by_id: dict[str, Json] = field(default_factory=dict)
    recent: Callable[[Json], None] = _nobody

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, event: Json) -> None:
        place = bisect_right(self.created, event["created"])
        self.created.insert(place, event["created"])
        self.ids.insert(place, event["id"])
        self.by_id[event["id"]] = event
        self.recent(event)

    def at(self, place: int) -> Json:
        return self.by_id[self.ids[place]]

    def place_of(self, event_id: str) -> int | None:
        event = self.by_id.get(event_id)
        if event is None:
            return None
        low = bisect_left(self.created, event["created"])
        return self.ids.index(event_id, low)
