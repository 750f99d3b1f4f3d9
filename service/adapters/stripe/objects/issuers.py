"""Card issuers: how their numbers begin, how long they are, and in which groups they are written.

From ISO/IEC 7812 ranges as the networks publish them. A number that fits no row is somebody's id.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Grouping = tuple[int, ...]
"""Sizes of the groups that digits are written in: (4, 6, 5)."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """*prefixes* are single ones (``"4"``) or ranges (``"51-55"``), separated by blanks.

    Every number is also written in one piece, and by fours; *groupings* are those beyond that.
    """

    name: str
    prefixes: str
    lengths: tuple[int, ...]
    groupings: tuple[Grouping, ...] = ()


ISSUERS = (
    Issuer("Visa", "4", (13, 16, 19), ((4, 3, 3, 3),)),
    Issuer("Mastercard", "51-55 2221-2720", (16,)),
    Issuer("American Express", "34 37", (15,), ((4, 6, 5),)),
    Issuer("Discover", "6011 644-649 65", (16, 17, 18, 19)),
    Issuer("Diners Club", "300-305 3095 36 38 39", (14, 15, 16, 17, 18, 19), ((4, 6, 4),)),
    Issuer("JCB", "3528-3589", (16, 17, 18, 19)),
    Issuer("UnionPay", "62 81", (16, 17, 18, 19), ((6, 13),)),
    Issuer(
        "Maestro", "5018 5020 5038 5893 6304 6759 6761-6763", (12, 13, 14, 15), ((4, 4, 5), (4, 6, 5)),
    ),
    Issuer("Maestro", "5018 5020 5038 56-58 63 67", (16, 17, 18, 19)),
    Issuer("RuPay", "508 60 81 82", (16,)),
    Issuer("Mir", "2200-2204", (16, 17, 18, 19)),
    Issuer("Elo", "506699-506778 509 627780 636297 636368", (16,)),
    Issuer("Dankort", "5019", (16,)),
    Issuer("Troy", "9792", (16,)),
)  # fmt: skip


def prefixes_by_grouping() -> Mapping[Grouping, frozenset[str]]:
    """For each grouping that cards are written in, how the numbers written so may begin."""
    found: defaultdict[Grouping, set[str]] = defaultdict(set)
    for issuer in ISSUERS:
        prefixes = set(_expanded(issuer.prefixes))
        for length in issuer.lengths:
            for grouping in (_whole(length), _by_fours(length), *issuer.groupings):
                if sum(grouping) == length:
                    found[grouping] |= prefixes
    return {grouping: frozenset(prefixes) for grouping, prefixes in found.items()}


def _expanded(prefixes: str) -> Iterator[str]:
    for part in prefixes.split():
        first, _, last = part.partition("-")
        yield from map(str, range(int(first), int(last or first) + 1))


def _whole(length: int) -> Grouping:
    return (length,)


def _by_fours(length: int) -> Grouping:
    fours, rest = divmod(length, 4)
    return (4,) * fours + ((rest,) if rest else ())
