"""From the shapes that msgspec checks to the values that the warehouse keeps, free text masked."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from service.adapters.stripe.objects.bounds import check_number
from service.adapters.stripe.objects.mask import is_suspect, masked_json, masked_text
from service.adapters.stripe.objects.render import json_text
from service.domain.refund import BalanceTransaction, Charge, ChargeLink, Destination

if TYPE_CHECKING:
    from service.adapters.stripe.objects import shapes

_WORDS = ("reference", "reference_status", "reference_type", "network_decline_code", "type")


def id_of(member: Any) -> str | None:
    """The id of a member that may be expanded."""
    return member if member is None or isinstance(member, str) else member.id


def link_of(shape: shapes.RefundShape | shapes.BareShape) -> ChargeLink:
    return ChargeLink(
        id_of(shape.charge),
        id_of(shape.payment_intent),
        id_of(shape.balance_transaction),
        id_of(shape.failure_balance_transaction),
        id_of(shape.transfer_reversal),
        id_of(shape.source_transfer_reversal),
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
    """Raises UnboundedError for an exchange rate that no column holds."""
    if shape.exchange_rate is not None:
        check_number(shape.exchange_rate)
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


@lru_cache(maxsize=1024)
def word(text: str | None) -> str | None:
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
