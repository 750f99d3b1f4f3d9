"""Takes personal data and secrets out of what Stripe sends, before anything is stored, hashed or logged."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from service.adapters.stripe.objects.cards import cards_in, may_hold_a_card

MASK = "[masked]"
KEY_MASK = "[key]"
METADATA = "metadata"

_MAIL = re.compile(r"[\w.!#$&'*+/=?^`{|}~-]{1,64}(?:@|%40)[\w-]+(?:\.[\w-]+)*")
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:[srp]k|ek|whsec)_[\w*.\u2022\u2026-]*|[*\u2022\u2026]{2,}\w*|\bBearer +\S+"
)

_WHOLE = frozenset((
    "billing_details", "email", "email_sent_to", "instructions_email", "owner", "phone",
    "receipt_email", "receipt_url", "shipping",
))  # fmt: skip
"""Members that are always personal."""

_NAMED = re.compile(rf'"(?:{"|".join(sorted(_WHOLE))})"')

_IDS = frozenset((
    "application", "application_fee", "balance_transaction", "charge", "customer",
    "customer_account", "destination", "failure_balance_transaction", "fingerprint", "id",
    "on_behalf_of", "payment_intent", "payment_method", "receipt_number", "reference", "review",
    "source", "source_transfer", "source_transfer_reversal", "transfer", "transfer_group",
    "transfer_reversal",
))  # fmt: skip
"""Members that hold ids: digits in them are no card, even with a valid checksum."""

_FREE = frozenset((METADATA, "description"))
"""Members that people write: nothing in them is known to be an id."""


def masked_text(text: str) -> str:
    """*text* without e-mail addresses and card numbers. Idempotent."""
    return _masked(text)[0] if is_suspect(text, free=True) else text


def is_suspect(text: str, *, free: bool = False) -> bool:
    """False only where masking changes nothing in this text, plain or JSON.

    Cheap, so that most is spared a closer look. An escaped character may hide what stands there.
    """
    return (
        "@" in text
        or ("%" in text and "%40" in text)
        or ("\\" in text and "\\u" in text)
        or may_hold_a_card(text)
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


@dataclass(slots=True)
class Masking:
    """Masks one JSON value, and counts in *found* what it masked, by the path of the member.

    Digits in the metadata keys named by *unmasked* are ids, never card numbers.
    """

    unmasked: frozenset[str] = frozenset()
    found: Counter[str] = field(default_factory=Counter)

    def json(self, value: Any, path: str = "", *, free: bool = False) -> Any:
        """*value* with the strings and member names in it masked.

        *free* says that people wrote it (metadata): then no member is known to hold an id.
        """
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, list):
            return [self.json(item, path, free=free) for item in value]
        if isinstance(value, dict):
            return self._members(value, path, free=free)
        return value

    def _members(self, members: dict[str, Any], path: str, *, free: bool) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name in sorted(members):
            masked, count = _masked(name)
            shown = _free_name(masked, result)
            inner = f"{path}.{shown}" if path else shown
            self._count(inner, count)
            result[shown] = self._member(name, members[name], inner, free=free)
        return result

    def _member(self, name: str, value: Any, path: str, *, free: bool) -> Any:
        if not free and name in _WHOLE and value is not None:
            self._count(path, 1)
            return MASK
        if isinstance(value, str) and self._holds_ids(name, path, free=free):
            return self._text(value, path, cards=False)
        return self.json(value, path, free=free or name in _FREE)

    def _holds_ids(self, name: str, path: str, *, free: bool) -> bool:
        if not free:
            return name in _IDS
        return name in self.unmasked and path == f"{METADATA}.{name}"

    def _text(self, text: str, path: str, *, cards: bool = True) -> str:
        shown, count = _masked(text, cards=cards)
        self._count(path, count)
        return shown

    def _count(self, path: str, count: int) -> None:
        if count:
            self.found[path] += count


def masked_json(value: Any, *, free: bool = False) -> Any:
    """A JSON value with the strings and member names in it masked; *free* where people wrote it."""
    return Masking().json(value, free=free)


def without_keys(text: str) -> str:
    """*text* without API keys, half-hidden ones (``rk_test_****abcd``) and their tails included."""
    return _KEY.sub(KEY_MASK, text)


def _masked(text: str, *, cards: bool = True) -> tuple[str, int]:
    """*text* without e-mail addresses and, if *cards*, card numbers; and how many there were."""
    found = [match.span() for match in _MAIL.finditer(text)]
    found += cards_in(text) if cards else ()
    shown: list[str] = []
    begin = 0
    for start, end in sorted(found):
        if start >= begin:
            shown += text[begin:start], MASK
        begin = max(begin, end)
    return "".join(shown) + text[begin:], len(found)


def _free_name(name: str, taken: dict[str, Any]) -> str:
    """*name*, numbered where two member names become one by masking: no value is lost."""
    if name not in taken:
        return name
    return next(n for n in (f"{name} {i}" for i in range(2, len(taken) + 3)) if n not in taken)
