"""The members of Stripe's objects that the warehouse keeps, as msgspec checks them; others are skipped."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Second = Annotated[int, Meta(ge=0, le=253_402_300_799)]
"""Until the year 9999, where both Python's and the warehouse's calendars agree."""
Id = Annotated[str, Meta(min_length=1, max_length=500)]
"""Stripe promises 255 characters at most; an index can hold twice as many of any kind."""


class Named(Struct, frozen=True):
    """An object that Stripe sent in place of its id."""

    id: Id


class PaymentMethodDetails(Struct, frozen=True):
    type: str | None = None


class ChargeShape(Struct, frozen=True):
    id: Id
    amount: Int64
    currency: str
    created: Second
    amount_captured: Int64 | None = None
    amount_refunded: Int64 | None = None
    payment_method_details: PaymentMethodDetails | None = None
    balance_transaction: Named | Id | None = None
    transfer: Named | Id | None = None
    application_fee: Named | Id | None = None
    on_behalf_of: Named | Id | None = None


class LedgerShape(Struct, frozen=True):
    id: Id
    amount: Int64
    fee: Int64
    net: Int64
    currency: str
    created: Second
    available_on: Second
    type: str
    reporting_category: str
    status: str
    exchange_rate: Decimal | None = None
    source: Named | Id | None = None


class Presentment(Struct, frozen=True):
    presentment_amount: Int64 | None = None
    presentment_currency: str | None = None


class DisplayDetails(Struct, frozen=True):
    expires_at: Second | None = None


class NextAction(Struct, frozen=True):
    type: str | None = None
    display_details: DisplayDetails | None = None


class RefundCore(Struct, frozen=True):
    """A refund without the members that are expanded for it."""

    id: Id
    amount: Int64
    currency: str
    created: Second
    status: str | None = None
    reason: str | None = None
    failure_reason: str | None = None
    pending_reason: str | None = None
    receipt_number: str | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None
    presentment_details: Presentment | None = None
    next_action: NextAction | None = None
    destination_details: dict[str, Any] | None = None
    customer: Named | Id | None = None
    payment_method: Named | Id | None = None
    payment_intent: Named | Id | None = None
    transfer_reversal: Named | Id | None = None
    source_transfer_reversal: Named | Id | None = None


class RefundShape(RefundCore, frozen=True):
    """A refund whose expanded members are all as they should be: the usual case, in one pass."""

    charge: ChargeShape | Id | None = None
    balance_transaction: LedgerShape | Id | None = None
    failure_balance_transaction: LedgerShape | Id | None = None


class BareShape(RefundCore, frozen=True):
    """A refund of whose expanded members only the ids are believed."""

    charge: Named | Id | None = None
    balance_transaction: Named | Id | None = None
    failure_balance_transaction: Named | Id | None = None


_NULL = Raw(b"null")


class ExpandedParts(Struct, frozen=True):
    """The expanded members alone, each to be decoded for itself."""

    charge: Raw = _NULL
    balance_transaction: Raw = _NULL
    failure_balance_transaction: Raw = _NULL


class OnlyId(Struct, frozen=True):
    id: Id


class OnlyCreated(Struct, frozen=True):
    created: Second


class Listing(Struct, frozen=True):
    """A page of any list; its objects are checked to be JSON, and decoded later."""

    data: list[Raw]
    has_more: bool


class AnyObject(Struct, frozen=True):
    """A JSON object of which nothing is known yet, but that it is not the body of an error."""

    error: None = None
