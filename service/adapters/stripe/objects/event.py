"""What an event says: that a refund may have changed. The object inside is old, and never used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from service.adapters.stripe.objects.shapes import Id, Named, Second
from service.domain.refund import Hint

if TYPE_CHECKING:
    from datetime import datetime

TYPES = (
    "refund.created", "refund.updated", "refund.failed", "charge.refunded", "charge.refund.updated",
)  # fmt: skip
"""A failure sends refund.failed and no refund.updated; old API versions report charges alone."""

THIN = "v1."
"""What the types of notifications begin with that name an object and hold none."""


class RecentEvents:
    """Events that were pushed, and the instants of their hints, which are kept: listed later, they are not new.

    The newest of them, while this process lives; one that is forgotten makes polls more frequent.
    """

    MOST = 20_000

    def __init__(self) -> None:
        self._at: dict[str, datetime] = {}

    def add(self, event_id: str, at: datetime) -> None:
        self._at[event_id] = at
        if len(self._at) > self.MOST:
            del self._at[next(iter(self._at))]

    def at(self, event_id: str) -> datetime | None:
        return self._at.get(event_id)


class _Object(Struct, frozen=True):
    id: Id
    charge: Named | Id | None = None


class _Data(Struct, frozen=True):
    object: _Object


class _Related(Struct, frozen=True):
    id: Id


class EventShape(Struct, frozen=True):
    """An event of either kind; *account* or *context* name a connected account."""

    id: Id
    type: str
    data: _Data | None = None
    related_object: _Related | None = None
    account: str | None = None
    context: str | None = None

    @property
    def about(self) -> str | None:
        return self.account or self.context


class EventKey(Struct, frozen=True):
    """Where an event stands in its list."""

    id: Id
    created: Second


decode_event = msgspec.json.Decoder(EventShape).decode
decode_key = msgspec.json.Decoder(EventKey).decode


def hint_of(event: EventShape, at: datetime) -> Hint | None:
    """The hint that an event gives; None where it is about something else.

    *at* is an instant by which the change was made, by the database's clock.
    """
    kind = event.type.removeprefix(THIN)
    if kind not in TYPES:
        return None
    if event.data:
        reported = event.data.object
        if kind == "charge.refunded":
            return Hint("charge", reported.id, at)
        charge = reported.charge if isinstance(reported.charge, str | None) else reported.charge.id
        return Hint("refund", reported.id, at, charge)
    if event.related_object:
        return Hint(
            "charge" if kind == "charge.refunded" else "refund", event.related_object.id, at
        )
    return None


def event_in(body: bytes | Raw) -> EventShape | None:
    """The event in *body*; None where it has not the shape of one."""
    try:
        return decode_event(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
