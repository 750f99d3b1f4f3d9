"""From Stripe's JSON to observations: typed, hashed, and rendered only where something is written."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from service.adapters.stripe.objects import shapes
from service.adapters.stripe.objects.bounds import check_bounds, is_bounded
from service.adapters.stripe.objects.mask import METADATA, Masking, masked_text
from service.adapters.stripe.objects.render import (
    EXPANDABLE,
    MetadataPolicy,
    digest,
    kept_metadata,
    masked_text_of,
    payload_text,
    refund_text,
)
from service.adapters.stripe.objects.values import (
    charge_of,
    destination_of,
    id_of,
    line_of,
    link_of,
    word,
)
from service.domain.refund import BalanceTransaction, Charge, ChargeLink, Observation, Refund

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from datetime import datetime

FORM_VERSION = 2
"""To be raised when the same object is decoded into other columns than before."""
FORM_BYTES = 4
RECEIVED_BYTES = 16
FAILURES = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder raises at an object that does not have the shape of a refund."""

MASKED_MEMBERS = (
    "metadata", "description", "destination_details", "instructions_email", "next_action", "other",
)  # fmt: skip
"""Members of a refund that masking is counted by; other stands for all others."""

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
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_id = msgspec.json.Decoder(shapes.OnlyId).decode
_created = msgspec.json.Decoder(shapes.OnlyCreated).decode


class Decoder:
    """Decodes objects under one metadata policy.

    A content hash begins with four bytes of *form*: our own version and settings. So a writer can
    distinguish a change at Stripe from a change of ours. Digits in the metadata keys named by *unmasked* are
    never taken for card numbers. *masked* counts what was masked in texts that were asked for, by member.
    """

    def __init__(
        self,
        metadata: MetadataPolicy = "keep",
        *,
        unmasked: frozenset[str] = frozenset(),
        masked: Counter[str] | None = None,
    ) -> None:
        self._metadata = metadata
        self._unmasked = unmasked
        self._masked = masked
        policy = metadata if isinstance(metadata, str) else sorted(metadata)
        self.form = blake2b(
            msgspec.msgpack.encode((FORM_VERSION, policy, sorted(unmasked))), digest_size=FORM_BYTES
        ).digest()

    def received(self, body: Json) -> bytes:
        """A digest of all that was received, expanded members too, and of the form it is decoded in.

        It reads more bytes than any other, so by SHA-256, which processors have instructions for.
        """
        return self.form + sha256(body).digest()[:RECEIVED_BYTES]

    def observe(
        self,
        body: Json,
        *,
        observed_at: datetime,
        listed_at: datetime | None = None,
        received: bytes | None = None,
    ) -> Observation:
        """The refund in *body*. Raises one of ``FAILURES`` where it is none, or exceeds the bounds.

        An expanded member that cannot be decoded leaves the refund unhydrated.
        """
        body = bytes(body)
        if not is_bounded(body):
            _check_members(body)
        shape, charge, ledger = _read(body)
        refund, link, destination = self._refund_of(shape), link_of(shape), destination_of(shape)
        return Observation(
            refund=refund,
            link=link,
            destination=destination,
            content_hash=self.form + digest((refund, link, destination)),
            raw=_Rendered(partial(self._text, body, _expandable(refund, link))),
            charge=charge,
            ledger=ledger,
            hydrated=is_hydrated(link, charge, ledger),
            observed_at=observed_at,
            listed_at=listed_at,
            received=received,
        )

    def payload(self, body: Json) -> str:
        """The object as received, masked, to find out why it could not be decoded."""
        return payload_text(bytes(body), self._metadata, self._unmasked)

    def _text(self, body: bytes, ids: tuple[str | None, ...]) -> str:
        masking = Masking(self._unmasked)
        text = refund_text(body, self._metadata, ids, masking)
        if self._masked is not None:
            for path, count in masking.found.items():
                member = path.partition(".")[0]
                self._masked[member if member in MASKED_MEMBERS else "other"] += count
        return text

    def _refund_of(self, shape: shapes.RefundCore) -> Refund:
        action = shape.next_action
        display = action.display_details if action else None
        presentment = shape.presentment_details
        return Refund(
            shape.id,
            shape.created,
            shape.amount,
            shape.currency,
            word(shape.status),
            word(shape.reason),
            word(shape.failure_reason),
            word(shape.pending_reason),
            shape.receipt_number,
            masked_text(shape.description) if shape.description else shape.description,
            self._metadata_text(shape.metadata),
            presentment.presentment_amount if presentment else None,
            presentment.presentment_currency if presentment else None,
            word(action.type) if action else None,
            display.expires_at if display else None,
            id_of(shape.customer),
            id_of(shape.payment_method),
        )

    def _metadata_text(self, metadata: dict[str, Any] | None) -> str | None:
        kept = kept_metadata(metadata, self._metadata)
        if kept is None:
            return None
        return masked_text_of(kept, METADATA, free=True, unmasked=self._unmasked)


class _Rendered:
    """A text that is rendered when it is first asked for, and once."""

    __slots__ = ("_render", "_text")

    def __init__(self, render: Callable[[], str]) -> None:
        self._render: Callable[[], str] | None = render
        self._text = ""

    def __call__(self) -> str:
        """Raises ValueError where it cannot be rendered."""
        if self._render is not None:
            try:
                self._text = self._render()
            except FAILURES as error:
                raise ValueError(f"it cannot be rendered: {type(error).__name__}") from error
            self._render = None
        return self._text


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


def _check_members(body: bytes) -> None:
    """Raises UnboundedError. Expanded members are left out: of those only what is typed is kept."""
    for name, member in _members(body).items():
        if name not in EXPANDABLE:
            check_bounds(bytes(member), level=1)


def _read(body: bytes) -> tuple[Shape, Hashed, Lines]:
    """All at once, else the refund alone and those of its expanded members that can be decoded."""
    try:
        shape = _refund(body)
        members = (shape.balance_transaction, shape.failure_balance_transaction)
        lines = [line_of(m, shape.id) for m in members if isinstance(m, shapes.LedgerShape)]
    except FAILURES:
        bare = _bare(body)
        return bare, *_salvaged(body, bare.id)
    charge = charge_of(shape.charge) if isinstance(shape.charge, shapes.ChargeShape) else None
    hashed = (charge, digest(charge)) if charge else None
    return shape, hashed, tuple([(line, digest(line)) for line in lines])


def _salvaged(body: bytes, refund_id: str) -> tuple[Hashed, Lines]:
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
