"""Stripe's objects as JSON text: canonical, without expansions, personal data masked."""

from __future__ import annotations

import re
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from service.adapters.stripe.objects.bounds import is_bounded, without_excess
from service.adapters.stripe.objects.mask import METADATA, Masking, is_suspect

if TYPE_CHECKING:
    from collections.abc import Sequence

MetadataPolicy = Literal["keep", "drop"] | frozenset[str]
"""Which metadata is kept: all, none, or the members named."""

EXPANDABLE = (
    "balance_transaction", "charge", "customer", "failure_balance_transaction", "payment_intent",
    "payment_method", "source_transfer_reversal", "transfer_reversal",
)  # fmt: skip
"""Members of a refund that hold an id, or the object itself where it was expanded."""

TRACE = "_masked"
"""A member of the text that no object of Stripe's has: what was masked, as ``{path: how often}``."""

_ESCAPES = re.compile(
    rb"\\\\"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<unsound>\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\u0000)"
)
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_pack = msgspec.msgpack.Encoder().encode
_encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


def sound_json(body: bytes) -> bytes:
    """*body* with NUL, lone surrogates and bytes that are no UTF-8 as U+FFFD: what Postgres can hold."""
    try:
        body.isascii() or body.decode()
    except UnicodeDecodeError:
        body = body.decode(errors="replace").encode()
    return _ESCAPES.sub(_sound_escape, body) if b"\\" in body else body


def json_text(value: Any) -> str:
    """Canonical text: members in order of name, numbers as they were sent."""
    return _encode(value).decode()


def masked_text_of(
    value: Any, path: str = "", *, free: bool = False, unmasked: frozenset[str] = frozenset()
) -> str:
    """Canonical text of the JSON value at *path*, masked; *free* where people wrote it."""
    text = json_text(value)
    if not is_suspect(text, free=free):
        return text
    return json_text(Masking(unmasked).json(value, path, free=free))


def refund_text(
    body: bytes,
    metadata: MetadataPolicy,
    ids: Sequence[str | None],
    masking: Masking,
) -> str:
    """The refund as Stripe renders it without expansions, unknown members kept, masked, with a TRACE.

    *ids* stand for the members named in ``EXPANDABLE``. Members that nothing is changed in keep the
    bytes that were received.
    """
    members: dict[str, Any] = _members(body)
    members |= {
        name: known for name, known in zip(EXPANDABLE, ids, strict=True) if known is not None
    }
    if metadata != "keep" and METADATA in members:
        members[METADATA] = kept_metadata(_decode(members[METADATA]), metadata)
    text = json_text(members)
    if "\\u" in text:  # an escape could hide what is looked for
        text = json_text(_decode(text))
    if not is_suspect(text):
        return text
    shown = masking.json(_decode(text))
    return json_text(shown | {TRACE: dict(masking.found)} if masking.found else shown)


def payload_text(body: bytes, metadata: MetadataPolicy, unmasked: frozenset[str]) -> str:
    """An object of any shape as received, masked; what exceeds the bounds is cut so that it can be read."""
    value = _decode(body if is_bounded(body) else without_excess(body))
    if isinstance(value, dict) and METADATA in value:
        value[METADATA] = kept_metadata(value[METADATA], metadata)
    return masked_text_of(value, unmasked=unmasked)


def kept_metadata(metadata: Any, policy: MetadataPolicy) -> Any:
    """What the policy leaves of metadata; None where nothing is to be known of it."""
    if policy == "keep" or metadata is None:
        return metadata
    if policy == "drop" or not isinstance(metadata, dict):
        return None
    return {name: value for name, value in metadata.items() if name in policy}


def digest(value: Any) -> bytes:
    """A digest of 16 bytes."""
    return blake2b(_pack(value), digest_size=16).digest()


def _sound_escape(match: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if match["unsound"] else match.group()
