"""The seeded refunds: each is derived from the seed and its number, and kept nowhere."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from service.simulator.world.objects import CARDS, KINDS, Kind, charge_of, ledger_of, refund_of

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86_400
MASK = (1 << 40) - 1
ODD = 0x9E3779B97F | 1
BACK = pow(ODD, -1, 1 << 40)
PAYMENT, RANDOM = "payment", "random"
IDS = (PAYMENT, RANDOM)
"""What ids begin with: the place of their payment among all payments, as at Stripe; or anything."""
TEXTS = (
    "id", "txn", "back", "charge", "charge_txn", "intent", "customer", "method", "reversal", "order",
    "arn", "reference", "email",
)  # fmt: skip
NUMBERS = (
    "amount", "created", "presented", "expires", "settled", "minus", "available", "failed_at",
    "charged", "refunded", "charged_at",
)  # fmt: skip
_MARK = re.compile('"@#([a-z_]+)@"|@([a-z_]+)@')


@dataclass(frozen=True, slots=True)
class Template:
    """A refund with all three expansions, as text to be formatted with values, each in its place."""

    text: str
    in_order: Callable[[dict[str, Any]], tuple[Any, ...]]

    def of(self, values: dict[str, Any]) -> str:
        return self.text % self.in_order(values)


@cache
def template(kind: Kind) -> Template:
    marks = {name: f"@{name}@" for name in TEXTS} | {name: f"@#{name}@" for name in NUMBERS}
    reported = refund_of(kind, marks)
    if kind.charge:
        reported["charge"] = charge_of(kind, marks)
    if kind.booked:
        reported["balance_transaction"] = ledger_of(kind, marks)
    if kind.failed:
        reported["failure_balance_transaction"] = ledger_of(kind, marks, back=True)
    text = json.dumps(reported).replace("%", "%%")
    return Template(_MARK.sub("%s", text), itemgetter(*(a or b for a, b in _MARK.findall(text))))


@dataclass(frozen=True, slots=True)
class Seeds:
    """From number to id, kind and values, and back from any id of ours to its number.

    A refund follows its payment by up to as many others as *late* says: ids are roughly in its order.
    """

    seed: int
    charges_from: int
    late: int = 1
    ids: str = PAYMENT

    def code(self, number: int) -> str:
        """Ten digits of the payment, and ten that look random: no two numbers have the same."""
        paid = number - 1 if number % 20 == 19 else number
        mixed = (paid * ODD + 1) * BACK >> 3 & MASK
        stem = mixed if self.ids == RANDOM else paid + self.late - mixed % self.late
        return f"{stem & MASK:010x}{((number * ODD) & MASK) ^ self.seed:010x}"

    def number_of(self, object_id: str) -> int | None:
        try:
            code = int(object_id[-10:], 16)
        except ValueError:
            return None
        return ((code ^ self.seed) * BACK) & MASK

    def kind(self, number: int) -> Kind:
        if number % 20 >= 18:
            return KINDS[0]
        mixed = (number * 2654435761 + self.seed) >> 7
        if mixed % 10:
            return KINDS[mixed % CARDS]
        return KINDS[CARDS + (mixed // 10) % (len(KINDS) - CARDS)]

    def id_of(self, number: int) -> str:
        return _id_of(self.kind(number), self.code(number))

    def values(self, number: int, created: int) -> dict[str, Any]:
        """Of each twenty, the last shares a charge with the one before it."""
        kind = self.kind(number)
        first = number - 1 if number % 20 == 19 else number
        code = self.code(number)
        charge = code if first == number else self.code(first)
        amount = _amount(number)
        settled = int(amount * 1.09737) if kind.exchanged else amount
        return {
            "id": _id_of(kind, code), "txn": f"txn_3Sim{code}", "back": f"txn_4Sim{code}",
            "charge": f"ch_3Sim{charge}", "charge_txn": f"txn_5Sim{charge}",
            "intent": f"pi_3Sim{charge}", "customer": f"cus_Sim{charge[-8:]}",
            "method": f"pm_3Sim{charge}", "reversal": f"trr_3Sim{code}",
            "order": f"order-{first:07d}", "arn": f"7{number:022d}",
            "reference": f"REF{number:09d}", "email": f"customer{first}@example.com",
            "amount": amount, "created": created, "presented": amount * 17,
            "expires": created + 30 * DAY, "settled": settled, "minus": -settled,
            "available": created + 2 * DAY, "failed_at": created + 6,
            "charged": _amount(first) * 3 + 1000, "refunded": _refunded(kind, first, amount),
            "charged_at": self.charges_from + first,
        }  # fmt: skip


def _id_of(kind: Kind, code: str) -> str:
    return f"{'re' if kind.destination == 'card' else 'pyr'}_3Sim{code}"


def _refunded(kind: Kind, first: int, amount: int) -> int:
    """Of a charge: a failed refund gives its amount back."""
    if first % 20 == 18:
        return _amount(first) + _amount(first + 1)
    return 0 if kind.failed else amount


def _amount(number: int) -> int:
    return 100 + (number * 7919) % 990_000 // 100 * 100


def seconds(refunds: int, *, start: int, end: int, shape: str, hot_second: int) -> list[int]:
    """Ascending created seconds: even with some ties; or a third in one day, and a tenth in five seconds."""
    length = end - start
    times = [start + n * length // refunds for n in range(refunds)]
    for n in range(1, refunds, 50):
        times[n] = times[n - 1]
    if shape == "skewed":
        third, tenth = refunds // 3, refunds // 10
        rest = refunds - third - tenth
        times = [start + n * length // rest for n in range(rest)]
        times += [start + length // 3 + n * DAY // third for n in range(third)]
        times += [start + length // 2 + n * 5 // tenth for n in range(tenth)]
    if hot_second:
        times[:hot_second] = [start + length // 2 + 17] * hot_second
    return sorted(times)
