"""From Stripe's JSON to observations: typed, hashed, and rendered only where something is written."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache, partial
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from service.adapters.stripe import shapes
from service.adapters.stripe.mask import is_suspect, masked_json, masked_text
from service.adapters.stripe.render import (
    MetadataPolicy,
    digest,
    json_text,
    kept_metadata,
    masked_text_of,
    payload_text,
    refund_text,
)
from service.domain.refund import (
    BalanceTransaction,
    Charge,
    ChargeLink,
    Destination,
    Observation,
    Refund,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

FORM_VERSION = 1
"""To be raised when the same object is decoded into other columns than before."""
FORM_BYTES = 4
RECEIVED_BYTES = 16
FAILURES = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What an object that has not the shape of a refund makes of a decoder."""

_WORDS = ("reference", "reference_status", "reference_type", "network_decline_code", "type")

T = TypeVar("T")
Json = bytes | msgspec.Raw
Shape = shapes.RefundShape | shapes.BareShape
Hashed = tuple[Charge, bytes] | None
Lines = tuple[tuple[BalanceTransaction, bytes], ...]

_refund = msgspec.json.Decoder(shapes.RefundShape, float_hook=Decimal).decode
_bare = msgspec.json.Decoder(shapes.BareShape, float_hook=Decimal).decode
_parts = msgspec.json.Decoder(shapes.ExpandedParts).decode
_charge = msgspec.json.Decoder(shapes.ChargeShape).decode
_line = msgspec.json.Decoder(shapes.LedgerShape).decode
_id = msgspec.json.Decoder(shapes.OnlyId).decode
_created = msgspec.json.Decoder(shapes.OnlyCreated).decode


class Decoder:
    """Decodes objects under one metadata policy.

    A content hash begins with four bytes of *form*: our own version and settings. So a writer can
    tell a change at Stripe from a change of ours.
    """

    def __init__(self, metadata: MetadataPolicy = "keep") -> None:
        self._metadata = metadata
        policy = metadata if isinstance(metadata, str) else sorted(metadata)
        self._form = blake2b(
            msgspec.msgpack.encode((FORM_VERSION, policy)), digest_size=FORM_BYTES
        ).digest()

    def received(self, body: Json) -> bytes:
        """A digest of all that was received, expanded members too, and of the form it is decoded in.

        It reads more bytes than any other, so by SHA-256, which processors have instructions for.
        """
        return self._form + sha256(body).digest()[:RECEIVED_BYTES]

    def observe(
        self,
        body: Json,
        *,
        observed_at: datetime,
        listed_at: datetime | None = None,
        received: bytes | None = None,
    ) -> Observation:
        """The refund in *body*. Raises one of ``FAILURES`` where it is none.

        An expanded member that cannot be decoded leaves the refund unhydrated.
        """
        shape, charge, ledger = _read(body)
        refund, link, destination = self._refund_of(shape), link_of(shape), destination_of(shape)
        return Observation(
            refund=refund,
            link=link,
            destination=destination,
            content_hash=self._form + digest((refund, link, destination)),
            raw=partial(refund_text, body, self._metadata, _expandable(refund, link)),
            charge=charge,
            ledger=ledger,
            hydrated=is_hydrated(link, charge, ledger),
            observed_at=observed_at,
            listed_at=listed_at,
            received=received,
        )

    def payload(self, body: Json) -> str:
        """The object as received, masked, for whoever looks into why it could not be decoded."""
        return payload_text(body, self._metadata)

    def _refund_of(self, shape: shapes.RefundCore) -> Refund:
        action = shape.next_action
        display = action.display_details if action else None
        presentment = shape.presentment_details
        return Refund(
            shape.id,
            shape.created,
            shape.amount,
            shape.currency,
            _word(shape.status),
            _word(shape.reason),
            _word(shape.failure_reason),
            _word(shape.pending_reason),
            shape.receipt_number,
            masked_text(shape.description) if shape.description else shape.description,
            self._metadata_text(shape.metadata),
            presentment.presentment_amount if presentment else None,
            presentment.presentment_currency if presentment else None,
            _word(action.type) if action else None,
            display.expires_at if display else None,
            id_of(shape.customer),
            id_of(shape.payment_method),
        )

    def _metadata_text(self, metadata: dict[str, Any] | None) -> str | None:
        kept = kept_metadata(metadata, self._metadata)
        return None if kept is None else masked_text_of(kept, free=True)


def id_and_created(body: Json) -> tuple[str | None, int | None]:
    """The two members that place an object which cannot be decoded, as far as they can be read."""
    named, placed = _tried(_id, body), _tried(_created, body)
    return (named.id if named else None), (placed.created if placed else None)


def decode_charge(body: Json) -> tuple[Charge, bytes]:
    charge = charge_of(_charge(body))
    return charge, digest(charge)


def decode_line(body: Json, refund_id: str) -> tuple[BalanceTransaction, bytes]:
    """A ledger line that was read for this refund."""
    line = line_of(_line(body), refund_id)
    return line, digest(line)


def is_hydrated(link: ChargeLink, charge: Hashed, ledger: Lines) -> bool:
    """Whether all that the refund points to is known."""
    known = [None, *[line.id for line, _ in ledger]]
    return (
        (link.charge_id is None or charge is not None)
        and link.balance_transaction_id in known
        and link.failure_balance_transaction_id in known
    )


def id_of(member: Any) -> str | None:
    """The id of a member that may be expanded."""
    return member if member is None or isinstance(member, str) else member.id


def link_of(shape: Shape) -> ChargeLink:
    return ChargeLink(
        id_of(shape.charge),
        id_of(shape.payment_intent),
        id_of(shape.balance_transaction),
        id_of(shape.failure_balance_transaction),
        id_of(shape.transfer_reversal),
        id_of(shape.source_transfer_reversal),
    )


def _expandable(refund: Refund, link: ChargeLink) -> tuple[str | None, ...]:
    """The ids for ``render.EXPANDABLE``, in its order."""
    return (
        link.balance_transaction_id,
        link.charge_id,
        refund.customer_id,
        link.failure_balance_transaction_id,
        link.payment_intent_id,
        refund.payment_method_id,
        link.source_transfer_reversal_id,
        link.transfer_reversal_id,
    )


def charge_of(shape: shapes.ChargeShape) -> Charge:
    details = shape.payment_method_details
    return Charge(
        shape.id,
        shape.amount,
        shape.amount_captured,
        shape.amount_refunded,
        shape.currency,
        shape.created,
        details.type if details else None,
        id_of(shape.balance_transaction),
        id_of(shape.transfer),
        id_of(shape.application_fee),
        id_of(shape.on_behalf_of),
    )


def line_of(shape: shapes.LedgerShape, refund_id: str) -> BalanceTransaction:
    return BalanceTransaction(
        shape.id,
        refund_id,
        id_of(shape.source),
        shape.type,
        shape.reporting_category,
        shape.amount,
        shape.fee,
        shape.net,
        shape.currency,
        shape.exchange_rate,
        shape.created,
        shape.available_on,
        shape.status,
    )


def _read(body: Json) -> tuple[Shape, Hashed, Lines]:
    """All at once, else the refund alone and those of its expanded members that can be decoded."""
    try:
        shape = _refund(body)
    except FAILURES:
        bare = _bare(body)
        return bare, *_salvaged(body, bare.id)
    charge = charge_of(shape.charge) if isinstance(shape.charge, shapes.ChargeShape) else None
    members = (shape.balance_transaction, shape.failure_balance_transaction)
    lines = [line_of(m, shape.id) for m in members if isinstance(m, shapes.LedgerShape)]
    hashed = (charge, digest(charge)) if charge else None
    return shape, hashed, tuple([(line, digest(line)) for line in lines])


def _salvaged(body: Json, refund_id: str) -> tuple[Hashed, Lines]:
    parts = _parts(body)
    decode = partial(decode_line, refund_id=refund_id)
    members = (parts.balance_transaction, parts.failure_balance_transaction)
    lines = (_tried(decode, member) for member in members)
    return _tried(decode_charge, parts.charge), tuple(line for line in lines if line)


def _tried(decode: Callable[[Json], T], body: Json) -> T | None:
    try:
        return decode(body)
    except FAILURES:
        return None


@lru_cache(maxsize=1024)
def _word(text: str | None) -> str | None:
    """One of Stripe's own words, which are few and come again and again; masked, should it be none."""
    return masked_text(text) if text else text


def destination_of(shape: shapes.RefundCore) -> Destination | None:
    details = shape.destination_details
    if details is None:
        return None
    kind = details.get("type")
    if not isinstance(kind, str):
        raise msgspec.ValidationError("Expected `str` - at `$.destination_details.type`")
    named = details.get(kind)
    hashed = named if isinstance(named, dict) else {}
    text = json_text(hashed)
    if is_suspect(text):
        hashed = masked_json(hashed)
        text = json_text(hashed)
    reference, status, kind_of_reference, decline_code, card_type = (
        word if isinstance(word, str) else None for word in map(hashed.get, _WORDS)
    )
    if kind != "card":
        card_type = None
    return Destination(
        masked_text(kind), reference, status, kind_of_reference, card_type, decline_code, text
    )
