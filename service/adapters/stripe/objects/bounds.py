"""Bounds on numbers and nesting, so that one object cannot break the rendering or the database.

Postgres, Python and most readers of JSON have limits of their own, each another one; these are below
them all and far above anything that Stripe sends.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from decimal import Decimal

MOST_DIGITS = 1_000
LARGEST_EXPONENT = 999
DEEPEST = 64
"""Levels of one object, its own included."""
CUT_AT = 100
"""Levels of an answer that are kept; an object that reaches them is deeper than DEEPEST."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]|-?[0-9][0-9.eE+-]*+', re.DOTALL)
_EXPONENT = re.compile(rb"[eE][+-]?0*([0-9]*)$")
_LOOK = bytes(
    0x30 if chr(byte) in "0123456789+-" else 0x65 if chr(byte) in "eE" else 0x28 if chr(byte) in "[{" else 0
    for byte in range(256)
)  # fmt: skip
_LARGE = b"0e" + b"0" * (len(str(LARGEST_EXPONENT)) + 1)
_LONG = b"0" * 40
"""Longer than any number or id of Stripe's, and quick to search for."""


class UnboundedError(msgspec.ValidationError):
    """A number or a nesting beyond the bounds."""


def is_bounded(body: bytes) -> bool:
    """True only where nothing exceeds the bounds; false asks for a closer look.

    A few plain searches: most objects have fewer brackets than levels are allowed.
    """
    look = body.translate(_LOOK)
    return not (_LARGE in look or _LONG in look or look.count(b"(") > DEEPEST)


def check_bounds(body: bytes, *, level: int = 0) -> None:
    """Raises UnboundedError where *body*, JSON at that level of an object, exceeds the bounds."""
    for token in _TOKEN.findall(body):
        if token in b"[{":
            level += 1
            if level > DEEPEST:
                raise UnboundedError(f"Nested deeper than {DEEPEST} levels")
        elif token in b"]}":
            level -= 1
        elif not _is_fitting(token):
            raise UnboundedError("A number is too large, or has too many digits")


def check_number(number: Decimal) -> None:
    """Raises UnboundedError for what is no number, or exceeds the bounds."""
    if not (number.is_finite() and _is_fitting(str(number).encode())):
        raise UnboundedError("A number is too large, or has too many digits")


def without_excess(body: bytes) -> bytes:
    """*body*, which is JSON, as every reader can take it.

    Containers CUT_AT levels down are emptied, and numbers beyond the bounds become strings.
    """
    kept: list[bytes] = []
    level, begin = 0, 0
    for match in _TOKEN.finditer(body):
        token = match.group()
        if token in b"[{":
            level += 1
            if level == CUT_AT:
                kept.append(body[begin : match.end()])
        elif token in b"]}":
            begin = match.start() if level == CUT_AT else begin
            level -= 1
        elif level < CUT_AT and not _is_fitting(token):
            kept += body[begin : match.start()], b'"', token, b'"'
            begin = match.end()
    return b"".join([*kept, body[begin:]]) if level < CUT_AT else b""


def _is_fitting(token: bytes) -> bool:
    """True of strings too: only numbers have bounds."""
    if token.startswith(b'"'):
        return True
    exponent = _EXPONENT.search(token)
    return len(token) <= MOST_DIGITS and (
        exponent is None or len(exponent[1]) <= len(str(LARGEST_EXPONENT))
    )
