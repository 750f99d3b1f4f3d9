"""The truth of a simulated account: seeded, compact, and changed only on purpose.

The seeded refunds are not kept as objects: each is derived from the seed and its number, so that a
million fit in little memory. What changes or arrives later is kept as it is, on top.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from service.simulator.objects import CARDS, KINDS, Json, Kind, charge_of, ledger_of, refund_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400
MASK = (1 << 40) - 1
ODD = 0x9E3779B97F | 1
BACK = pow(ODD, -1, 1 << 40)
TEXTS = (
    "id",
    "txn",
    "back",
    "charge",
    "charge_txn",
    "intent",
    "customer",
    "method",
    "reversal",
    "order",
    "arn",
    "reference",
    "email",
)
NUMBERS = (
    "amount",
    "created",
    "presented",
    "expires",
    "settled",
    "minus",
    "available",
    "failed_at",
    "charged",
    "refunded",
    "charged_at",
)


@cache
def template(kind: Kind) -> str:
    """A refund of this kind with all three expansions, as text to be formatted with its values."""
    marks = {name: f"@{name}@" for name in TEXTS} | {name: f"@#{name}@" for name in NUMBERS}
    told = refund_of(kind, marks)
    if kind.charge:
        told["charge"] = charge_of(kind, marks)
    if kind.booked:
        told["balance_transaction"] = ledger_of(kind, marks)
    if kind.failed:
        told["failure_balance_transaction"] = ledger_of(kind, marks, back=True)
    text = json.dumps(told).replace("%", "%%")
    for name in TEXTS:
        text = text.replace(f"@{name}@", f"%({name})s")
    for name in NUMBERS:
        text = text.replace(f'"@#{name}@"', f"%({name})d")
    return text


@dataclass
class World:
    """Refunds by place, oldest first; *slots* say which is where: seeded ones from 0, others below."""

    account: str
    seed: int
    created: array[int]
    slots: array[int]
    livemode: bool = False
    charges_from: int = 0
    extra: list[Json] = field(default_factory=list)
    changed: dict[int, Json] = field(default_factory=dict)
    charges: dict[str, Json] = field(default_factory=dict)
    ledger: dict[str, Json] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)

    @classmethod
    def seeded(
        cls, refunds: int, *, start: int, end: int, seed: int = 7, account: str = "acct_1Simulated",
        shape: str = "even", hot_second: int = 0, livemode: bool = False,
    ) -> World:  # fmt: skip
        times = _times(refunds, start, end, shape, hot_second)
        slots = array("q", range(refunds))
        return cls(account, seed, array("q", times), slots, livemode, start - 30 * DAY)

    def number_of(self, object_id: str) -> int | None:
        """The number of a seeded object that an id of ours names."""
        try:
            code = int(object_id[-10:], 16)
        except ValueError:
            return None
        number = ((code ^ self.seed) * BACK) & MASK
        return number if number < len(self.slots) else None

    def code(self, number: int) -> str:
        return f"{((number * ODD) & MASK) ^ self.seed:010x}"

    def kind(self, number: int) -> Kind:
        if number % 20 >= 18:
            return KINDS[0]
        mixed = (number * 2654435761 + self.seed) >> 7
        return (
            KINDS[mixed % CARDS]
            if mixed % 10
            else KINDS[CARDS + (mixed // 10) % (len(KINDS) - CARDS)]
        )

    def values(self, number: int, created: int) -> dict[str, Any]:
        """Of a seeded refund. Of each twenty, the last shares a charge with the one before it."""
        kind = self.kind(number)
        first = number - 1 if number % 20 == 19 else number
        code, charge = self.code(number), self.code(first)
        amount = _amount(number)
        both = (
            _amount(first) + _amount(first + 1)
            if first % 20 == 18
            else 0
            if kind.failed
            else amount
        )
        settled = int(amount * 1.09737) if kind.exchanged else amount
        return {
            "id": f"{'re' if kind.destination == 'card' else 'pyr'}_3Sim{code}",
            "txn": f"txn_3Sim{code}", "back": f"txn_4Sim{code}", "charge": f"ch_3Sim{charge}",
            "charge_txn": f"txn_5Sim{charge}", "intent": f"pi_3Sim{charge}",
            "customer": f"cus_Sim{charge[:8]}", "method": f"pm_3Sim{charge}",
            "reversal": f"trr_3Sim{code}", "order": f"order-{first:07d}",
            "arn": f"7{number:022d}", "reference": f"REF{number:09d}",
            "email": f"customer{first}@example.com", "amount": amount, "created": created,
            "presented": amount * 17, "expires": created + 30 * DAY, "settled": settled,
            "minus": -settled, "available": created + 2 * DAY, "failed_at": created + 6,
            "charged": _amount(first) * 3 + 1000, "refunded": both, "charged_at": self.charges_from + first,
        }  # fmt: skip

    def place_of(self, object_id: str) -> int | None:
        """Where a refund stands in the order of the list."""
        number = self.number_of(object_id)
        if number is not None and number < self.base:
            place = self._place(self.base_created(number), number)
            if self.plain(place)["id"] == object_id:
                return place
        for k, told in enumerate(self.extra):
            if told.get("id") == object_id:
                return self._place(_second(told), -k - 1)
        return None

    @property
    def base(self) -> int:
        return len(self.slots) - len(self.extra)

    def base_created(self, number: int) -> int:
        """Seeded refunds stand in the order of their numbers; others stand between them."""
        place = number + self._extras_before(number)
        return self.created[place]

    def _extras_before(self, number: int) -> int:
        """Extras are few: their count below a number is found by stepping."""
        place = number
        while self.slots[place] != number:
            place += 1
        return place - number

    def _place(self, created: int, slot: int) -> int:
        low, high = bisect_left(self.created, created), bisect_right(self.created, created)
        return next(place for place in range(low, high) if self.slots[place] == slot)

    def plain(self, place: int) -> Json:
        """The refund there as Stripe shows it without expansions."""
        slot = self.slots[place]
        if slot < 0:
            return self.extra[-slot - 1]
        if slot in self.changed:
            return self.changed[slot]
        return refund_of(self.kind(slot), self.values(slot, self.created[place]))

    def text(self, place: int) -> str:
        """The refund there with all three expansions, as JSON."""
        slot = self.slots[place]
        if slot < 0 or slot in self.changed or self.charges:
            told = self.plain(place)
            if slot < 0 or slot in self.changed or told["charge"] in self.charges:
                return json.dumps(
                    self.expanded(
                        told, ("charge", "balance_transaction", "failure_balance_transaction")
                    )
                )
        return template(self.kind(slot)) % self.values(slot, self.created[place])

    def expanded(self, plain: Json, names: tuple[str, ...]) -> Json:
        told = dict(plain)
        for name in names:
            if isinstance(told.get(name), str):
                found = self.charge(told[name]) if name == "charge" else self.line(told[name])
                told[name] = found or told[name]
        return told

    def charge(self, object_id: str) -> Json | None:
        return self.charges.get(object_id) or self._derived(object_id, "charge")

    def line(self, object_id: str) -> Json | None:
        return (
            self.ledger.get(object_id)
            or self._derived(object_id, "txn")
            or self._derived(object_id, "back")
        )

    def _derived(self, object_id: str, name: str) -> Json | None:
        number = self.number_of(object_id)
        if number is None or number >= self.base:
            return None
        kind, values = self.kind(number), self.values(number, self.base_created(number))
        if (
            values[name] != object_id
            or (name == "back" and not kind.failed)
            or (name == "txn" and not kind.booked)
        ):
            return None
        if name == "charge":
            return charge_of(kind, values) if kind.charge else None
        return ledger_of(kind, values, back=name == "back")

    def add(self, plain: Json) -> None:
        """Puts a refund where its created second says; a raw odd object too."""
        self.extra.append(plain)
        place = bisect_right(self.created, _second(plain))
        self.created.insert(place, _second(plain))
        self.slots.insert(place, -len(self.extra))

    def alter(self, place: int, **fields: Any) -> Json:
        """Changes a refund for good; None takes a field away only where it may be absent."""
        told = self.plain(place) | fields
        slot = self.slots[place]
        if slot < 0:
            self.extra[-slot - 1] = told
        else:
            self.changed[slot] = told
        return told

    def truth(self) -> Iterator[Json]:
        """Every refund, oldest first."""
        return (self.plain(place) for place in range(len(self.slots)))


def _second(plain: Json) -> int:
    created = plain.get("created")
    return created if isinstance(created, int) else 0


def _amount(number: int) -> int:
    return 100 + (number * 7919) % 990_000 // 100 * 100


def _times(refunds: int, start: int, end: int, shape: str, hot_second: int) -> list[int]:
    """Ascending created seconds: even with some ties; or half in one day, a thousand in one second."""
    length = end - start
    times = [start + n * length // refunds for n in range(refunds)]
    for n in range(1, refunds, 50):
        times[n] = times[n - 1]
    if shape == "skewed":
        half, day = refunds // 2, start + length // 3
        times[:half] = [day + n * DAY // half for n in range(half)]
        hot_second = hot_second or min(1_000, refunds // 4)
    if hot_second:
        times[:hot_second] = [start + length // 2 + 17] * hot_second
    return sorted(times)
