"""Finds card numbers in text: an issuer's prefix, length, Luhn and grouping, and nothing that goes on.

Whatever else digits are, they are somebody's ids, and finance joins on them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from service.adapters.stripe.objects.issuers import prefixes_by_grouping

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.adapters.stripe.objects.issuers import Grouping

_PREFIXES = prefixes_by_grouping()
_MOST_GROUPS = max(map(len, _PREFIXES))
_LONGEST_PREFIX = max(len(prefix) for known in _PREFIXES.values() for prefix in known)
_SHORTEST = min(map(sum, _PREFIXES))

_BLANK = " \u00a0\u2000-\u200a\u202f"
_TIGHT = ".\u2010-\u2015\u2212-"
_RUN = re.compile(f"[0-9]+(?:[{_BLANK}{_TIGHT}]{{1,3}}[0-9]+)*")
"""Digits, and what is written between the groups of one number."""
_GROUP = re.compile("[0-9]+")
_HAS_BLANK = re.compile(f"[{_BLANK}]")
_ESCAPED = ("\\b", "\\f", "\\n", "\\r", "\\t")
"""Before a number in JSON text the last letter of these is no letter."""

_LONE = b" -.\xc2\xa0\xe2\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x90\x91\x92\x93\x94\x95\xaf"
_MARKS = bytes(0x30 if chr(byte) in "0123456789" or byte in _LONE else 0 for byte in range(256))
"""Maps each byte that may be part of a run to one and the same, so that a plain search finds runs."""
_LONG = b"0" * _SHORTEST
_FIRST = "".join(sorted({prefix[0] for known in _PREFIXES.values() for prefix in known}))
_LIKELY = re.compile(
    rb"(?<![0-9])[%b](?:[0-9]{11,18}(?![0-9])|[0-9]{3}[^0-9]+[0-9]{3,6}[^0-9]+[0-9]{3}|[0-9]{5}[^0-9]+[0-9]{13})"
    % _FIRST.encode()
)
"""Every card number in a run, and few other things: how its groups begin."""
_CONTEXT = 4
"""So many bytes around a run hold the character on either side of it."""

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_ARTICLE_LENGTHS = (12, 13)


def may_hold_a_card(text: str) -> bool:
    """False only where ``cards_in`` finds none, in this text or in the strings of this JSON.

    Searches for stretches of bytes by the plainest means: most texts have no run that is long enough.
    """
    raw = text.encode()
    marks = raw.translate(_MARKS)
    start = marks.find(_LONG)
    while start >= 0:
        end = len(marks) - len(marks[start:].lstrip(b"0"))
        if _LIKELY.search(raw, start, end):
            near = raw[max(0, start - _CONTEXT) : end + _CONTEXT].decode(errors="replace")
            if any(True for _ in cards_in(near)):
                return True
        start = marks.find(_LONG, end)
    return False


def cards_in(text: str) -> Iterator[tuple[int, int]]:
    """Where card numbers stand in *text*, from the left; none overlap.

    A number is made of whole groups. Next to a letter or a digit it is part of something longer, and so
    it is where a hyphen or a dot, but no blank, ties it to more digits: an order number, a decimal.
    """
    for run in _RUN.finditer(text):
        if run.end() - run.start() >= _SHORTEST:
            groups = [m.span() for m in _GROUP.finditer(text, run.start(), run.end())]
            yield from _cards_of(text, groups)


def _cards_of(text: str, groups: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    first = 0
    while first < len(groups):
        last = _last_group(text, groups, first)
        if last is None:
            first += 1
        else:
            yield groups[first][0], groups[last][1]
            first = last + 1


def _last_group(text: str, groups: Sequence[tuple[int, int]], first: int) -> int | None:
    """Where the longest card number ends that begins with group *first*; None where none does."""
    if not _may_begin(text, groups, first):
        return None
    grouping: Grouping = ()
    digits = ""
    found = None
    for index in range(first, min(first + _MOST_GROUPS, len(groups))):
        start, end = groups[index]
        grouping += (end - start,)
        digits += text[start:end]
        known = _PREFIXES.get(grouping)
        if known and _may_end(text, groups, index) and _is_card(digits, known):
            found = index
    return found


def _may_begin(text: str, groups: Sequence[tuple[int, int]], index: int) -> bool:
    start = groups[index][0]
    if index > 0:
        return _HAS_BLANK.search(text, groups[index - 1][1], start) is not None
    before = text[max(0, start - 2) : start]
    return not before[-1:].isalnum() or before in _ESCAPED


def _may_end(text: str, groups: Sequence[tuple[int, int]], index: int) -> bool:
    end = groups[index][1]
    if index + 1 < len(groups):
        return _HAS_BLANK.search(text, end, groups[index + 1][0]) is not None
    return not text[end : end + 1].isalnum()


def _is_card(digits: str, prefixes: frozenset[str]) -> bool:
    return (
        _passes_luhn(digits)
        and any(digits[:size] in prefixes for size in range(1, _LONGEST_PREFIX + 1))
        and not _is_article(digits)
    )


def _passes_luhn(digits: str) -> bool:
    plain = sum(map(int, digits[-1::-2]))
    return (plain + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def _is_article(digits: str) -> bool:
    """True of EAN-13 and UPC-A by their check digit: cards of these lengths are issued no more."""
    if len(digits) not in _ARTICLE_LENGTHS:
        return False
    return (sum(map(int, digits[-1::-2])) + 3 * sum(map(int, digits[-2::-2]))) % 10 == 0
