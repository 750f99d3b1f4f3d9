"""The truth of a simulated account: seeded, compact, and changed only on purpose.

The seeded refunds are kept as text, as many as memory is meant for, and none as an object: so a million
fit. What changes or arrives later is kept as it is, on top.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.simulator.world.events import Events
from service.simulator.world.objects import EXPANDED, Json, charge_of, ledger_of, refund_of
from service.simulator.world.seeds import DAY, PAYMENT, Seeds, seconds, template

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAYMENTS = ("charge", "payment_intent")
LAST = 1 << 62
MOST_BUILT = 200_000
"""So many seeded refunds are kept as text from the start on, of about 4 kB each."""


@dataclass
class Extras:
    """Refunds that came after the seeded ones, found by id and by payment; slots -1, -2, ...

    ``seconds`` and ``between`` are in the order of the list: of each extra, its created second and how
    many seeded refunds stand before it.
    """

    objects: list[Json] = field(default_factory=list)
    seconds: list[int] = field(default_factory=list)
    between: list[int] = field(default_factory=list)
    slots: dict[str, int] = field(default_factory=dict)
    of_payment: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, plain: Json, second: int, place: int) -> int:
        """Of one that is put at *place*; returns its slot."""
        self.objects.append(plain)
        slot = -len(self.objects)
        nth = bisect_right(self.seconds, second)
        self.seconds.insert(nth, second)
        self.between.insert(nth, place - nth)
        if isinstance(plain.get("id"), str):
            self.slots[plain["id"]] = slot
        for name in PAYMENTS:
            if isinstance(plain.get(name), str):
                self.of_payment[plain[name]].append(slot)
        return slot


@dataclass
class World:
    """Refunds by place, oldest first; *slots* say which is where: seeded ones from 0, others below."""

    account: str
    seeds: Seeds
    created: array[int]
    slots: array[int]
    livemode: bool = False
    extras: Extras = field(default_factory=Extras)
    changed: dict[int, Json] = field(default_factory=dict)
    charges: dict[str, Json] = field(default_factory=dict)
    ledger: dict[str, Json] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    events: Events = field(default_factory=Events)
    built: Sequence[tuple[str, str]] = ()

    @classmethod
    def seeded(
        cls, refunds: int, *, start: int, end: int, seed: int = 7, account: str = "acct_1Simulated",
        shape: str = "even", hot_second: int = 0, livemode: bool = False, ids: str = PAYMENT,
    ) -> World:  # fmt: skip
        times = seconds(refunds, start=start, end=end, shape=shape, hot_second=hot_second)
        seeds = Seeds(seed, start - 30 * DAY, refunds // 6 + 1, ids)
        built = [_built(seeds, n, times[n]) for n in range(min(refunds, MOST_BUILT))]
        slots = array("q", range(refunds))
        return cls(account, seeds, array("q", times), slots, livemode, built=built)

    @property
    def base(self) -> int:
        """How many refunds are seeded."""
        return len(self.slots) - len(self.extras.objects)

    def place_of(self, object_id: str) -> int | None:
        """Where a refund stands in the order of the list, hidden or not; None if there is none."""
        slot = self.extras.slots.get(object_id)
        if slot is None:
            slot = self._number_of(object_id)
            if slot is None or self.seeds.id_of(slot) != object_id:
                return None
        return None if slot in self.deleted else self.place_of_slot(slot)

    def place_of_slot(self, slot: int) -> int:
        """Seeded refunds stand in the order of their numbers, others between them."""
        if slot >= 0:
            return slot + bisect_right(self.extras.between, slot)
        second = _second(self.extras.objects[-slot - 1])
        low, high = bisect_left(self.created, second), bisect_right(self.created, second)
        return self.slots.index(slot, low, high)

    def places_of_payment(self, object_id: str) -> list[int]:
        """Of the refunds of a charge or payment intent, oldest first."""
        number = self._number_of(object_id)
        near = [] if number is None else [n for n in (number, number + 1) if n < self.base]
        slots = {*near, *self.extras.of_payment.get(object_id, ())} - self.deleted
        places = sorted(self.place_of_slot(slot) for slot in slots)
        return [p for p in places if object_id in (self.plain(p).get(name) for name in PAYMENTS)]

    def _number_of(self, object_id: str) -> int | None:
        number = self.seeds.number_of(object_id)
        return number if number is not None and number < self.base else None

    def listed(self, place: int) -> bool:
        return self.slots[place] not in self.hidden

    def plain(self, place: int) -> Json:
        """The refund there as Stripe shows it without expansions."""
        slot = self.slots[place]
        if slot < 0:
            return self.extras.objects[-slot - 1]
        if slot in self.changed:
            return self.changed[slot]
        return refund_of(self.seeds.kind(slot), self.seeds.values(slot, self.created[place]))

    def text(self, place: int) -> str:
        """The refund there with all three expansions, as JSON."""
        slot = self.slots[place]
        if slot >= 0 and slot not in self.changed:
            pre_built = slot < len(self.built)
            charge, text = (
                self.built[slot] if pre_built else _built(self.seeds, slot, self.created[place])
            )
            if charge not in self.charges:
                return text
        return json.dumps(self.expanded(self.plain(place), EXPANDED))

    def expanded(self, plain: Json, names: tuple[str, ...]) -> Json:
        reported = dict(plain)
        for name in names:
            if isinstance(reported.get(name), str):
                found = (
                    self.charge(reported[name]) if name == "charge" else self.line(reported[name])
                )
                reported[name] = found or reported[name]
        return reported

    def charge(self, object_id: str) -> Json | None:
        return self.charges.get(object_id) or self._derived(object_id, "charge")

    def line(self, object_id: str) -> Json | None:
        return (
            self.ledger.get(object_id)
            or self._derived(object_id, "txn")
            or self._derived(object_id, "back")
        )

    def _derived(self, object_id: str, name: str) -> Json | None:
        """What is seeded with a refund: its charge, its ledger line, or the one back."""
        number = self._number_of(object_id)
        if number is None:
            return None
        kind = self.seeds.kind(number)
        values = self.seeds.values(number, self.created[self.place_of_slot(number)])
        exists = {"charge": kind.charge, "txn": kind.booked, "back": kind.failed}[name]
        if not exists or values[name] != object_id:
            return None
        if name == "charge":
            return charge_of(kind, values)
        return ledger_of(kind, values, back=name == "back")

    def add(self, plain: Json) -> None:
        """Puts a refund where its created second says; a raw odd object too."""
        second = _second(plain)
        place = bisect_right(self.created, second)
        slot = self.extras.add(plain, second, place)
        self.created.insert(place, second)
        self.slots.insert(place, slot)

    def alter(self, place: int, *gone: str, **fields: Any) -> Json:
        """Changes a refund for good; members in *gone* are absent afterwards."""
        reported = {k: v for k, v in (self.plain(place) | fields).items() if k not in gone}
        slot = self.slots[place]
        if slot < 0:
            self.extras.objects[-slot - 1] = reported
        else:
            self.changed[slot] = reported
        return reported

    def truth(self, until: int = LAST, *, hidden: bool = False) -> Iterator[Json]:
        """Every refund created up to a second, oldest first; *hidden*: those not listed too."""
        left_out = self.deleted if hidden else self.hidden
        for slot in self.slots[: bisect_right(self.created, until)]:
            if slot not in left_out:
                yield self.plain(self.place_of_slot(slot))


def _built(seeds: Seeds, number: int, created: int) -> tuple[str, str]:
    """The id of a seeded refund's charge, and the refund as text, with all three expansions."""
    values = seeds.values(number, created)
    return values["charge"], template(seeds.kind(number)).of(values)


def _second(plain: Json) -> int:
    created = plain.get("created")
    return created if isinstance(created, int) else 0
