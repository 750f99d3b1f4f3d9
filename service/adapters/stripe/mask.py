"""Takes personal data and secrets out of what Stripe sends, before anything is stored, hashed or logged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MASK = "[masked]"
KEY_MASK = "[key]"

_MAIL = re.compile(r"[\w.!#$&'*+/=?^`{|}~-]{1,64}(?:@|%40)[\w-]+(?:\.[\w-]+)*")
_DIGITS = re.compile(r"[0-9](?:[ -]{0,2}[0-9]){12,}")
_ISSUED = re.compile(r"[3-6]|2[2-7]|8[12]")
_GROUP = re.compile(r"[0-9]+")
_MARKS = bytes(0x30 if chr(byte) in "0123456789 -" else 0 for byte in range(256))
_SHORTEST = b"0" * 13
_CARD_LIKE = re.compile(r"(?<![0-9])(?![0-9]{20})[0-9](?:[ -]{0,2}[0-9]){12}")
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:[srp]k|ek|whsec)_[\w*.\u2022\u2026-]*|[*\u2022\u2026]{2,}\w*|\bBearer +\S+"
)

_WHOLE = frozenset((
    "billing_details", "email", "email_sent_to", "instructions_email", "owner", "phone",
    "receipt_email", "receipt_url", "shipping",
))  # fmt: skip
"""Members that are personal whatever they hold."""

_NAMED = re.compile(rf'"(?:{"|".join(sorted(_WHOLE))})"')

_IDS = frozenset((
    "application", "application_fee", "balance_transaction", "charge", "customer",
    "customer_account", "destination", "failure_balance_transaction", "fingerprint", "id",
    "on_behalf_of", "payment_intent", "payment_method", "receipt_number", "reference", "review",
    "source", "source_transfer", "source_transfer_reversal", "transfer", "transfer_group",
    "transfer_reversal",
))  # fmt: skip
"""Members that hold ids: digits in them are no card, whatever their checksum says."""

_FREE = frozenset(("metadata", "description"))
"""Members that people write: nothing in them is known to be an id."""


def masked_text(text: str) -> str:
    """*text* without e-mail addresses and card numbers. Idempotent."""
    if not is_suspect(text, free=True):
        return text
    return _DIGITS.sub(_without_cards, _MAIL.sub(MASK, text))


def is_suspect(text: str, *, free: bool = False) -> bool:
    """Whether masking could change anything in this text, plain or JSON.

    Cheap, so that most is spared a closer look: acquirers' references, which are longer than any card
    number, are not held for one.
    """
    return (
        "@" in text
        or "%40" in text
        or _holds_a_card(text)
        or (not free and _might_name(text) and _NAMED.search(text) is not None)
    )


def _might_name(text: str) -> bool:
    """Whether a part of one of the names in ``_WHOLE`` is there: six plain looks cost less than a pattern."""
    return (
        "mail" in text
        or "phone" in text
        or "shipping" in text
        or "owner" in text
        or "billing" in text
        or "receipt_url" in text
    )


def _holds_a_card(text: str) -> bool:
    """Whether some stretch of digits, blanks and hyphens could be a card number.

    Stretches are looked for with the plainest means there are: nearly every text is, and few have any.
    """
    raw = text.encode()
    marks = raw.translate(_MARKS)
    start = marks.find(_SHORTEST)
    while start >= 0:
        end = len(marks) - len(marks[start:].lstrip(b"0"))
        if _CARD_LIKE.search(raw[start:end].decode()):
            return True
        start = marks.find(_SHORTEST, end)
    return False


def masked_json(value: Any, *, free: bool = False) -> Any:
    """A JSON value with the strings and member names in it masked.

    *free* says that people wrote it (metadata): then no member is known to hold an id.
    """
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, list):
        return [masked_json(item, free=free) for item in value]
    if isinstance(value, dict):
        return _masked_members(value, free=free)
    return value


def without_keys(text: str) -> str:
    """*text* without API keys, half-hidden ones (``rk_test_****abcd``) and their tails included."""
    return _KEY.sub(KEY_MASK, text)


def _masked_members(members: dict[str, Any], *, free: bool) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in sorted(members):
        shown = _free_name(masked_text(name), result)
        result[shown] = _masked_member(name, members[name], free=free)
    return result


def _masked_member(name: str, value: Any, *, free: bool) -> Any:
    if not free and name in _WHOLE and value is not None:
        return MASK
    if not free and name in _IDS and isinstance(value, str):
        return _MAIL.sub(MASK, value)
    return masked_json(value, free=free or name in _FREE)


def _free_name(name: str, taken: dict[str, Any]) -> str:
    """*name*, numbered where two member names become one by masking: no value is lost."""
    if name not in taken:
        return name
    return next(n for n in (f"{name} {i}" for i in range(2, len(taken) + 3)) if n not in taken)


def _without_cards(match: re.Match[str]) -> str:
    run = match.group()
    groups = [(m.start(), m.end()) for m in _GROUP.finditer(run)]
    shown: list[str] = []
    begin = 0
    for start, end in _cards(run, groups):
        shown += run[begin:start], MASK
        begin = end
    return "".join(shown) + run[begin:]


def _cards(run: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where card numbers stand in a run of digit groups; a group is taken whole or not at all."""
    first = 0
    while first < len(groups):
        last = _longest_card(run, groups, first)
        if last is None:
            first += 1
        else:
            yield groups[first][0], groups[last][1]
            first = last + 1


def _longest_card(run: str, groups: list[tuple[int, int]], first: int) -> int | None:
    digits = ""
    found = None
    for index in range(first, len(groups)):
        digits += run[slice(*groups[index])]
        if len(digits) > 19:
            break
        if len(digits) >= 13 and _ISSUED.match(digits) and _passes_luhn(digits):
            found = index
    return found


def _passes_luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0
